/*
 * The table of options, made from options.tbl.h's rows, with the checks that the rows name, and what others may see of
 * it. Constant; any thread.
 */
#include "base/options_private.h"

#include <arpa/inet.h>
#include <assert.h>
#include <grp.h>
#include <string.h>
#include <sys/un.h>

#include "base/clock.h"
#include "base/host_text.h"
#include "base/log.h"
#include "base/text.h"

static_assert(LOG_DEBUG == 0 && LOG_INFO == 1 && LOG_WARN == 2 && LOG_ERROR == 3, "the words of --log-level");
static_assert(STORE_SQLITE == 0 && STORE_MEMORY == 1, "the words of --store");

/* ---- checks named in the table */

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

	return strcmp(host, "localhost") == 0 || inet_pton(AF_INET, host, bytes) == 1 || host_text_plain_ipv6(host);
}

static int
check_listen(struct load *load, const struct setting *setting)
{
	char host[HOST_TEXT_BYTES], port_text[PORT_TEXT_BYTES];
	bool has_port;
	int port;

	if (strncmp(setting->value, "unix:", 5) == 0)
		return check_listen_unix(load, setting, setting->value + 5);
	if (!host_text_split(setting->value, strlen(setting->value), host, port_text, &has_port) || !has_port ||
		!can_listen_on(host))
		return FAIL(load,
			"%s: \"%s\" is not an address to listen on "
			"(try 127.0.0.1:8080, [::1]:8080, localhost:8080, unix:/run/fetchpool.sock)",
			setting->label, setting->value);
	if (!host_text_parse_port(port_text, 0, &port))
		return FAIL(load, "%s: the port of \"%s\" is not within 0 and 65535", setting->label, setting->value);
	return 0;
}

static int
check_unix_mode(struct load *load, const struct setting *setting)
{
	size_t length = strlen(setting->value);

	if (length == 0)
		return 0; /* takes the value away */
	if (length < 3 || length > 4 || strspn(setting->value, "01234567") != length ||
		(length == 4 && *setting->value != '0'))
		return FAIL(load, "%s: \"%s\" is not a mode in octal (try 0600, 0660, 0666)", setting->label,
			setting->value);
	return 0;
}

static int
check_unix_group(struct load *load, const struct setting *setting)
{
	if (*setting->value != '\0' && getgrnam(setting->value) == NULL)
		return FAIL(load, "%s: there is no group \"%s\" on this machine (getent group lists them)",
			setting->label, setting->value);
	return 0;
}

static int
check_origin_limit(struct load *load, const struct setting *setting)
{
	if (!origin_limit_valid(setting->value))
		return FAIL(load, "%s: \"%s\" is not HOST[:PORT]=N (try api.example:443=4)", setting->label,
			setting->value);
	return 0;
}

static int
check_egress_rule(struct load *load, const struct setting *setting)
{
	if (load->checks != NULL && load->checks->egress_rule != NULL && !load->checks->egress_rule(setting->value))
		return FAIL(load,
			"%s: \"%s\" is not a CIDR, an address or a host name, with a port or without "
			"(try 10.0.0.0/8, *.internal, db.internal:5432, [fd00::/8]:443)",
			setting->label, setting->value);
	return 0;
}

/* Most texts may be empty, as if not given; one that makes the program do something else may not. */
static int
check_not_empty(struct load *load, const struct setting *setting)
{
	return *setting->value != '\0' ? 0 : FAIL(load, "%s: the value is empty", setting->label);
}

#define NAME_MAX_BYTES 64

/* NAME=FILE. */
static int
check_named_file(struct load *load, const struct setting *setting)
{
	size_t length = strcspn(setting->value, "=");

	if (setting->value[length] == '\0' || setting->value[length + 1] == '\0' || length > NAME_MAX_BYTES ||
		!text_is_token(setting->value, length))
		return FAIL(load, "%s: \"%s\" is not NAME=FILE (try internal=/etc/fetchpool/internal.pem)",
			setting->label, setting->value);
	return 0;
}

/* The value is not told: it may hold a password. */
static int
check_proxy(struct load *load, const struct setting *setting)
{
	const char *problem = load->checks == NULL || load->checks->proxy_problem == NULL
		? NULL
		: load->checks->proxy_problem(setting->value);

	return problem == NULL ? 0 : FAIL(load, "%s: %s", setting->label, problem);
}

/* An IPv4 address, or an IPv6 one in brackets, alone or with a port. */
static int
check_dns_server(struct load *load, const struct setting *setting)
{
	char host[HOST_TEXT_BYTES], port_text[PORT_TEXT_BYTES];
	unsigned char bytes[sizeof(struct in_addr)];
	bool has_port;
	int port;

	if (!host_text_split(setting->value, strlen(setting->value), host, port_text, &has_port) ||
		(inet_pton(AF_INET, host, bytes) != 1 && !host_text_plain_ipv6(host)))
		return FAIL(load,
			"%s: \"%s\" is not the address of a name server (try 192.0.2.53, [2001:db8::53]:5353)",
			setting->label, setting->value);
	if (has_port && !host_text_parse_port(port_text, 1, &port))
		return FAIL(load, "%s: the port of \"%s\" is not within 1 and 65535", setting->label, setting->value);
	return 0;
}

static int
check_server_name(struct load *load, const struct setting *setting)
{
	if (!host_text_is_name(setting->value))
		return FAIL(load, "%s: \"%s\" is not a host name (without a port)", setting->label, setting->value);
	return 0;
}

static int
check_token(struct load *load, const struct setting *setting)
{
	if (!text_is_token(setting->value, strlen(setting->value)))
		return FAIL(load, "%s: \"%s\" is not %s", setting->label, setting->value,
			setting->index == INDEX_proxy_resolves ? "the name of a proxy" : "the name of a header");
	return 0;
}

/* ---- the rows */

const struct option option_table[OPTION_TOTAL] = {
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

size_t
option_find(const char *name, size_t length)
{
	size_t at = 0;

	while (at < OPTION_TOTAL &&
		(strlen(option_table[at].name) != length || memcmp(option_table[at].name, name, length) != 0))
		at++;
	return at;
}

size_t
options_count(void)
{
	return OPTION_TOTAL;
}

struct option_view
options_view(size_t index)
{
	const struct option *option = &option_table[index];

	return (struct option_view){
		.name = option->name,
		.kind = option->kind,
		.word = option->word,
		.default_text = option->default_text,
		.help = option->help,
		.reloadable = option->flags & RELOAD,
	};
}
