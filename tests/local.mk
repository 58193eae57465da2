# The whole-daemon tests: each starts the daemon of $FETCHPOOL_BINARY and talks to it over sockets.

check_LIBRARIES += tests/librig.a
tests_librig_a_SOURCES = \
	tests/bytes.c tests/bytes.h \
	tests/client.c tests/client.h \
	tests/origin.c tests/origin.h \
	tests/rig.c tests/rig.h \
	tests/server.c tests/server.h
tests_librig_a_CPPFLAGS = $(CHECK_CFLAGS) $(JANSSON_CFLAGS) $(ZLIB_CFLAGS) $(CRYPTO_CFLAGS)

RIG_CPPFLAGS = $(CHECK_CFLAGS) $(JANSSON_CFLAGS) $(ZLIB_CFLAGS) $(CRYPTO_CFLAGS)
RIG_LIBS = tests/librig.a $(CHECK_LIBS) $(JANSSON_LIBS) $(ZLIB_LIBS) $(CRYPTO_LIBS)

# The scripted origin by itself, for the examples and for trying things by hand.
check_PROGRAMS += tests/origin
tests_origin_SOURCES = tests/origin-main.c tests/origin.h
tests_origin_CPPFLAGS = $(RIG_CPPFLAGS)
tests_origin_LDADD = $(RIG_LIBS)

DAEMON_TESTS = \
	tests/test_origin \
	tests/test_jobs \
	tests/test_failures \
	tests/test_redirects \
	tests/test_bodies \
	tests/test_await \
	tests/test_waiters \
	tests/test_cancel \
	tests/test_list \
	tests/test_refusals \
	tests/test_http \
	tests/test_egress \
	tests/test_operate \
	tests/test_flight

check_PROGRAMS += $(DAEMON_TESTS)
TESTS += $(DAEMON_TESTS)

tests_test_jobs_SOURCES = tests/test_jobs.c
tests_test_jobs_CPPFLAGS = $(RIG_CPPFLAGS)
tests_test_jobs_LDADD = $(RIG_LIBS)
tests_test_failures_SOURCES = tests/test_failures.c
tests_test_failures_CPPFLAGS = $(RIG_CPPFLAGS)
tests_test_failures_LDADD = $(RIG_LIBS)
tests_test_redirects_SOURCES = tests/test_redirects.c
tests_test_redirects_CPPFLAGS = $(RIG_CPPFLAGS)
tests_test_redirects_LDADD = $(RIG_LIBS)
tests_test_bodies_SOURCES = tests/test_bodies.c
tests_test_bodies_CPPFLAGS = $(RIG_CPPFLAGS)
tests_test_bodies_LDADD = $(RIG_LIBS)
tests_test_await_SOURCES = tests/test_await.c
tests_test_await_CPPFLAGS = $(RIG_CPPFLAGS)
tests_test_await_LDADD = $(RIG_LIBS)
tests_test_waiters_SOURCES = tests/test_waiters.c
tests_test_waiters_CPPFLAGS = $(RIG_CPPFLAGS)
tests_test_waiters_LDADD = $(RIG_LIBS)
tests_test_cancel_SOURCES = tests/test_cancel.c
tests_test_cancel_CPPFLAGS = $(RIG_CPPFLAGS)
tests_test_cancel_LDADD = $(RIG_LIBS)
tests_test_list_SOURCES = tests/test_list.c
tests_test_list_CPPFLAGS = $(RIG_CPPFLAGS)
tests_test_list_LDADD = $(RIG_LIBS)
tests_test_refusals_SOURCES = tests/test_refusals.c
tests_test_refusals_CPPFLAGS = $(RIG_CPPFLAGS)
tests_test_refusals_LDADD = $(RIG_LIBS)
tests_test_http_SOURCES = tests/test_http.c
tests_test_http_CPPFLAGS = $(RIG_CPPFLAGS)
tests_test_http_LDADD = $(RIG_LIBS)
tests_test_egress_SOURCES = tests/test_egress.c
tests_test_egress_CPPFLAGS = $(RIG_CPPFLAGS)
tests_test_egress_LDADD = $(RIG_LIBS)
tests_test_operate_SOURCES = tests/test_operate.c
tests_test_operate_CPPFLAGS = $(RIG_CPPFLAGS)
tests_test_operate_LDADD = $(RIG_LIBS)
tests_test_flight_SOURCES = tests/test_flight.c
tests_test_flight_CPPFLAGS = $(RIG_CPPFLAGS)
tests_test_flight_LDADD = $(RIG_LIBS)
tests_test_origin_SOURCES = tests/test_origin.c
tests_test_origin_CPPFLAGS = $(RIG_CPPFLAGS)
tests_test_origin_LDADD = $(RIG_LIBS)
