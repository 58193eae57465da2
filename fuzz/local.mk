# The fuzz targets, one for each directory of seeds. Configured with --enable-fuzz they are a fuzzer's; otherwise they
# only read files, and make check runs the seeds through them.
fuzz_programs = \
	fuzz/client_headers \
	fuzz/dns_answer \
	fuzz/http_scan \
	fuzz/http_socket \
	fuzz/job_json \
	fuzz/response_head \
	fuzz/url_egress

check_PROGRAMS += $(fuzz_programs)
TESTS += fuzz/check-seeds

fuzz_cflags = $(AM_CFLAGS) $(CURL_CFLAGS) $(JANSSON_CFLAGS)
fuzz_ldadd = src/libfetchpool.a $(FP_LIBS) -lm
fuzz_common = fuzz/fuzz.c fuzz/fuzz.h
if FUZZING
fuzz_ldflags = $(AM_LDFLAGS) -fsanitize=fuzzer
EXTRA_DIST += fuzz/replay.c
else
fuzz_ldflags = $(AM_LDFLAGS)
fuzz_common += fuzz/replay.c
endif

# A service that reaches nobody: no_resolver.c stands in for the library's resolver.
fuzz_service = fuzz/service.c fuzz/service.h fuzz/no_resolver.c
fuzz_http = fuzz/http_reference.c fuzz/http_reference.h
fuzz_job = fuzz/job_checks.c fuzz/job_checks.h fuzz/strict_json.c fuzz/strict_json.h
fuzz_url = fuzz/url_checks.c fuzz/url_checks.h

fuzz_client_headers_SOURCES = fuzz/client_headers.c $(fuzz_job) $(fuzz_service) $(fuzz_common)
fuzz_client_headers_CFLAGS = $(fuzz_cflags)
fuzz_client_headers_LDFLAGS = $(fuzz_ldflags)
fuzz_client_headers_LDADD = $(fuzz_ldadd)

fuzz_dns_answer_SOURCES = fuzz/dns_answer.c fuzz/ranges.c fuzz/ranges.h $(fuzz_common)
fuzz_dns_answer_CFLAGS = $(fuzz_cflags)
fuzz_dns_answer_LDFLAGS = $(fuzz_ldflags)
fuzz_dns_answer_LDADD = $(fuzz_ldadd)

fuzz_http_scan_SOURCES = fuzz/http_scan.c $(fuzz_http) $(fuzz_common)
fuzz_http_scan_CFLAGS = $(fuzz_cflags)
fuzz_http_scan_LDFLAGS = $(fuzz_ldflags)
fuzz_http_scan_LDADD = $(fuzz_ldadd)

fuzz_http_socket_SOURCES = fuzz/http_socket.c $(fuzz_http) $(fuzz_service) $(fuzz_common)
fuzz_http_socket_CFLAGS = $(fuzz_cflags)
fuzz_http_socket_LDFLAGS = $(fuzz_ldflags)
fuzz_http_socket_LDADD = $(fuzz_ldadd)

fuzz_job_json_SOURCES = fuzz/job_json.c $(fuzz_job) $(fuzz_service) $(fuzz_common)
fuzz_job_json_CFLAGS = $(fuzz_cflags)
fuzz_job_json_LDFLAGS = $(fuzz_ldflags)
fuzz_job_json_LDADD = $(fuzz_ldadd)

fuzz_response_head_SOURCES = fuzz/response_head.c $(fuzz_job) $(fuzz_url) $(fuzz_service) $(fuzz_common)
fuzz_response_head_CFLAGS = $(fuzz_cflags)
fuzz_response_head_LDFLAGS = $(fuzz_ldflags)
fuzz_response_head_LDADD = $(fuzz_ldadd)

fuzz_url_egress_SOURCES = fuzz/url_egress.c fuzz/ranges.c fuzz/ranges.h $(fuzz_url) $(fuzz_common)
fuzz_url_egress_CFLAGS = $(fuzz_cflags)
fuzz_url_egress_LDFLAGS = $(fuzz_ldflags)
fuzz_url_egress_LDADD = $(fuzz_ldadd)

EXTRA_DIST += \
	fuzz/README \
	fuzz/check-seeds \
	fuzz/run \
	fuzz/client_headers.dict \
	fuzz/dns_answer.dict \
	fuzz/http_scan.dict \
	fuzz/http_socket.dict \
	fuzz/job_json.dict \
	fuzz/response_head.dict \
	fuzz/url_egress.dict \
	fuzz/seeds
