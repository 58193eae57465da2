/*
 * The state directory, which durable bodies live in: made with all above it, one server's alone, and swept of what no
 * store has taken over.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/state_dir.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

static char temporary[128];

static void
make_temporary(void)
{
	const char *where = getenv("TMPDIR");

	snprintf(temporary, sizeof temporary, "%s/unit-state-dir-XXXXXX", where != NULL ? where : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(temporary));
}

static int
remove_one(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
	(void)info, (void)kind, (void)walk;
	return remove(path);
}

static void
remove_temporary(void)
{
	nftw(temporary, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static const char *
path_in(const char *rest)
{
	static char path[256];

	snprintf(path, sizeof path, "%s/%s", temporary, rest);
	return path;
}

static void
write_file(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);

	ck_assert_msg(fd >= 0, "%s: %s", path, strerror(errno));
	close(fd);
}

START_TEST(makes_nested_directories)
{
	static const char *const made[] = {"one", "one/two", "one/two/three", "one/two/three/bodies"};
	struct state_dir dir;
	struct stat info;
	char *message;

	make_temporary();
	ck_assert_int_eq(state_dir_open(path_in("one/two/three"), &dir, &message), 0);
	ck_assert_ptr_null(message);
	ck_assert_str_eq(dir.path, path_in("one/two/three"));
	ck_assert_str_eq(dir.bodies, path_in("one/two/three/bodies"));
	for (int i = 0; i < COUNT(made); i++) {
		ck_assert_int_eq(stat(path_in(made[i]), &info), 0);
		ck_assert_msg(S_ISDIR(info.st_mode), "%s", made[i]);
		ck_assert_msg((info.st_mode & 077) == 0, "%s: others may read it: %o", made[i], (unsigned)info.st_mode);
	}
	state_dir_close(&dir);
	ck_assert_int_eq(dir.lock_fd, -1);
	ck_assert_ptr_null(dir.path);
	/* What is there already is taken as it is, a slash at the end makes no difference. */
	ck_assert_int_eq(state_dir_open(path_in("one/two/three/"), &dir, &message), 0);
	state_dir_close(&dir);
	remove_temporary();
}
END_TEST

START_TEST(keeps_a_second_server_out)
{
	struct state_dir dir, second = {.lock_fd = 12345};
	char *message;

	make_temporary();
	ck_assert_int_eq(state_dir_open(path_in("state"), &dir, &message), 0);
	ck_assert_int_eq(state_dir_open(path_in("state"), &second, &message), -EAGAIN);
	ck_assert_ptr_nonnull(message);
	ck_assert_msg(
		strstr(message, path_in("state")) != NULL && strstr(message, "--state-dir") != NULL, "%s", message);
	ck_assert_int_eq(second.lock_fd, 12345); /* untouched */
	free(message);
	ck_assert_int_eq(state_dir_open(path_in("other"), &second, &message), 0);
	state_dir_close(&second);
	state_dir_close(&dir);
	ck_assert_int_eq(state_dir_open(path_in("state"), &dir, &message), 0);
	state_dir_close(&dir);
	remove_temporary();
}
END_TEST

START_TEST(says_why_it_cannot_be_made)
{
	struct state_dir dir;
	char *message = NULL;

	make_temporary();
	write_file(path_in("file"));
	ck_assert_int_lt(state_dir_open(path_in("file/state"), &dir, &message), 0);
	ck_assert_ptr_nonnull(message);
	ck_assert_msg(strstr(message, "file/state: ") != NULL, "%s", message);
	free(message);
	ck_assert_int_lt(state_dir_open(path_in("file"), &dir, &message), 0);
	ck_assert_ptr_nonnull(message);
	free(message);
	remove_temporary();
}
END_TEST

/* Bodies that are still written go; under their own names they are a store's, which sweeps them itself. */
static const struct {
	const char *name;
	bool stays;
} swept[] = {
	{"019aa0c4-6d0e-7c61-9d3a-2f6f3b9c1f00.part", false},
	{"019AA0C4-6D0E-7C61-9D3A-2F6F3B9C1F01.part", false},
	{"00000000-0000-0000-0000-000000000000.part", false},
	{"019aa0c4-6d0e-7c61-9d3a-2f6f3b9c1f00", true},
	{"019aa0c4-6d0e-7c61-9d3a-2f6f3b9c1f0.part", true},
	{"019aa0c4-6d0e-7c61-9d3a-2f6f3b9c1f000.part", true},
	{"019aa0c4-6d0e-7c61-9d3a-2f6f3b9c1f00.parts", true},
	{"019aa0c4-6d0e-7c61-9d3a-2f6f3b9c1f00.txt", true},
	{"019aa0c4-6d0e-7c61-9d3a-2f6f3b9c1f00.PART", true},
	{".part", true},
	{"lock", true},
	{".hidden", true},
	{"README", true},
};

START_TEST(sweeps_parts_alone)
{
	static const char beside[] = "019aa0c4-6d0e-7c61-9d3a-2f6f3b9c1f00.part";
	struct state_dir dir;
	char *message, path[300];

	make_temporary();
	ck_assert_int_eq(state_dir_open(path_in("state"), &dir, &message), 0);
	for (int i = 0; i < COUNT(swept); i++) {
		snprintf(path, sizeof path, "%s/%s", dir.bodies, swept[i].name);
		write_file(path);
	}
	snprintf(path, sizeof path, "%s/%s", dir.path, beside);
	write_file(path);
	state_dir_sweep_parts(&dir);
	state_dir_sweep_parts(&dir);
	ck_assert_msg(access(path, F_OK) == 0, "a file beside the bodies went");
	for (int i = 0; i < COUNT(swept); i++) {
		snprintf(path, sizeof path, "%s/%s", dir.bodies, swept[i].name);
		bool there = access(path, F_OK) == 0;
		ck_assert_msg(there == swept[i].stays, "%s %s", swept[i].name, there ? "stays" : "went");
	}
	state_dir_close(&dir);
	remove_temporary();
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("state_dir");
	TCase *tests = tcase_create("state_dir");
	SRunner *runner = srunner_create(suite);

	tcase_add_test(tests, makes_nested_directories);
	tcase_add_test(tests, keeps_a_second_server_out);
	tcase_add_test(tests, says_why_it_cannot_be_made);
	tcase_add_test(tests, sweeps_parts_alone);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
