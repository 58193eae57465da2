/* Lists of jobs: filters, order, pages that stay as they are while jobs come. */
#include "rig.h"

#include <stdlib.h>
#include <string.h>

/* The ids of a page, in order, with blanks between; an empty text for none. */
static const char *
listed(const json_t *page)
{
	const char *ids = "";
	json_t *job;
	size_t i;

	json_array_foreach(json_at(page, "jobs"), i, job)
		ids = text("%s%s ", ids, id_of(job));
	return ids;
}

static json_t *
list(const char *query)
{
	struct client_reply *reply = get("/v1/jobs?%s", query);

	expect_status(reply, 200);
	expect_keys(reply->json, "", "jobs next_cursor");
	return reply->json;
}

START_TEST(newest_first)
{
	const char *key = new_key(), *want = "";

	for (int i = 0; i < 20; i++)
		want = text("%s %s", id_of(submit_later("'tags':['%s']", key)), want);
	expect_text(listed(list(text("tag=%s", key))), want);
	expect(list(text("tag=%s", key)), "next_cursor", "null");
}
END_TEST

START_TEST(listed_jobs_are_short)
{
	const char *key = new_key();
	json_t *job = fetch(url("/text/10"), "'tags':['%s']", key), *entry;

	fetch(url("/bytes/10"), "'tags':['%s']", key);
	fetch(url("/close"), "'tags':['%s']", key);
	entry = json_at(list(text("tag=%s", key)), "jobs.2");
	expect_keys(entry, "", JOB_KEYS);
	expect_keys(entry, "response", "status url headers body_bytes body_sha256 body body_base64 body_url");
	expect(entry, "attempts", "null");
	expect(entry, "response.body", "null");
	expect(entry, "response.body_base64", "null");
	expect(entry, "response.body_bytes", "10");
	expect(entry, "response.body_url", "'%s'", json_text_at(job, "response.body_url"));
	entry = json_at(list(text("tag=%s", key)), "jobs.1");
	expect(entry, "response.body_base64", "null");
	entry = json_at(list(text("tag=%s", key)), "jobs.0");
	expect(entry, "error.code", "'truncated'");
}
END_TEST

START_TEST(by_state)
{
	const char *key = new_key();
	const char *queued = id_of(submit_later("'tags':['%s']", key));
	const char *running = id_of(job_in_state(submit(url("/hold"), "'tags':['%s']", key), "running"));
	const char *done = id_of(fetch(url("/echo"), "'tags':['%s']", key));

	expect_text(listed(list(text("tag=%s&state=queued", key))), text("%s ", queued));
	expect_text(listed(list(text("tag=%s&state=running,queued", key))), text("%s %s ", running, queued));
	expect_text(listed(list(text("tag=%s&state=succeeded", key))), text("%s ", done));
	expect_text(listed(list(text("tag=%s&state=failed,cancelled,retrying", key))), "");
	expect_text(listed(list(text("tag=%s", key))), text("%s %s %s ", done, running, queued));
	poke("/v1/jobs/%s/cancel", running);
	expect_text(listed(list(text("tag=%s&state=cancelled", key))), text("%s ", running));
}
END_TEST

/* What a client has seen is in its next list. */
START_TEST(what_was_seen_running_is_listed)
{
	for (int i = 0; i < 40; i++) {
		const char *key = new_key();
		json_t *job = submit(url("/hold"), "'tags':['%s']%s", key, i % 2 ? ",'method':'POST'" : "");

		if (i % 4 < 2)
			job_in_state(job, "running");
		else
			while (strcmp(json_text_at(job, "state"), "running") != 0)
				job = job_now(job);
		expect_text(listed(list(text("tag=%s&state=running", key))), text("%s ", id_of(job)));
		expect_text(listed(list(text("tag=%s&state=running,queued", key))), text("%s ", id_of(job)));
		expect_text(listed(list(text("tag=%s&state=queued", key))), "");
		expect_that(strstr(listed(list("state=running")), id_of(job)), "%s is not listed", id_of(job));
		poke("/v1/jobs/%s/cancel", id_of(job));
		expect_text(listed(list(text("tag=%s&state=running", key))), "");
		expect_text(listed(list(text("tag=%s&state=cancelled", key))), text("%s ", id_of(job)));
	}
}
END_TEST

START_TEST(what_was_seen_done_is_listed)
{
	for (int i = 0; i < 40; i++) {
		const char *key = new_key();
		json_t *job = fetch(url(i % 2 ? "/text/70000" : "/echo"), "'tags':['%s']", key);

		expect_text(listed(list(text("tag=%s&state=succeeded", key))), text("%s ", id_of(job)));
		expect_text(listed(list(text("tag=%s&state=queued,running,retrying", key))), "");
		expect_status(del("/v1/jobs/%s", id_of(job)), 204);
		expect_text(listed(list(text("tag=%s", key))), "");
	}
}
END_TEST

START_TEST(by_origin)
{
	const char *key = new_key();
	struct origin *there = another_origin();
	const char *here = id_of(submit_later("'tags':['%s']", key));
	const char *away = id_of(submit(url_on(there, "/echo"), "'delay':'1h','tags':['%s']", key));

	expect_text(listed(list(text("tag=%s&origin=127.0.0.1:%u", key, origin_port(the_origin)))), text("%s ", here));
	expect_text(listed(list(text("tag=%s&origin=127.0.0.1:%u", key, origin_port(there)))), text("%s ", away));
	expect_text(listed(list(text("tag=%s&origin=127.0.0.1", key))), text("%s %s ", away, here));
	expect_text(listed(list(text("tag=%s&origin=127.0.0.2", key))), "");
}
END_TEST

START_TEST(tags_may_hold_anything)
{
	const char *key = text("%s t&=\xc3\xbc %%+", new_key());
	const char *id = id_of(submit_later("'tags':['a','%s']", key));

	expect_text(listed(list(text("tag=%s", escaped(key)))), text("%s ", id));
	expect_text(listed(list(text("tag=%s-not", escaped(key)))), "");
}
END_TEST

/* The target of the Link header, or NULL. */
static const char *
next_link(const struct client_reply *reply)
{
	const char *link = client_field(reply, "link");
	const char *end = link ? strchr(link, '>') : NULL;

	if (!link)
		return NULL;
	expect_that(*link == '<' && end && strstr(end, "rel=\"next\""), "Link is %s", link);
	return text("%.*s", (int)(end - link - 1), link + 1);
}

START_TEST(pages_do_not_shift)
{
	const char *key = new_key(), *ids[7], *got = "", *want = "";
	const char *target = text("/v1/jobs?tag=%s&limit=3", key);
	int pages = 0;

	for (int i = 0; i < 7; i++) {
		ids[i] = id_of(submit_later("'tags':['%s']", key));
		want = text("%s %s", ids[i], want);
	}
	while (target && pages < 9) {
		struct client_reply *reply = get("%s", target);

		expect_status(reply, 200);
		got = text("%s%s", got, listed(reply->json));
		target = next_link(reply);
		expect_that((target != NULL) == (json_text_at(reply->json, "next_cursor") != NULL),
			"Link and next_cursor disagree");
		submit_later("'tags':['%s']", key); /* newer ones do not shift the pages that follow */
		pages++;
	}
	expect_text(got, want);
	expect_that(pages == 3, "%d pages", pages);
}
END_TEST

START_TEST(the_cursor_goes_on_where_the_page_ended)
{
	const char *key = new_key(), *ids[4];
	json_t *first, *second;

	for (int i = 0; i < 4; i++)
		ids[i] = id_of(submit_later("'tags':['%s']", key));
	first = list(text("tag=%s&limit=2", key));
	/* Neither the end of the page nor what follows need be there any more. */
	expect_status(del("/v1/jobs/%s", ids[2]), 204);
	expect_status(del("/v1/jobs/%s", ids[1]), 204);
	second = list(text("tag=%s&limit=2&cursor=%s", key, escaped(json_text_at(first, "next_cursor"))));
	expect_text(listed(first), text("%s %s ", ids[3], ids[2]));
	expect_text(listed(second), text("%s ", ids[0]));
	expect(second, "next_cursor", "null");
}
END_TEST

START_TEST(a_full_last_page_is_the_last)
{
	const char *key = new_key();

	submit_later("'tags':['%s']", key);
	submit_later("'tags':['%s']", key);
	expect(list(text("tag=%s&limit=2", key)), "next_cursor", "null");
}
END_TEST

START_TEST(the_limit_is_100_unless_given)
{
	const char *key = new_key();
	const char *queries[] = {text("tag=%s", key), text("tag=%s&limit=1000", key), text("tag=%s&limit=1", key)};
	static const size_t counts[] = {100, 103, 1};

	for (int i = 0; i < 103; i++)
		submit_later("'tags':['%s']", key);
	for (size_t i = 0; i < COUNT_OF(counts); i++) {
		size_t count = json_array_size(json_at(list(queries[i]), "jobs"));

		expect_that(count == counts[i], "%s lists %zu", queries[i], count);
	}
}
END_TEST

static const char *const bad_queries[] = {"limit=0", "limit=1001", "limit=x", "limit=-1", "limit=", "limit=1.5",
	"state=sleeping", "state=", "state=queued,,running", "cursor=%21%21", "cursor=x", "limits=5", "tag=%ff",
	"origin=", "limit=1&limit=2", "origin=http%3A%2F%2Fx"};

START_TEST(a_bad_query_is_400)
{
	expect_problem(get("/v1/jobs?%s", bad_queries[_i]), 400, NULL);
}
END_TEST

START_TEST(head_of_a_list)
{
	struct client_reply *reply = call_with("HEAD", "", "/v1/jobs?limit=1");

	expect_status(reply, 200);
}
END_TEST

static void
add_all(TCase *tcase)
{
	tcase_add_test(tcase, newest_first);
	tcase_add_test(tcase, listed_jobs_are_short);
	tcase_add_test(tcase, by_state);
	tcase_add_test(tcase, what_was_seen_running_is_listed);
	tcase_add_test(tcase, what_was_seen_done_is_listed);
	tcase_add_test(tcase, by_origin);
	tcase_add_test(tcase, tags_may_hold_anything);
	tcase_add_test(tcase, pages_do_not_shift);
	tcase_add_test(tcase, the_cursor_goes_on_where_the_page_ended);
	tcase_add_test(tcase, a_full_last_page_is_the_last);
	tcase_add_test(tcase, the_limit_is_100_unless_given);
	tcase_add_loop_test(tcase, a_bad_query_is_400, 0, COUNT_OF(bad_queries));
	tcase_add_test(tcase, head_of_a_list);
}

static void
share_memory(void)
{
	rig_share("--store", "memory");
}

int
main(void)
{
	Suite *suite = suite_create("list");

	add_all(rig_case(suite, "list", rig_share_default));
	add_all(rig_case(suite, "list in memory", share_memory));
	return rig_run(suite);
}
