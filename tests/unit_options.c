/* The options: every kind of value, every source, who wins, and what a user is told of a mistake. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/options.h"

#define MAX_ARGUMENTS 32

/* Arguments, or variables, up to a NULL. */
#define WORDS(...) ((const char *[MAX_ARGUMENTS]){__VA_ARGS__})
#define ARGUMENTS(...) WORDS("fetchpool", __VA_ARGS__)
#define NOTHING WORDS(NULL)

static char file_path[] = "/tmp/unit_options.XXXXXX"; /* holds what write_file wrote last */

static bool
rule_without_bang(const char *rule)
{
	return strchr(rule, '!') == NULL;
}

static const char *
problem_without_scheme(const char *named_url)
{
	return strstr(named_url, "://") != NULL ? NULL : "this is wrong";
}

static int
load(const char **arguments, const char **environment, struct config *ret, char **ret_message)
{
	static const struct options_checks checks = {
		.egress_rule = rule_without_bang, .proxy_problem = problem_without_scheme};
	int count = 0;

	while (arguments[count] != NULL)
		count++;
	return options_load(count, (char **)arguments, (char **)environment, &checks, ret, ret_message);
}

static struct config
load_well(const char **arguments, const char **environment)
{
	struct config config = {0};
	char *message = NULL;
	int error = load(arguments, environment, &config, &message);

	ck_assert_msg(error == 0, "%s", message != NULL ? message : "out of memory");
	return config;
}

static void
check_refused(const char **arguments, const char **environment, const char *wanted)
{
	struct config config = {.workers = 77};
	char *message = NULL;

	ck_assert_int_eq(load(arguments, environment, &config, &message), -EINVAL);
	ck_assert_str_eq(message, wanted);
	ck_assert_int_eq(config.workers, 77);
	free(message);
}

static void
write_file(const char *text)
{
	FILE *file = fopen(file_path, "w");

	ck_assert_ptr_nonnull(file);
	fputs(text, file);
	fclose(file);
}

static struct config
load_file(const char *text)
{
	write_file(text);
	return load_well(ARGUMENTS("--config", file_path), NOTHING);
}

/* The message for a file is FILE and what is given here. */
static void
check_file_refused(const char *text, const char *wanted)
{
	char message[512];

	snprintf(message, sizeof message, "%s%s", file_path, wanted);
	write_file(text);
	check_refused(ARGUMENTS("--config", file_path), NOTHING, message);
}

static void
make_file(void)
{
	int fd = mkstemp(file_path);

	ck_assert_int_ge(fd, 0);
	close(fd);
}

static void
remove_file(void)
{
	unlink(file_path);
	strcpy(file_path + strlen(file_path) - 6, "XXXXXX");
}

START_TEST(defaults)
{
	struct config config = load_well(ARGUMENTS(NULL), NOTHING);

	ck_assert_uint_eq(config.listen.count, 1);
	ck_assert_str_eq(config.listen.items[0], "127.0.0.1:8080");
	ck_assert_str_eq(config.listen.sources[0], "default");
	ck_assert_int_eq(config.store, STORE_SQLITE);
	ck_assert_int_eq(config.max_in_flight, 10000);
	ck_assert_int_eq(config.max_in_flight_per_origin, 64);
	ck_assert_int_eq(config.max_queued, 1000000);
	ck_assert_int_eq(config.max_body_bytes, 64 << 20);
	ck_assert_int_eq(config.inline_body_bytes, 64 << 10);
	ck_assert_int_eq(config.max_request_bytes, 16 << 20);
	ck_assert_int_eq(config.max_wait_ms, 55000);
	ck_assert_int_eq(config.max_waiters, 10000);
	ck_assert_int_eq(config.ttl_ms, 24 * 3600 * 1000);
	ck_assert_int_eq(config.drain_timeout_ms, 30000);
	ck_assert_int_eq(config.log_level, LOG_INFO);
	ck_assert_int_eq(config.log_format, 0);
	ck_assert_int_eq(config.workers, sysconf(_SC_NPROCESSORS_ONLN));
	ck_assert_uint_eq(config.egress_allow.count + config.egress_deny.count + config.origin_count, 0);
	ck_assert_ptr_null(config.auth_token_file);
	ck_assert_ptr_null(config.config_file);
	ck_assert(!config.help && !config.version && !config.check_config);
	config_release(&config);
}
END_TEST

START_TEST(every_kind)
{
	struct config config =
		load_well(ARGUMENTS("--max-wait", "1.5s", "--ttl=7d", "--max-body-bytes=2GiB", "--max-queued", "17",
				  "--log-level=error", "--log-format", "json", "--state-dir=/a=b", "--check-config",
				  "--listen=[::1]:0", "--listen", "unix:/run/x y", "--drain-timeout=0",
				  "--secret-header=X-Key", "--server-name=Fetch.Example"),
			NOTHING);

	ck_assert_int_eq(config.max_wait_ms, 1500);
	ck_assert_int_eq(config.ttl_ms, INT64_C(7) * 24 * 3600 * 1000);
	ck_assert_int_eq(config.max_body_bytes, INT64_C(2) << 30);
	ck_assert_int_eq(config.max_queued, 17);
	ck_assert_int_eq(config.log_level, LOG_ERROR);
	ck_assert_int_eq(config.log_format, 1);
	ck_assert_str_eq(config.state_dir, "/a=b");
	ck_assert(config.check_config);
	ck_assert_uint_eq(config.listen.count, 2);
	ck_assert_str_eq(config.listen.items[0], "[::1]:0");
	ck_assert_str_eq(config.listen.sources[0], "--listen");
	ck_assert_str_eq(config.listen.items[1], "unix:/run/x y");
	ck_assert_int_eq(config.drain_timeout_ms, 0);
	ck_assert_str_eq(config.secret_header.items[0], "x-key");
	ck_assert_str_eq(config.server_name.items[0], "fetch.example");
	config_release(&config);
}
END_TEST

static const struct {
	const char *argument, *value, *wanted;
} refused[] = {
	{"--max-wait", "soon", "--max-wait: \"soon\" is not a duration (try 30s, 500ms, 2m)"},
	{"--max-wait=", NULL, "--max-wait: the value is empty"},
	{"--max-wait", "0", "--max-wait: \"0\" is not within 1ms and 87600h"},
	{"--max-wait", "11y", "--max-wait: \"11y\" is not a duration (try 30s, 500ms, 2m)"},
	{"--ttl", "3651d", "--ttl: \"3651d\" is not within 1ms and 87600h"},
	{"--ttl", NULL, "--ttl: lacks its value (DURATION)"},
	{"--max-queued", "-1", "--max-queued: \"-1\" is not a whole number"},
	{"--max-in-flight", "many", "--max-in-flight: \"many\" is not a whole number"},
	{"--workers", "0", "--workers: \"0\" is not within 1 and 1024"},
	{"--workers", "18446744073709551616", "--workers: \"18446744073709551616\" is not within 1 and 1024"},
	{"--workers", "9223372036854775808", "--workers: \"9223372036854775808\" is not within 1 and 1024"},
	{"--max-body-bytes", "1.5MiB", "--max-body-bytes: \"1.5MiB\" is not a size (try 65536, 64KiB, 16MiB)"},
	{"--log-level", "loud", "--log-level: \"loud\" is not one of debug|info|warn|error"},
	{"--log-format", "", "--log-format: the value is empty"},
	{"--store", "tape", "--store: \"tape\" is not one of sqlite|memory"},
	{"--help=1", NULL, "--help: takes no value"},
	{"--max-wiat", "5s", "--max-wiat: no such option (did you mean --max-wait?)"},
	{"--max-wiat=5s", NULL, "--max-wiat: no such option (did you mean --max-wait?)"},
	{"--xyzzy", NULL, "--xyzzy: no such option (--help lists them)"},
	{"-x", NULL, "-x: no such option (--help lists them)"},
	{"--", NULL, "\"--\": options only, no other arguments"},
	{"url", NULL, "\"url\": options only, no other arguments"},
	{"--dns-server", "::1",
		"--dns-server: \"::1\" is not the address of a name server (try 192.0.2.53, [2001:db8::53]:5353)"},
	{"--dns-server", "ns.example",
		"--dns-server: \"ns.example\" is not the address of a name server (try 192.0.2.53, [2001:db8::53]:5353)"},
	{"--dns-server", "127.0.0.1:0", "--dns-server: the port of \"127.0.0.1:0\" is not within 1 and 65535"},
	{"--dns-server", "[::1]:65536", "--dns-server: the port of \"[::1]:65536\" is not within 1 and 65535"},
	{"--egress-deny", "!",
		"--egress-deny: \"!\" is not a CIDR, an address or a host name, with a port or without "
		"(try 10.0.0.0/8, *.internal, db.internal:5432, [fd00::/8]:443)"},
	{"--origin-limit", "a", "--origin-limit: \"a\" is not HOST[:PORT]=N (try api.example:443=4)"},
	{"--origin-limit", "a=0", "--origin-limit: \"a=0\" is not HOST[:PORT]=N (try api.example:443=4)"},
	{"--origin-limit", "a:0=1", "--origin-limit: \"a:0=1\" is not HOST[:PORT]=N (try api.example:443=4)"},
	{"--origin-limit", "::1=1", "--origin-limit: \"::1=1\" is not HOST[:PORT]=N (try api.example:443=4)"},
	{"--server-name", "a..b", "--server-name: \"a..b\" is not a host name (without a port)"},
	{"--secret-header", "a:", "--secret-header: \"a:\" is not the name of a header"},
	{"--origin-ca", "a", "--origin-ca: \"a\" is not NAME=FILE (try internal=/etc/fetchpool/internal.pem)"},
	{"--origin-ca", "a=", "--origin-ca: \"a=\" is not NAME=FILE (try internal=/etc/fetchpool/internal.pem)"},
	{"--origin-cert", "a b=c",
		"--origin-cert: \"a b=c\" is not NAME=FILE (try internal=/etc/fetchpool/internal.pem)"},
	{"--allow-insecure-tls=yes", NULL, "--allow-insecure-tls: takes no value"},
	{"--proxy", "a=secret", "--proxy: this is wrong"},
	{"--proxy-resolves", "a b", "--proxy-resolves: \"a b\" is not the name of a proxy"},
	{"--auth-token-file", "/nonexistent", "--auth-token-file: /nonexistent: No such file or directory"},
	{"--auth-token-file", "/", "--auth-token-file: /: Is a directory"},
	{"--config", "/nonexistent/f.conf", "/nonexistent/f.conf: No such file or directory"},
	{"--config", "/", "/: Is a directory"},
};

START_TEST(refusals)
{
	check_refused(ARGUMENTS(refused[_i].argument, refused[_i].value), NOTHING, refused[_i].wanted);
}
END_TEST

#define LONG_PATH_107                                                                                                  \
	"/234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456"   \
	"7"

static const struct {
	const char *value;
	bool good;
} listens[] = {
	{"127.0.0.1:8080", true},
	{"0.0.0.0:0", true},
	{"[::]:65535", true},
	{"[::ffff:127.0.0.1]:80", true},
	{"localhost:80", true},
	{"unix:/run/x", true},
	{"unix:relative", true},
	{"unix:" LONG_PATH_107, true},
	{"unix:" LONG_PATH_107 "8", false},
	{"unix:", false},
	{"nowhere", false},
	{"nowhere:80", false},
	{"127.0.0.1", false},
	{"127.0.0.1:", false},
	{"127.0.0.1:65536", false},
	{"127.0.0.1:-1", false},
	{"127.0.0.1:80x", false},
	{"127.1:80", false},
	{"::1:80", false},
	{"[::1]", false},
	{"[::1]80", false},
	{"[127.0.0.1]:80", false},
	{"[fe80::1%lo]:80", false},
	{":80", false},
	{"*:80", false},
	{"http://127.0.0.1:80", false},
};

START_TEST(listen_values)
{
	struct config config;
	char *message = NULL;
	int error = load(ARGUMENTS("--listen", listens[_i].value), NOTHING, &config, &message);

	ck_assert_int_eq(error, listens[_i].good ? 0 : -EINVAL);
	if (error == 0)
		config_release(&config);
	else
		ck_assert_ptr_nonnull(strstr(message, "--listen: "));
	free(message);
}
END_TEST

START_TEST(environment)
{
	struct config config = load_well(ARGUMENTS(NULL),
		WORDS("FETCHPOOL_MAX_WAIT=3s", "FETCHPOOL_MAX_WAITX=nothing", "FETCHPOOL_HELP=1",
			"FETCHPOOL_LISTEN= 127.0.0.1:1  [::1]:2\t", "FETCHPOOL_UNKNOWN=1"));

	ck_assert_int_eq(config.max_wait_ms, 3000);
	ck_assert(!config.help);
	ck_assert_uint_eq(config.listen.count, 2);
	ck_assert_str_eq(config.listen.items[1], "[::1]:2");
	ck_assert_str_eq(config.listen.sources[1], "FETCHPOOL_LISTEN");
	config_release(&config);
	check_refused(ARGUMENTS(NULL), WORDS("FETCHPOOL_MAX_WAIT=soon"),
		"FETCHPOOL_MAX_WAIT: \"soon\" is not a duration (try 30s, 500ms, 2m)");
	check_refused(ARGUMENTS(NULL), WORDS("FETCHPOOL_MAX_WAIT="), "FETCHPOOL_MAX_WAIT: the value is empty");
	check_refused(ARGUMENTS(NULL), WORDS("FETCHPOOL_LISTEN= "), "FETCHPOOL_LISTEN: the value is empty");
	check_refused(
		ARGUMENTS(NULL), WORDS("FETCHPOOL_CONFIG=/nonexistent/f"), "/nonexistent/f: No such file or directory");
	check_refused(ARGUMENTS(NULL), WORDS("FETCHPOOL_AUTH_TOKEN_FILE=/nonexistent"),
		"FETCHPOOL_AUTH_TOKEN_FILE: /nonexistent: No such file or directory");
}
END_TEST

START_TEST(file_values)
{
	struct config config = load_file("# the first\r\n"
					 "max-wait = 4s # behind\n"
					 "listen = {127.0.0.1:1, [::1]:2,\n"
					 "\t# between\n"
					 "\t\"unix:/run/a \\\"b\\\\\"}\n"
					 "listen = 'unix:/run/it\\'s # no comment'\n"
					 "egress-deny = {*.internal, 10.0.0.0/8, fd00::/8}\n"
					 "egress-deny += a+b*$HOME//\\x\n"
					 "egress-deny = \"${HOME}\"");
	char source[64];

	ck_assert_int_eq(config.max_wait_ms, 4000);
	ck_assert_uint_eq(config.listen.count, 4);
	ck_assert_str_eq(config.listen.items[0], "127.0.0.1:1");
	ck_assert_str_eq(config.listen.items[1], "[::1]:2");
	ck_assert_str_eq(config.listen.items[2], "unix:/run/a \"b\\");
	ck_assert_str_eq(config.listen.items[3], "unix:/run/it's # no comment");
	snprintf(source, sizeof source, "%s:5", file_path);
	ck_assert_str_eq(config.listen.sources[2], source);
	ck_assert_uint_eq(config.egress_deny.count, 5);
	ck_assert_str_eq(config.egress_deny.items[0], "*.internal");
	ck_assert_str_eq(config.egress_deny.items[2], "fd00::/8");
	ck_assert_str_eq(config.egress_deny.items[3], "a+b*$HOME//\\x");
	ck_assert_str_eq(config.egress_deny.items[4], "${HOME}");
	ck_assert_str_eq(config.config_file, file_path);
	config_release(&config);
}
END_TEST

static const struct {
	const char *text, *wanted;
} bad_files[] = {
	{"max-wait = soon\n", ":1: max-wait: \"soon\" is not a duration (try 30s, 500ms, 2m)"},
	{"# one\n\n# three\nmax-wait = soon", ":4: max-wait: \"soon\" is not a duration (try 30s, 500ms, 2m)"},
	{"ttl = 1h # one\n#\nmax-wait = \"\"\n", ":3: max-wait: the value is empty"},
	{"listen = {127.0.0.1:1,\n[::1]:2,\n:3}",
		":3: listen: \":3\" is not an address to listen on "
		"(try 127.0.0.1:8080, [::1]:8080, localhost:8080, unix:/run/fetchpool.sock)"},
	{"#\n\nmax-wiat = 3s\n", ":3: no such option 'max-wiat'"},
	{"help = yes\n", ":1: no such option 'help'"},
	{"config = x\n", ":1: no such option 'config'"},
	{"\nmax-wait 3s\n", ":2: missing equal sign after option 'max-wait'"},
	{"\nmax-wait = \"3s\nttl = 3", ":2: a string lacks its closing quotation mark"},
	{"\norigin a {\n\n", ":2: an opening brace lacks its closing one"},
	{"\nmax-wait = 3s }\n", ":2: unexpected closing brace"},
	{"// one\n", ":1: a comment begins with #"},
	{"/* one */\n", ":1: a comment begins with #"},
	{"origin a {\n#\nmax-wait = 3\n}", ":3: no such option 'max-wait'"},
	{"origin a {\nmax-in-flight = 0\n}", ":2: max-in-flight: \"0\" is not a whole number within 1 and 1000000"},
	{"origin a { max-in-flight = 1 }\norigin \"a b\" {\nmax-in-flight = 1\n}",
		":3: origin: \"a b\" is not HOST[:PORT]"},
	{"\n\"\" = 3s\n", ":2: a name is missing"},
	{"origin {\n}", ":1: missing title for section 'origin'"},
	{"store = disk", ":1: store: \"disk\" is not one of sqlite|memory"},
	{"\nauth-token-file = /nonexistent", ":2: auth-token-file: /nonexistent: No such file or directory"},
	{"token a {\n}", ":2: token \"a\": it lacks its token: give its sha256"},
	{"\ntoken a {\nscope = read\nscope = write\n}",
		":4: token \"a\": scope: \"write\" is none of submit, read, admin"},
	{"token a {\ntoken = x\nsha256 = y\n}", ":3: token \"a\": sha256: there is a token already"},
	{"token a {\ntoken = \"x y\"\n}",
		":2: token \"a\": token: it may consist of letters, digits and -._~+/ with = at its end (RFC 6750); give any "
		"other as its sha256"},
	{"token a {\ntoken = x\nmax-queued = 1k }",
		":3: token \"a\": max-queued: \"1k\" is not a whole number within 1 "
		"and 1000000000"},
	{"token a {\nname = x\n}", ":2: no such option 'name'"},
	{"token \"a/b\" {\ntoken = x\n}",
		":2: token \"a/b\": name: only letters, digits, \".\", \"_\" and \"-\" may stand in it"},
	{"token a { token = x }\ntoken a {\ntoken = y }", ":2: found duplicate title 'a'"},
	{"token {\n}", ":1: missing title for section 'token'"},
	{"include(\"/etc/passwd\")", ":1: no such option 'include'"},
};

/* After a bad file the next one is read well: SIGHUP reads again and again. */
START_TEST(file_refusals)
{
	struct config config;

	check_file_refused(bad_files[_i].text, bad_files[_i].wanted);
	config = load_file("max-wait = 7s\n");
	ck_assert_int_eq(config.max_wait_ms, 7000);
	config_release(&config);
}
END_TEST

START_TEST(file_empty)
{
	struct config config = load_file("");

	ck_assert_int_eq(config.max_wait_ms, 55000);
	config_release(&config);
}
END_TEST

static const struct config_origin *
origin_of(const struct config *config, const char *host, int port)
{
	for (size_t i = 0; i < config->origin_count; i++)
		if (strcmp(config->origins[i].host, host) == 0 && config->origins[i].port == port)
			return &config->origins[i];
	ck_abort_msg("no limit of %s:%d", host, port);
	return NULL;
}

START_TEST(origins)
{
	write_file("origin \"A.example:80\" { max-in-flight = 1 }\n"
		   "origin b.example {\n\tmax-in-flight = 2\n}\n"
		   "origin [0:0::1]:443 { max-in-flight = 3 }\n"
		   "origin a.example { max-in-flight = 4 }\n"
		   "origin-limit = \"c.example=5\"\n");
	struct config config = load_well(
		ARGUMENTS("--config", file_path, "--origin-limit", "a.example:80=9", "--origin-limit=[::1:2]=8"),
		NOTHING);

	ck_assert_uint_eq(config.origin_count, 5);
	ck_assert_int_eq(origin_of(&config, "a.example", 80)->max_in_flight, 9);
	ck_assert_int_eq(origin_of(&config, "b.example", 0)->max_in_flight, 2);
	ck_assert_int_eq(origin_of(&config, "::1", 443)->max_in_flight, 3);
	ck_assert_int_eq(origin_of(&config, "a.example", 0)->max_in_flight, 4);
	ck_assert_int_eq(origin_of(&config, "::0.1.0.2", 0)->max_in_flight, 8);
	ck_assert_uint_eq(config.origin_limit.count, 2);
	config_release(&config);
}
END_TEST

START_TEST(tokens)
{
	static const uint8_t hash_of_x[SHA256_BYTES] = {0x2d, 0x71, 0x16, 0x42, 0xb7, 0x26, 0xb0, 0x44, 0x01, 0x62,
		0x7c, 0xa9, 0xfb, 0xac, 0x32, 0xf5, 0xc8, 0x53, 0x0f, 0xb1, 0x90, 0x3c, 0xc4, 0xdb, 0x02, 0x25, 0x87,
		0x17, 0x92, 0x1a, 0x48, 0x81};
	struct config config = load_file("token \"a.b\" {\n\ttoken = x # a comment\n\tscope = {read, submit}\n}\n"
					 "max-wait = 7s\n"
					 "token c {\n\tsha256 = "
					 "2D711642B726B04401627CA9FBAC32F5C8530FB1903CC4DB02258717921A4881\n"
					 "\tjobs-per-minute = 6\n\tmax-queued = 7\n\tmax-in-flight = 8\n"
					 "\tscope = \"admin,read\"\n}\n");

	ck_assert_uint_eq(config.token_count, 2);
	ck_assert_str_eq(config.tokens[0].token.name, "a.b");
	ck_assert_uint_eq(config.tokens[0].token.scopes, TOKEN_READ | TOKEN_SUBMIT);
	ck_assert_mem_eq(config.tokens[0].token.sha256, hash_of_x, sizeof hash_of_x);
	ck_assert_int_eq(strcmp(config.tokens[0].source + strlen(file_path), ":2"), 0);
	ck_assert_int_eq(config.tokens[0].token.max_queued, 0);
	ck_assert_str_eq(config.tokens[1].token.name, "c");
	ck_assert_uint_eq(config.tokens[1].token.scopes, TOKEN_EVERYTHING);
	ck_assert_mem_eq(config.tokens[1].token.sha256, hash_of_x, sizeof hash_of_x);
	ck_assert_int_eq(config.tokens[1].token.jobs_per_minute, 6);
	ck_assert_int_eq(config.tokens[1].token.max_queued, 7);
	ck_assert_int_eq(config.tokens[1].token.max_in_flight, 8);
	ck_assert_int_eq(config.max_wait_ms, 7000);
	config_release(&config);
}
END_TEST

START_TEST(precedence)
{
	write_file("max-wait = 1s\nttl = 1h\nworkers = 1\nlisten = 127.0.0.1:1\nlisten = 127.0.0.1:2\n"
		   "egress-deny = a\negress-allow = b");
	char variable[64];
	snprintf(variable, sizeof variable, "FETCHPOOL_CONFIG=%s", file_path);
	struct config config =
		load_well(ARGUMENTS("--workers=3", "--listen=127.0.0.1:4", "--workers=4", "--listen=127.0.0.1:5"),
			WORDS(variable, "FETCHPOOL_TTL=2h", "FETCHPOOL_WORKERS=2", "FETCHPOOL_LISTEN=127.0.0.1:3",
				"FETCHPOOL_EGRESS_DENY=c d"));
	ck_assert_int_eq(config.max_wait_ms, 1000);
	ck_assert_int_eq(config.ttl_ms, 2 * 3600 * 1000);
	ck_assert_int_eq(config.workers, 4);
	ck_assert_uint_eq(config.listen.count, 2);
	ck_assert_str_eq(config.listen.items[0], "127.0.0.1:4");
	ck_assert_str_eq(config.listen.items[1], "127.0.0.1:5");
	ck_assert_uint_eq(config.egress_deny.count, 2);
	ck_assert_str_eq(config.egress_deny.items[0], "c");
	ck_assert_uint_eq(config.egress_allow.count, 1);
	ck_assert_str_eq(config.egress_allow.items[0], "b");
	config_release(&config);

	/* the command line's file is read in place of the variable's */
	config = load_well(ARGUMENTS("--config", file_path), WORDS("FETCHPOOL_CONFIG=/nonexistent"));
	ck_assert_int_eq(config.max_wait_ms, 1000);
	config_release(&config);

	/* an overruled value is checked all the same */
	check_refused(ARGUMENTS("--max-wait=1s"), WORDS("FETCHPOOL_MAX_WAIT=soon"),
		"FETCHPOOL_MAX_WAIT: \"soon\" is not a duration (try 30s, 500ms, 2m)");
}
END_TEST

static const struct {
	const char *variables[4];
	const char *wanted;
} state_dirs[] = {
	{{NULL}, "/var/lib/fetchpool"},
	{{"HOME=/home/a"}, "/home/a/.local/state/fetchpool"},
	{{"HOME=", "XDG_STATE_HOME="}, "/var/lib/fetchpool"},
	{{"HOME=/home/a", "XDG_STATE_HOME=/x"}, "/x/fetchpool"},
	{{"HOME=/home/a", "XDG_STATE_HOME=x"}, "/home/a/.local/state/fetchpool"},
	{{"XDG_STATE_HOME=/x", "STATE_DIRECTORY=/var/lib/one:/var/lib/two"}, "/var/lib/one"},
	{{"STATE_DIRECTORY=/one", "FETCHPOOL_STATE_DIR=/two"}, "/two"},
	{{"STATE_DIRECTORY=/one", "FETCHPOOL_STATE_DIR="}, "/one"},
};

START_TEST(state_dir)
{
	const char *variables[5] = {NULL};

	memcpy(variables, state_dirs[_i].variables, sizeof state_dirs[_i].variables);
	struct config config = load_well(ARGUMENTS(NULL), variables);
	ck_assert_str_eq(config.state_dir, state_dirs[_i].wanted);
	config_release(&config);
}
END_TEST

START_TEST(token_file)
{
	write_file("secret\n");
	struct config config = load_well(ARGUMENTS("--auth-token-file", file_path), NOTHING);

	ck_assert_str_eq(config.auth_token_file, file_path);
	ck_assert_str_eq(config.auth_token_file_source, "--auth-token-file");
	config_release(&config);
	config = load_well(ARGUMENTS("--auth-token-file="), WORDS("FETCHPOOL_AUTH_TOKEN_FILE=/nonexistent"));
	ck_assert_ptr_null(config.auth_token_file);
	config_release(&config);
}
END_TEST

/* --help is never kept from a user by a mistake elsewhere. */
START_TEST(help_and_version)
{
	struct config config = load_well(ARGUMENTS("--help", "--nonsense"), WORDS("FETCHPOOL_MAX_WAIT=soon"));

	ck_assert(config.help);
	config_release(&config);
	config = load_well(ARGUMENTS("--config=/nonexistent", "--version"), NOTHING);
	ck_assert(config.version);
	config_release(&config);
}
END_TEST

/* True when a line of the text begins with head and holds part. */
static bool
has_line(const char *text, const char *head, const char *part)
{
	for (const char *line = strstr(text, head); line != NULL; line = strstr(line + 1, head)) {
		const char *found = strstr(line, part);

		if (line[-1] == '\n' && found != NULL && found < line + strcspn(line, "\n"))
			return true;
	}
	return false;
}

START_TEST(help_lists_all)
{
	char *text = NULL, head[128], part[256];
	size_t size;
	FILE *out = open_memstream(&text, &size);

	options_print_help(out);
	fclose(out);
	ck_assert_int_eq(strncmp(text, "Usage: fetchpool [OPTIONS]\n", 27), 0);
	for (size_t i = 0; i < options_count(); i++) {
		struct option_view view = options_view(i);

		snprintf(head, sizeof head, "  --%s %s", view.name, view.word != NULL ? view.word : "");
		snprintf(part, sizeof part, "(default: %s)", view.default_text != NULL ? view.default_text : "");
		ck_assert_msg(has_line(text, head, view.default_text != NULL ? part : view.help), "%s", head);
	}
	free(text);
}
END_TEST

START_TEST(values_shown)
{
	struct config config =
		load_well(ARGUMENTS("--listen=127.0.0.1:1", "--listen=127.0.0.1:2", "--log-level=warn"), NOTHING);
	char text[128];
	int64_t number;
	size_t seen = 0;

	for (size_t i = 0; i < options_count(); i++) {
		struct option_view view = options_view(i);

		options_value_text(&config, i, text, sizeof text);
		if (strcmp(view.name, "listen") == 0 && ++seen)
			ck_assert_str_eq(text, "127.0.0.1:1 127.0.0.1:2");
		if (strcmp(view.name, "log-level") == 0 && ++seen)
			ck_assert_str_eq(text, "warn");
		if (strcmp(view.name, "max-wait") == 0 && ++seen) {
			ck_assert_str_eq(text, view.default_text);
			ck_assert(options_value_number(&config, i, &number));
			ck_assert_int_eq(number, 55000);
		}
		if (strcmp(view.name, "egress-deny") == 0 && ++seen) {
			ck_assert_str_eq(text, "");
			ck_assert(view.reloadable);
			ck_assert(!options_value_number(&config, i, &number));
		}
	}
	ck_assert_uint_eq(seen, 4);
	options_value_text(&config, 0, text, 8);
	ck_assert_str_eq(text, "127.0.0");
	config_release(&config);
}
END_TEST

START_TEST(passwords_are_not_shown)
{
	struct config config = load_well(
		ARGUMENTS("--proxy=a=http://me:pass@h:1", "--proxy=b=https://h:2/", "--proxy=c=socks5h://m@e:p@ss@h:3"),
		NOTHING);
	char text[128];

	for (size_t i = 0; i < options_count(); i++)
		if (strcmp(options_view(i).name, "proxy") == 0)
			options_value_text(&config, i, text, sizeof text);
	ck_assert_str_eq(text, "a=http://***@h:1 b=https://h:2/ c=socks5h://***@h:3");
	config_release(&config);
}
END_TEST

START_TEST(switches)
{
	struct config config = load_well(ARGUMENTS(NULL), WORDS("FETCHPOOL_ALLOW_INSECURE_TLS=yes"));

	ck_assert(config.allow_insecure_tls);
	config_release(&config);
	config = load_file("allow-insecure-tls = yes");
	ck_assert(config.allow_insecure_tls);
	config_release(&config);
	config = load_well(ARGUMENTS("--config", file_path), WORDS("FETCHPOOL_ALLOW_INSECURE_TLS=no"));
	ck_assert(!config.allow_insecure_tls);
	config_release(&config);
	config = load_well(ARGUMENTS("--allow-insecure-tls"), WORDS("FETCHPOOL_ALLOW_INSECURE_TLS=no"));
	ck_assert(config.allow_insecure_tls);
	config_release(&config);
	check_file_refused("allow-insecure-tls = maybe", ":1: allow-insecure-tls: \"maybe\" is not yes or no");
}
END_TEST

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

int
main(void)
{
	Suite *suite = suite_create("options");
	TCase *values = tcase_create("values"), *files = tcase_create("files");

	tcase_add_test(values, defaults);
	tcase_add_test(values, every_kind);
	tcase_add_loop_test(values, refusals, 0, COUNT(refused));
	tcase_add_loop_test(values, listen_values, 0, COUNT(listens));
	tcase_add_loop_test(values, state_dir, 0, COUNT(state_dirs));
	tcase_add_test(values, environment);
	tcase_add_test(values, help_and_version);
	tcase_add_test(values, help_lists_all);
	tcase_add_test(values, values_shown);
	tcase_add_test(values, passwords_are_not_shown);
	suite_add_tcase(suite, values);

	tcase_add_checked_fixture(files, make_file, remove_file);
	tcase_add_test(files, switches);
	tcase_add_test(files, file_values);
	tcase_add_loop_test(files, file_refusals, 0, COUNT(bad_files));
	tcase_add_test(files, file_empty);
	tcase_add_test(files, origins);
	tcase_add_test(files, tokens);
	tcase_add_test(files, precedence);
	tcase_add_test(files, token_file);
	suite_add_tcase(suite, files);

	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
