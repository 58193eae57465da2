/* See durable.h. */
#define _XOPEN_SOURCE 700
#include "durable.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const int ways[WAYS] = {SIGKILL, SIGTERM};

struct server *
start_busy(const char *key)
{
	struct server *server = start_first("--max-in-flight", "1");

	submit(url("/hold?k=%s", key), "");
	await_seen(key);
	return server;
}

const char *
end_by(struct server *server, int signal)
{
	const char *state_dir = text("%s", server_state_dir(server));
	int status = end_server(server, signal);

	expect_that(status == (signal == SIGKILL ? 128 + SIGKILL : 0), "it ended with status %d", status);
	return state_dir;
}

void
await_changes(unsigned count)
{
	expect_that(await_metric("fetchpool_ledger_entries_total", count), "only %g changes are kept, not %u",
		metric("fetchpool_ledger_entries_total"), count);
}

void
let_pass(unsigned ms)
{
	struct client_address address = {.port = origin_port(the_origin)};
	struct client_request request = {.method = "GET", .target = text("/delay/%u", ms), .fields = ""};

	expect_status(rig_keep(client_call(&address, &request)), 200);
}

/* ---- what is told of a job */

const char *
told(const struct client_reply *reply)
{
	const char *all = text("%d\n", reply->status);
	const char *hash = sha256_of(reply->body.used ? reply->body.data : "", reply->body.used);

	for (size_t i = 0; i < reply->field_count; i++)
		if (strcmp(reply->fields[i].name, "date") != 0)
			all = text("%s%s: %s\n", all, reply->fields[i].name, reply->fields[i].value);
	return text("%s%s\n%s\n", all, hash, reply->json ? reply->body.data : "");
}

const char *
all_of(const char *id)
{
	const char *body = text("/v1/jobs/%s/body", id);
	struct client_reply *replies[] = {
		get("/v1/jobs/%s", id),
		get("/v1/jobs/%s?pretty", id),
		get("/v1/jobs/%s?body=none", id),
		get("/v1/jobs/%s?wait=0", id),
		call_with("HEAD", "", "/v1/jobs/%s", id),
		get("%s", body),
		call_with("GET", "Range: bytes=3-70\r\n", "%s", body),
		call_with("GET", "Range: bytes=-5\r\n", "%s", body),
		call_with("HEAD", "", "%s", body),
	};
	const char *all = "";

	for (size_t i = 0; i < COUNT_OF(replies); i++)
		all = text("%s%s", all, told(replies[i]));
	return all;
}

void
expect_same(const char *after, const char *before)
{
	size_t at = 0, from;

	while (before[at] && before[at] == after[at])
		at++;
	from = at < 100 ? 0 : at - 100;
	expect_that(before[at] == after[at], "it was ...%.200s\nand is ...%.200s", before + from, after + from);
}

struct kept
keep(const char *id)
{
	return (struct kept){.id = id, .all = all_of(id)};
}

void
expect_kept(const struct kept *kept, size_t count)
{
	for (size_t i = 0; i < count; i++)
		expect_same(all_of(kept[i].id), kept[i].all);
}

const char *
listed(const json_t *page)
{
	const char *ids = "";
	json_t *job;
	size_t i;

	json_array_foreach(json_at(page, "jobs"), i, job)
		ids = text("%s%s ", ids, id_of(job));
	return ids;
}

/* ---- files */

const char *
body_file(const char *state_dir, const char *id)
{
	return text("%s/bodies/%s", state_dir, id);
}

bool
is_there(const char *path)
{
	return access(path, F_OK) == 0;
}

void
make_file(const char *path, const char *content)
{
	FILE *file = fopen(path, "w");

	expect_that(file && fputs(content, file) >= 0 && !fclose(file), "cannot write %s: %s", path, strerror(errno));
}

void
await_no_file(const char *path)
{
	int64_t until = mono_ms() + SERVER_PATIENCE_MS;

	while (is_there(path))
		expect_that(mono_ms() < until, "%s stays", path);
}

static const char *
content_of(const char *path)
{
	FILE *file = fopen(path, "r");
	char chunk[65536];
	const char *hash = "";
	size_t got;

	expect_that(file, "cannot read %s: %s", path, strerror(errno));
	while ((got = fread(chunk, 1, sizeof chunk, file)) > 0)
		hash = sha256_of(text("%s%s", hash, sha256_of(chunk, got)), strlen(hash) + 64);
	fclose(file);
	return hash;
}

static const char *
folder_of(const char *path)
{
	struct dirent **entries;
	int count = scandir(path, &entries, NULL, alphasort);
	const char *all = "";

	expect_that(count >= 0, "cannot read %s: %s", path, strerror(errno));
	for (int i = 0; i < count; i++) {
		const char *name = entries[i]->d_name;

		if (*name != '.' && strcmp(name, "lock") != 0 && strcmp(name, "bodies") != 0)
			all = text("%s%s %s\n", all, name, content_of(text("%s/%s", path, name)));
		free(entries[i]);
	}
	free(entries);
	return all;
}

const char *
files_of(const char *state_dir)
{
	return text("%s%s", folder_of(state_dir), folder_of(text("%s/bodies", state_dir)));
}
