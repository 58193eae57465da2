/*
 * See config_file.h. The form of the file:
 *
 *     # a comment
 *     max-wait = 30s
 *     listen = {127.0.0.1:8080, unix:/run/fetchpool.sock}
 *     origin "api.example:443" {
 *         max-in-flight = 4
 *     }
 *     token "nightly" {
 *         sha256 = HEX
 *         scope = {submit, read}
 *     }
 *
 * A word needs quotation marks, "..." or '...', only when it holds a blank or one of = { } ( ) , # " ' (so
 * origin-limit = "host=4" does; *.internal, [::1]:80, 10.0.0.0/8 and 64MiB do not). Within them a backslash stands for
 * itself unless it comes before a quotation mark or another backslash. Lines that give the same list add to it.
 *
 * libconfuse 3.3 does the grammar, but its scanner drops * and + from bare words without a word, counts a comment's
 * line up to three times, replaces ${NAME}, takes a section that never ends, and stays within a string that never ended
 * when the next file is read. So the text is brought into a plain form first: no comments, and every word in single
 * quotes, in which libconfuse changes nothing, on the line it came from.
 */
#include "base/config_file.h"

#include <confuse.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FILE_BYTES (1 << 20)

struct plain {
	const char *at; /* what is left of the text */
	int line;
	int open_line; /* where the outermost open brace stands */
	int depth;
	const char *why; /* what is wrong in this line; NULL while all is well */
	struct buffer text;
};

static void
put_quoted_char(struct plain *plain, char c)
{
	if (c == '\'' || c == '\\')
		buffer_append_char(&plain->text, '\\');
	buffer_append_char(&plain->text, c);
}

static void
take_quoted(struct plain *plain)
{
	char quote = *plain->at++;

	buffer_append_char(&plain->text, '\'');
	for (; *plain->at != quote; plain->at++) {
		if (*plain->at == '\\' && plain->at[1] != '\0' && strchr("\\\"'", plain->at[1]) != NULL)
			plain->at++;
		if (*plain->at == '\0' || *plain->at == '\n') {
			plain->why = "a string lacks its closing quotation mark";
			return;
		}
		put_quoted_char(plain, *plain->at);
	}
	plain->at++;
	buffer_append_char(&plain->text, '\'');
}

static void
take_word(struct plain *plain)
{
	if (strncmp(plain->at, "//", 2) == 0 || strncmp(plain->at, "/*", 2) == 0) {
		plain->why = "a comment begins with #";
		return;
	}
	buffer_append_char(&plain->text, '\'');
	for (; strchr(" \t\r\n={}(),#\"'", *plain->at) == NULL; plain->at++) {
		if (strncmp(plain->at, "+=", 2) == 0)
			break;
		put_quoted_char(plain, *plain->at);
	}
	buffer_append_char(&plain->text, '\'');
}

static void
take_punctuation(struct plain *plain)
{
	switch (*plain->at) {
	case '\n':
		plain->line++;
		break;
	case '{':
		if (plain->depth++ == 0)
			plain->open_line = plain->line;
		break;
	case '}':
		plain->depth--;
		break;
	default:
		break;
	}
	buffer_append_char(&plain->text, *plain->at++);
}

static void
take_piece(struct plain *plain)
{
	if (*plain->at == '#') {
		plain->at += strcspn(plain->at, "\n");
	} else if (*plain->at == '"' || *plain->at == '\'') {
		take_quoted(plain);
	} else if (strncmp(plain->at, "+=", 2) == 0) {
		buffer_append_string(&plain->text, "+=");
		plain->at += 2;
	} else if (strchr(" \t\r\n={}(),", *plain->at) != NULL) {
		take_punctuation(plain);
	} else {
		take_word(plain);
	}
}

/* Brings the text into the plain form; sets why when it cannot. */
static void
make_plain(struct plain *plain)
{
	while (*plain->at != '\0' && plain->why == NULL)
		take_piece(plain);
	if (plain->why == NULL && plain->depth > 0) {
		plain->why = "an opening brace lacks its closing one";
		plain->line = plain->open_line;
	}
	buffer_append_char(&plain->text, '\n'); /* never empty, which fmemopen may refuse */
}

/* What libconfuse's callbacks work on: they carry no pointer of ours. */
static struct reading {
	const char *path;
	struct arena *arena;
	struct buffer *message;
	struct buffer settings; /* an array of struct config_file_setting */
	int error;
} * reading;

static const struct {
	const char *name;
	enum config_file_section section;
} sections[] = {{"origin", CONFIG_FILE_ORIGIN}, {"token", CONFIG_FILE_TOKEN}};

/* Notes a setting (name NULL: the section's end). Returns 0, or -1 when memory runs out. */
static int
note(cfg_t *cfg, const char *name, const char *value, int line)
{
	struct config_file_setting setting = {.line = line};

	if (cfg->title != NULL) {
		for (size_t i = 0; i < sizeof sections / sizeof *sections; i++)
			if (strcmp(cfg->name, sections[i].name) == 0)
				setting.section = sections[i].section;
		setting.title = arena_string(reading->arena, cfg->title);
	}
	if (name != NULL) {
		setting.name = arena_string(reading->arena, name);
		setting.value = arena_string(reading->arena, value);
	}
	if ((cfg->title != NULL && setting.title == NULL) ||
		(name != NULL && (setting.name == NULL || setting.value == NULL))) {
		reading->error = -ENOMEM;
		return -1;
	}
	buffer_append(&reading->settings, &setting, sizeof setting);
	return 0;
}

static int
on_value(cfg_t *cfg, cfg_opt_t *option, const char *value, void *result)
{
	*(const char **)result = ""; /* libconfuse keeps a copy that nobody reads */
	return note(cfg, option->name, value, cfg->line);
}

/* A section has been read to its end. */
static int
on_section(cfg_t *cfg, cfg_opt_t *option)
{
	return note(cfg_opt_getnsec(option, cfg_opt_size(option) - 1), NULL, NULL, cfg->line);
}

static void __attribute__((format(printf, 2, 0))) on_error(cfg_t *cfg, const char *format, va_list args)
{
	char text[512];

	if (reading->message->count > 0)
		return; /* the first one tells the cause */
	vsnprintf(text, sizeof text, format, args);
	buffer_printf(reading->message, "%s:%d: %s", reading->path, cfg->line, text);
}

static int
parse(cfg_opt_t *options, const char *text)
{
	cfg_t *cfg = cfg_init(options, CFGF_NONE);

	if (cfg == NULL)
		return -ENOMEM;
	cfg_set_error_function(cfg, on_error);
	for (size_t i = 0; i < sizeof sections / sizeof *sections; i++)
		cfg_set_validate_func(cfg, sections[i].name, on_section);
	int result = cfg_parse_buf(cfg, text);
	int line = cfg->line;
	cfg_free(cfg);
	if (reading->error != 0 || reading->settings.failed)
		return -ENOMEM;
	if (result == CFG_SUCCESS)
		return 0;
	if (reading->message->count == 0) /* an empty name, of which libconfuse says nothing */
		buffer_printf(reading->message, "%s:%d: a name is missing", reading->path, line);
	return -EINVAL;
}

/* Parses with the names the file may hold, and moves the settings into the arena. */
static int
parse_names(const struct config_file_name *names, size_t name_count, const char *text, struct config_file *ret)
{
	cfg_opt_t origin_options[] = {CFG_STR_CB("max-in-flight", NULL, CFGF_NODEFAULT, on_value), CFG_END()};
	cfg_opt_t value = CFG_STR_CB("", NULL, CFGF_NODEFAULT, on_value);
	cfg_opt_t list = CFG_STR_LIST_CB("", NULL, CFGF_NODEFAULT, on_value);
	cfg_opt_t token_options[] = {
		CFG_STR_CB("token", NULL, CFGF_NODEFAULT, on_value),
		CFG_STR_CB("sha256", NULL, CFGF_NODEFAULT, on_value),
		CFG_STR_LIST_CB("scope", NULL, CFGF_NODEFAULT, on_value),
		CFG_STR_CB("jobs-per-minute", NULL, CFGF_NODEFAULT, on_value),
		CFG_STR_CB("max-queued", NULL, CFGF_NODEFAULT, on_value),
		CFG_STR_CB("max-in-flight", NULL, CFGF_NODEFAULT, on_value),
		CFG_END(),
	};
	cfg_opt_t last[] = {
		CFG_SEC("origin", origin_options, CFGF_MULTI | CFGF_TITLE),
		CFG_SEC("token", token_options, CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES),
		CFG_END(),
	};
	cfg_opt_t *options = arena_alloc(reading->arena, name_count * sizeof *options + sizeof last);

	if (options == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < name_count; i++) {
		options[i] = names[i].list ? list : value;
		options[i].name = names[i].name;
	}
	memcpy(options + name_count, last, sizeof last);
	int error = parse(options, text);
	if (error != 0)
		return error;
	void *settings = arena_copy(reading->arena, reading->settings.data, reading->settings.count);
	if (settings == NULL)
		return -ENOMEM;
	ret->settings = settings;
	ret->count = reading->settings.count / sizeof *ret->settings;
	return 0;
}

/* Appends the file's bytes and a NUL to text. */
static int
read_text(const char *path, struct buffer *text, struct buffer *message)
{
	FILE *file = fopen(path, "re");
	size_t count = 1;

	if (file == NULL) {
		buffer_printf(message, "%s: %s", path, strerror(errno));
		return -EINVAL;
	}
	while (count > 0 && text->count <= MAX_FILE_BYTES && buffer_reserve(text, 4096) == 0) {
		count = fread(text->data + text->count, 1, 4096, file);
		text->count += count;
	}
	const char *why = ferror(file) ? strerror(errno) : NULL;
	fclose(file);
	buffer_append_char(text, '\0');
	if (text->failed)
		return -ENOMEM;
	if (why == NULL && (text->count > MAX_FILE_BYTES || strlen(text->data) + 1 != text->count))
		why = "this is no configuration file";
	if (why == NULL)
		return 0;
	buffer_printf(message, "%s: %s", path, why);
	return -EINVAL;
}

/* There may be tokens in it. */
static void
wipe(struct buffer *text)
{
	if (text->data != NULL)
		explicit_bzero(text->data, text->capacity);
	buffer_release(text);
}

int
config_file_read(const char *path, const struct config_file_name *names, size_t name_count, struct arena *arena,
	struct config_file *ret, struct buffer *message)
{
	struct reading here = {.path = path, .arena = arena, .message = message};
	struct buffer text = {0};
	struct plain plain = {.line = 1};
	int error = read_text(path, &text, message);

	if (error != 0)
		goto out;
	plain.at = text.data;
	make_plain(&plain);
	buffer_append_char(&plain.text, '\0');
	if (plain.why != NULL)
		buffer_printf(message, "%s:%d: %s", path, plain.line, plain.why);
	error = plain.text.failed ? -ENOMEM : plain.why != NULL ? -EINVAL : 0;
	if (error != 0)
		goto out;
	reading = &here;
	error = parse_names(names, name_count, plain.text.data, ret);
	reading = NULL;
out:
	buffer_release(&here.settings);
	wipe(&plain.text);
	wipe(&text);
	return error;
}
