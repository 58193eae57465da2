/* Tests of what shares descriptors out and counts memory. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <check.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/descriptors.h"
#include "base/memory_budget.h"
#include "base/reserve.h"

/* ---- descriptors */

static struct config
config_of(int64_t connections, int64_t in_flight)
{
	return (struct config){
		.listen = {.count = 1},
		.workers = 2,
		.front_threads = 8,
		.max_connections = connections,
		.max_in_flight = in_flight,
	};
}

static const struct {
	int64_t limit, connections, in_flight;
	bool fits;
	int64_t want_connections, want_in_flight; /* 0: as configured */
} plans[] = {
	{1 << 20, 20000, 10000, true, 0, 0},
	{INT64_MAX / 4, 1000000, 1000000, true, 0, 0},
	{20000, 1000, 9000, true, 0, 0},
	{20000, 20000, 10000, false, 9203, 9203},
	{20000, 20000, 100, false, 18894, 100}, /* the smaller one is whole */
	{20000, 100, 1000000, false, 100, 18306},
	{1024, 20000, 10000, false, 308, 308},
	{64, 20000, 10000, false, 30, 30}, /* less than it needs itself */
	{0, 1, 1, true, 0, 0},
};

START_TEST(descriptors_are_shared_out)
{
	struct config config = config_of(plans[_i].connections, plans[_i].in_flight);
	struct descriptor_plan plan;

	descriptors_plan(&config, plans[_i].limit, &plan);
	ck_assert_int_eq(plan.fits, plans[_i].fits);
	ck_assert_int_eq(
		plan.connections, plans[_i].want_connections ? plans[_i].want_connections : plans[_i].connections);
	ck_assert_int_eq(plan.in_flight, plans[_i].want_in_flight ? plans[_i].want_in_flight : plans[_i].in_flight);
	ck_assert_int_ge(plan.kept_connections, 1);
	if (plans[_i].limit >= 1024)
		ck_assert_int_le(plan.connections + plan.in_flight + plan.kept_connections, plans[_i].limit);
	descriptors_apply(&plan, &config);
	ck_assert_int_eq(config.max_connections, plan.connections);
	ck_assert_int_eq(config.max_in_flight, plan.in_flight);
	ck_assert_int_eq(config.origin_connections, plan.in_flight + plan.kept_connections);
}
END_TEST

START_TEST(what_is_wanted_is_enough)
{
	struct config config = config_of(20000, 10000);
	struct descriptor_plan plan, again;

	descriptors_plan(&config, 1024, &plan);
	descriptors_plan(&config, plan.wanted, &again);
	ck_assert(!plan.fits && again.fits);
}
END_TEST

/* ---- memory */

START_TEST(clients_leave_a_quarter_to_fetches)
{
	int64_t request = 600, spec = 150, response = 250;

	memory_set_ceiling(1000);
	ck_assert(memory_take(MEMORY_REQUESTS, request));
	ck_assert(memory_take(MEMORY_SPECS, spec));
	ck_assert(!memory_take(MEMORY_SPECS, 1));
	ck_assert_int_eq(memory_used(MEMORY_SPECS), 150);
	ck_assert(!memory_is_short());
	memory_take_anyway(MEMORY_RESPONSES, response);
	ck_assert(memory_is_short());
	memory_give(MEMORY_REQUESTS, &request);
	ck_assert_int_eq(request, 0);
	ck_assert(!memory_is_short());
	ck_assert(memory_take(MEMORY_SPECS, 1));
	memory_take_anyway(MEMORY_RESPONSES, 5000);
	ck_assert(!memory_take(MEMORY_REQUESTS, 1));
	memory_set_ceiling(INT64_MAX);
	ck_assert(memory_take(MEMORY_REQUESTS, 1));
}
END_TEST

static void
put(const char *root, const char *path, const char *content)
{
	char whole[PATH_MAX];

	snprintf(whole, sizeof whole, "%s/%s", root, path);
	for (char *slash = whole + strlen(root) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
		*slash = '\0';
		mkdir(whole, 0700);
		*slash = '/';
	}
	FILE *file = fopen(whole, "w");
	ck_assert_msg(file != NULL, "%s", whole);
	fputs(content, file);
	fclose(file);
}

static const struct {
	const char *cgroup, *limit_path, *limit;
	int64_t want; /* 0: the machine's */
} groups[] = {
	{"0::/\n", "fs/cgroup/memory.max", "1048576\n", 1 << 20},
	{"0::/a/b\n", "fs/cgroup/a/b/memory.max", "2097152\n", 2 << 20},
	{"0::/a/b\n", "fs/cgroup/a/memory.max", "3145728\n", 3 << 20}, /* of the group above */
	{"0::/a\n", "fs/cgroup/a/memory.max", "max\n", 0},
	{"4:cpu:/x\n3:memory:/a\n0::/\n", "fs/cgroup/memory/a/memory.limit_in_bytes", "4194304\n", 4 << 20},
	{"3:memory:/a\n", "fs/cgroup/memory/a/memory.limit_in_bytes", "9223372036854771712\n", 0},
	{"nonsense\n", "x", "1\n", 0},
	{"", "x", "1\n", 0},
};

START_TEST(memory_is_that_of_the_machine_or_its_group)
{
	char proc[] = "/tmp/fetchpool-proc-XXXXXX", sys[] = "/tmp/fetchpool-sys-XXXXXX";
	char command[100];
	int64_t machine = (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);

	ck_assert(mkdtemp(proc) != NULL && mkdtemp(sys) != NULL);
	put(proc, "self/cgroup", groups[_i].cgroup);
	put(sys, groups[_i].limit_path, groups[_i].limit);
	int64_t got = memory_available(proc, sys);
	snprintf(command, sizeof command, "rm -r %s %s", proc, sys);
	ck_assert_int_eq(system(command), 0);
	ck_assert_int_eq(got, groups[_i].want == 0 ? machine : groups[_i].want);
}
END_TEST

START_TEST(the_reserve_gives_and_takes_back)
{
	char *memory;

	ck_assert_int_eq(reserve_init(), 0);
	memory = reserve_realloc(NULL, 5);
	strcpy(memory, "four");
	memory = reserve_realloc(memory, 100000);
	ck_assert_str_eq(memory, "four");
	reserve_free(memory);
	reserve_free(NULL);
}
END_TEST

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
START_TEST(the_reserve_has_what_malloc_has_not)
{
	const size_t size = 8 << 20;
	struct rlimit none = {0};
	char *pieces[8];
	size_t count = 0;

	ck_assert_int_eq(reserve_init(), 0);
	none.rlim_cur = none.rlim_max = 1; /* nothing more can be mapped */
	ck_assert_int_eq(setrlimit(RLIMIT_AS, &none), 0);
	while (count < 8 && (pieces[count] = reserve_malloc(size)) != NULL)
		memset(pieces[count++], 'x', size);
	ck_assert_int_ge(count, 2);
	ck_assert_int_lt(count, 8);
	reserve_free(pieces[--count]);
	ck_assert_ptr_eq(reserve_malloc(size), pieces[count]);
	pieces[count] = reserve_realloc(pieces[count], size + 1000);
	ck_assert_ptr_nonnull(pieces[count]);
	ck_assert_ptr_null(reserve_realloc(pieces[count], (size_t)60 << 20));
	ck_assert_int_eq(pieces[count][size - 1], 'x');
}
END_TEST
#endif

int
main(void)
{
	Suite *suite = suite_create("limits");
	TCase *tcase = tcase_create("limits");

	tcase_add_loop_test(tcase, descriptors_are_shared_out, 0, (int)(sizeof plans / sizeof *plans));
	tcase_add_test(tcase, what_is_wanted_is_enough);
	tcase_add_test(tcase, clients_leave_a_quarter_to_fetches);
	tcase_add_loop_test(
		tcase, memory_is_that_of_the_machine_or_its_group, 0, (int)(sizeof groups / sizeof *groups));
	tcase_add_test(tcase, the_reserve_gives_and_takes_back);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	tcase_add_test(tcase, the_reserve_has_what_malloc_has_not);
#endif
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
