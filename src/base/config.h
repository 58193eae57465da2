/*
 * The settings, read once at the start from options.tbl.h's table and passed about as const. What SIGHUP may change is
 * read into a new one, from which only those settings are taken over.
 */
#ifndef FETCHPOOL_BASE_CONFIG_H
#define FETCHPOOL_BASE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/token.h"

/* A value that may be repeated, each with where it came from ("--listen", "FETCHPOOL_LISTEN", "fetchpool.conf:12"). */
struct config_list {
	char **items;
	char **sources;
	size_t count;
};

/* HOST or HOST:PORT and the number of fetches that may be on the wire to it. */
struct config_origin {
	char *host; /* lower case */
	int port;   /* 0: every port */
	int64_t max_in_flight;
};

/* A token of a section of the file. */
struct config_token {
	struct token token;
	char *source; /* "fetchpool.conf:12" */
};

struct config {
	struct config_list listen;
	size_t passed_sockets; /* listening sockets handed over by systemd: the descriptors from 3 on; main's, no option */
	char *unix_mode;       /* octal; NULL: 0600, or 0660 with unix_group */
	char *unix_group;      /* NULL: the server's own */
	char *tls_cert;        /* NULL: no TLS */
	char *tls_key;
	int store;       /* enum config_store */
	char *state_dir; /* resolved: never NULL after loading */
	int64_t workers; /* resolved: the cores when not given */
	int64_t front_threads;
	int64_t max_in_flight;
	int64_t max_in_flight_per_origin;
	struct config_list origin_limit; /* as given, HOST[:PORT]=N */
	struct config_origin *origins;   /* parsed, from --origin-limit and the file's sections */
	size_t origin_count;
	int64_t max_queued;
	int64_t max_memory; /* resolved: half of the memory when not given */
	int64_t max_body_bytes;
	int64_t inline_body_bytes;
	int64_t max_request_bytes;
	int64_t max_wait_ms;
	int64_t max_waiters;
	int64_t max_connections;
	int64_t origin_connections; /* in use or kept, of all loops; base/descriptors.h sets it, no option; 0: enough */
	int64_t max_connections_per_address;
	int64_t keepalive_timeout_ms;
	int64_t head_timeout_ms;
	int64_t body_timeout_ms;
	int64_t min_client_rate; /* bytes a second; 0: any */
	int64_t ttl_ms;
	int64_t store_max_jobs;
	int64_t store_max_bytes;
	int64_t store_max_disk_bytes;
	struct config_list egress_allow;
	struct config_list egress_deny;
	struct config_list origin_ca;   /* NAME=FILE */
	struct config_list origin_cert; /* NAME=FILE */
	bool allow_insecure_tls;
	struct config_list proxy;          /* NAME=URL, which may hold a password */
	struct config_list proxy_resolves; /* names of proxies */
	char *auth_token_file;             /* NULL: none */
	struct config_list dns_server;
	int64_t max_decode_ratio;
	char *auth_token_file_source;
	struct config_token *tokens; /* from the file's sections */
	size_t token_count;
	struct config_list server_name;
	struct config_list secret_header;
	int64_t drain_timeout_ms;
	int log_level;  /* enum log_level */
	int log_format; /* 0 text, 1 json */
	char *config_file;
	bool check_config;
	bool check_store;
	char *egress_check; /* a URL; NULL: serve */
	bool help;
	bool version;
};

enum config_store { STORE_SQLITE, STORE_MEMORY }; /* in the order of the option's words */

/* True when no source but the table of options says where to listen. */
bool config_listens_by_default(const struct config *config);

/* Takes all values out of a list. */
void config_list_clear(struct config_list *list);

void config_release(struct config *config);

#endif
