/*
 * See options.h. Each source is read into settings (an option, a value, where it stood), which are applied one after
 * the other, lowest source first; so a later one wins by itself, and only lists need to know when a higher source
 * begins. Every value is checked, also one that is overruled later.
 */
#include "base/options.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/clock.h"
#include "base/config_file.h"
#include "base/log.h"
#include "base/text.h"

#define MAX_NAME_BYTES 64
#define HOST_BYTES 256 /* the longest name has 253 characters */
#define PORT_BYTES 8

static_assert(LOG_DEBUG == 0 && LOG_INFO == 1 && LOG_WARN == 2 && LOG_ERROR == 3, "the words of --log-level");
static_assert(STORE_MEMORY == 0, "the words of --store");

enum { RELOAD = 1, COMPUTED = 2, NO_FILE = 4, LOWER = 8 };

/* INDEX_member: the place of an option in the table. */
enum {
#define X(kind, name, member, ...) INDEX_##member,
#include "base/options.tbl.h"
#undef X
	OPTION_TOTAL
};

enum layer { LAYER_DEFAULT, LAYER_FILE, LAYER_ENVIRONMENT, LAYER_COMMAND_LINE };

struct setting {
	size_t index;
	const char *value; /* NULL for a flag */
	const char *label; /* how messages begin */
	const char *source;
	enum layer layer;
};

struct load {
	struct config config;
	const struct options_checks *checks;
	char *const *environment;
	enum layer layers[OPTION_TOTAL]; /* where each value is from so far */
	const char *sources[OPTION_TOTAL];
	const char *config_path; /* NULL: no file */
	struct arena arena;      /* lives as long as the load */
	struct buffer message;
};

/* 0, or -EINVAL (-ENOMEM) with the message made. */
typedef int option_check_fn(struct load *load, const struct setting *setting);

static option_check_fn check_listen, check_store, check_origin_limit, check_egress_rule, check_server_name, check_token;

static const struct option {
	const char *name;
	enum option_kind kind;
	size_t offset; /* in struct config */
	int64_t minimum, maximum;
	const char *default_text, *word;
	int flags;
	option_check_fn *check;
	const char *help;
} options[] = {
#define X(kind_, name_, member_, minimum_, maximum_, default_, word_, flags_, check_, help_)                           \
	{.name = name_,                                                                                                \
		.kind = OPTION_##kind_,                                                                                \
		.offset = offsetof(struct config, member_),                                                            \
		.minimum = minimum_,                                                                                   \
		.maximum = maximum_,                                                                                   \
		.default_text = default_,                                                                              \
		.word = word_,                                                                                         \
		.flags = flags_,                                                                                       \
		.check = check_,                                                                                       \
		.help = help_},
#include "base/options.tbl.h"
#undef X
};

#define TYPE_FLAG bool
#define TYPE_STRING char *
#define TYPE_LIST struct config_list
#define TYPE_DURATION int64_t
#define TYPE_SIZE int64_t
#define TYPE_COUNT int64_t
#define TYPE_ENUM int
#define X(kind, name, member, ...)                                                                                     \
	static_assert(__builtin_types_compatible_p(TYPE_##kind, __typeof__(((struct config *)0)->member)), name);
#include "base/options.tbl.h"
#undef X

/* Makes the message and gives -EINVAL. */
#define FAIL(load, ...) (buffer_printf(&(load)->message, __VA_ARGS__), -EINVAL)

static void *
member_of(struct load *load, size_t index)
{
	return (char *)&load->config + options[index].offset;
}

static const void *
const_member_of(const struct config *config, size_t index)
{
	return (const char *)config + options[index].offset;
}

static int
count_parse(const char *text, int64_t *ret)
{
	uint64_t value;
	int error = text_to_uint64(text, &value);

	if (error == 0 && value > INT64_MAX)
		error = -ERANGE;
	if (error == 0)
		*ret = (int64_t)value;
	return error;
}

/* ---- syntax of hosts and origins */

/* True for labels of letters, digits, - and _ with dots between. */
static bool
is_host_name(const char *text)
{
	size_t length = strlen(text), label = 0;

	if (length == 0 || length > 253)
		return false;
	for (size_t i = 0; i <= length; i++) {
		char c = ascii_lower(text[i]);

		if (c == '.' || c == '\0') {
			if (label == 0 || label > 63)
				return false;
			label = 0;
		} else if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_') {
			label++;
		} else {
			return false;
		}
	}
	return true;
}

static bool
port_parse(const char *text, int minimum, int *ret)
{
	uint64_t port;

	if (strlen(text) > 5 || text_to_uint64(text, &port) != 0 || port > 65535 || (int)port < minimum)
		return false;
	*ret = (int)port;
	return true;
}

/* Cuts text into host and what stands behind the colon; a host keeps its brackets. */
static bool
host_split(const char *text, size_t length, char *ret_host, char *ret_port, bool *ret_has_port)
{
	size_t last = length; /* the colon before the port has none and no bracket after it */

	while (last > 0 && text[last - 1] != ':' && text[last - 1] != ']')
		last--;
	*ret_has_port = last > 0 && text[last - 1] == ':';
	size_t host_length = *ret_has_port ? last - 1 : length;
	size_t port_length = *ret_has_port ? length - last : 0;
	if (host_length >= HOST_BYTES || port_length >= PORT_BYTES)
		return false;
	memcpy(ret_host, text, host_length);
	ret_host[host_length] = '\0';
	memcpy(ret_port, text + length - port_length, port_length);
	ret_port[port_length] = '\0';
	return true;
}

/* Makes an address in brackets its usual form without them. */
static bool
canonical_ipv6(char *host)
{
	unsigned char bytes[sizeof(struct in6_addr)];
	size_t length = strlen(host);

	if (length < 4 || host[0] != '[' || host[length - 1] != ']')
		return false;
	host[length - 1] = '\0';
	return inet_pton(AF_INET6, host + 1, bytes) == 1 && inet_ntop(AF_INET6, bytes, host, HOST_BYTES) != NULL;
}

struct origin {
	char host[HOST_BYTES];
	int port;
	int64_t max_in_flight;
};

/* Reads HOST or HOST:PORT. */
static bool
origin_parse(const char *text, size_t length, struct origin *ret)
{
	char port[PORT_BYTES];
	bool has_port;

	ret->port = 0;
	if (!host_split(text, length, ret->host, port, &has_port))
		return false;
	if (has_port && !port_parse(port, 1, &ret->port))
		return false;
	ascii_lower_string(ret->host);
	return canonical_ipv6(ret->host) || is_host_name(ret->host);
}

static bool
origin_number_parse(const char *text, int64_t *ret)
{
	const struct option *same = &options[INDEX_max_in_flight_per_origin];
	int64_t number;

	if (count_parse(text, &number) != 0 || number < same->minimum || number > same->maximum)
		return false;
	*ret = number;
	return true;
}

/* Reads HOST[:PORT]=N. */
static bool
origin_limit_parse(const char *text, struct origin *ret)
{
	const char *equal = strrchr(text, '=');

	return equal != NULL && origin_number_parse(equal + 1, &ret->max_in_flight) &&
		origin_parse(text, (size_t)(equal - text), ret);
}

/* ---- checks named in the table */

static int
check_store(struct load *load, const struct setting *setting)
{
	if (strcmp(setting->value, "sqlite") == 0)
		return FAIL(load, "%s sqlite: this version keeps results in memory only; use --store memory",
			setting->label);
	return 0;
}

static int
check_listen_unix(struct load *load, const struct setting *setting, const char *path)
{
	if (*path == '\0')
		return FAIL(load, "%s: \"%s\" lacks the path of the socket", setting->label, setting->value);
	if (strlen(path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
		return FAIL(load, "%s: \"%s\" is too long a path for a socket", setting->label, setting->value);
	return 0;
}

/* True when a socket can be bound to the host: an address or localhost. */
static bool
can_listen_on(char *host)
{
	unsigned char bytes[sizeof(struct in_addr)];

	return strcmp(host, "localhost") == 0 || inet_pton(AF_INET, host, bytes) == 1 || canonical_ipv6(host);
}

static int
check_listen(struct load *load, const struct setting *setting)
{
	char host[HOST_BYTES], port_text[PORT_BYTES];
	bool has_port;
	int port;

	if (strncmp(setting->value, "unix:", 5) == 0)
		return check_listen_unix(load, setting, setting->value + 5);
	if (!host_split(setting->value, strlen(setting->value), host, port_text, &has_port) || !has_port ||
		!can_listen_on(host))
		return FAIL(load,
			"%s: \"%s\" is not an address to listen on "
			"(try 127.0.0.1:8080, [::1]:8080, localhost:8080, unix:/run/fetchpool.sock)",
			setting->label, setting->value);
	if (!port_parse(port_text, 0, &port))
		return FAIL(load, "%s: the port of \"%s\" is not within 0 and 65535", setting->label, setting->value);
	return 0;
}

static int
check_origin_limit(struct load *load, const struct setting *setting)
{
	struct origin origin;

	if (!origin_limit_parse(setting->value, &origin))
		return FAIL(load, "%s: \"%s\" is not HOST[:PORT]=N (try api.example:443=4)", setting->label,
			setting->value);
	return 0;
}

static int
check_egress_rule(struct load *load, const struct setting *setting)
{
	if (load->checks != NULL && load->checks->egress_rule != NULL && !load->checks->egress_rule(setting->value))
		return FAIL(load, "%s: \"%s\" is not a CIDR, an address or a host name (try 10.0.0.0/8, *.internal)",
			setting->label, setting->value);
	return 0;
}

static int
check_server_name(struct load *load, const struct setting *setting)
{
	if (!is_host_name(setting->value))
		return FAIL(load, "%s: \"%s\" is not a host name (without a port)", setting->label, setting->value);
	return 0;
}

static int
check_token(struct load *load, const struct setting *setting)
{
	if (!text_is_token(setting->value, strlen(setting->value)))
		return FAIL(load, "%s: \"%s\" is not the name of a header", setting->label, setting->value);
	return 0;
}

/* ---- values: one reader and one writer a kind */

static int
set_flag(struct load *load, const struct setting *setting)
{
	*(bool *)member_of(load, setting->index) = true;
	return 0;
}

/* An empty string takes the value away. */
static int
set_string(struct load *load, const struct setting *setting)
{
	char **member = member_of(load, setting->index), *copy = NULL;

	if (*setting->value != '\0' && (copy = strdup(setting->value)) == NULL)
		return -ENOMEM;
	free(*member);
	*member = copy;
	return 0;
}

static int
list_add(struct config_list *list, const char *value, const char *source, bool lower)
{
	char **items = realloc(list->items, (list->count + 1) * sizeof *items);

	if (items == NULL)
		return -ENOMEM;
	list->items = items;
	char **sources = realloc(list->sources, (list->count + 1) * sizeof *sources);
	if (sources == NULL)
		return -ENOMEM;
	list->sources = sources;
	items[list->count] = strdup(value);
	sources[list->count] = strdup(source);
	if (items[list->count] == NULL || sources[list->count] == NULL) {
		free(items[list->count]);
		free(sources[list->count]);
		return -ENOMEM;
	}
	if (lower)
		ascii_lower_string(items[list->count]);
	list->count++;
	return 0;
}

static void
list_clear(struct config_list *list)
{
	for (; list->count > 0; list->count--) {
		free(list->items[list->count - 1]);
		free(list->sources[list->count - 1]);
	}
}

/* The first value from a higher source takes away those from a lower one. */
static int
set_list(struct load *load, const struct setting *setting)
{
	struct config_list *list = member_of(load, setting->index);

	if (load->layers[setting->index] != setting->layer)
		list_clear(list);
	return list_add(list, setting->value, setting->source, options[setting->index].flags & LOWER);
}

/* The place of a word in "one|two|three"; -1 when it is not among them. */
static int
word_index(const char *words, const char *word)
{
	size_t length = strlen(word);

	for (int i = 0;; i++) {
		size_t span = strcspn(words, "|");

		if (span == length && memcmp(words, word, span) == 0)
			return i;
		if (words[span] == '\0')
			return -1;
		words += span + 1;
	}
}

static int
set_enum(struct load *load, const struct setting *setting)
{
	const char *words = options[setting->index].word;
	int index = word_index(words, setting->value);

	if (index < 0)
		return FAIL(load, "%s: \"%s\" is not %s%s", setting->label, setting->value,
			strchr(words, '|') != NULL ? "one of " : "", words);
	*(int *)member_of(load, setting->index) = index;
	return 0;
}

static void
count_format(int64_t value, char *buffer, size_t size)
{
	snprintf(buffer, size, "%" PRId64, value);
}

static int set_number(struct load *load, const struct setting *setting);
static void text_flag(const void *member, const struct option *option, char *buffer, size_t size);
static void text_string(const void *member, const struct option *option, char *buffer, size_t size);
static void text_list(const void *member, const struct option *option, char *buffer, size_t size);
static void text_number(const void *member, const struct option *option, char *buffer, size_t size);
static void text_enum(const void *member, const struct option *option, char *buffer, size_t size);

static const struct kind {
	int (*set)(struct load *load, const struct setting *setting);
	void (*text)(const void *member, const struct option *option, char *buffer, size_t size);
	int (*parse)(const char *text, int64_t *ret); /* of numbers alone, as the two below */
	void (*format)(int64_t value, char *buffer, size_t size);
	const char *what;
} kinds[] = {
	[OPTION_FLAG] = {set_flag, text_flag, NULL, NULL, NULL},
	[OPTION_STRING] = {set_string, text_string, NULL, NULL, NULL},
	[OPTION_LIST] = {set_list, text_list, NULL, NULL, NULL},
	[OPTION_DURATION] = {set_number, text_number, duration_parse, duration_format,
		"a duration (try 30s, 500ms, 2m)"},
	[OPTION_SIZE] = {set_number, text_number, size_parse, size_format, "a size (try 65536, 64KiB, 16MiB)"},
	[OPTION_COUNT] = {set_number, text_number, count_parse, count_format, "a whole number"},
	[OPTION_ENUM] = {set_enum, text_enum, NULL, NULL, NULL},
};

static int
set_number(struct load *load, const struct setting *setting)
{
	const struct option *option = &options[setting->index];
	const struct kind *kind = &kinds[option->kind];
	char minimum[32], maximum[32];
	int64_t value;
	int error = kind->parse(setting->value, &value);

	if (error == -EINVAL)
		return FAIL(load, "%s: \"%s\" is not %s", setting->label, setting->value, kind->what);
	if (error == 0 && value >= option->minimum && value <= option->maximum) {
		*(int64_t *)member_of(load, setting->index) = value;
		return 0;
	}
	kind->format(option->minimum, minimum, sizeof minimum);
	kind->format(option->maximum, maximum, sizeof maximum);
	return FAIL(load, "%s: \"%s\" is not within %s and %s", setting->label, setting->value, minimum, maximum);
}

static void
text_flag(const void *member, const struct option *option, char *buffer, size_t size)
{
	(void)option;
	snprintf(buffer, size, "%s", *(const bool *)member ? "yes" : "no");
}

static void
text_string(const void *member, const struct option *option, char *buffer, size_t size)
{
	const char *text = *(char *const *)member;

	(void)option;
	snprintf(buffer, size, "%s", text != NULL ? text : "");
}

static void
text_list(const void *member, const struct option *option, char *buffer, size_t size)
{
	const struct config_list *list = member;
	size_t used = 0;

	(void)option;
	if (size > 0)
		*buffer = '\0';
	for (size_t i = 0; i < list->count && used < size; i++)
		used += (size_t)snprintf(buffer + used, size - used, "%s%s", i > 0 ? " " : "", list->items[i]);
}

static void
text_number(const void *member, const struct option *option, char *buffer, size_t size)
{
	kinds[option->kind].format(*(const int64_t *)member, buffer, size);
}

static void
text_enum(const void *member, const struct option *option, char *buffer, size_t size)
{
	const char *words = option->word;

	for (int i = *(const int *)member; i > 0; i--)
		words += strcspn(words, "|") + 1;
	snprintf(buffer, size, "%.*s", (int)strcspn(words, "|"), words);
}

/* ---- one setting */

static int
apply(struct load *load, const struct setting *setting)
{
	const struct option *option = &options[setting->index];

	if (setting->value != NULL && *setting->value == '\0' && option->kind != OPTION_STRING)
		return FAIL(load, "%s: the value is empty", setting->label);
	int error = option->check != NULL ? option->check(load, setting) : 0;
	if (error == 0)
		error = kinds[option->kind].set(load, setting);
	if (error == 0) {
		load->layers[setting->index] = setting->layer;
		load->sources[setting->index] = setting->source;
	}
	return error;
}

static int
find_option(const char *name, size_t length, size_t *ret)
{
	for (size_t i = 0; i < OPTION_TOTAL; i++) {
		if (strlen(options[i].name) == length && memcmp(options[i].name, name, length) == 0) {
			*ret = i;
			return 0;
		}
	}
	return -ENOENT;
}

static int
apply_defaults(struct load *load)
{
	int error = 0;

	for (size_t i = 0; i < OPTION_TOTAL && error == 0; i++) {
		struct setting setting = {i, options[i].default_text, options[i].name, "default", LAYER_DEFAULT};

		if (setting.value != NULL && !(options[i].flags & COMPUTED))
			error = apply(load, &setting);
	}
	return error;
}

/* ---- the command line */

/* How many characters have to be changed, put in or left out to make one of the other (Levenshtein's distance). */
static size_t
edit_distance(const char *a, size_t a_length, const char *b)
{
	size_t row[MAX_NAME_BYTES], b_length = strlen(b);

	assert(b_length < MAX_NAME_BYTES);
	for (size_t k = 0; k <= b_length; k++)
		row[k] = k;
	for (size_t i = 1; i <= a_length; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t k = 1; k <= b_length; k++) {
			size_t changed = diagonal + (a[i - 1] != b[k - 1]);
			size_t least = row[k] < row[k - 1] ? row[k] + 1 : row[k - 1] + 1;

			diagonal = row[k];
			row[k] = changed < least ? changed : least;
		}
	}
	return row[b_length];
}

/* The option the name was meant for; NULL when none is near. */
static const char *
similar_name(const char *name, size_t length)
{
	const char *best = NULL;
	size_t best_distance = 3;

	if (length < 3 || length > MAX_NAME_BYTES)
		return NULL;
	for (size_t i = 0; i < OPTION_TOTAL; i++) {
		size_t distance = edit_distance(name, length, options[i].name);

		if (distance < best_distance) {
			best = options[i].name;
			best_distance = distance;
		}
	}
	return best;
}

static int
fail_unknown(struct load *load, const char *argument, size_t length)
{
	const char *similar = length > 2 ? similar_name(argument + 2, length - 2) : NULL;

	if (similar != NULL)
		return FAIL(load, "%.*s: no such option (did you mean --%s?)", (int)length, argument, similar);
	return FAIL(load, "%.*s: no such option (--help lists them)", (int)length, argument);
}

/* Reads the option at argv[*at] and moves past it and its value. */
static int
take_argument(struct load *load, int argc, char **argv, int *at, struct setting *ret)
{
	const char *argument = argv[(*at)++];
	size_t length = strcspn(argument, "=");

	if (*argument != '-' || strcmp(argument, "--") == 0)
		return FAIL(load, "\"%s\": options only, no other arguments", argument);
	if (strncmp(argument, "--", 2) != 0 || find_option(argument + 2, length - 2, &ret->index) != 0)
		return fail_unknown(load, argument, length);
	const struct option *option = &options[ret->index];
	ret->layer = LAYER_COMMAND_LINE;
	ret->value = argument[length] == '=' ? argument + length + 1 : NULL;
	ret->label = ret->source = arena_copy(&load->arena, argument, length);
	if (ret->label == NULL)
		return -ENOMEM;
	if (option->kind == OPTION_FLAG)
		return ret->value == NULL ? 0 : FAIL(load, "%s: takes no value", ret->label);
	if (ret->value == NULL && *at < argc)
		ret->value = argv[(*at)++];
	return ret->value != NULL ? 0 : FAIL(load, "%s: lacks its value (%s)", ret->label, option->word);
}

/* Looks for what has to be known before the rest is read. */
static int
scan_command_line(struct load *load, int argc, char **argv)
{
	struct setting setting;
	int at = 1;

	while (at < argc && !load->config.help && !load->config.version) {
		int error = take_argument(load, argc, argv, &at, &setting);

		if (error != 0)
			return error;
		if (setting.index == INDEX_config_file)
			load->config_path = setting.value;
		load->config.help = setting.index == INDEX_help;
		load->config.version = setting.index == INDEX_version;
	}
	return 0;
}

static int
apply_command_line(struct load *load, int argc, char **argv)
{
	struct setting setting;
	int at = 1, error = 0;

	while (at < argc && error == 0) {
		error = take_argument(load, argc, argv, &at, &setting);
		if (error == 0)
			error = apply(load, &setting);
	}
	return error;
}

/* ---- the environment */

static const char *
environment_value(const struct load *load, const char *name)
{
	size_t length = strlen(name);

	for (char *const *at = load->environment; at != NULL && *at != NULL; at++)
		if (strncmp(*at, name, length) == 0 && (*at)[length] == '=')
			return *at + length + 1;
	return NULL;
}

static char *
variable_name(struct load *load, size_t index)
{
	char text[MAX_NAME_BYTES + 16];

	snprintf(text, sizeof text, "FETCHPOOL_%s", options[index].name);
	for (char *at = text; *at != '\0'; at++) {
		if (*at == '-')
			*at = '_';
		else if (*at >= 'a' && *at <= 'z')
			*at = (char)(*at - 'a' + 'A');
	}
	return arena_string(&load->arena, text);
}

/* Applies the values of a list, which have blanks between. */
static int
apply_words(struct load *load, struct setting *setting)
{
	char *words = arena_string(&load->arena, setting->value), *rest = words;
	int error = 0;

	if (words == NULL)
		return -ENOMEM;
	words = strtok_r(words, " \t\r\n", &rest);
	if (words == NULL)
		return FAIL(load, "%s: the value is empty", setting->label);
	for (; words != NULL && error == 0; words = strtok_r(NULL, " \t\r\n", &rest)) {
		setting->value = words;
		error = apply(load, setting);
	}
	return error;
}

static int
apply_variable(struct load *load, size_t index)
{
	const char *name = variable_name(load, index);

	if (name == NULL)
		return -ENOMEM;
	struct setting setting = {index, environment_value(load, name), name, name, LAYER_ENVIRONMENT};
	if (setting.value == NULL)
		return 0;
	return options[index].kind == OPTION_LIST ? apply_words(load, &setting) : apply(load, &setting);
}

static int
apply_environment(struct load *load)
{
	int error = 0;

	for (size_t i = 0; i < OPTION_TOTAL && error == 0; i++)
		if (options[i].kind != OPTION_FLAG)
			error = apply_variable(load, i);
	return error;
}

/* ---- the file */

/* Sets the limit of an origin, whether it has one already or not. */
static int
set_origin(struct load *load, const struct origin *origin)
{
	struct config *config = &load->config;

	for (size_t i = 0; i < config->origin_count; i++) {
		struct config_origin *known = &config->origins[i];

		if (known->port == origin->port && strcmp(known->host, origin->host) == 0) {
			known->max_in_flight = origin->max_in_flight;
			return 0;
		}
	}
	struct config_origin *origins = realloc(config->origins, (config->origin_count + 1) * sizeof *origins);
	if (origins == NULL)
		return -ENOMEM;
	config->origins = origins;
	struct config_origin added = {strdup(origin->host), origin->port, origin->max_in_flight};
	if (added.host == NULL)
		return -ENOMEM;
	origins[config->origin_count++] = added;
	return 0;
}

/* A setting within an origin's section; there is only max-in-flight. */
static int
apply_section(struct load *load, const struct config_file_setting *line)
{
	const struct option *same = &options[INDEX_max_in_flight_per_origin];
	struct origin origin;

	if (!origin_parse(line->origin, strlen(line->origin), &origin))
		return FAIL(
			load, "%s:%d: origin: \"%s\" is not HOST[:PORT]", load->config_path, line->line, line->origin);
	if (!origin_number_parse(line->value, &origin.max_in_flight))
		return FAIL(load, "%s:%d: %s: \"%s\" is not a whole number within %" PRId64 " and %" PRId64,
			load->config_path, line->line, line->name, line->value, same->minimum, same->maximum);
	return set_origin(load, &origin);
}

static int
apply_line(struct load *load, const struct config_file_setting *line)
{
	struct buffer label = {0};
	struct setting setting = {.value = line->value, .layer = LAYER_FILE};

	if (line->origin != NULL)
		return apply_section(load, line);
	if (find_option(line->name, strlen(line->name), &setting.index) != 0)
		return FAIL(load, "%s:%d: %s: no such option", load->config_path, line->line, line->name);
	buffer_printf(&label, "%s:%d", load->config_path, line->line);
	if (label.failed)
		goto out;
	setting.source = arena_copy(&load->arena, label.data, label.count);
	buffer_printf(&label, ": %s", line->name);
	if (!label.failed)
		setting.label = arena_copy(&load->arena, label.data, label.count);
out:
	buffer_release(&label);
	return setting.source != NULL && setting.label != NULL ? apply(load, &setting) : -ENOMEM;
}

static int
apply_file(struct load *load)
{
	struct config_file_name names[OPTION_TOTAL];
	struct config_file file;
	size_t count = 0;

	for (size_t i = 0; i < OPTION_TOTAL; i++)
		if (!(options[i].flags & NO_FILE))
			names[count++] = (struct config_file_name){options[i].name, options[i].kind == OPTION_LIST};
	int error = config_file_read(load->config_path, names, count, &load->arena, &file, &load->message);
	if (error != 0)
		return error;
	for (size_t i = 0; i < file.count && error == 0; i++)
		error = apply_line(load, &file.settings[i]);
	return error;
}

/* ---- what is left once all sources are read */

static char *
joined(const char *directory, size_t length, const char *rest)
{
	struct buffer path = {0};

	buffer_append(&path, directory, length);
	buffer_append_string(&path, rest);
	return buffer_steal(&path);
}

/* The XDG base directory specification has relative paths ignored. */
static char *
default_state_dir(const struct load *load)
{
	const char *directory = environment_value(load, "STATE_DIRECTORY");

	if (directory != NULL && strcspn(directory, ":") > 0)
		return joined(directory, strcspn(directory, ":"), "");
	directory = environment_value(load, "XDG_STATE_HOME");
	if (directory != NULL && *directory == '/')
		return joined(directory, strlen(directory), "/fetchpool");
	directory = environment_value(load, "HOME");
	if (directory != NULL && *directory != '\0')
		return joined(directory, strlen(directory), "/.local/state/fetchpool");
	return strdup("/var/lib/fetchpool");
}

static int64_t
default_workers(void)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN), most = (long)options[INDEX_workers].maximum;

	return cores < 1 ? 1 : cores > most ? most : cores;
}

/* Limits given by option win over sections; both are checked already. */
static int
add_origin_limits(struct load *load)
{
	int error = 0;

	for (size_t i = 0; i < load->config.origin_limit.count && error == 0; i++) {
		struct origin origin;

		if (origin_limit_parse(load->config.origin_limit.items[i], &origin))
			error = set_origin(load, &origin);
	}
	return error;
}

/* The tokens are read later and at each reload, but a name that cannot be read is better told at once. */
static int
check_token_file(struct load *load)
{
	const char *path = load->config.auth_token_file, *source = load->sources[INDEX_auth_token_file];
	bool in_file = load->layers[INDEX_auth_token_file] == LAYER_FILE;
	struct stat status;

	if (path == NULL)
		return 0;
	load->config.auth_token_file_source = strdup(source);
	if (load->config.auth_token_file_source == NULL)
		return -ENOMEM;
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	int error = fd < 0 || fstat(fd, &status) != 0 ? errno : S_ISDIR(status.st_mode) ? EISDIR : 0;
	if (fd >= 0)
		close(fd);
	if (error == 0)
		return 0;
	return FAIL(load, "%s%s: %s: %s", source, in_file ? ": auth-token-file" : "", path, strerror(error));
}

static int
complete(struct load *load)
{
	struct config *config = &load->config;

	if (config->workers == 0)
		config->workers = default_workers();
	if (config->state_dir == NULL)
		config->state_dir = default_state_dir(load);
	if (config->state_dir == NULL)
		return -ENOMEM;
	int error = add_origin_limits(load);
	return error != 0 ? error : check_token_file(load);
}

static int
load_sources(struct load *load, int argc, char **argv)
{
	int error = apply_defaults(load);

	if (error == 0)
		error = scan_command_line(load, argc, argv);
	if (error != 0 || load->config.help || load->config.version)
		return error;
	if (load->config_path == NULL)
		load->config_path = environment_value(load, "FETCHPOOL_CONFIG");
	if (load->config_path != NULL && *load->config_path != '\0')
		error = apply_file(load);
	if (error == 0)
		error = apply_environment(load);
	if (error == 0)
		error = apply_command_line(load, argc, argv);
	return error;
}

int
options_load(int argc, char **argv, char *const *environment, const struct options_checks *checks, struct config *ret,
	char **ret_message)
{
	struct load load = {.checks = checks, .environment = environment};
	int error = load_sources(&load, argc, argv);

	if (error == 0)
		error = complete(&load);
	if (error == 0) {
		*ret = load.config;
	} else {
		config_release(&load.config);
		*ret_message = error == -EINVAL ? buffer_steal(&load.message) : NULL;
	}
	if (error == -EINVAL && *ret_message == NULL)
		error = -ENOMEM;
	buffer_release(&load.message);
	arena_release(&load.arena);
	return error;
}

/* ---- the table shown */

static int
head_width(const struct option *option)
{
	return (int)(strlen(option->name) + (option->word != NULL ? strlen(option->word) + 1 : 0));
}

static void
print_option(FILE *out, const struct option *option, int width)
{
	int used = fprintf(out, "  --%s%s%s", option->name, option->word != NULL ? " " : "",
		option->word != NULL ? option->word : "");

	fprintf(out, "%*s%s", width + 7 - used, "", option->help);
	if (option->kind == OPTION_LIST)
		fputs("; may be repeated", out);
	if (option->default_text != NULL)
		fprintf(out, " (default: %s)", option->default_text);
	fputc('\n', out);
}

void
options_print_help(FILE *out)
{
	int width = 0;

	for (size_t i = 0; i < OPTION_TOTAL; i++)
		if (head_width(&options[i]) > width)
			width = head_width(&options[i]);
	fputs("Usage: fetchpool [OPTIONS]\n"
	      "A server that fetches URLs for its clients, who await the results over HTTP.\n\n",
		out);
	for (size_t i = 0; i < OPTION_TOTAL; i++)
		print_option(out, &options[i], width);
	fputs("\n"
	      "A DURATION is a number with ms, s, m, h or d (seconds without), a SIZE one with KiB, MiB or GiB (bytes without).\n"
	      "\n"
	      "An option that takes a value can also be given in the environment, as FETCHPOOL_NAME (FETCHPOOL_MAX_WAIT=30s;\n"
	      "several values with blanks between), and in the file of --config, as name = value (max-wait = 30s; several\n"
	      "values as {a, b}; origin \"HOST[:PORT]\" { max-in-flight = N } for --origin-limit). The command line wins over\n"
	      "the environment, the environment over the file.\n",
		out);
}

size_t
options_count(void)
{
	return OPTION_TOTAL;
}

struct option_view
options_view(size_t index)
{
	const struct option *option = &options[index];

	return (struct option_view){
		.name = option->name,
		.kind = option->kind,
		.word = option->word,
		.default_text = option->default_text,
		.help = option->help,
		.reloadable = option->flags & RELOAD,
	};
}

void
options_value_text(const struct config *config, size_t index, char *buffer, size_t size)
{
	kinds[options[index].kind].text(const_member_of(config, index), &options[index], buffer, size);
}

bool
options_value_number(const struct config *config, size_t index, int64_t *ret)
{
	if (kinds[options[index].kind].parse == NULL)
		return false;
	*ret = *(const int64_t *)const_member_of(config, index);
	return true;
}
