# The program, and a library of all but main for the unit tests.
FP_LIBS = $(SQLITE_LIBS) $(MHD_LIBS) $(CURL_LIBS) $(JANSSON_LIBS) $(CARES_LIBS) $(CRYPTO_LIBS) $(GNUTLS_LIBS) $(IDN_LIBS) $(CONFUSE_LIBS) \
	$(LIBEV_LIBS) $(ZLIB_LIBS) $(BROTLI_LIBS) $(ZSTD_LIBS)
FP_LIB_CFLAGS = $(SQLITE_CFLAGS) $(MHD_CFLAGS) $(CURL_CFLAGS) $(JANSSON_CFLAGS) $(CARES_CFLAGS) $(CRYPTO_CFLAGS) $(GNUTLS_CFLAGS) $(IDN_CFLAGS) \
	$(CONFUSE_CFLAGS) $(LIBEV_CFLAGS) $(ZLIB_CFLAGS) $(BROTLI_CFLAGS) $(ZSTD_CFLAGS)

noinst_LIBRARIES += src/libfetchpool.a
src_libfetchpool_a_CFLAGS = $(AM_CFLAGS) $(FP_LIB_CFLAGS)
src_libfetchpool_a_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_builddir)/src
src_libfetchpool_a_SOURCES = \
	src/api/api.c \
	src/api/api.h \
	src/api/body.c \
	src/api/codec.c \
	src/api/codec.h \
	src/api/codec_headers.c \
	src/api/codec_idempotency.c \
	src/api/codec_job.c \
	src/api/codec_memory.c \
	src/api/codec_private.h \
	src/api/codec_retry.c \
	src/api/codec_spec.c \
	src/api/egress_check.c \
	src/api/egress_check.h \
	src/api/front.h \
	src/api/guard.c \
	src/api/guard.h \
	src/api/http.c \
	src/api/http.h \
	src/api/http_accept.c \
	src/api/http_accept.h \
	src/api/http_connection.c \
	src/api/http_connection.h \
	src/api/http_linger.c \
	src/api/http_linger.h \
	src/api/http_listen.c \
	src/api/http_listen.h \
	src/api/http_private.h \
	src/api/http_reply.c \
	src/api/http_request.c \
	src/api/http_scan.c \
	src/api/http_scan.h \
	src/api/http_tls.c \
	src/api/http_tls.h \
	src/api/jobs.c \
	src/api/jobs.h \
	src/api/json_out.c \
	src/api/json_out.h \
	src/api/list.c \
	src/api/ops.c \
	src/api/ops.h \
	src/api/problem.c \
	src/api/problem.h \
	src/api/query.c \
	src/api/query.h \
	src/api/routes.c \
	src/api/routes.h \
	src/api/tokens.c \
	src/api/tokens.h \
	src/api/wait.c \
	src/api/wait.h \
	src/base/arena.c \
	src/base/arena.h \
	src/base/bucket.c \
	src/base/bucket.h \
	src/base/buffer.c \
	src/base/buffer.h \
	src/base/clock.c \
	src/base/clock.h \
	src/base/config.c \
	src/base/config.h \
	src/base/config_file.c \
	src/base/config_file.h \
	src/base/descriptors.c \
	src/base/descriptors.h \
	src/base/heap.c \
	src/base/heap.h \
	src/base/host_text.c \
	src/base/host_text.h \
	src/base/id.c \
	src/base/id.h \
	src/base/list.h \
	src/base/lock.c \
	src/base/lock.h \
	src/base/log.c \
	src/base/log.h \
	src/base/memory_budget.c \
	src/base/memory_budget.h \
	src/base/metrics.c \
	src/base/metrics.h \
	src/base/metrics.tbl.h \
	src/base/options.c \
	src/base/options.h \
	src/base/options.tbl.h \
	src/base/options_command_line.c \
	src/base/options_help.c \
	src/base/options_origins.c \
	src/base/options_private.h \
	src/base/options_table.c \
	src/base/options_tokens.c \
	src/base/options_values.c \
	src/base/reserve.c \
	src/base/reserve.h \
	src/base/sha256.c \
	src/base/sha256.h \
	src/base/state_dir.c \
	src/base/state_dir.h \
	src/base/systemd.c \
	src/base/systemd.h \
	src/base/text.c \
	src/base/text.h \
	src/base/token.c \
	src/base/token.h \
	src/core/await.c \
	src/core/await.h \
	src/core/errors.tbl.h \
	src/core/job.c \
	src/core/job.h \
	src/core/owners.c \
	src/core/owners.h \
	src/core/phases.tbl.h \
	src/core/scheduler.c \
	src/core/scheduler.h \
	src/core/states.tbl.h \
	src/core/table.c \
	src/core/table.h \
	src/fetch/address.c \
	src/fetch/address.h \
	src/fetch/curl_memory.c \
	src/fetch/curl_memory.h \
	src/fetch/decode.c \
	src/fetch/decode.h \
	src/fetch/egress.c \
	src/fetch/egress.h \
	src/fetch/egress_rules.c \
	src/fetch/egress_rules.h \
	src/fetch/ev_memory.c \
	src/fetch/ev_memory.h \
	src/fetch/head.c \
	src/fetch/head.h \
	src/fetch/hop.c \
	src/fetch/hop.h \
	src/fetch/hop_request.c \
	src/fetch/hop_request.h \
	src/fetch/host_name.c \
	src/fetch/host_name.h \
	src/fetch/loop.c \
	src/fetch/loop.h \
	src/fetch/loop_private.h \
	src/fetch/loop_shards.c \
	src/fetch/names.tbl.h \
	src/fetch/pool.c \
	src/fetch/pool.h \
	src/fetch/proxy.c \
	src/fetch/proxy.h \
	src/fetch/ranges.tbl.h \
	src/fetch/redirect.c \
	src/fetch/redirect.h \
	src/fetch/resolved.c \
	src/fetch/resolved.h \
	src/fetch/resolver.c \
	src/fetch/resolver.h \
	src/fetch/resolver_cache.c \
	src/fetch/resolver_cache.h \
	src/fetch/resolver_lookups.c \
	src/fetch/resolver_lookups.h \
	src/fetch/sink.c \
	src/fetch/sink.h \
	src/fetch/tls.c \
	src/fetch/tls.h \
	src/fetch/tls_end.c \
	src/fetch/tls_end.h \
	src/fetch/transfer.c \
	src/fetch/transfer.h \
	src/fetch/url.c \
	src/fetch/url.h \
	src/fetch/ways.c \
	src/fetch/ways.h \
	src/ledger/ledger.c \
	src/ledger/ledger.h \
	src/ledger/memory.c \
	src/ledger/sqlite.c \
	src/ledger/sqlite_bodies.c \
	src/ledger/sqlite_entries.c \
	src/ledger/sqlite_private.h \
	src/ledger/sqlite_read.c \
	src/ledger/sqlite_rows.c \
	src/ledger/sqlite_schema.c \
	src/ledger/sqlite_writer.c \
	src/service/cancel.c \
	src/service/changes.c \
	src/service/housekeeper.c \
	src/service/look.c \
	src/service/private.h \
	src/service/recover.c \
	src/service/run.c \
	src/service/service.c \
	src/service/service.h \
	src/service/submit.c
nodist_src_libfetchpool_a_SOURCES = src/api/openapi.h

bin_PROGRAMS += src/fetchpool
src_fetchpool_SOURCES = src/main.c src/watchdog.c src/watchdog.h
src_fetchpool_CFLAGS = $(AM_CFLAGS) $(CURL_CFLAGS)
src_fetchpool_LDADD = src/libfetchpool.a $(FP_LIBS)

# The description that is served, as a string of C.
BUILT_SOURCES += src/api/openapi.h
CLEANFILES += src/api/openapi.h
EXTRA_DIST += src/api/openapi.json
src/api/openapi.h: src/api/openapi.json src/local.mk
	$(AM_V_GEN)$(MKDIR_P) src/api && { \
	  echo '/* Made from openapi.json. */'; \
	  echo 'static const char openapi_json[] ='; \
	  $(SED) -e 's/[\\"]/\\&/g' -e 's/^ */"/' -e 's/$$/"/' $(top_srcdir)/src/api/openapi.json; \
	  echo ';'; } > $@.tmp && mv $@.tmp $@
src/api/libfetchpool_a-ops.$(OBJEXT): src/api/openapi.h
