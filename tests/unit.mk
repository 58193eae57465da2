# Programs of Check, one for each part; they link the library and need no server.
unit_programs = \
	tests/unit_base \
	tests/unit_limits \
	tests/unit_options \
	tests/unit_url \
	tests/unit_egress \
	tests/unit_egress_oracle \
	tests/unit_egress_self \
	tests/unit_decode \
	tests/unit_resolver \
	tests/unit_connection \
	tests/unit_scan \
	tests/unit_core \
	tests/unit_owners \
	tests/unit_ledger \
	tests/unit_state_dir \
	tests/unit_sqlite \
	tests/unit_sqlite_faults \
	tests/unit_sqlite_full \
	tests/unit_sqlite_list \
	tests/unit_sqlite_power \
	tests/unit_sqlite_schema \
	tests/unit_sqlite_writer \
	tests/unit_codec \
	tests/unit_front \
	tests/unit_tokens \
	tests/unit_fetch

check_PROGRAMS += $(unit_programs)
TESTS += $(unit_programs)

unit_cppflags = $(AM_CPPFLAGS)
unit_cflags = $(AM_CFLAGS) $(CHECK_CFLAGS)
unit_ldadd = src/libfetchpool.a $(FP_LIBS) $(CHECK_LIBS)

# Opens stores, writes to them, and awaits what comes back.
store_sources = tests/store.c tests/store.h

# A disk that fails when told, for SQLite within the same process.
fault_vfs_sources = tests/fault_vfs.c tests/fault_vfs.h

tests_unit_base_SOURCES = tests/unit_base.c
tests_unit_base_CPPFLAGS = $(unit_cppflags)
tests_unit_base_CFLAGS = $(unit_cflags)
tests_unit_base_LDADD = $(unit_ldadd)

tests_unit_limits_SOURCES = tests/unit_limits.c
tests_unit_limits_CPPFLAGS = $(unit_cppflags)
tests_unit_limits_CFLAGS = $(unit_cflags)
tests_unit_limits_LDADD = $(unit_ldadd)

tests_unit_options_SOURCES = tests/unit_options.c
tests_unit_options_CPPFLAGS = $(unit_cppflags)
tests_unit_options_CFLAGS = $(unit_cflags)
tests_unit_options_LDADD = $(unit_ldadd)

tests_unit_url_SOURCES = tests/unit_url.c
tests_unit_url_CPPFLAGS = $(unit_cppflags)
tests_unit_url_CFLAGS = $(unit_cflags)
tests_unit_url_LDADD = $(unit_ldadd)

tests_unit_egress_SOURCES = tests/unit_egress.c
tests_unit_egress_CPPFLAGS = $(unit_cppflags)
tests_unit_egress_CFLAGS = $(unit_cflags)
tests_unit_egress_LDADD = $(unit_ldadd)

tests_unit_egress_oracle_SOURCES = tests/unit_egress_oracle.c
tests_unit_egress_oracle_CPPFLAGS = $(unit_cppflags)
tests_unit_egress_oracle_CFLAGS = $(unit_cflags)
tests_unit_egress_oracle_LDADD = $(unit_ldadd)

tests_unit_egress_self_SOURCES = tests/unit_egress_self.c
tests_unit_egress_self_CPPFLAGS = $(unit_cppflags)
tests_unit_egress_self_CFLAGS = $(unit_cflags)
tests_unit_egress_self_LDADD = $(unit_ldadd)

tests_unit_decode_SOURCES = tests/unit_decode.c
tests_unit_decode_CPPFLAGS = $(unit_cppflags)
tests_unit_decode_CFLAGS = $(unit_cflags) $(ZLIB_CFLAGS)
tests_unit_decode_LDADD = $(unit_ldadd)

tests_unit_resolver_SOURCES = tests/unit_resolver.c
tests_unit_resolver_CPPFLAGS = $(unit_cppflags)
tests_unit_resolver_CFLAGS = $(unit_cflags)
tests_unit_resolver_LDADD = $(unit_ldadd)

tests_unit_core_SOURCES = tests/unit_core.c
tests_unit_core_CPPFLAGS = $(unit_cppflags)
tests_unit_core_CFLAGS = $(unit_cflags)
tests_unit_core_LDADD = $(unit_ldadd)

tests_unit_owners_SOURCES = tests/unit_owners.c
tests_unit_owners_CPPFLAGS = $(unit_cppflags)
tests_unit_owners_CFLAGS = $(unit_cflags)
tests_unit_owners_LDADD = $(unit_ldadd)

tests_unit_ledger_SOURCES = tests/unit_ledger.c $(store_sources)
tests_unit_ledger_CPPFLAGS = $(unit_cppflags)
tests_unit_ledger_CFLAGS = $(unit_cflags)
tests_unit_ledger_LDADD = $(unit_ldadd)

tests_unit_state_dir_SOURCES = tests/unit_state_dir.c
tests_unit_state_dir_CPPFLAGS = $(unit_cppflags)
tests_unit_state_dir_CFLAGS = $(unit_cflags)
tests_unit_state_dir_LDADD = $(unit_ldadd)

tests_unit_connection_SOURCES = tests/unit_connection.c
tests_unit_connection_CPPFLAGS = $(unit_cppflags)
tests_unit_connection_CFLAGS = $(unit_cflags)
tests_unit_connection_LDADD = $(unit_ldadd)

tests_unit_scan_SOURCES = tests/unit_scan.c
tests_unit_scan_CPPFLAGS = $(unit_cppflags)
tests_unit_scan_CFLAGS = $(unit_cflags)
tests_unit_scan_LDADD = $(unit_ldadd)

tests_unit_sqlite_SOURCES = tests/unit_sqlite.c tests/samples.c tests/samples.h $(store_sources)
tests_unit_sqlite_CPPFLAGS = $(unit_cppflags)
tests_unit_sqlite_CFLAGS = $(unit_cflags)
tests_unit_sqlite_LDADD = $(unit_ldadd)

tests_unit_sqlite_faults_SOURCES = tests/unit_sqlite_faults.c $(store_sources) $(fault_vfs_sources)
tests_unit_sqlite_faults_CPPFLAGS = $(unit_cppflags)
tests_unit_sqlite_faults_CFLAGS = $(unit_cflags)
tests_unit_sqlite_faults_LDADD = $(unit_ldadd)

tests_unit_sqlite_full_SOURCES = tests/unit_sqlite_full.c $(store_sources) $(fault_vfs_sources)
tests_unit_sqlite_full_CPPFLAGS = $(unit_cppflags)
tests_unit_sqlite_full_CFLAGS = $(unit_cflags)
tests_unit_sqlite_full_LDADD = $(unit_ldadd)

tests_unit_sqlite_list_SOURCES = tests/unit_sqlite_list.c $(store_sources)
tests_unit_sqlite_list_CPPFLAGS = $(unit_cppflags)
tests_unit_sqlite_list_CFLAGS = $(unit_cflags)
tests_unit_sqlite_list_LDADD = $(unit_ldadd)

tests_unit_sqlite_power_SOURCES = tests/unit_sqlite_power.c $(store_sources) $(fault_vfs_sources)
tests_unit_sqlite_power_CPPFLAGS = $(unit_cppflags)
tests_unit_sqlite_power_CFLAGS = $(unit_cflags)
tests_unit_sqlite_power_LDADD = $(unit_ldadd)

tests_unit_sqlite_schema_SOURCES = tests/unit_sqlite_schema.c $(store_sources) $(fault_vfs_sources)
tests_unit_sqlite_schema_CPPFLAGS = $(unit_cppflags)
tests_unit_sqlite_schema_CFLAGS = $(unit_cflags)
tests_unit_sqlite_schema_LDADD = $(unit_ldadd)

tests_unit_sqlite_writer_SOURCES = tests/unit_sqlite_writer.c $(store_sources) $(fault_vfs_sources)
tests_unit_sqlite_writer_CPPFLAGS = $(unit_cppflags)
tests_unit_sqlite_writer_CFLAGS = $(unit_cflags)
tests_unit_sqlite_writer_LDADD = $(unit_ldadd)

tests_unit_codec_SOURCES = tests/unit_codec.c
tests_unit_codec_CPPFLAGS = $(unit_cppflags)
tests_unit_codec_CFLAGS = $(unit_cflags)
tests_unit_codec_LDADD = $(unit_ldadd)

tests_unit_front_SOURCES = tests/unit_front.c
tests_unit_front_CPPFLAGS = $(unit_cppflags)
tests_unit_front_CFLAGS = $(unit_cflags)
tests_unit_front_LDADD = $(unit_ldadd)

tests_unit_tokens_SOURCES = tests/unit_tokens.c
tests_unit_tokens_CPPFLAGS = $(unit_cppflags)
tests_unit_tokens_CFLAGS = $(unit_cflags)
tests_unit_tokens_LDADD = $(unit_ldadd)

tests_unit_fetch_SOURCES = tests/unit_fetch.c
tests_unit_fetch_CPPFLAGS = $(unit_cppflags)
tests_unit_fetch_CFLAGS = $(unit_cflags)
tests_unit_fetch_LDADD = $(unit_ldadd)
