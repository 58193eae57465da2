/*
 * The guard as it is by default, tried from outside: the daemon runs in a net that leads every connection, wherever it
 * goes, to this machine (tests/net.h), where canaries listen. Whatever tests/payloads.tbl.h has, no connection may come to
 * them. And the other way round: 1,000 public addresses, none of which may be refused.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "rig.h"

#include "name_server.h"
#include "net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PUBLIC "93.184.216.34" /* leads to the origin */
#define LISTED_MAX 12          /* of what is wrong */

static const struct name_rule astray[] = {
#define NAME(name_, answers_, ...) {.name = name_, .answers = answers_, __VA_ARGS__},
#include "payloads.tbl.h"
};

/* ---- canaries: any address of this machine, and two unix sockets */

static struct {
	int fds[4];
	unsigned port;
	const char *path, *abstract;
} canaries;

static int
listen_on(int family, const void *address, socklen_t size)
{
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;

	if (family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
	if (bind(fd, address, size) || listen(fd, 512)) {
		close(fd);
		return -1;
	}
	return fd;
}

static int
listen_on_path(const char *path, bool abstract)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(address.sun_path + abstract, sizeof address.sun_path - abstract, "%s", path);
	return listen_on(AF_UNIX, &address,
		(socklen_t)(offsetof(struct sockaddr_un, sun_path) + abstract + strlen(path) + !abstract));
}

static void
set_canaries_out(void)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
	socklen_t size = sizeof v4;

	canaries.fds[0] = listen_on(AF_INET, &v4, sizeof v4);
	ck_assert_msg(!getsockname(canaries.fds[0], (struct sockaddr *)&v4, &size), "no port for the canaries");
	canaries.port = ntohs(v4.sin_port);
	v6.sin6_port = v4.sin_port;
	canaries.fds[1] = listen_on(AF_INET6, &v6, sizeof v6); /* -1 on a machine without IPv6 */
	canaries.path = text("%s/%s.sock", server_directory(), new_key());
	canaries.fds[2] = listen_on_path(canaries.path, false);
	canaries.abstract = text("canary-%s", new_key());
	canaries.fds[3] = listen_on_path(canaries.abstract, true);
	ck_assert_msg(canaries.fds[2] >= 0 && canaries.fds[3] >= 0, "no unix sockets for the canaries");
}

/* Connections that came since the last look. They are there once whoever made them went on. */
static size_t
canary_hits(void)
{
	size_t hits = 0;
	int fd;

	for (size_t i = 0; i < COUNT_OF(canaries.fds); i++)
		while (canaries.fds[i] >= 0 && (fd = accept4(canaries.fds[i], NULL, NULL, SOCK_CLOEXEC)) >= 0) {
			close(fd);
			hits++;
		}
	return hits;
}

static bool
await_canary_hit(void)
{
	struct pollfd fds[COUNT_OF(canaries.fds)];

	for (size_t i = 0; i < COUNT_OF(fds); i++)
		fds[i] = (struct pollfd){.fd = canaries.fds[i], .events = POLLIN};
	return poll(fds, COUNT_OF(fds), SERVER_PATIENCE_MS) > 0 && canary_hits() > 0;
}

/* ---- the daemon in its net */

static struct name_server *names;
static const char *net_log;

static void
begin(void)
{
	set_canaries_out();
	names = name_server_start(astray, COUNT_OF(astray));
	ck_assert_msg(names, "no name server");
	net_log = text("%s/%s.net", server_directory(), new_key());
}

static void
finish(void)
{
	for (size_t i = 0; i < COUNT_OF(canaries.fds); i++)
		if (canaries.fds[i] >= 0)
			close(canaries.fds[i]);
	name_server_stop(names);
}

/* Everything leads to the canaries, but PUBLIC to the origin. */
static const char *
map_to_canaries(void)
{
	return text("NET_MAP=" PUBLIC "=%u *=%u", origin_port(the_origin), canaries.port);
}

static void
start_guarded(const char *map)
{
	start_server(SERVER_GUARDED, preload_word("net.so"), map, text("NET_LOG=%s", net_log), "--store", "memory",
		"--dns-server", name_server_address(names));
}

/* Lines of the log that are neither to PUBLIC nor to the name server; at most LISTED_MAX are told. */
static size_t
strange_connections(const char **ret_told)
{
	const char *own = text("loopback %s\n", name_server_address(names));
	FILE *file = fopen(net_log, "r");
	char line[300];
	size_t count = 0;

	*ret_told = "";
	while (file && fgets(line, sizeof line, file))
		if (strncmp(line, "mapped " PUBLIC ":", sizeof "mapped " PUBLIC) != 0 && strcmp(line, own) != 0 &&
			count++ < LISTED_MAX)
			*ret_told = text("%s%s", *ret_told, line);
	if (file)
		fclose(file);
	return count;
}

/* ---- payloads */

static char *payloads[4096];
static size_t payload_count;

static void
add_payload(const char *payload)
{
	ck_assert_msg(payload_count < COUNT_OF(payloads), "too many payloads");
	payloads[payload_count++] = (char *)(uintptr_t)payload;
}

/* Each of these words as that one. */
static const char *
replaced(const char *payload, const char *word, const char *by)
{
	const char *made = "", *found;

	for (; (found = strstr(payload, word)); payload = found + strlen(word))
		made = text("%s%.*s%s", made, (int)(found - payload), payload, by);
	return text("%s%s", made, payload);
}

static const char *
with_port(const char *payload)
{
	return replaced(payload, "PORT", text("%u", canaries.port));
}

static uint32_t
part_of(uint32_t address, char part)
{
	switch (part) {
	case 'w':
		return address;
	case 'h':
		return address >> 16;
	case 'p':
		return address & 0xffff;
	case 't':
		return address & 0xffffff;
	default:
		return address >> 8 * ('4' - part) & 0xff;
	}
}

/* See payloads.tbl.h. */
static const char *
spelled(const char *format, uint32_t address)
{
	const char *made = "", *open;

	for (; (open = strchr(format, '{')); format = strchr(open, '}') + 1) {
		const char *close = strchr(open, '}');
		char conversion[16], number[32];

		snprintf(conversion, sizeof conversion, "%%%.*s", (int)(close - open) - 2, open + 1);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		snprintf(number, sizeof number, conversion, part_of(address, close[-1]));
#pragma GCC diagnostic pop
		made = text("%s%.*s%s", made, (int)(open - format), format, number);
	}
	return text("%s%s", made, format);
}

static void
add_spellings(void)
{
	static const char *const targets[] = {
#define TARGET(ipv4) ipv4,
#include "payloads.tbl.h"
	};
	static const char *const spellings[] = {
#define SPELLING(format) format,
#include "payloads.tbl.h"
	};

	for (size_t i = 0; i < COUNT_OF(targets); i++)
		for (size_t j = 0; j < COUNT_OF(spellings); j++)
			add_payload(text(
				"http://%s:%u/", spelled(spellings[j], ntohl(inet_addr(targets[i]))), canaries.port));
}

static void
add_urls(void)
{
	static const char *const urls[] = {
#define URL(url) url,
#include "payloads.tbl.h"
	};
	char own_name[256] = "";

	for (size_t i = 0; i < COUNT_OF(urls); i++)
		add_payload(with_port(urls[i]));
	gethostname(own_name, sizeof own_name - 1);
	add_payload(text("http://%s:%u/", own_name, canaries.port));
	add_payload(text("http://unix:%s:/", canaries.path));
	add_payload(text("unix://%s", canaries.path));
	add_payload(text("http+unix://%s/x", escaped(canaries.path)));
	add_payload(text("unix://@%s", canaries.abstract));
}

static void
add_names(void)
{
	for (size_t i = 0; i < COUNT_OF(astray); i++) {
		add_payload(text("http://%s:%u/", astray[i].name, canaries.port));
		add_payload(text("https://%s./", astray[i].name));
	}
}

static void
add_all(void)
{
	payload_count = 0;
	add_spellings();
	add_urls();
	add_names();
}

/* What PUBLIC answers when it sends the client on. */
static const char *
redirect_to(const char *location)
{
	const char *answer = text("HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n", location);

	return text("http://" PUBLIC ":%u/script?hex=%s", canaries.port, hex_of(answer, strlen(answer)));
}

/* ---- what came of them */

static struct client_reply *
send_payload(const char *payload)
{
	json_t *spec = json_pack("{s:s,s:s}", "url", payload, "timeout", "60s");
	char *body = spec ? json_dumps(spec, 0) : NULL;
	struct client_reply *reply;

	ck_assert_msg(body, "no text: %s", payload);
	reply = post_bytes("/v1/jobs", "Content-Type: application/json\r\n", body, strlen(body));
	free(body);
	json_decref(spec);
	return reply;
}

static bool
is_at_public(const char *url)
{
	size_t length = strlen("http://" PUBLIC);

	return url && !strncmp(url, "http://" PUBLIC, length) && strchr(":/", url[length]);
}

/* NULL, or what is wrong with how the job ended. One that stayed with PUBLIC was led astray by nobody. */
static const char *
wrong_end(const json_t *job)
{
	static const char *const codes[] = {"denied_by_policy", "bad_redirect", "dns_failed"};
	const char *code = json_text_at(job, "error.code");

	for (size_t i = 0; code && i < COUNT_OF(codes); i++)
		if (!strcmp(code, codes[i]))
			return NULL;
	if (is_at_public(json_text_at(job, "response.url")))
		return NULL;
	return text("%s %s", json_text_at(job, "state"), dumped(json_at(job, "error")));
}

struct tally {
	size_t refused, ended, wrong;
	const char *told;
};

static void
note_wrong(struct tally *tally, const char *payload, const char *why)
{
	if (tally->wrong++ < LISTED_MAX)
		tally->told = text("%s\n  %s: %s", tally->told, payload, why);
}

/* All of them at once, then one after the other. */
static struct tally
run_payloads(void)
{
	static const char *ids[COUNT_OF(payloads)];
	struct tally tally = {.told = ""};

	for (size_t i = 0; i < payload_count; i++) {
		struct client_reply *reply = send_payload(payloads[i]);

		ids[i] = reply->status == 202 ? id_of(reply->json) : NULL;
		tally.refused += reply->status == 400;
		if (reply->status != 202 && reply->status != 400)
			note_wrong(&tally, payloads[i], text("status %d", reply->status));
	}
	for (size_t i = 0; i < payload_count; i++) {
		const char *wrong;

		if (!ids[i])
			continue;
		wrong = wrong_end(get("/v1/jobs/%s?wait=50s", ids[i])->json);
		tally.ended++;
		if (wrong)
			note_wrong(&tally, payloads[i], wrong);
	}
	return tally;
}

static void
expect_no_connection(const struct tally *tally)
{
	const char *told;
	size_t strange = strange_connections(&told), hits = canary_hits();

	expect_that(hits == 0 && strange == 0, "%zu connections came to the canaries, %zu were made:\n%s", hits,
		strange, told);
	expect_that(tally->wrong == 0, "%zu of %zu payloads did not end as they should:%s", tally->wrong, payload_count,
		tally->told);
}

START_TEST(no_payload_reaches_a_canary)
{
	struct tally tally;

	start_guarded(map_to_canaries());
	add_all();
	expect_that(payload_count > 700, "there are only %zu payloads", payload_count);
	tally = run_payloads();
	expect_no_connection(&tally);
	expect_that(tally.ended > payload_count / 2, "only %zu of %zu became jobs", tally.ended, payload_count);
}
END_TEST

START_TEST(no_redirect_reaches_a_canary)
{
	struct tally tally;

	start_guarded(map_to_canaries());
	add_all();
	for (size_t i = 0; i < payload_count; i++)
		payloads[i] = (char *)(uintptr_t)redirect_to(payloads[i]);
	tally = run_payloads();
	expect_no_connection(&tally);
	expect_that(tally.refused == 0, "%zu jobs were not taken", tally.refused);
	expect_that(origin_count(the_origin, NULL) >= payload_count, "only %zu of %zu requests came",
		origin_count(the_origin, NULL), payload_count);
}
END_TEST

START_TEST(no_location_reaches_a_canary)
{
	static const char *const locations[] = {
#define LOCATION(value) value,
#include "payloads.tbl.h"
	};
	struct tally tally;

	start_guarded(map_to_canaries());
	payload_count = 0;
	for (size_t i = 0; i < COUNT_OF(locations); i++)
		add_payload(redirect_to(with_port(locations[i])));
	tally = run_payloads();
	expect_no_connection(&tally);
}
END_TEST

/* Nor is one reached by what the environment says. */
START_TEST(no_environment_reaches_a_canary)
{
	const char *proxy = text("http://127.0.0.1:%u", canaries.port);
	const char *socks = text("socks5h://127.0.0.1:%u", canaries.port);
	struct tally tally;

	start_server(SERVER_GUARDED, preload_word("net.so"), map_to_canaries(), text("NET_LOG=%s", net_log),
		text("http_proxy=%s", proxy), text("https_proxy=%s", proxy), text("all_proxy=%s", socks),
		text("ALL_PROXY=%s", socks), text("LOCALDOMAIN=nip.test"), text("RES_OPTIONS=ndots:9"),
		text("HOSTALIASES=%s", file_with("aliases", "plain 127.0.0.1.nip.test\n")), "--store", "memory",
		"--dns-server", name_server_address(names));
	payload_count = 0;
	add_payload(text("http://" PUBLIC ":%u/echo", canaries.port));
	add_payload(text("http://plain:%u/", canaries.port));
	tally = run_payloads();
	expect_no_connection(&tally);
	expect_that(origin_count(the_origin, NULL) == 1, "the origin was not reached");
}
END_TEST

/* The canaries sing: with the guard told to allow everything, the same ways lead to them. */
START_TEST(without_the_guard_they_are_reached)
{
	static const char *const ways[] = {"http://127.0.0.1:PORT/", "http://127.1:PORT/", "http://[::1]:PORT/",
		"http://10.0.0.1:PORT/", "http://169.254.169.254:PORT/", "http://0x7f000001:PORT/",
		"http://private.test:PORT/", "http://mixed-last.test:PORT/", "http://mapped.test:PORT/",
		"http://alias-chain.test:PORT/", "http://over-tcp.test:PORT/", "http://localhost:PORT/"};

	start_server(SERVER_GUARDED, preload_word("net.so"), text("NET_MAP=*=%u ::1=%u", canaries.port, canaries.port),
		text("NET_LOG=%s", net_log), "--store", "memory", "--egress-allow", "0.0.0.0/0", "--egress-allow",
		"::/0", "--egress-allow", "mapped.test", "--dns-server", name_server_address(names));
	for (size_t i = 0; i < COUNT_OF(ways); i++) {
		submit(with_port(ways[i]), "");
		expect_that(await_canary_hit(), "%s leads to no canary", ways[i]);
	}
	submit(redirect_to("http://127.0.0.1/"), "");
	expect_that(await_canary_hit(), "a redirect leads to no canary");
}
END_TEST

/* ---- a name server that changes its mind */

static const struct name_rule rebinding[] = {
	{"*.rebinds.test", PUBLIC "; 127.0.0.1", .ttl = 0},
	{"returns.test", PUBLIC "; 127.0.0.1; " PUBLIC, .ttl = 0},
};

#define REBINDING_NAMES 50

START_TEST(what_was_checked_is_connected_to)
{
	const char *told, *addresses[2] = {"0.rebinds.test", "returns.test"};
	json_t *job = NULL;

	name_server_stop(names);
	names = name_server_start(rebinding, COUNT_OF(rebinding));
	start_guarded(map_to_canaries());
	/* Between check and connect there is no look-up that could say something else. */
	for (int i = 0; i < REBINDING_NAMES; i++) {
		const char *name = text("%d.rebinds.test", i);

		job = fetch(text("http://%s:%u/redirect-to?url=/echo&status=302", name, canaries.port), "");
		expect(job, "state", "'succeeded'");
		expect(job, "attempts.0.remote_ip", "'" PUBLIC "'");
		expect_that(name_server_asked(names, name, 1) == 1, "%s was asked for %zu times", name,
			name_server_asked(names, name, 1));
	}
	fetch(text("http://returns.test:%u/echo", canaries.port), "");
	/* Once the answer is too old to be used, the next one counts, although a connection to the good one is still open. */
	for (size_t i = 0; i < COUNT_OF(addresses); i++) {
		int64_t until = mono_ms() + SERVER_PATIENCE_MS;

		do {
			expect_that(mono_ms() < until, "%s is not asked for again", addresses[i]);
			job = fetch(text("http://%s:%u/echo", addresses[i], canaries.port), "");
		} while (name_server_asked(names, addresses[i], 1) < 2);
		expect_failed(job, "denied_by_policy", "policy");
	}
	expect_that(canary_hits() == 0 && strange_connections(&told) == 0, "a canary was reached: %s", told);
}
END_TEST

/* ---- no false alarm */

/* Networks that carry public traffic, and the neighbours of special ranges. */
static const char *const public_networks[] = {"1.1.1.0", "8.8.8.0", "9.255.255.0", "11.0.0.0", "13.32.0.0", "17.0.0.0",
	"23.0.0.0", "31.13.64.0", "34.64.0.0", "45.33.0.0", "52.94.0.0", "64.233.160.0", "69.16.0.0", "72.14.192.0",
	"77.88.0.0", "80.67.0.0", "89.106.0.0", "91.198.174.0", "93.184.216.0", "100.63.255.0", "100.128.0.0",
	"103.21.244.0", "104.16.0.0", "108.177.0.0", "114.114.114.0", "126.255.255.0", "128.0.0.0", "130.89.0.0",
	"140.82.112.0", "142.250.0.0", "151.101.0.0", "157.240.0.0", "162.158.0.0", "168.63.128.0", "168.63.130.0",
	"169.253.255.0", "169.255.0.0", "172.15.255.0", "172.32.0.0", "172.217.0.0", "185.15.56.0", "191.255.255.0",
	"192.0.1.0", "192.0.3.0", "192.30.252.0", "192.31.195.0", "192.31.197.0", "192.52.192.0", "192.52.194.0",
	"192.88.98.0", "192.88.100.0", "192.167.255.0", "192.169.0.0", "192.175.47.0", "192.175.49.0", "198.17.255.0",
	"198.20.0.0", "198.51.99.0", "198.51.101.0", "199.232.0.0", "203.0.112.0", "203.0.114.0", "208.80.152.0",
	"216.58.192.0", "220.181.0.0", "223.255.255.0",
	"2001:200::", "2001:4860:4860::", "2001:db7:ffff::", "2001:db9::", "2003::", "2400:cb00::", "2404:6800::",
	"2606:4700::", "2606:2800:220::", "2607:f8b0::", "2610:1::", "2620:0:861::", "2620:4f:7fff::", "2620:4f:8001::",
	"2620:fe::", "2800:3f0::", "2a00:1450::", "2a02:ec80::", "2a04:4e42::", "2c0f:fb50::", "3ffe::", "3fff:1000::"};

#define PUBLIC_ADDRESSES 1000

/* The nth of them, as a host of a URL. */
static const char *
public_host(size_t nth)
{
	const char *network = public_networks[nth % COUNT_OF(public_networks)];
	size_t round = nth / COUNT_OF(public_networks);

	if (strchr(network, ':'))
		return text("[%s%zx]", network, round * 0x1357 % 0xffff + 1);
	return text("%.*s.%zu", (int)(strrchr(network, '.') - network), network, round * 23 % 256);
}

START_TEST(no_public_address_is_refused)
{
	static const char *ids[PUBLIC_ADDRESSES];
	size_t refused = 0;
	const char *told = "";

	start_guarded(text("NET_MAP=*=%u", origin_port(the_origin)));
	for (size_t i = 0; i < PUBLIC_ADDRESSES; i++)
		ids[i] = id_of(submit(text("http://%s:8080/echo", public_host(i)), "'timeout':'60s'"));
	for (size_t i = 0; i < PUBLIC_ADDRESSES; i++) {
		json_t *job = get("/v1/jobs/%s?wait=50s", ids[i])->json;
		json_t *check = post("/v1/egress/check", "{'url':'http://%s/'}", public_host(i))->json;

		if (json_int_at(job, "response.status") == 200 && json_true_at(check, "allowed"))
			continue;
		if (refused++ < LISTED_MAX)
			told = text(
				"%s\n  %s: %s %s", told, public_host(i), dumped(json_at(job, "error")), dumped(check));
	}
	expect_that(refused == 0, "%zu of %d were refused:%s", refused, PUBLIC_ADDRESSES, told);
}
END_TEST

static const struct name_rule public_names[] = {
	{"*.four.test", "93.184.216.34", .ttl = 60},
	{"*.six.test", "2606:4700::1111", .ttl = 60},
	{"*.both.test", "2606:4700::1111 93.184.216.34", .ttl = 60},
	{"*.many.test", "93.184.216.1 93.184.216.2 93.184.216.3 93.184.216.4 2606:4700::1 2606:4700::2", .ttl = 60},
	{"*.crowd.test", "", .ttl = 60, .crowd = 64},
	{"*.alias.test", "=www.both.test", .ttl = 60},
	{"*.tcp.test", "93.184.216.34", .ttl = 60, .manner = NAME_TCP},
};

START_TEST(no_public_name_is_refused)
{
	static const char *ids[200];
	const char *name;

	name_server_stop(names);
	names = name_server_start(public_names, COUNT_OF(public_names));
	start_guarded(text("NET_MAP=*=%u", origin_port(the_origin)));
	for (size_t i = 0; i < COUNT_OF(ids); i++) {
		name = public_names[i % COUNT_OF(public_names)].name + 1;
		ids[i] = id_of(submit(text("http://h%zu%s:8080/echo", i, name), "'timeout':'60s'"));
	}
	for (size_t i = 0; i < COUNT_OF(ids); i++) {
		json_t *job = get("/v1/jobs/%s?wait=50s", ids[i])->json;

		expect_that(json_int_at(job, "response.status") == 200, "%s: %s", json_text_at(job, "request.url"),
			dumped(json_at(job, "error")));
	}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("canaries");
	TCase *tcase = rig_case(suite, "canaries", NULL);

	tcase_add_checked_fixture(tcase, begin, finish);
	tcase_add_test(tcase, no_payload_reaches_a_canary);
	tcase_add_test(tcase, no_redirect_reaches_a_canary);
	tcase_add_test(tcase, no_location_reaches_a_canary);
	tcase_add_test(tcase, no_environment_reaches_a_canary);
	tcase_add_test(tcase, without_the_guard_they_are_reached);
	tcase_add_test(tcase, what_was_checked_is_connected_to);
	tcase_add_test(tcase, no_public_address_is_refused);
	tcase_add_test(tcase, no_public_name_is_refused);
	return rig_run(suite);
}
