/*
 * Name servers that lie, answer nonsense, or never answer; each ends the job with its code, within its clock, and none holds
 * up the others. Public addresses lead to the origin (tests/net.h).
 */
#include "rig.h"

#include "name_server.h"

#include <stdio.h>
#include <string.h>

#define GOOD "93.184.216.34"

static const struct name_rule rules[] = {
	{"good.test", GOOD, .ttl = 60},
	{"*.good.test", GOOD, .ttl = 60},
	{"tcp.test", GOOD, .ttl = 60, .manner = NAME_TCP},
	{"crowd.test", "", .ttl = 60, .crowd = 64},
	{"crowd-one-bad.test", "10.0.0.1", .ttl = 60, .crowd = 63},
	{"crowd-too-many.test", GOOD, .ttl = 60, .crowd = 64},
	{"crowd-far-too-many.test", "", .ttl = 60, .crowd = 4000},
	{"alias-loop.test", "=alias-loop2.test", .ttl = 60},
	{"alias-loop2.test", "=alias-loop.test", .ttl = 60},
	{"empty.test", "", .ttl = 60},
	{"silent.test", GOOD, .manner = NAME_SILENT},
	{"wrong-id.test", GOOD, .manner = NAME_WRONG_ID},
	{"other-question.test", GOOD, .manner = NAME_OTHER_QUESTION},
	{"cut.test", GOOD, .manner = NAME_CUT},
	{"looped.test", GOOD, .manner = NAME_LOOPED},
	{"noise.test", "", .manner = NAME_NOISE},
	{"strange-size.test", GOOD, .manner = NAME_STRANGE_SIZE},
	{"foreign.test", "10.0.0.1", .manner = NAME_FOREIGN},
	{"tcp-silent.test", GOOD, .manner = NAME_TCP | NAME_TCP_SILENT},
	{"tcp-cut.test", GOOD, .manner = NAME_TCP | NAME_TCP_CUT},
	{"tcp-noise.test", "", .manner = NAME_TCP | NAME_NOISE},
	{"fails.test", GOOD, .manner = NAME_FAILS},
	{"refuses.test", GOOD, .manner = NAME_REFUSED},
	{"*.hole", GOOD, .manner = NAME_SILENT},
};

static struct name_server *names;

static void
begin(void)
{
	names = name_server_start(rules, COUNT_OF(rules));
	ck_assert_msg(names, "no name server");
	start_server(SERVER_GUARDED, preload_word("net.so"), text("NET_MAP=*=%u", origin_port(the_origin)), "--store",
		"memory", "--dns-server", name_server_address(names));
}

static void
finish(void)
{
	name_server_stop(names);
}

static const char *
at(const char *name)
{
	return text("http://%s:8080/echo", name);
}

/* ---- lies */

static const struct {
	const char *name;
	const char *code; /* NULL: it is fetched */
	const char *message;
} answers[] = {
	{"good.test", NULL, NULL},
	{"GOOD.test.", NULL, NULL},
	{"tcp.test", NULL, NULL},
	{"crowd.test", NULL, NULL},
	{"crowd-one-bad.test", "denied_by_policy", "10.0.0.1"},
	{"crowd-too-many.test", "dns_failed", "over 64 addresses"},
	{"crowd-far-too-many.test", "dns_failed", "over 64 addresses"},
	{"alias-loop.test", "dns_failed", NULL},
	{"empty.test", "dns_failed", NULL},
	{"no-such.test", "dns_failed", NULL},
	{"silent.test", "connect_timeout", NULL},
	{"wrong-id.test", "connect_timeout", NULL},
	{"other-question.test", "connect_timeout", NULL},
	{"cut.test", "dns_failed", NULL},
	{"looped.test", "dns_failed", NULL},
	{"noise.test", "dns_failed", NULL},
	{"strange-size.test", "dns_failed", NULL},
	{"foreign.test", "dns_failed", NULL},
	{"tcp-silent.test", "connect_timeout", NULL},
	{"tcp-cut.test", "dns_failed", NULL},
	{"tcp-noise.test", "dns_failed", NULL},
	{"fails.test", "dns_failed", NULL},
	{"refuses.test", "dns_failed", NULL},
};

/* Each with a daemon of its own, since c-ares asks everything anew when a server cuts a connection. */
START_TEST(each_lie_has_its_code)
{
	const char *code = answers[_i].code, *message;
	bool waits = code && !strcmp(code, "connect_timeout");
	json_t *job = fetch(at(answers[_i].name), "'connect_timeout':'%s','timeout':'60s'", waits ? "500ms" : "20s");

	if (!code)
		expect(job, "state", "'succeeded'");
	else
		expect_failed(job, code, strcmp(code, "denied_by_policy") ? "dns" : "policy");
	message = json_text_at(job, "error.message");
	expect_that(!answers[_i].message || strstr(message, answers[_i].message), "it says: %s", message);
	expect(fetch(at("still.good.test"), "'connect_timeout':'20s'"), "state", "'succeeded'");
}
END_TEST

START_TEST(the_next_server_is_asked)
{
	struct name_server *silent = name_server_start(
		(const struct name_rule[]){{"*.test", "", .manner = NAME_SILENT}, {"*", "", .manner = NAME_SILENT}}, 2);

	start_server(SERVER_GUARDED, preload_word("net.so"), text("NET_MAP=*=%u", origin_port(the_origin)), "--store",
		"memory", "--dns-server", name_server_address(silent), "--dns-server", name_server_address(names));
	expect(fetch(at("good.test"), "'connect_timeout':'20s'"), "state", "'succeeded'");
	expect_that(name_server_asked(silent, "good.test", 1) > 0, "the first one was not asked");
	name_server_stop(silent);
}
END_TEST

/* Of a name in the hosts file no server is asked. */
START_TEST(the_hosts_file_goes_first)
{
	expect_failed(fetch(at("localhost"), ""), "denied_by_policy", "policy");
	expect_that(name_server_asked(names, "localhost", 1) == 0, "a server was asked for localhost");
}
END_TEST

/* ---- servers that never answer */

#define HOLES 1000
#define HEALTHY 200

static json_t *
submit_at(const char *format, size_t i, const char *more)
{
	char name[64];

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	snprintf(name, sizeof name, format, i);
#pragma GCC diagnostic pop
	return submit(at(name), "%s", more);
}

/* Order tells: all the healthy jobs are over before the first of the others is. */
START_TEST(a_thousand_holes_hold_up_nobody)
{
	size_t holes = rig_scaled(HOLES), healthy = rig_scaled(HEALTHY);
	json_t *lost[HOLES], *jobs[HEALTHY], *job;
	int64_t last_healthy = 0;

	for (size_t i = 0; i < holes; i++)
		lost[i] = submit_at("h%zu.hole", i, "'connect_timeout':'8s','timeout':'60s'");
	for (size_t i = 0; i < healthy; i++)
		jobs[i] = submit_at("h%zu.good.test", i, "'timeout':'60s'");
	for (size_t i = 0; i < healthy; i++) {
		job = job_done(jobs[i]);
		expect(job, "state", "'succeeded'");
		if (time_at(job, "finished_at") > last_healthy)
			last_healthy = time_at(job, "finished_at");
	}
	expect_that(metric("fetchpool_dns_lookups_in_flight") >= (double)holes, "only %g look-ups are under way",
		metric("fetchpool_dns_lookups_in_flight"));
	for (size_t i = 0; i < holes; i++) {
		job = job_done(lost[i]);
		expect_failed(job, "connect_timeout", "dns");
		expect_that(time_at(job, "finished_at") > last_healthy, "a hole ended before a healthy job");
	}
}
END_TEST

#define LOOKUPS_MAX 4096
#define ABOVE 300

/* What is above the bound waits, within its clock; what nobody waits for any more is not asked. */
START_TEST(look_ups_are_bounded)
{
	json_t *last = NULL;

	for (size_t i = 0; i < LOOKUPS_MAX + ABOVE; i++)
		last = submit_at("h%zu.hole", i,
			i < LOOKUPS_MAX ? "'connect_timeout':'60s','timeout':'60s'"
					: "'connect_timeout':'300ms','timeout':'60s','priority':-1");
	expect_that(await_metric("fetchpool_dns_lookups_in_flight", LOOKUPS_MAX), "only %g look-ups are under way",
		metric("fetchpool_dns_lookups_in_flight"));
	/* Before the servers are given up, when those that waited are asked, and dropped. */
	double under_way = metric("fetchpool_dns_lookups_in_flight");
	expect_that(under_way <= LOOKUPS_MAX, "%g look-ups are under way", under_way);
	expect_failed(job_done(last), "connect_timeout", "dns");
}
END_TEST

/* Nor do those whose jobs are over keep others waiting, although c-ares still waits for them. */
START_TEST(what_nobody_waits_for_makes_room)
{
	json_t *last = NULL;

	for (size_t i = 0; i < LOOKUPS_MAX + ABOVE; i++)
		last = submit_at("h%zu.hole", i, "'connect_timeout':'4s','timeout':'60s'");
	expect_that(await_metric("fetchpool_dns_lookups_in_flight", LOOKUPS_MAX), "only %g look-ups are under way",
		metric("fetchpool_dns_lookups_in_flight"));
	expect_failed(job_done(last), "connect_timeout", "dns");
	expect(fetch(at("good.test"), "'connect_timeout':'5s'"), "state", "'succeeded'");
	expect_that(metric("fetchpool_dns_lookups_in_flight") > LOOKUPS_MAX / 2, "they were over already");
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("names");
	TCase *tcase = rig_case(suite, "names", NULL);

	tcase_add_checked_fixture(tcase, begin, finish);
	tcase_add_loop_test(tcase, each_lie_has_its_code, 0, COUNT_OF(answers));
	tcase_add_test(tcase, the_next_server_is_asked);
	tcase_add_test(tcase, the_hosts_file_goes_first);
	tcase_add_test(tcase, a_thousand_holes_hold_up_nobody);
	tcase_add_test(tcase, look_ups_are_bounded);
	tcase_add_test(tcase, what_nobody_waits_for_makes_room);
	return rig_run(suite);
}
