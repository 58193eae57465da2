/*
 * Every option, once: the command line, the environment, the file, --help, /v1/info and the man page's check all read
 * this table. Columns:
 *
 *   kind      FLAG STRING LIST DURATION SIZE COUNT ENUM
 *   name      without the dashes; in the environment FETCHPOOL_ and the name in capitals, with _ for -
 *   member    of struct config
 *   minimum, maximum   of a number, in milliseconds, bytes or units
 *   default   as a user would write it; NULL for none; with COMPUTED only words for people
 *   word      the value's word in --help; of an ENUM its values, in the order of the C enumeration
 *   flags     RELOAD   SIGHUP takes a new value over
 *             COMPUTED the default is found when loading
 *             NO_FILE  not in the file
 *             NO_ENVIRONMENT  not in the environment
 *             LOWER    kept in lower case
 *             USERINFO values hold URLs, of which user and password are never shown
 *   check     what a value has to pass besides its kind, or NULL
 *   help      one line
 */
/* clang-format off */
X(LIST, "listen", listen, 0, 0, "127.0.0.1:8080", "ADDR:PORT|unix:PATH", 0, check_listen,
	"where to listen; port 0 takes a free one")
X(STRING, "unix-mode", unix_mode, 0, 0, "0600, or 0660 with unix-group", "MODE", COMPUTED, check_unix_mode,
	"rights of the unix sockets, octal")
X(STRING, "unix-group", unix_group, 0, 0, NULL, "GROUP", 0, check_unix_group,
	"group that the unix sockets belong to")
X(STRING, "tls-cert", tls_cert, 0, 0, NULL, "FILE", RELOAD, NULL,
	"certificate, then those above it, in PEM form: serve https")
X(STRING, "tls-key", tls_key, 0, 0, NULL, "FILE", RELOAD, NULL,
	"private key of --tls-cert, in PEM form")
X(ENUM, "store", store, 0, 0, "sqlite", "sqlite|memory", 0, NULL,
	"where jobs and results are kept")
X(STRING, "state-dir", state_dir, 0, 0, "$STATE_DIRECTORY, $XDG_STATE_HOME/fetchpool or ~/.local/state/fetchpool", "DIR", COMPUTED, NULL,
	"directory of the database and of large bodies, for one server alone")
X(COUNT, "workers", workers, 1, 1024, "the number of cores", "N", COMPUTED, NULL,
	"threads that fetch")
X(COUNT, "front-threads", front_threads, 1, 256, "8", "N", 0, NULL,
	"threads that answer clients")
X(COUNT, "max-in-flight", max_in_flight, 1, 1000000, "10000", "N", 0, NULL,
	"fetches on the wire at once")
X(COUNT, "max-in-flight-per-origin", max_in_flight_per_origin, 1, 1000000, "64", "N", 0, NULL,
	"fetches on the wire at once to one origin")
X(LIST, "origin-limit", origin_limit, 0, 0, NULL, "HOST[:PORT]=N", RELOAD, check_origin_limit,
	"the same for this origin")
X(COUNT, "max-queued", max_queued, 1, 1000000000, "1000000", "N", 0, NULL,
	"jobs that wait for their turn; then submissions get 503")
X(SIZE, "max-memory", max_memory, 1 << 20, INT64_C(1) << 50, "half of what the machine or its control group has", "SIZE", COMPUTED, NULL,
	"memory for bodies and for jobs that are not done")
X(SIZE, "max-body-bytes", max_body_bytes, 1, INT64_C(1) << 40, "64MiB", "SIZE", 0, NULL,
	"largest body of a response, decoded")
X(SIZE, "inline-body-bytes", inline_body_bytes, 0, INT64_C(16) << 20, "64KiB", "SIZE", 0, NULL,
	"largest body shown within a job")
X(SIZE, "max-request-bytes", max_request_bytes, 1, INT64_C(512) << 20, "16MiB", "SIZE", 0, NULL,
	"largest body of a client's request")
X(DURATION, "max-wait", max_wait_ms, 1, CLOCK_MAX_DURATION_MS, "55s", "DURATION", 0, NULL,
	"longest time a client may wait in one request")
X(COUNT, "max-waiters", max_waiters, 1, 1000000, "10000", "N", 0, NULL,
	"requests that wait at once; then waits get 503")
X(COUNT, "max-connections", max_connections, 1, 1000000, "20000", "N", 0, NULL,
	"connections of clients at once")
X(COUNT, "max-connections-per-address", max_connections_per_address, 1, 1000000, "1000", "N", 0, NULL,
	"connections of clients at once from one address; this machine's own are not counted")
X(DURATION, "keepalive-timeout", keepalive_timeout_ms, 1000, CLOCK_MAX_DURATION_MS, "60s", "DURATION", 0, NULL,
	"how long a client's connection may be idle")
X(DURATION, "head-timeout", head_timeout_ms, 1, CLOCK_MAX_DURATION_MS, "10s", "DURATION", 0, NULL,
	"how long a client may take for the head of a request, whole")
X(DURATION, "body-timeout", body_timeout_ms, 1, CLOCK_MAX_DURATION_MS, "2m", "DURATION", 0, NULL,
	"how long a client may take for the body of a request, whole")
X(SIZE, "min-client-rate", min_client_rate, 0, INT64_C(1) << 30, "1KiB", "SIZE", 0, NULL,
	"bytes a second at which a client has to read its answer, on average over 20 s; 0: any")
X(DURATION, "ttl", ttl_ms, 1, CLOCK_MAX_DURATION_MS, "24h", "DURATION", 0, NULL,
	"how long a finished job is kept")
X(COUNT, "store-max-jobs", store_max_jobs, 1, 1000000000, "250000", "N", 0, NULL,
	"finished jobs that the memory store keeps")
X(SIZE, "store-max-bytes", store_max_bytes, 1, INT64_C(1) << 50, "512MiB", "SIZE", 0, NULL,
	"memory for finished jobs, of the memory store")
X(SIZE, "store-max-disk-bytes", store_max_disk_bytes, 1, INT64_C(1) << 50, "8GiB", "SIZE", 0, NULL,
	"disk for large bodies, of the memory store")
X(LIST, "egress-allow", egress_allow, 0, 0, NULL, "CIDR|HOST[:PORT]", RELOAD, check_egress_rule,
	"fetch from here although it is a refused range")
X(LIST, "egress-deny", egress_deny, 0, 0, NULL, "CIDR|HOST[:PORT]", RELOAD, check_egress_rule,
	"never fetch from here; beats --egress-allow")
X(LIST, "origin-ca", origin_ca, 0, 0, NULL, "NAME=FILE", RELOAD, check_named_file,
	"a bundle of CAs for specs that name it; default=FILE is for those that name none")
X(LIST, "origin-cert", origin_cert, 0, 0, NULL, "NAME=FILE", RELOAD, check_named_file,
	"a certificate with its key for specs that name it")
X(FLAG, "allow-insecure-tls", allow_insecure_tls, 0, 0, NULL, NULL, RELOAD, NULL,
	"let specs switch off the check of the origin's certificate")
X(LIST, "proxy", proxy, 0, 0, NULL, "NAME=URL", RELOAD | USERINFO, check_proxy,
	"a proxy for specs that name it: http, https or socks5h")
X(LIST, "proxy-resolves", proxy_resolves, 0, 0, NULL, "NAME", RELOAD, check_token,
	"this proxy looks names up, unseen by the egress guard")
X(LIST, "dns-server", dns_server, 0, 0, NULL, "ADDR[:PORT]", 0, check_dns_server,
	"ask this name server, not those of resolv.conf")
X(COUNT, "max-decode-ratio", max_decode_ratio, 1, 1000000000, "2000", "N", 0, NULL,
	"how many times its size a body may grow when decoded")
X(STRING, "auth-token-file", auth_token_file, 0, 0, NULL, "FILE", RELOAD, NULL,
	"bearer tokens of clients, one a line")
X(LIST, "server-name", server_name, 0, 0, NULL, "NAME", LOWER, check_server_name,
	"a further name clients may use in Host")
X(LIST, "secret-header", secret_header, 0, 0, NULL, "NAME", LOWER, check_token,
	"a further header that reads back as ***")
X(DURATION, "drain-timeout", drain_timeout_ms, 0, CLOCK_MAX_DURATION_MS, "30s", "DURATION", 0, NULL,
	"how long attempts may go on after SIGTERM")
X(ENUM, "log-level", log_level, 0, 0, "info", "debug|info|warn|error", RELOAD, NULL,
	"what is logged on stderr, and what is worse")
X(ENUM, "log-format", log_format, 0, 0, "text", "text|json", 0, NULL,
	"the form of a line of the log")
X(STRING, "config", config_file, 0, 0, NULL, "FILE", NO_FILE, NULL,
	"read options from this file too")
X(FLAG, "check-config", check_config, 0, 0, NULL, NULL, NO_FILE | NO_ENVIRONMENT, NULL,
	"check all options and stop")
X(FLAG, "check-store", check_store, 0, 0, NULL, NULL, NO_FILE | NO_ENVIRONMENT, NULL,
	"check the database in the state directory and stop")
X(STRING, "egress-check", egress_check, 0, 0, NULL, "URL", NO_FILE | NO_ENVIRONMENT, check_not_empty,
	"say whether this URL may be fetched, and why, and stop")
X(FLAG, "version", version, 0, 0, NULL, NULL, NO_FILE | NO_ENVIRONMENT, NULL,
	"print the version and stop")
X(FLAG, "help", help, 0, 0, NULL, NULL, NO_FILE | NO_ENVIRONMENT, NULL,
	"print this and stop")
/* clang-format on */
