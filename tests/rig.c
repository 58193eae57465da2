/*
 * The frame of the whole-daemon tests; see rig.h.
 *
 * What a test was given is kept in lists and released by the checked teardown, in whichever process the test ran. The
 * lists are under `lock`, for calls are made from threads too. A daemon shared by a test case belongs to the process
 * that runs the suite; a forked test only talks to it.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "rig.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MAX_SERVERS 8
#define MAX_ORIGINS 4
#define MAX_CALLS 256

struct server *the_server;
struct origin *the_origin;

struct text_node {
	struct text_node *next;
	char text[];
};

struct value_node {
	struct value_node *next;
	json_t *value;
};

struct wire_node {
	struct wire_node *next;
	struct client_wire wire;
};

struct call {
	pthread_t thread;
	bool ended;
	const char *method, *target, *body;
	struct client_address address;
	struct client_reply *reply;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct text_node *texts;
static struct value_node *values;
static struct client_reply *replies;
static struct wire_node *wires;
static struct server *own_servers[MAX_SERVERS];
static size_t own_server_count;
static struct origin *origins[MAX_ORIGINS];
static size_t origin_total;
static struct call calls[MAX_CALLS];
static size_t call_count;
static struct server_run *runs[64];
static size_t run_count;
static int sockets[32];
static size_t socket_count;
static struct disk disks[16];
static size_t disk_count;
static struct server *shared_server;
static unsigned complaints;

/* ---- texts */

static char *
text_room(size_t size)
{
	struct text_node *node = malloc(sizeof *node + size + 1);

	if (!node)
		abort();
	node->text[size] = '\0';
	pthread_mutex_lock(&lock);
	node->next = texts;
	texts = node;
	pthread_mutex_unlock(&lock);
	return node->text;
}

static char *PRINTF_LIKE(1, 0) text_v(const char *format, va_list arguments)
{
	char *made, *kept;
	int size = vasprintf(&made, format, arguments);

	if (size < 0)
		abort();
	kept = text_room((size_t)size);
	memcpy(kept, made, (size_t)size);
	free(made);
	return kept;
}

const char *
text(const char *format, ...)
{
	va_list arguments;
	const char *made;

	va_start(arguments, format);
	made = text_v(format, arguments);
	va_end(arguments);
	return made;
}

static const char *PRINTF_LIKE(1, 0) jtext_v(const char *format, va_list arguments)
{
	char *made = text_v(format, arguments);

	for (char *at = made; *at; at++)
		if (*at == '\'')
			*at = '"';
	return made;
}

const char *
jtext(const char *format, ...)
{
	va_list arguments;
	const char *made;

	va_start(arguments, format);
	made = jtext_v(format, arguments);
	va_end(arguments);
	return made;
}

const char *
url_on(struct origin *origin, const char *format, ...)
{
	va_list arguments;
	const char *path;

	va_start(arguments, format);
	path = text_v(format, arguments);
	va_end(arguments);
	return text("http://127.0.0.1:%u%s", origin_port(origin), path);
}

const char *
url(const char *format, ...)
{
	va_list arguments;
	const char *path;

	va_start(arguments, format);
	path = text_v(format, arguments);
	va_end(arguments);
	return text("http://127.0.0.1:%u%s", origin_port(the_origin), path);
}

const char *
new_key(void)
{
	static unsigned count;
	unsigned mine;

	pthread_mutex_lock(&lock);
	mine = ++count;
	pthread_mutex_unlock(&lock);
	return text("key-%d-%u", (int)getpid(), mine);
}

const char *
repeated(const char *once, size_t times)
{
	size_t length = strlen(once);
	char *made = text_room(length * times);

	for (size_t i = 0; i < times; i++)
		memcpy(made + i * length, once, length);
	return made;
}

const char *
escaped(const char *plain)
{
	char *made = text_room(strlen(plain) * 3), *at = made;

	for (; *plain; plain++) {
		unsigned char byte = (unsigned char)*plain;

		if ((byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z'))
			*at++ = (char)byte;
		else
			at += sprintf(at, "%%%02X", byte);
	}
	*at = '\0';
	return made;
}

const char *
hex_of(const void *data, size_t size)
{
	const unsigned char *bytes = data;
	char *made = text_room(size * 2);

	made[0] = '\0';
	for (size_t i = 0; i < size; i++)
		sprintf(made + 2 * i, "%02x", bytes[i]);
	return made;
}

const char *
origin_text_of(size_t size)
{
	char *made = text_room(size);

	origin_text(0, made, size);
	return made;
}

const char *
origin_pattern_of(size_t size)
{
	char *made = text_room(size);

	origin_pattern(0, made, size);
	return made;
}

const char *
sha256_of(const void *data, size_t size)
{
	unsigned char hash[32];

	if (!EVP_Digest(data, size, hash, NULL, EVP_sha256(), NULL))
		abort();
	return hex_of(hash, sizeof hash);
}

const char *
unbase64(const char *encoded, size_t *ret_size)
{
	size_t length = encoded ? strlen(encoded) : 1;
	char *made;
	int size;

	if (length % 4)
		return NULL;
	made = text_room(length / 4 * 3);
	size = EVP_DecodeBlock((unsigned char *)made, (const unsigned char *)encoded, (int)length);
	if (size < 0)
		return NULL;
	for (size_t i = length; i > 0 && encoded[i - 1] == '='; i--)
		size--;
	made[size] = '\0';
	*ret_size = (size_t)size;
	return made;
}

const char *
base64(const void *data, size_t size)
{
	char *made = text_room(size / 3 * 4 + 4);

	EVP_EncodeBlock((unsigned char *)made, data, (int)size);
	return made;
}

const char *
file_with(const char *name, const char *content)
{
	const char *path = text("%s/%d-%s", server_directory(), (int)getpid(), name);
	FILE *file = fopen(path, "w");

	ck_assert_msg(file && fputs(content, file) >= 0 && !fclose(file), "cannot write %s: %s", path, strerror(errno));
	return path;
}

const char *
new_state_dir(void)
{
	char *path = realpath(server_directory(), NULL); /* without links, as fault.so wants it */
	const char *kept = text("%s/%s.state", path, new_key());

	ck_assert_msg(!mkdir(kept, 0700), "cannot make %s: %s", kept, strerror(errno));
	free(path);
	return kept;
}

int64_t
mono_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t
time_at(const json_t *json, const char *path)
{
	const char *written = json_text_at(json, path);
	struct tm parts = {0};
	const char *rest = written ? strptime(written, "%Y-%m-%dT%H:%M:%S", &parts) : NULL;

	if (!rest || strlen(rest) != 5 || rest[0] != '.' || rest[4] != 'Z' || strspn(rest + 1, "0123456789") != 3)
		return -1;
	return (int64_t)timegm(&parts) * 1000 + atoi(rest + 1);
}

/* ---- daemons */

size_t
rig_scaled(size_t count)
{
	const char *scale = getenv("FETCHPOOL_TEST_SCALE");
	size_t by = scale ? strtoul(scale, NULL, 10) : 1;

	return by > 1 ? count / by : count;
}

static void
complain_about_end(struct server *server, int status)
{
	const char *report = server_sanitizer_report(server);

	if (status != 0)
		fprintf(stderr, "the shared daemon ended with status %d\n", status);
	if (report)
		fprintf(stderr, "the shared daemon said: %.2000s\n", report);
	complaints += status != 0 || report;
}

void
rig_share_words(const char *const *options)
{
	char *said = NULL;

	shared_server = server_start(options, &said);
	if (said)
		fprintf(stderr, "the shared daemon did not start: %s\n", said);
	complaints += said != NULL;
	free(said);
	ck_assert_msg(shared_server, "the shared daemon did not start");
	the_server = shared_server;
}

void
rig_share_default(void)
{
	rig_share_words((const char *const[]){NULL});
}

void
rig_unshare(void)
{
	if (!shared_server)
		return;
	complain_about_end(shared_server, server_stop(shared_server, SIGTERM));
	server_free(shared_server);
	shared_server = the_server = NULL;
}

struct server *
start_server_words(const char *const *options)
{
	char *said = NULL;
	struct server *server = server_start(options, &said);
	const char *kept = said ? text("%s", said) : NULL;

	free(said);
	ck_assert_msg(server, "the daemon did not start: %s", kept);
	ck_assert_msg(own_server_count < MAX_SERVERS, "too many daemons in one test");
	own_servers[own_server_count++] = server;
	the_server = server;
	return server;
}

/* Its words: the environment's first, then the directory, then the other options. */
struct server *
start_server_on_words(const char *state_dir, const char *const *options)
{
	const char *words[64];
	size_t count = 0;

	for (; *options && **options != '-'; options++)
		words[count++] = *options;
	words[count++] = "--state-dir";
	words[count++] = state_dir;
	for (; *options && count + 1 < COUNT_OF(words); options++)
		words[count++] = *options;
	words[count] = NULL;
	return start_server_words(words);
}

int
end_server(struct server *server, int signal)
{
	int status = signal ? server_stop(server, signal) : server_wait(server);
	const char *report = server_sanitizer_report(server);
	const char *kept = report ? text("%.2000s", report) : NULL;

	for (size_t i = 0; i < own_server_count; i++)
		if (own_servers[i] == server)
			own_servers[i] = own_servers[--own_server_count];
	server_free(server);
	ck_assert_msg(!kept, "the daemon said: %s", kept);
	return status;
}

const char *
said_by(struct server *server)
{
	char *said = server_said(server);
	const char *kept = text("%s", said);

	free(said);
	return kept;
}

const struct server_run *
run_server_words(const char *const *words)
{
	ck_assert_msg(run_count < COUNT_OF(runs), "too many runs in one test");
	return runs[run_count++] = server_run(words);
}

/* ---- disks */

/* The run-time library of the sanitizer that this program and the daemon are built with: it has to be loaded first. */
static int
find_sanitizer(struct dl_phdr_info *loaded, size_t size, void *ret_path)
{
	(void)size;
	if (!strstr(loaded->dlpi_name, "/libasan.so") && !strstr(loaded->dlpi_name, "/libtsan.so"))
		return 0;
	*(const char **)ret_path = loaded->dlpi_name;
	return 1;
}

const char *
preload_word(const char *library)
{
	const char *top = getenv("top_builddir"), *sanitizer = "";
	char *path = realpath(text("%s/tests/%s", top ? top : ".", library), NULL);
	const char *word;

	ck_assert_msg(path, "tests/%s is missing", library);
	dl_iterate_phdr(find_sanitizer, &sanitizer);
	word = text("LD_PRELOAD=%s%s%s", sanitizer, *sanitizer ? " " : "", path);
	free(path);
	return word;
}

static struct fault_page *
new_page(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	struct fault_page *page;

	ck_assert_msg(fd >= 0 && !ftruncate(fd, sizeof *page), "cannot make %s: %s", path, strerror(errno));
	page = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ck_assert_msg(page != MAP_FAILED, "cannot map %s: %s", path, strerror(errno));
	close(fd);
	return page;
}

struct disk *
disk_on(const char *state_dir)
{
	const char *control = text("%s/%s.control", server_directory(), new_key());
	struct disk *disk;

	ck_assert_msg(disk_count < COUNT_OF(disks), "too many disks in one test");
	disk = &disks[disk_count];
	*disk = (struct disk){.state_dir = state_dir,
		.page = new_page(control),
		.words = {preload_word("fault.so"), text("FAULT_DIR=%s", state_dir), text("FAULT_CONTROL=%s", control),
			"FAULT_NO_JOURNAL="}};
	disk_count++;
	return disk;
}

struct disk *
new_disk(void)
{
	return disk_on(new_state_dir());
}

struct disk *
new_written_disk(void)
{
	struct disk *disk = new_disk();

	disk->journal = text("%s.journal", disk->state_dir);
	disk->words[3] = text("FAULT_JOURNAL=%s", disk->journal);
	return disk;
}

struct fault_rule *
disk_fails_by(struct disk *disk, const struct fault_rule *order)
{
	struct fault_rule *rule = disk->page->rules;

	while (rule < disk->page->rules + FAULT_MAX_RULES && rule->calls)
		rule++;
	ck_assert_msg(rule < disk->page->rules + FAULT_MAX_RULES, "too many rules for one disk");
	rule->calls = order->calls;
	memcpy(rule->path, order->path, sizeof rule->path);
	rule->error = order->error;
	rule->skip = order->skip;
	rule->times = order->times;
	rule->half = order->half;
	rule->hold = order->hold;
	atomic_store(&rule->armed, 1);
	return rule;
}

void
rule_end(struct fault_rule *rule)
{
	if (atomic_exchange(&rule->armed, 0))
		syscall(SYS_futex, &rule->armed, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void
disk_heal(struct disk *disk)
{
	for (size_t i = 0; i < FAULT_MAX_RULES; i++)
		rule_end(&disk->page->rules[i]);
}

void
await_hits(struct fault_rule *rule, uint32_t count)
{
	int64_t until = mono_ms() + SERVER_PATIENCE_MS;
	uint32_t hits;

	while ((hits = atomic_load(&rule->hits)) < count) {
		ck_assert_msg(mono_ms() < until, "only %u of %u calls came that should fail", hits, count);
		syscall(SYS_futex, &rule->hits, FUTEX_WAIT, hits, &(struct timespec){.tv_sec = 1}, NULL, 0);
	}
}

size_t
disk_written(const struct disk *disk)
{
	return atomic_load(&disk->page->journaled);
}

/* ---- origins */

struct origin *
another_origin(void)
{
	struct origin *origin = origin_start(0);

	ck_assert_msg(origin && origin_total < MAX_ORIGINS, "no further origin");
	return origins[origin_total++] = origin;
}

static int
keep_socket(int flags)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);

	ck_assert_msg(fd >= 0 && socket_count < COUNT_OF(sockets), "no further socket");
	return sockets[socket_count++] = fd;
}

/* Bound, and listening unless the backlog is below 0. */
static struct sockaddr_in
bound_socket(int backlog)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof address;
	int fd = keep_socket(0);

	ck_assert_msg(!bind(fd, (struct sockaddr *)&address, size) &&
			!getsockname(fd, (struct sockaddr *)&address, &size) && (backlog < 0 || !listen(fd, backlog)),
		"no port: %s", strerror(errno));
	return address;
}

unsigned
closed_port(void)
{
	return ntohs(bound_socket(-1).sin_port);
}

unsigned
silent_port(void)
{
	return ntohs(bound_socket(128).sin_port);
}

unsigned
stuck_port(void)
{
	struct sockaddr_in address = bound_socket(0);

	for (int i = 0; i < 4; i++) /* fills the backlog, so that later handshakes go unanswered */
		connect(keep_socket(SOCK_NONBLOCK), (struct sockaddr *)&address, sizeof address);
	return ntohs(address.sin_port);
}

static void
test_setup(void)
{
	the_server = shared_server;
	the_origin = another_origin();
}

static void
release_memory(void)
{
	while (texts) {
		struct text_node *node = texts;

		texts = node->next;
		free(node);
	}
	while (values) {
		struct value_node *node = values;

		values = node->next;
		json_decref(node->value);
		free(node);
	}
	while (replies) {
		struct client_reply *reply = replies;

		replies = reply->next;
		client_reply_free(reply);
	}
}

static void
release_connections(void)
{
	while (wires) {
		struct wire_node *node = wires;

		wires = node->next;
		client_close(&node->wire);
		free(node);
	}
}

/* Ends the test's own daemons as they are meant to end; gives the first complaint. */
static const char *
stop_own_servers(void)
{
	static char said[2400];
	const char *report;

	*said = '\0';
	while (own_server_count) {
		struct server *server = own_servers[--own_server_count];
		int status = server_finish(server);

		report = server_sanitizer_report(server);
		if (!*said && (status || report))
			snprintf(said, sizeof said, "the daemon ended with status %d %.2000s", status,
				report ? report : "");
		server_free(server);
	}
	return *said ? said : NULL;
}

static void
test_teardown(void)
{
	const char *said = stop_own_servers();

	while (call_count)
		call_end(&calls[--call_count]);
	release_connections();
	while (origin_total)
		origin_stop(origins[--origin_total]);
	while (socket_count)
		close(sockets[--socket_count]);
	while (disk_count)
		munmap(disks[--disk_count].page, sizeof(struct fault_page));
	while (run_count)
		server_run_free(runs[--run_count]);
	release_memory();
	ck_assert_msg(!said, "%s", said);
}

TCase *
rig_case(Suite *suite, const char *name, void (*setup)(void))
{
	TCase *tcase = tcase_create(name);

	tcase_set_timeout(tcase, 90);
	if (setup)
		tcase_add_unchecked_fixture(tcase, setup, rig_unshare);
	tcase_add_checked_fixture(tcase, test_setup, test_teardown);
	suite_add_tcase(suite, tcase);
	return tcase;
}

int
rig_run(Suite *suite)
{
	SRunner *runner = srunner_create(suite);
	int failed;

	signal(SIGPIPE, SIG_IGN);
	json_object_seed(0);
	server_directory();
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	if (failed || complaints)
		server_dump_all();
	server_clean_up();
	return failed || complaints ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* ---- calls */

struct client_reply *
rig_keep(struct client_reply *reply)
{
	pthread_mutex_lock(&lock);
	reply->next = replies;
	replies = reply;
	pthread_mutex_unlock(&lock);
	return reply;
}

static json_t *
keep_json(json_t *value)
{
	struct value_node *node = malloc(sizeof *node);

	if (!node)
		abort();
	pthread_mutex_lock(&lock);
	*node = (struct value_node){.next = values, .value = value};
	values = node;
	pthread_mutex_unlock(&lock);
	return value;
}

struct client_reply *
call_request(const struct client_request *request)
{
	return rig_keep(client_call(server_address(the_server), request));
}

static struct client_reply *
call_plain(const char *method, const char *target, const char *fields)
{
	return call_request(&(struct client_request){.method = method, .target = target, .fields = fields});
}

struct client_reply *
call_with(const char *method, const char *fields, const char *target_format, ...)
{
	va_list arguments;
	const char *target;

	va_start(arguments, target_format);
	target = text_v(target_format, arguments);
	va_end(arguments);
	return call_plain(method, target, fields);
}

struct client_reply *
get(const char *target_format, ...)
{
	va_list arguments;
	const char *target;

	va_start(arguments, target_format);
	target = text_v(target_format, arguments);
	va_end(arguments);
	return call_plain("GET", target, NULL);
}

struct client_reply *
del(const char *target_format, ...)
{
	va_list arguments;
	const char *target;

	va_start(arguments, target_format);
	target = text_v(target_format, arguments);
	va_end(arguments);
	return call_plain("DELETE", target, NULL);
}

struct client_reply *
poke(const char *target_format, ...)
{
	va_list arguments;
	const char *target;

	va_start(arguments, target_format);
	target = text_v(target_format, arguments);
	va_end(arguments);
	return call_plain("POST", target, "Content-Length: 0\r\n");
}

struct client_reply *
post_bytes(const char *target, const char *fields, const void *body, size_t size)
{
	return call_request(&(struct client_request){
		.method = "POST", .target = target, .fields = fields, .body = body, .body_bytes = size});
}

static struct client_reply *
post_json(const char *target, const char *body)
{
	return post_bytes(target, "Content-Type: application/json\r\n", body, strlen(body));
}

struct client_reply *
post(const char *target, const char *format, ...)
{
	va_list arguments;
	const char *body;

	va_start(arguments, format);
	body = jtext_v(format, arguments);
	va_end(arguments);
	return post_json(target, body);
}

static void *
call_main(void *argument)
{
	struct call *call = argument;
	struct client_request request = {.method = call->method,
		.target = call->target,
		.body = call->body,
		.body_bytes = call->body ? strlen(call->body) : 0,
		.fields = call->body ? "Content-Type: application/json\r\n" : ""};

	call->reply = client_call(&call->address, &request);
	return NULL;
}

struct call *
call_start(const char *method, const char *target, const char *body)
{
	struct call *call = &calls[call_count++];

	ck_assert_msg(call_count <= MAX_CALLS, "too many calls at once in one test");
	*call = (struct call){.method = method, .target = target, .body = body, .address = *server_address(the_server)};
	ck_assert_msg(!pthread_create(&call->thread, NULL, call_main, call), "no thread for a call");
	return call;
}

struct client_reply *
call_end(struct call *call)
{
	if (!call->ended) {
		pthread_join(call->thread, NULL);
		rig_keep(call->reply);
	}
	call->ended = true;
	return call->reply;
}

struct client_wire *
open_wire(void)
{
	struct wire_node *node = malloc(sizeof *node);
	int error;

	if (!node)
		abort();
	error = client_connect(&node->wire, server_address(the_server));
	pthread_mutex_lock(&lock);
	node->next = wires;
	wires = node;
	pthread_mutex_unlock(&lock);
	ck_assert_msg(!error, "no connection to the daemon: %s", strerror(-error));
	return &node->wire;
}

void
wire_send(struct client_wire *wire, const char *format, ...)
{
	va_list arguments;
	const char *made;

	va_start(arguments, format);
	made = text_v(format, arguments);
	va_end(arguments);
	client_send(wire, made, strlen(made));
}

void
wire_get(struct client_wire *wire, const char *target_format, ...)
{
	va_list arguments;
	const char *target;

	va_start(arguments, target_format);
	target = text_v(target_format, arguments);
	va_end(arguments);
	wire_send(wire, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", target);
}

struct client_reply *
wire_receive(struct client_wire *wire)
{
	return rig_keep(client_receive(wire, false));
}

double
metric(const char *name)
{
	struct client_reply *reply = get("/metrics");
	size_t length = strlen(name);
	double sum = 0;
	bool found = false;

	for (const char *line = reply->body.data; line && *line;
		line = strchr(line, '\n'), line = line ? line + 1 : NULL) {
		if (strncmp(line, name, length) != 0 || (line[length] != ' ' && line[length] != '{'))
			continue;
		found = true;
		sum += strtod(line[length] == '{' ? strstr(line, "} ") + 2 : line + length, NULL);
	}
	return found ? sum : -1;
}

bool
await_metric(const char *name, double least)
{
	int64_t until = mono_ms() + SERVER_PATIENCE_MS;

	while (metric(name) < least)
		if (mono_ms() > until)
			return false;
	return true;
}

bool
await_status(const char *target, int status)
{
	int64_t until = mono_ms() + SERVER_PATIENCE_MS;

	while (get("%s", target)->status != status)
		if (mono_ms() > until)
			return false;
	return true;
}

/* ---- jobs */

static struct client_reply *
send_spec(const char *query, const char *target_url, const char *more)
{
	const char *quoted = json_dumps(keep_json(json_string(target_url)), JSON_ENCODE_ANY);
	const char *spec = text("{\"url\":%s%s%s}", quoted, *more ? "," : "", more);

	free((char *)(uintptr_t)quoted);
	return post_json(text("/v1/jobs%s", query), spec);
}

static json_t *
spec_answer(const char *query, int status, const char *target_url, const char *more)
{
	struct client_reply *reply = send_spec(query, target_url, more);

	ck_assert_msg(reply->status == status, "submitting %s with %s: %d, not %d: %s%.500s", target_url, more,
		reply->status, status, reply->error ? reply->error : "", reply->body.used ? reply->body.data : "");
	ck_assert_msg(reply->json, "submitting gave no JSON: %.200s", reply->body.data);
	return reply->json;
}

json_t *
submit(const char *target_url, const char *more_format, ...)
{
	va_list arguments;
	const char *more;

	va_start(arguments, more_format);
	more = jtext_v(more_format, arguments);
	va_end(arguments);
	return spec_answer("", 202, target_url, more);
}

json_t *
submit_later(const char *more_format, ...)
{
	va_list arguments;
	const char *more;

	va_start(arguments, more_format);
	more = jtext_v(more_format, arguments);
	va_end(arguments);
	return spec_answer("", 202, url("/echo"), text("\"delay\":\"1h\"%s%s", *more ? "," : "", more));
}

json_t *
fetch_query(const char *query, const char *target_url, const char *more_format, ...)
{
	va_list arguments;
	const char *more;

	va_start(arguments, more_format);
	more = jtext_v(more_format, arguments);
	va_end(arguments);
	return spec_answer(query, 200, target_url, more);
}

json_t *
fetch(const char *target_url, const char *more_format, ...)
{
	va_list arguments;
	const char *more;

	va_start(arguments, more_format);
	more = jtext_v(more_format, arguments);
	va_end(arguments);
	return spec_answer("?wait=25s", 200, target_url, more);
}

const char *
id_of(const json_t *job)
{
	const char *id = json_text_at(job, "id");

	ck_assert_msg(id, "a job without an id");
	return id;
}

static json_t *
job_answer(struct client_reply *reply)
{
	expect_status(reply, 200);
	ck_assert_msg(reply->json, "no JSON: %.200s", reply->body.data);
	return reply->json;
}

json_t *
job_now(const json_t *job)
{
	return job_answer(get("/v1/jobs/%s", id_of(job)));
}

json_t *
job_done(const json_t *job)
{
	json_t *now = job_answer(get("/v1/jobs/%s?wait=25s", id_of(job)));

	expect(now, "done", "true");
	return now;
}

json_t *
job_in_state(const json_t *job, const char *state)
{
	json_t *now = job_now(job);

	while (strcmp(json_text_at(now, "state"), state) != 0) {
		ck_assert_msg(!json_true_at(now, "done"), "the job is %s, not %s", json_text_at(now, "state"), state);
		now = job_answer(get("/v1/jobs/%s?wait=10s&since=%d", id_of(job), (int)json_int_at(now, "version")));
	}
	return now;
}

static json_t *
parsed(const char *written)
{
	json_error_t error;
	json_t *value = written ? json_loads(written, JSON_DECODE_ANY, &error) : NULL;

	return value ? keep_json(value) : NULL;
}

json_t *
echo_of(const char *more_format, ...)
{
	va_list arguments;
	const char *more;
	json_t *job, *echo;

	va_start(arguments, more_format);
	more = jtext_v(more_format, arguments);
	va_end(arguments);
	job = strstr(more, "\"url\":") ? job_answer(post_json("/v1/jobs?wait=25s", text("{%s}", more)))
				       : spec_answer("?wait=25s", 200, url("/echo"), more);
	expect(job, "state", "'succeeded'");
	echo = parsed(json_text_at(job, "response.body"));
	ck_assert_msg(echo, "the echo is no JSON: %s", json_text_at(job, "response.body"));
	return echo;
}

json_t *
echoed(const json_t *echo, const char *name)
{
	json_t *found = keep_json(json_array()), *field;
	size_t i;

	json_array_foreach(json_at(echo, "headers"), i, field)
		if (!strcmp(json_text_at(field, "0"), name))
			json_array_append(found, json_at(field, "1"));
	return found;
}

const struct origin_request *
await_seen(const char *key)
{
	const struct origin_request *request = origin_await_seen(the_origin, key, 0);

	ck_assert_msg(request, "the origin saw no request of %s", key);
	return request;
}

/* ---- expectations */

const char *
dumped(const json_t *value)
{
	char *made = value ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
	const char *kept = text("%.600s", made ? made : "(nothing)");

	free(made);
	return kept;
}

const char *
wrong_value(const json_t *json, const char *path, const char *want)
{
	json_t *wanted = parsed(want), *got = json_at(json, path);

	if (!wanted)
		return text("the test's own JSON is broken: %s", want);
	if (got && json_equal(got, wanted))
		return NULL;
	return text("%s is %s, not %.300s; error %s", *path ? path : "it", dumped(got), want,
		dumped(json_at(json, "error")));
}

const char *
wrong_status(const struct client_reply *reply, int status)
{
	if (reply->status == status)
		return NULL;
	return text("the answer is %d, not %d: %s%.400s", reply->status, status, reply->error ? reply->error : "",
		reply->body.used ? reply->body.data : "");
}

const char *
wrong_header(const struct client_reply *reply, const char *name, const char *want)
{
	const char *got = client_field(reply, name);

	if (want ? got && !strcmp(got, want) : !got)
		return NULL;
	return text(
		"%s is %s, not %s (status %d)", name, got ? got : "not there", want ? want : "left out", reply->status);
}

const char *
wrong_problem(const struct client_reply *reply, int status, const char *pointer)
{
	const char *wrong = wrong_status(reply, status);

	if (!wrong)
		wrong = wrong_header(reply, "content-type", "application/problem+json");
	if (!wrong && !reply->json)
		wrong = text("the problem is no JSON: %.200s", reply->body.data);
	if (!wrong)
		wrong = wrong_value(reply->json, "status", text("%d", status));
	for (size_t i = 0; !wrong && i < 4; i++) {
		static const char *const names[] = {"type", "title", "detail", "code"};
		const char *member = json_text_at(reply->json, names[i]);

		if (!member || !*member)
			wrong = text("the problem's %s is missing or empty: %s", names[i], dumped(reply->json));
	}
	if (!wrong && !json_at(reply->json, "pointer"))
		wrong = text("the problem has no pointer: %s", dumped(reply->json));
	if (!wrong && pointer)
		wrong = wrong_value(reply->json, "pointer", jtext("%s", pointer));
	return wrong ? text("%s; detail: %s", wrong, dumped(json_at(reply->json, "detail"))) : NULL;
}

const char *
wrong_keys(const json_t *json, const char *path, const char *names)
{
	json_t *object = json_at(json, path);
	const char *at = names;
	size_t count = 0;

	while (*at) {
		size_t length = strcspn(at, " ");

		if (!json_object_get(object, text("%.*s", (int)length, at)))
			return text("%s lacks %.*s: %s", *path ? path : "it", (int)length, at, dumped(object));
		count++;
		at += length + strspn(at + length, " ");
	}
	if (json_object_size(object) != count)
		return text("%s has further keys than %s: %s", *path ? path : "it", names, dumped(object));
	return NULL;
}

static bool
is_retryable(const char *code)
{
	static const char *const codes[] = {"dns_failed", "connect_failed", "connect_timeout", "first_byte_timeout",
		"idle_timeout", "timeout", "connection_lost", "truncated"};

	for (size_t i = 0; i < COUNT_OF(codes); i++)
		if (!strcmp(codes[i], code))
			return true;
	return false;
}

const char *
wrong_failure(const json_t *job, const char *code, const char *phase)
{
	const char *wrong = wrong_value(job, "state", "\"failed\"");
	const char *message = json_text_at(job, "error.message");
	json_t *attempts = json_at(job, "attempts");

	if (wrong)
		return text("%s; response %s", wrong, dumped(json_at(job, "response")));
	if (!wrong)
		wrong = wrong_keys(job, "error", "code message phase retryable");
	if (!wrong)
		wrong = wrong_value(job, "error.code", jtext("'%s'", code));
	if (!wrong && phase)
		wrong = wrong_value(job, "error.phase", jtext("'%s'", phase));
	if (!wrong)
		wrong = wrong_value(job, "error.retryable", is_retryable(code) ? "true" : "false");
	if (!wrong)
		wrong = wrong_value(job, "done", "true");
	if (!wrong)
		wrong = wrong_value(job, "response", "null");
	if (!wrong && json_array_size(attempts))
		wrong = wrong_value(
			json_array_get(attempts, json_array_size(attempts) - 1), "error.code", jtext("'%s'", code));
	if (!wrong && (!message || !*message))
		wrong = "the error has no message";
	return wrong;
}
