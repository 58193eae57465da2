/* URLs: what is taken, in which form it comes out, and what is refused. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "fetch/url.h"

static struct arena arena;

static void
setup(void)
{
	arena = (struct arena){0};
}

static void
teardown(void)
{
	arena_release(&arena);
}

/* given, canonical, scheme, host, port */
static const struct {
	const char *given, *text, *scheme, *host;
	int port;
} good[] = {
	{"http://example.com", "http://example.com/", "http", "example.com", 80},
	{"https://example.com/", "https://example.com/", "https", "example.com", 443},
	{"HTTP://EXAMPLE.Com:80/A", "http://example.com/A", "http", "example.com", 80},
	{"hTTps://h:443/", "https://h/", "https", "h", 443},
	{"https://h:80/", "https://h:80/", "https", "h", 80},
	{"http://h:443", "http://h:443/", "http", "h", 443},
	{"http://h:/", "http://h/", "http", "h", 80},
	{"https://h:?q", "https://h/?q", "https", "h", 443},
	{"http://h:08080/", "http://h:8080/", "http", "h", 8080},
	{"http://h:65535/", "http://h:65535/", "http", "h", 65535},
	{"http://h:1/", "http://h:1/", "http", "h", 1},
	{"http://host?x", "http://host/?x", "http", "host", 80},
	{"http://host#f", "http://host/", "http", "host", 80},
	{"http://host/#", "http://host/", "http", "host", 80},
	{"http://host/a#b?c/../d", "http://host/a", "http", "host", 80},
	{"http://host/?", "http://host/?", "http", "host", 80},
	{"http://host/?#f", "http://host/?", "http", "host", 80},
	{"http://host/?a?b/../c", "http://host/?a?b/../c", "http", "host", 80},
	/* escapes stay as given */
	{"http://h/echo/a%2Fb%20c?x=%7E~&y=a+b", "http://h/echo/a%2Fb%20c?x=%7E~&y=a+b", "http", "h", 80},
	{"http://h/%2e%2E/%zz%", "http://h/%2e%2E/%zz%", "http", "h", 80},
	{"http://h/a\"<>^`{|}b?\"<>^`{|}'", "http://h/a\"<>^`{|}b?\"<>^`{|}'", "http", "h", 80},
	{"http://h/a@b:c//d;e,f!$&'()*+=", "http://h/a@b:c//d;e,f!$&'()*+=", "http", "h", 80},
	{"http://h/?u=http://u:p@x/", "http://h/?u=http://u:p@x/", "http", "h", 80},
	{"http://h/ä?ö=\xff", "http://h/%C3%A4?%C3%B6=%FF", "http", "h", 80},
	/* dot segments */
	{"http://h/a/./b/../c", "http://h/a/c", "http", "h", 80},
	{"http://h/../../x", "http://h/x", "http", "h", 80},
	{"http://h/..", "http://h/", "http", "h", 80},
	{"http://h/a/..", "http://h/", "http", "h", 80},
	{"http://h/a/b/.", "http://h/a/b/", "http", "h", 80},
	{"http://h/.well-known/x..y/...", "http://h/.well-known/x..y/...", "http", "h", 80},
	/* names */
	{"http://example.com./", "http://example.com/", "http", "example.com", 80},
	{"http://LOCALHOST.:81/", "http://localhost:81/", "http", "localhost", 81},
	{"http://a_b-c.d9/", "http://a_b-c.d9/", "http", "a_b-c.d9", 80},
	{"http://-a-.b-/", "http://-a-.b-/", "http", "-a-.b-", 80},
	{"http://1and1.com/", "http://1and1.com/", "http", "1and1.com", 80},
	{"http://1.2.3.4.nip.io/", "http://1.2.3.4.nip.io/", "http", "1.2.3.4.nip.io", 80},
	{"http://0xg/", "http://0xg/", "http", "0xg", 80},
	{"http://xn--mnchen-3ya.de/", "http://xn--mnchen-3ya.de/", "http", "xn--mnchen-3ya.de", 80},
	{"http://münchen.de/", "http://xn--mnchen-3ya.de/", "http", "xn--mnchen-3ya.de", 80},
	{"http://MÜNCHEN.DE/", "http://xn--mnchen-3ya.de/", "http", "xn--mnchen-3ya.de", 80},
	{"http://mu\xcc\x88nchen.de/", "http://xn--mnchen-3ya.de/", "http", "xn--mnchen-3ya.de", 80},
	{"http://straße.de/", "http://xn--strae-oqa.de/", "http", "xn--strae-oqa.de", 80},
	{"http://faß。de/", "http://xn--fa-hia.de/", "http", "xn--fa-hia.de", 80},
	{"http://例え.テスト/", "http://xn--r8jz45g.xn--zckzah/", "http", "xn--r8jz45g.xn--zckzah", 80},
	{"http://ｅｘａｍｐｌｅ．ｃｏｍ/", "http://example.com/", "http", "example.com", 80},
	{"http://ⓔⓧample.com/", "http://example.com/", "http", "example.com", 80},
	/* IPv4 in every spelling */
	{"http://127.0.0.1/", "http://127.0.0.1/", "http", "127.0.0.1", 80},
	{"http://127.0.0.1./", "http://127.0.0.1/", "http", "127.0.0.1", 80},
	{"http://2130706433/", "http://127.0.0.1/", "http", "127.0.0.1", 80},
	{"http://0x7f000001/", "http://127.0.0.1/", "http", "127.0.0.1", 80},
	{"http://0X7F.1/", "http://127.0.0.1/", "http", "127.0.0.1", 80},
	{"http://017700000001/", "http://127.0.0.1/", "http", "127.0.0.1", 80},
	{"http://0177.0.0.01/", "http://127.0.0.1/", "http", "127.0.0.1", 80},
	{"http://127.1/", "http://127.0.0.1/", "http", "127.0.0.1", 80},
	{"http://127.0.1/", "http://127.0.0.1/", "http", "127.0.0.1", 80},
	{"http://127.1./", "http://127.0.0.1/", "http", "127.0.0.1", 80},
	{"http://0/", "http://0.0.0.0/", "http", "0.0.0.0", 80},
	{"http://4294967295/", "http://255.255.255.255/", "http", "255.255.255.255", 80},
	{"http://169.254.43518/", "http://169.254.169.254/", "http", "169.254.169.254", 80},
	{"http://１２７．０．０．１/", "http://127.0.0.1/", "http", "127.0.0.1", 80},
	{"http://127。0。0。1/", "http://127.0.0.1/", "http", "127.0.0.1", 80},
	{"http://127｡0｡0｡1｡/", "http://127.0.0.1/", "http", "127.0.0.1", 80},
	{"http://①②⑦.⓪.⓪.①/", "http://127.0.0.1/", "http", "127.0.0.1", 80},
	{"http://０ｘ７ｆ．１/", "http://127.0.0.1/", "http", "127.0.0.1", 80},
	{"http://1\xc2\xad"
	 "27.0.0.1/",
		"http://127.0.0.1/", "http", "127.0.0.1", 80},
	/* IPv6 */
	{"http://[::1]/", "http://[::1]/", "http", "::1", 80},
	{"http://[::1]:8080/", "http://[::1]:8080/", "http", "::1", 8080},
	{"http://[::1]:/", "http://[::1]/", "http", "::1", 80},
	{"http://[::1]?q", "http://[::1]/?q", "http", "::1", 80},
	{"http://[0:0:0:0:0:0:0:1]/", "http://[::1]/", "http", "::1", 80},
	{"http://[2001:DB8:0:0:1:0:0:1]/", "http://[2001:db8::1:0:0:1]/", "http", "2001:db8::1:0:0:1", 80},
	{"http://[::ffff:127.0.0.1]/", "http://[::ffff:127.0.0.1]/", "http", "::ffff:127.0.0.1", 80},
	{"http://[::FFFF:7f00:1]/", "http://[::ffff:127.0.0.1]/", "http", "::ffff:127.0.0.1", 80},
	{"http://[64:ff9b::10.0.0.1]/", "http://[64:ff9b::a00:1]/", "http", "64:ff9b::a00:1", 80},
};

START_TEST(takes)
{
	struct url url;
	const char *why = "";

	ck_assert_msg(url_parse(&arena, good[_i].given, &url, &why) == 0, "%s: %s", good[_i].given, why);
	ck_assert_str_eq(url.text, good[_i].text);
	ck_assert_str_eq(url.origin.scheme, good[_i].scheme);
	ck_assert_str_eq(url.origin.host, good[_i].host);
	ck_assert_int_eq(url.origin.port, good[_i].port);
}
END_TEST

/* What came out comes out again. */
START_TEST(is_a_fixed_point)
{
	struct url once, twice;
	const char *why = "";

	ck_assert_int_eq(url_parse(&arena, good[_i].text, &once, &why), 0);
	ck_assert_str_eq(once.text, good[_i].text);
	ck_assert_int_eq(url_parse(&arena, once.text, &twice, &why), 0);
	ck_assert_str_eq(twice.text, once.text);
	ck_assert(origin_name_equal(&once.origin, &twice.origin));
}
END_TEST

/* given, a piece of the reason */
static const struct {
	const char *given, *why;
} bad[] = {
	{"", "http://"},
	{"example.com", "http://"},
	{"//example.com/", "http://"},
	{"/path", "http://"},
	{"ftp://example.com/", "http://"},
	{"file:///etc/passwd", "http://"},
	{"gopher://h/", "http://"},
	{"javascript:alert(1)", "http://"},
	{"httpss://h/", "http://"},
	{"http:h", "http://"},
	{"http:/h", "http://"},
	{"http//h", "http://"},
	{"http:///h", "slashes"},
	{"http:////h", "slashes"},
	{"https:///", "slashes"},
	{"http://", "no host"},
	{"http://?q", "no host"},
	{"http://#f", "no host"},
	{"http://:80/", "no host"},
	{"http://./", "empty"},
	{"http://../", "empty label"},
	{"http://a..b/", "empty label"},
	{"http://.a/", "empty label"},
	{"http://a../", "empty label"},
	{"http://127.0.0.1../", "empty label"},
	/* userinfo */
	{"http://u@h/", "auth"},
	{"http://u:p@h/", "auth"},
	{"http://@h/", "auth"},
	{"http://h@/", "auth"},
	{"http://a@b@c/", "auth"},
	{"http://h:80@evil/", "auth"},
	{"http://u@[::1]/", "auth"},
	/* blanks, controls, backslashes */
	{" http://h/", "blank"},
	{"http://h/ ", "blank"},
	{"http://h/a b", "blank"},
	{"http://h /", "blank"},
	{"http:// h/", "blank"},
	{"http://h/\t", "control"},
	{"http://h/\r\nX: y", "control"},
	{"http://h\n/", "control"},
	{"http://h/\x01", "control"},
	{"http://h/\x7f", "control"},
	{"http://h/#\x1f", "control"},
	{"http:\\\\h/", "backslash"},
	{"http://h\\@evil/", "backslash"},
	{"http://h/a\\b", "backslash"},
	{"http://h/?a\\b", "backslash"},
	/* ports */
	{"http://h:0/", "port"},
	{"http://h:00/", "port"},
	{"http://h:65536/", "port"},
	{"http://h:99999999999999999999/", "port"},
	{"http://h:-1/", "port"},
	{"http://h:+1/", "port"},
	{"http://h:80a/", "port"},
	{"http://h:0x50/", "port"},
	{"http://h:80:80/", "port"},
	{"http://h::80/", "port"},
	{"http://::1/", "no host"},
	{"http://2001:db8::1/", "port"},
	{"http://h:８０/", "port"},
	/* hosts */
	{"http://h%00/", "percent"},
	{"http://%31%32%37.0.0.1/", "percent"},
	{"http://h%2eexample/", "percent"},
	{"http://a,b/", "character"},
	{"http://a;b/", "character"},
	{"http://a&b/", "character"},
	{"http://a*b/", "character"},
	{"http://a'b/", "character"},
	{"http://a\"b/", "character"},
	{"http://a<b/", "character"},
	{"http://a|b/", "character"},
	{"http://a^b/", "character"},
	{"http://a`b/", "character"},
	{"http://{a}/", "character"},
	{"http://a(b)/", "character"},
	{"http://a=b/", "character"},
	{"http://a+b/", "character"},
	{"http://a!b/", "character"},
	{"http://a$b/", "character"},
	{"http://a~b/", "character"},
	{"http://a]b/", "character"},
	{"http://a[b]/", "character"},
	{"http://1.2.3.4.5/", "number"},
	{"http://256.1.1.1/", "number"},
	{"http://1.2.3.256/", "number"},
	{"http://4294967296/", "number"},
	{"http://0x100000000/", "number"},
	{"http://foo.1/", "number"},
	{"http://foo.0x1/", "number"},
	{"http://08/", "number"},
	{"http://1.2.3.08/", "number"},
	{"http://0x/", "number"},
	{"http://127.0.0.0x/", "number"},
	{"http://foo.１/", "number"},
	{"http://h\xff/", "UTF-8"},
	{"http://\xc0\xae/", "UTF-8"},
	{"http://evil.c℀.example/", "the "}, /* a/c once mapped */
	{"http://evil＠h/", "the "},
	{"http://h：80/", "the "},
	{"http://h／x/", "the "},
	{"http://h％2e/", "the "},
	{"http://\xc2\xad/", "the "}, /* maps to nothing */
	{"http://\xe2\x80\x8b/", "the "},
	/* IPv6 */
	{"http://[::1/", "IPv6"},
	{"http://[::1]x/", "IPv6"},
	{"http://[::1]]/", "IPv6"},
	{"http://[::1]80/", "IPv6"},
	{"http://[]/", "IPv6"},
	{"http://[/", "IPv6"},
	{"http://[1]/", "IPv6"},
	{"http://[127.0.0.1]/", "IPv6"},
	{"http://[:::1]/", "IPv6"},
	{"http://[1:2:3:4:5:6:7:8:9]/", "IPv6"},
	{"http://[::g]/", "IPv6"},
	{"http://[[::1]]/", "IPv6"},
	{"http://[v1.x]/", "IPv6"},
	{"http://[fe80::1%eth0]/", "zone"},
	{"http://[fe80::1%25eth0]/", "zone"},
	{"http://[::1%]/", "zone"},
	{"http://[::1]:0/", "port"},
	{"http://[::1]:x/", "port"},
	{"http://[::00000000000000000000000000000000000000000000000000000001]/", "IPv6"},
};

START_TEST(refuses)
{
	struct url url = {0};
	const char *why = NULL;

	int error = url_parse(&arena, bad[_i].given, &url, &why);
	ck_assert_msg(error == -EINVAL, "%s was taken as %s", bad[_i].given, url.text);
	ck_assert_ptr_null(url.text);
	ck_assert_msg(strstr(why, bad[_i].why) != NULL, "%s: %s", bad[_i].given, why);
}
END_TEST

/* prefix and then count times c */
static char *
long_text(const char *prefix, char c, size_t count, const char *suffix)
{
	size_t head = strlen(prefix);
	char *text = malloc(head + count + strlen(suffix) + 1);

	ck_assert_ptr_nonnull(text);
	memcpy(text, prefix, head);
	memset(text + head, c, count);
	strcpy(text + head + count, suffix);
	return text;
}

START_TEST(has_limits)
{
	static const struct {
		const char *prefix;
		char c;
		size_t count;
		const char *suffix;
		int error;
	} table[] = {
		{"http://h/", 'a', 16384 - 9, "", 0},
		{"http://h/", 'a', 16384 - 8, "", -EINVAL},
		{"http://h/", '\xe4', 5000, "", 0},
		{"http://h/", '\xe4', 6000, "", -EINVAL},
		{"http://", 'a', 63, ".b/", 0},
		{"http://", 'a', 64, ".b/", -EINVAL},
		{"http://", '1', 1000, "/", -EINVAL},
		{"http://", '0', 100, "/", 0},
		{"http://", 'a', 16000, "/", -EINVAL},
		{"http://\xc3\xa4", 'a', 16000, "/", -EINVAL},
		{"http://h:", '0', 1000, "80/", 0},
	};
	char *text = long_text(table[_i].prefix, table[_i].c, table[_i].count, table[_i].suffix);
	struct url url;
	const char *why;

	ck_assert_int_eq(url_parse(&arena, text, &url, &why), table[_i].error);
	free(text);
}
END_TEST

START_TEST(takes_names_of_253_characters)
{
	char text[300] = "http://";
	struct url url;
	const char *why;

	for (int i = 0; i < 126; i++)
		strcat(text, "a.");
	strcat(text, "b");
	ck_assert_int_eq(url_parse(&arena, text, &url, &why), 0);
	strcat(text, ".");
	ck_assert_int_eq(url_parse(&arena, text, &url, &why), 0);
	text[strlen(text) - 1] = 'b';
	ck_assert_int_eq(url_parse(&arena, text, &url, &why), -EINVAL);
}
END_TEST

/* base, Location, target; NULL: refused. The first are RFC 3986, section 5.4. */
#define RFC "http://a/b/c/d;p?q"
static const struct {
	const char *base, *location, *target;
} references[] = {
	{RFC, "g:h", NULL},
	{RFC, "g", "http://a/b/c/g"},
	{RFC, "./g", "http://a/b/c/g"},
	{RFC, "g/", "http://a/b/c/g/"},
	{RFC, "/g", "http://a/g"},
	{RFC, "//g", "http://g/"},
	{RFC, "?y", "http://a/b/c/d;p?y"},
	{RFC, "g?y", "http://a/b/c/g?y"},
	{RFC, "#s", "http://a/b/c/d;p?q"},
	{RFC, "g#s", "http://a/b/c/g"},
	{RFC, "g?y#s", "http://a/b/c/g?y"},
	{RFC, ";x", "http://a/b/c/;x"},
	{RFC, "g;x?y#s", "http://a/b/c/g;x?y"},
	{RFC, "", "http://a/b/c/d;p?q"},
	{RFC, ".", "http://a/b/c/"},
	{RFC, "./", "http://a/b/c/"},
	{RFC, "..", "http://a/b/"},
	{RFC, "../g", "http://a/b/g"},
	{RFC, "../..", "http://a/"},
	{RFC, "../../g", "http://a/g"},
	{RFC, "../../../g", "http://a/g"},
	{RFC, "../../../../g", "http://a/g"},
	{RFC, "/./g", "http://a/g"},
	{RFC, "/../g", "http://a/g"},
	{RFC, "g.", "http://a/b/c/g."},
	{RFC, ".g", "http://a/b/c/.g"},
	{RFC, "g..", "http://a/b/c/g.."},
	{RFC, "..g", "http://a/b/c/..g"},
	{RFC, "./../g", "http://a/b/g"},
	{RFC, "./g/.", "http://a/b/c/g/"},
	{RFC, "g/./h", "http://a/b/c/g/h"},
	{RFC, "g/../h", "http://a/b/c/h"},
	{RFC, "g;x=1/./y", "http://a/b/c/g;x=1/y"},
	{RFC, "g;x=1/../y", "http://a/b/c/y"},
	{RFC, "g?y/./x", "http://a/b/c/g?y/./x"},
	{RFC, "g?y/../x", "http://a/b/c/g?y/../x"},
	{RFC, "g#s/../x", "http://a/b/c/g"},
	{RFC, "http:g", NULL},
	/* queries with slashes, ports, literals */
	{"http://a/b?x=/c/d", "e", "http://a/e"},
	{"http://a/?x=/c/d", "?y", "http://a/?y"},
	{"http://a:81/b", "/c", "http://a:81/c"},
	{"https://a:444/b", "//c/d", "https://c/d"},
	{"https://a/b", "//c:80/d", "https://c:80/d"},
	{"http://[::1]:81/b", "c", "http://[::1]:81/c"},
	{"http://a/", "https://B.example:443/x", "https://b.example/x"},
	{"http://a/", "HTTP://b", "http://b/"},
	{"http://a/", "http://0x7f.1/", "http://127.0.0.1/"},
	/* what servers send */
	{"http://a/x", "/a b", "http://a/a%20b"},
	{"http://a/x", " /b\t", "http://a/b"},
	{"http://a/x", "/a b?c d", "http://a/a%20b?c%20d"},
	{"http://a/x", "/\xe4?\xf6", "http://a/%E4?%F6"},
	{"http://a/x", "/%e4%2F", "http://a/%e4%2F"},
	{"http://a/x", "http://münchen.de/ä", "http://xn--mnchen-3ya.de/%C3%A4"},
	{"http://a/x", "y/http://b/", "http://a/y/http://b/"},
	{"http://a/x", "?u=http://b/", "http://a/x?u=http://b/"},
	/* refused */
	{"http://a/x", "ftp://b/", NULL},
	{"http://a/x", "file:///etc/passwd", NULL},
	{"http://a/x", "mailto:a@b", NULL},
	{"http://a/x", "http:/b", NULL},
	{"http://a/x", "http:///b", NULL},
	{"http://a/x", "///b", NULL},
	{"http://a/x", "//", NULL},
	{"http://a/x", "http://", NULL},
	{"http://a/x", "http://u:p@b/", NULL},
	{"http://a/x", "//u@b/", NULL},
	{"http://a/x", "http://b c/", NULL},
	{"http://a/x", "http://b:0/", NULL},
	{"http://a/x", "http://b:99999/", NULL},
	{"http://a/x", "http://1.2.3.4.5/", NULL},
	{"http://a/x", "/\\b", NULL},
	{"http://a/x", "\\\\b\\c", NULL},
	{"http://a/x", "/b\tc", NULL},
	{"http://a/x", "/b\x7f", NULL},
	{"not absolute", "b", NULL},
};

START_TEST(resolves)
{
	struct url url = {0};
	const char *why = "", *target = references[_i].target;

	int error = url_resolve(&arena, references[_i].base, references[_i].location, &url, &why);
	if (target == NULL) {
		ck_assert_msg(error == -EINVAL, "%s gave %s", references[_i].location, url.text);
		ck_assert_int_gt((int)strlen(why), 0);
		return;
	}
	ck_assert_msg(error == 0, "%s: %s", references[_i].location, why);
	ck_assert_str_eq(url.text, target);
}
END_TEST

START_TEST(compares_origins)
{
	struct url a, b;
	const char *why;

	ck_assert_int_eq(url_parse(&arena, "http://h/x", &a, &why), 0);
	ck_assert_int_eq(url_parse(&arena, "http://H.:80/y", &b, &why), 0);
	ck_assert(origin_name_equal(&a.origin, &b.origin));
	ck_assert_int_eq(url_parse(&arena, "http://h:81/", &b, &why), 0);
	ck_assert(!origin_name_equal(&a.origin, &b.origin));
	ck_assert_int_eq(url_parse(&arena, "https://h:80/", &b, &why), 0);
	ck_assert(!origin_name_equal(&a.origin, &b.origin));
	ck_assert_int_eq(url_parse(&arena, "http://g/", &b, &why), 0);
	ck_assert(!origin_name_equal(&a.origin, &b.origin));
}
END_TEST

/*
 * Every byte sequence of a small, nasty alphabet: whatever is taken is ASCII, has no fragment and no userinfo, and
 * reads the same again.
 */
START_TEST(holds_what_it_promises)
{
	static const char *const tokens[] = {"http://", "/", "\\", "@", ":", "?", "#", "[", "]", "::1", "127.1", "a",
		".", "%2e", "80", "..", "ä", "。", "0x7f", "\xff"};
	enum { TOKENS = sizeof tokens / sizeof *tokens, ROUNDS = 20000 };
	uint32_t random = 12345;

	for (int round = 0; round < ROUNDS; round++) {
		char text[128] = "http://";
		struct url once, twice;
		const char *why;
		for (int i = 0; i < 6; i++) {
			random = random * 1664525 + 1013904223;
			strcat(text, tokens[(random >> 16) % TOKENS]);
		}
		if (url_parse(&arena, text, &once, &why) != 0)
			continue;
		for (const char *at = once.text; *at != '\0'; at++)
			ck_assert_msg(*at > 0x20 && *at < 0x7f && *at != '#', "%s gave %s", text, once.text);
		ck_assert_ptr_null(memchr(once.text + 7, '@', strcspn(once.text + 7, "/")));
		ck_assert_int_eq(url_parse(&arena, once.text, &twice, &why), 0);
		ck_assert_str_eq(once.text, twice.text);
		ck_assert(origin_name_equal(&once.origin, &twice.origin));
	}
}
END_TEST

#define COUNT(table) ((int)(sizeof(table) / sizeof *(table)))

int
main(void)
{
	Suite *suite = suite_create("url");
	TCase *cases = tcase_create("url");
	SRunner *runner = srunner_create(suite);

	suite_add_tcase(suite, cases);
	tcase_add_checked_fixture(cases, setup, teardown);
	tcase_set_timeout(cases, 60);
	tcase_add_loop_test(cases, takes, 0, COUNT(good));
	tcase_add_loop_test(cases, is_a_fixed_point, 0, COUNT(good));
	tcase_add_loop_test(cases, refuses, 0, COUNT(bad));
	tcase_add_loop_test(cases, has_limits, 0, 11);
	tcase_add_test(cases, takes_names_of_253_characters);
	tcase_add_loop_test(cases, resolves, 0, COUNT(references));
	tcase_add_test(cases, compares_origins);
	tcase_add_test(cases, holds_what_it_promises);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
