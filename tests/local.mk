# The whole-daemon tests: each starts the daemon of $FETCHPOOL_BINARY and talks to it over sockets.

check_LIBRARIES += tests/librig.a
tests_librig_a_SOURCES = \
	tests/bytes.c tests/bytes.h \
	tests/client.c tests/client.h \
	tests/origin.c tests/origin.h \
	tests/proxy.c tests/proxy.h \
	tests/rig.c tests/rig.h \
	tests/server.c tests/server.h \
	tests/tls_origin.c tests/tls_origin.h
tests_librig_a_CPPFLAGS = $(CHECK_CFLAGS) $(JANSSON_CFLAGS) $(ZLIB_CFLAGS) $(CRYPTO_CFLAGS)

# A disk that fails when told, and whose writes are written down; the daemon gets it by LD_PRELOAD. It takes none of our flags, as it
# must not be built with a sanitizer.
check_PROGRAMS += tests/fault.so
tests_fault_so_SOURCES = tests/fault.c tests/fault.h
tests_fault_so_CFLAGS = -std=gnu11 -fPIC -pthread -Wall -Wextra -Wshadow
tests_fault_so_LDFLAGS = -shared -pthread
tests_fault_so_LDADD = -ldl

# A net that leads nowhere but to this machine, in the same way.
check_PROGRAMS += tests/net.so
tests_net_so_SOURCES = tests/net.c tests/net.h
tests_net_so_CFLAGS = -std=gnu11 -fPIC -Wall -Wextra -Wshadow
tests_net_so_LDFLAGS = -shared
tests_net_so_LDADD = -ldl
# The Nth call of a kind fails, calls are counted, the wall clock is set; preloaded likewise.
check_PROGRAMS += tests/nth.so
tests_nth_so_SOURCES = tests/nth.c tests/nth.h
tests_nth_so_CFLAGS = -std=gnu11 -fPIC -pthread -Wall -Wextra -Wshadow
tests_nth_so_LDFLAGS = -shared -pthread
tests_nth_so_LDADD = -ldl

RIG_CPPFLAGS = $(CHECK_CFLAGS) $(JANSSON_CFLAGS) $(ZLIB_CFLAGS) $(CRYPTO_CFLAGS)
RIG_LIBS = tests/librig.a $(CHECK_LIBS) $(JANSSON_LIBS) $(ZLIB_LIBS) $(CRYPTO_LIBS)

# The scripted origin by itself, for the examples and for trying things by hand.
check_PROGRAMS += tests/origin
tests_origin_SOURCES = tests/origin-main.c tests/origin.h
tests_origin_CPPFLAGS = $(RIG_CPPFLAGS)
tests_origin_LDADD = $(RIG_LIBS)

# Kills the daemon over and over: 30 rounds as a test, as many as one likes by tests/crash --rounds N.
CRASH_SOURCES = \
	tests/crash.h tests/crash_loop.c tests/crash_random.h \
	tests/crash_book.c tests/crash_book.h \
	tests/crash_judge.c tests/crash_judge.h \
	tests/crash_kinds.c tests/crash_kinds.h \
	tests/crash_line.c tests/crash_line.h \
	tests/crash_list.c tests/crash_list.h \
	tests/crash_load.c tests/crash_load.h \
	tests/crash_read.c tests/crash_read.h \
	tests/crash_shot.c tests/crash_shot.h \
	tests/crash_soak.c
check_PROGRAMS += tests/crash
tests_crash_SOURCES = tests/crash.c $(CRASH_SOURCES)
tests_crash_CPPFLAGS = $(RIG_CPPFLAGS)
tests_crash_LDADD = $(RIG_LIBS)
tests_test_crash_SOURCES = tests/test_crash.c $(CRASH_SOURCES)
tests_test_crash_CPPFLAGS = $(RIG_CPPFLAGS)
tests_test_crash_LDADD = $(RIG_LIBS)

# Every allocation and system call fails in its turn: a choice of them as a test, all of them by tests/torture --all.
check_PROGRAMS += tests/torture
TESTS += tests/torture
tests_torture_SOURCES = tests/torture.c tests/torture.h tests/torture_run.c tests/nth.h
tests_torture_CPPFLAGS = $(RIG_CPPFLAGS)
tests_torture_LDADD = $(RIG_LIBS)

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
	tests/test_clients \
	tests/test_egress \
	tests/test_origin_tls \
	tests/test_proxy \
	tests/test_canaries \
	tests/test_names \
	tests/test_hostile \
	tests/test_operate \
	tests/test_tls \
	tests/test_activation \
	tests/test_tokens \
	tests/test_flight \
	tests/test_durable \
	tests/test_durable_queue \
	tests/test_recovery \
	tests/test_idempotency \
	tests/test_clients \
	tests/test_crash \
	tests/test_faults \
	tests/test_resources \
	tests/test_power

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
tests_test_clients_SOURCES = tests/test_clients.c
tests_test_clients_CPPFLAGS = $(RIG_CPPFLAGS)
tests_test_clients_LDADD = $(RIG_LIBS)
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
tests_test_origin_tls_SOURCES = tests/test_origin_tls.c
tests_test_origin_tls_CPPFLAGS = $(RIG_CPPFLAGS)
tests_test_origin_tls_LDADD = $(RIG_LIBS)
tests_test_proxy_SOURCES = tests/test_proxy.c
tests_test_proxy_CPPFLAGS = $(RIG_CPPFLAGS)
tests_test_proxy_LDADD = $(RIG_LIBS)
tests_test_canaries_SOURCES = tests/test_canaries.c tests/payloads.tbl.h tests/name_server.c tests/name_server.h tests/net.h
tests_test_canaries_CPPFLAGS = $(RIG_CPPFLAGS)
tests_test_canaries_LDADD = $(RIG_LIBS)
tests_test_names_SOURCES = tests/test_names.c tests/name_server.c tests/name_server.h
tests_test_names_CPPFLAGS = $(RIG_CPPFLAGS)
tests_test_names_LDADD = $(RIG_LIBS)
tests_test_hostile_SOURCES = tests/test_hostile.c tests/raw_origin.c tests/raw_origin.h
tests_test_hostile_CPPFLAGS = $(RIG_CPPFLAGS)
tests_test_hostile_LDADD = $(RIG_LIBS)
tests_test_operate_SOURCES = tests/test_operate.c
tests_test_operate_CPPFLAGS = $(RIG_CPPFLAGS)
tests_test_operate_LDADD = $(RIG_LIBS)
tests_test_tokens_SOURCES = tests/test_tokens.c tests/durable.c tests/durable.h
tests_test_tokens_CPPFLAGS = $(RIG_CPPFLAGS)
tests_test_tokens_LDADD = $(RIG_LIBS)
tests_test_flight_SOURCES = tests/test_flight.c
tests_test_flight_CPPFLAGS = $(RIG_CPPFLAGS)
tests_test_flight_LDADD = $(RIG_LIBS)
tests_test_origin_SOURCES = tests/test_origin.c
tests_test_origin_CPPFLAGS = $(RIG_CPPFLAGS)
tests_test_origin_LDADD = $(RIG_LIBS)
tests_test_durable_SOURCES = tests/test_durable.c tests/durable.c tests/durable.h
tests_test_durable_CPPFLAGS = $(RIG_CPPFLAGS)
tests_test_durable_LDADD = $(RIG_LIBS)
tests_test_durable_queue_SOURCES = tests/test_durable_queue.c tests/durable.c tests/durable.h
tests_test_durable_queue_CPPFLAGS = $(RIG_CPPFLAGS)
tests_test_durable_queue_LDADD = $(RIG_LIBS)
tests_test_recovery_SOURCES = tests/test_recovery.c tests/durable.c tests/durable.h
tests_test_recovery_CPPFLAGS = $(RIG_CPPFLAGS)
tests_test_recovery_LDADD = $(RIG_LIBS)
tests_test_idempotency_SOURCES = tests/test_idempotency.c tests/durable.c tests/durable.h
tests_test_idempotency_CPPFLAGS = $(RIG_CPPFLAGS)
tests_test_idempotency_LDADD = $(RIG_LIBS)
tests_test_faults_SOURCES = tests/test_faults.c
tests_test_faults_CPPFLAGS = $(RIG_CPPFLAGS)
tests_test_faults_LDADD = $(RIG_LIBS)
tests_test_resources_SOURCES = tests/test_resources.c tests/nth.h
tests_test_resources_CPPFLAGS = $(RIG_CPPFLAGS)
tests_test_resources_LDADD = $(RIG_LIBS)
tests_test_power_SOURCES = tests/test_power.c tests/power.c tests/power.h
tests_test_power_CPPFLAGS = $(RIG_CPPFLAGS)
tests_test_power_LDADD = $(RIG_LIBS)
tests_test_tls_SOURCES = tests/test_tls.c tests/certs.c tests/certs.h tests/tunnel.c tests/tunnel.h
tests_test_tls_CPPFLAGS = $(RIG_CPPFLAGS) $(GNUTLS_CFLAGS)
tests_test_tls_LDADD = $(RIG_LIBS) $(GNUTLS_LIBS)
tests_test_activation_SOURCES = tests/test_activation.c
tests_test_activation_CPPFLAGS = $(RIG_CPPFLAGS)
tests_test_activation_LDADD = $(RIG_LIBS)

# What the thread sanitizer may pass over, for make check under it.
EXTRA_DIST += tests/tsan.supp
