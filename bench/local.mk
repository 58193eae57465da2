# make bench and make bench-full; nothing of it is built or run otherwise.

bench_programs = \
	bench/bodies \
	bench/limit \
	bench/load \
	bench/origin

EXTRA_PROGRAMS += $(bench_programs)

bench_bodies_SOURCES = bench/bodies.c bench/common.c bench/common.h
bench_bodies_CFLAGS = $(AM_CFLAGS) $(SQLITE_CFLAGS)
bench_bodies_LDADD = $(SQLITE_LIBS)

bench_limit_SOURCES = bench/limit.c bench/common.c bench/common.h
bench_limit_CFLAGS = $(AM_CFLAGS) $(CURL_CFLAGS) $(LIBEV_CFLAGS)
bench_limit_LDADD = $(CURL_LIBS) $(LIBEV_LIBS)

bench_load_SOURCES = bench/load.c bench/common.c bench/common.h

bench_origin_SOURCES = bench/origin.c bench/common.c bench/common.h

EXTRA_DIST += \
	bench/run bench/lab.py bench/history.py \
	bench/soak bench/overload bench/slow-clients bench/bad_clients.py bench/proof.py

CLEANFILES += $(bench_programs) bench/results/*.json

bench_run = $(srcdir)/bench/run --server src/fetchpool --programs bench --results bench/results

.PHONY: bench bench-full bench-bodies

bench: src/fetchpool $(bench_programs)
	$(bench_run) $(BENCH_FLAGS)

bench-full: src/fetchpool $(bench_programs)
	$(bench_run) --full $(BENCH_FLAGS)

# How it bears a mixed load for long, too much load, slow clients. FETCHPOOL_BINARY names another build than the one at hand.
.PHONY: soak overload slow-clients

soak: src/fetchpool bench/load tests/crash tests/origin
	$(srcdir)/bench/soak $(PROOF_FLAGS)

overload: src/fetchpool bench/load bench/origin
	$(srcdir)/bench/overload $(PROOF_FLAGS)

slow-clients: src/fetchpool bench/load bench/origin
	$(srcdir)/bench/slow-clients $(PROOF_FLAGS)

# Rows or files: the parts alone, on the disk of the build.
bench-bodies: bench/bodies
	bench/bodies $(BENCH_FLAGS)
