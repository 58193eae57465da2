/*
 * Tokens as their operator writes them down: settings, lines of the file, sections together with the file, what is said of
 * mistakes; and so many a minute.
 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/tokens.h"
#include "base/bucket.h"
#include "base/text.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

/* SHA-256 of "first" and "second", as sha256sum prints them. */
#define HASH_FIRST "a7937b64b8caa58f03721bb6bacf5c78cb235febe0e70b1b84cd99541461a08e"
#define HASH_SECOND "16367aacb67a4a017c8da8ab95682ccb390863780f7114dda0a0e0c55644c7c4"

static char file_path[] = "/tmp/unit_tokens.XXXXXX"; /* holds what load_text wrote last */

static int
load_text(
	const char *text, struct config_token *sections, size_t section_count, struct tokens **ret, char **ret_message)
{
	struct config config = {
		.auth_token_file = text == NULL ? NULL : file_path, .tokens = sections, .token_count = section_count};
	FILE *file = fopen(file_path, "w");

	ck_assert_ptr_nonnull(file);
	fputs(text == NULL ? "" : text, file);
	fclose(file);
	return tokens_load(&config, ret, ret_message);
}

static struct tokens *
load_well(const char *text)
{
	struct tokens *tokens;
	char *message;
	int error = load_text(text, NULL, 0, &tokens, &message);

	ck_assert_msg(error == 0, "%d %s", error, message != NULL ? message : "");
	return tokens;
}

/* The message for the file is FILE and what is given here. */
static void
check_refused(const char *text, struct config_token *sections, size_t section_count, const char *wanted)
{
	struct tokens *tokens = NULL;
	char *message = NULL;

	ck_assert_int_eq(load_text(text, sections, section_count, &tokens, &message), -EINVAL);
	ck_assert_ptr_null(tokens);
	ck_assert_ptr_nonnull(message);
	ck_assert_int_eq(strncmp(message, file_path, strlen(file_path)), 0);
	ck_assert_str_eq(message + strlen(file_path), wanted);
	free(message);
}

static const struct {
	const char *line, *name;
	unsigned scopes;
	int64_t jobs_per_minute, max_queued, max_in_flight;
} lines[] = {
	{"first", "token-a7937b64", TOKEN_SUBMIT | TOKEN_READ, 0, 0, 0},
	{"sha256:" HASH_FIRST, "token-a7937b64", TOKEN_SUBMIT | TOKEN_READ, 0, 0, 0},
	{"sha256:A7937B64B8CAA58F03721BB6BACF5C78CB235FEBE0E70B1B84CD99541461A08E name=big", "big",
		TOKEN_SUBMIT | TOKEN_READ, 0, 0, 0},
	{"  first\tname=a-b_C.9  scope=read \r", "a-b_C.9", TOKEN_READ, 0, 0, 0},
	{"first scope=submit", "token-a7937b64", TOKEN_SUBMIT, 0, 0, 0},
	{"first scope=submit,read", "token-a7937b64", TOKEN_SUBMIT | TOKEN_READ, 0, 0, 0},
	{"first scope=read scope=submit", "token-a7937b64", TOKEN_SUBMIT | TOKEN_READ, 0, 0, 0},
	{"first scope=admin", "token-a7937b64", TOKEN_EVERYTHING, 0, 0, 0},
	{"first jobs-per-minute=600 max-queued=10000 max-in-flight=100", "token-a7937b64", TOKEN_SUBMIT | TOKEN_READ,
		600, 10000, 100},
	{"first jobs-per-minute=1000000000 max-queued=1000000000 max-in-flight=1000000", "token-a7937b64",
		TOKEN_SUBMIT | TOKEN_READ, 1000000000, 1000000000, 1000000},
};

START_TEST(reads_lines)
{
	struct tokens *tokens = load_well(lines[_i].line);
	const struct token *token = tokens_at(tokens, 0);
	struct token_grant grant;

	ck_assert_ptr_nonnull(token);
	ck_assert_ptr_null(tokens_at(tokens, 1));
	ck_assert_str_eq(token->name, lines[_i].name);
	ck_assert_uint_eq(token->scopes, lines[_i].scopes);
	ck_assert_int_eq(token->jobs_per_minute, lines[_i].jobs_per_minute);
	ck_assert_int_eq(token->max_queued, lines[_i].max_queued);
	ck_assert_int_eq(token->max_in_flight, lines[_i].max_in_flight);
	ck_assert_int_eq(tokens_admit(tokens, "Bearer first", &grant), 0);
	ck_assert_str_eq(grant.name, lines[_i].name);
	ck_assert_uint_eq(grant.scopes, lines[_i].scopes);
	ck_assert_int_eq(tokens_admit(tokens, "Bearer " HASH_FIRST, &grant), -EACCES);
	ck_assert_int_eq(tokens_admit(tokens, "Bearer sha256:" HASH_FIRST, &grant), -EACCES);
	ck_assert_int_eq(tokens_admit(tokens, "Bearer second", &grant), -EACCES);
	ck_assert_int_eq(tokens_admit(tokens, "Basic first", &grant), -ENOENT);
	ck_assert_int_eq(tokens_admit(tokens, NULL, &grant), -ENOENT);
	tokens_free(tokens);
}
END_TEST

#define LONG_NAME "a123456789012345678901234567890123456789012345678901234567890123"
#define NOT_PLAIN                                                                                                      \
	"token: it may consist of letters, digits and -._~+/ with = at its end (RFC 6750); give any other as its sha256"
#define NOT_HASH "sha256: it has to be the 64 hexadecimal digits that sha256sum prints"

static const struct {
	const char *text, *wanted;
} mistakes[] = {
	{"first\n\nsecond nam=x\n", ":3: nam: there is no such setting of a token"},
	{"# one\nfirst second", ":2: after the token come settings as NAME=VALUE, with blanks between"},
	{"first name=", ":1: after the token come settings as NAME=VALUE, with blanks between"},
	{"first =x", ":1: after the token come settings as NAME=VALUE, with blanks between"},
	{"scope=read", ":1: " NOT_PLAIN},
	{"fir:st", ":1: " NOT_PLAIN},
	{"f\xc3\xafrst", ":1: " NOT_PLAIN},
	{"=", ":1: " NOT_PLAIN},
	{"sha256:", ":1: " NOT_HASH},
	{"sha256:" HASH_FIRST "0", ":1: " NOT_HASH},
	{"sha256:g" HASH_FIRST, ":1: " NOT_HASH},
	{"sha256:z7937b64b8caa58f03721bb6bacf5c78cb235febe0e70b1b84cd99541461a08e", ":1: " NOT_HASH},
	{"first token=second", ":1: token: the token is the first word of its line, or sha256:HEX"},
	{"first sha256=" HASH_FIRST, ":1: sha256: the token is the first word of its line, or sha256:HEX"},
	{"first name=a name=b", ":1: name: it is set twice"},
	{"first name=a/b", ":1: name: only letters, digits, \".\", \"_\" and \"-\" may stand in it"},
	{"first name=" LONG_NAME "4", ":1: name: it has to have 1 to 64 characters"},
	{"first scope=write", ":1: scope: \"write\" is none of submit, read, admin"},
	{"first scope=read,", ":1: scope: \"\" is none of submit, read, admin"},
	{"first scope=Read", ":1: scope: \"Read\" is none of submit, read, admin"},
	{"first max-queued=0", ":1: max-queued: \"0\" is not a whole number within 1 and 1000000000"},
	{"first max-queued=-1", ":1: max-queued: \"-1\" is not a whole number within 1 and 1000000000"},
	{"first jobs-per-minute=1e3", ":1: jobs-per-minute: \"1e3\" is not a whole number within 1 and 1000000000"},
	{"first max-in-flight=1000001", ":1: max-in-flight: \"1000001\" is not a whole number within 1 and 1000000"},
	{"first max-in-flight=1 max-in-flight=1", ":1: max-in-flight: it is set twice"},
};

START_TEST(tells_of_mistakes)
{
	check_refused(mistakes[_i].text, NULL, 0, mistakes[_i].wanted);
}
END_TEST

/* The message is this, FILE, and the second part. */
static const struct {
	const char *text, *wanted, *behind;
} doubles[] = {
	{"first\nsecond\nfirst name=b\n", ":3: this token is there already, at ", ":1"},
	{"first\nsha256:" HASH_FIRST "\n", ":2: this token is there already, at ", ":1"},
	{"first name=a\nsecond name=a\n", ":2: name: a token is called a already, at ", ":1"},
	{"first name=token-16367aac\nsecond\n", ":2: name: a token is called token-16367aac already, at ", ":1"},
};

START_TEST(refuses_doubles)
{
	char wanted[200];

	snprintf(wanted, sizeof wanted, "%s%s%s", doubles[_i].wanted, file_path, doubles[_i].behind);
	check_refused(doubles[_i].text, NULL, 0, wanted);
}
END_TEST

START_TEST(adds_sections_and_file_up)
{
	struct config_token section = {.source = (char *)"x.conf:7"};
	struct token_grant grant;
	struct tokens *tokens;
	struct buffer why = {0};
	char *message;

	ck_assert_int_eq(token_set(&section.token, "name", "one", &why), 0);
	ck_assert_int_eq(token_set(&section.token, "sha256", HASH_FIRST, &why), 0);
	ck_assert_int_eq(token_complete(&section.token, &why), 0);
	/* alone */
	ck_assert_int_eq(load_text(NULL, &section, 1, &tokens, &message), 0);
	ck_assert_int_eq(tokens_admit(tokens, NULL, &grant), -ENOENT);
	ck_assert_int_eq(tokens_admit(tokens, "Bearer first", &grant), 0);
	ck_assert_str_eq(grant.name, "one");
	tokens_free(tokens);
	/* both */
	ck_assert_int_eq(load_text("second name=two scope=read", &section, 1, &tokens, &message), 0);
	ck_assert_int_eq(tokens_admit(tokens, "Bearer first", &grant), 0);
	ck_assert_int_eq(tokens_admit(tokens, "Bearer second", &grant), 0);
	ck_assert_str_eq(grant.name, "two");
	ck_assert_uint_eq(grant.scopes, TOKEN_READ);
	tokens_free(tokens);
	check_refused("first name=two", &section, 1, ":1: this token is there already, at x.conf:7");
	check_refused("second name=one", &section, 1, ":1: name: a token is called one already, at x.conf:7");
}
END_TEST

START_TEST(takes_many)
{
	struct buffer text = {0};
	struct token_grant grant;

	for (int i = 0; i < 1000; i++)
		buffer_printf(&text, "%s-%d name=n%d\n", "token", i, i);
	char *all = buffer_steal(&text);
	struct tokens *tokens = load_well(all);
	for (int i = 0; i < 1000; i += 111) {
		char authorization[40], name[20];

		snprintf(authorization, sizeof authorization, "Bearer token-%d", i);
		snprintf(name, sizeof name, "n%d", i);
		ck_assert_int_eq(tokens_admit(tokens, authorization, &grant), 0);
		ck_assert_str_eq(grant.name, name);
	}
	ck_assert_int_eq(tokens_admit(tokens, "Bearer token-1000", &grant), -EACCES);
	tokens_free(tokens);
	free(all);
}
END_TEST

START_TEST(compares_every_bit)
{
	uint8_t a[SHA256_BYTES], b[SHA256_BYTES];

	ck_assert_int_eq(token_hash("first", 5, a), 0);
	ck_assert_int_eq(token_hash("first", 5, b), 0);
	ck_assert(token_hash_equal(a, b));
	for (int bit = 0; bit < 8 * SHA256_BYTES; bit++) {
		b[bit / 8] ^= (uint8_t)(1 << bit % 8);
		ck_assert_msg(!token_hash_equal(a, b), "bit %d", bit);
		b[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	ck_assert_int_eq(token_hash("second", 6, b), 0);
	ck_assert(!token_hash_equal(a, b));
}
END_TEST

/* ---- so many a minute */

START_TEST(bucket_is_full_at_first)
{
	struct bucket bucket = {0};

	ck_assert_int_eq(bucket_take(&bucket, 1000000, 5), 0); /* no limit */
	bucket_limit(&bucket, 60, 1000);
	for (int i = 0; i < 60; i++)
		ck_assert_int_eq(bucket_take(&bucket, 1, 1000), 0);
	ck_assert_int_eq(bucket_take(&bucket, 1, 1000), 1000); /* one a second */
	ck_assert_int_eq(bucket_take(&bucket, 1, 1400), 600);
	ck_assert_int_eq(bucket_take(&bucket, 1, 2000), 0);
	ck_assert_int_eq(bucket_take(&bucket, 1, 2000), 1000);
	ck_assert_int_eq(bucket_take(&bucket, 3, 2000), 3000);
	ck_assert_int_eq(bucket_take(&bucket, 61, 2000), INT64_MAX);
	bucket_return(&bucket, 2);
	ck_assert_int_eq(bucket_take(&bucket, 2, 2000), 0);
	/* never more than a minute's worth, however long nobody came */
	ck_assert_int_eq(bucket_take(&bucket, 60, INT64_MAX / 2), 0);
	ck_assert_int_eq(bucket_take(&bucket, 1, INT64_MAX / 2), 1000);
	bucket_return(&bucket, 100);
	ck_assert_int_eq(bucket_take(&bucket, 60, INT64_MAX / 2), 0);
	ck_assert_int_eq(bucket_take(&bucket, 1, INT64_MAX / 2), 1000);
}
END_TEST

/* Whatever the rate and however often it is asked, an hour lets sixty minutes' worth through, and the first minute's. */
START_TEST(bucket_loses_nothing)
{
	static const int64_t rates[] = {2, 7, 60, 599, 6000};
	struct bucket bucket = {0};
	int64_t rate = rates[_i], taken = 0;

	bucket_limit(&bucket, rate, 0);
	for (int64_t now = 0; now <= 3600 * 1000; now++)
		if (now % 7 == 0 || now == 3600 * 1000)
			while (bucket_take(&bucket, 1, now) == 0)
				taken++;
	ck_assert_int_eq(taken, 61 * rate);
}
END_TEST

START_TEST(bucket_keeps_what_was_taken)
{
	struct bucket bucket = {0};

	bucket_limit(&bucket, 10, 0);
	ck_assert_int_eq(bucket_take(&bucket, 10, 0), 0);
	bucket_limit(&bucket, 600, 0); /* ten times as fast from now on */
	ck_assert_int_eq(bucket_take(&bucket, 1, 0), 100);
	bucket_limit(&bucket, 600, 60000);
	bucket_limit(&bucket, 2, 60000);
	ck_assert_int_eq(bucket_take(&bucket, 2, 60000), 0);
	ck_assert_int_eq(bucket_take(&bucket, 1, 60000), 30000);
	bucket_limit(&bucket, 0, 60000);
	ck_assert_int_eq(bucket_take(&bucket, 1, 60000), 0);
	bucket_limit(&bucket, BUCKET_MAX, 60000);
	ck_assert_int_eq(bucket_take(&bucket, BUCKET_MAX, 60000), 0);
	ck_assert_int_eq(bucket_take(&bucket, BUCKET_MAX, 60001), 59999);
	ck_assert_int_eq(bucket_take(&bucket, BUCKET_MAX, 120000), 0);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("tokens");
	TCase *tests = tcase_create("tokens");
	SRunner *runner = srunner_create(suite);

	close(mkstemp(file_path));
	tcase_add_loop_test(tests, reads_lines, 0, COUNT(lines));
	tcase_add_loop_test(tests, tells_of_mistakes, 0, COUNT(mistakes));
	tcase_add_loop_test(tests, refuses_doubles, 0, COUNT(doubles));
	tcase_add_test(tests, adds_sections_and_file_up);
	tcase_add_test(tests, takes_many);
	tcase_add_test(tests, compares_every_bit);
	tcase_add_test(tests, bucket_is_full_at_first);
	tcase_add_loop_test(tests, bucket_loses_nothing, 0, 5);
	tcase_add_test(tests, bucket_keeps_what_was_taken);
	tcase_set_timeout(tests, 60); /* sanitizers on a busy machine */
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	unlink(file_path);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
