/* Every call of every kind fails in its turn; see torture.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "torture.h"

#include "server.h"

#include <getopt.h>
#include <jansson.h>
#include <link.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
	"usage: tests/torture [--all] [--kind NAME] [--from N] [--to N] [--stride N] [--times N] [--runs N]\n"
	"\n"
	"Runs the daemon ($FETCHPOOL_BINARY, else src/fetchpool) through its whole life again and again, and each time\n"
	"another call fails: the first, the second, and so on, until a life ends untouched. Without --all a choice of\n"
	"calls, spread over all of them: --runs for each kind (6). --times: how many fail in a row (1).\n"
	"Kinds:";

static const char *const names[] = {
#define X(kind, name, error) name,
	NTH_KINDS(X)
#undef X
};

struct plan {
	bool all;
	int kind; /* -1: all */
	uint64_t from, to, stride, times, runs;
};

static void
print_usage(FILE *to)
{
	fputs(usage, to);
	for (int i = 0; i < NTH_KIND_COUNT; i++)
		fprintf(to, " %s", names[i]);
	fputs("\n", to);
}

static int
kind_of(const char *name)
{
	for (int i = 0; i < NTH_KIND_COUNT; i++)
		if (!strcmp(names[i], name))
			return i;
	fprintf(stderr, "torture: there is no kind %s\n", name);
	exit(2);
}

static void
read_options(int argc, char **argv, struct plan *plan)
{
	static const struct option options[] = {
		{"all", no_argument, NULL, 'a'},
		{"kind", required_argument, NULL, 'k'},
		{"from", required_argument, NULL, 'f'},
		{"to", required_argument, NULL, 't'},
		{"stride", required_argument, NULL, 's'},
		{"times", required_argument, NULL, 'm'},
		{"runs", required_argument, NULL, 'r'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		uint64_t number = optarg ? strtoull(optarg, NULL, 10) : 0;

		switch (option) {
		case 'a':
			plan->all = true;
			break;
		case 'k':
			plan->kind = kind_of(optarg);
			break;
		case 'f':
			plan->from = number;
			break;
		case 't':
			plan->to = number;
			break;
		case 's':
			plan->stride = number;
			break;
		case 'm':
			plan->times = number;
			break;
		case 'r':
			plan->runs = number;
			break;
		default:
			print_usage(option == 'h' ? stdout : stderr);
			exit(option == 'h' ? EXIT_SUCCESS : 2);
		}
	}
}

/* Returns the number of bad runs. */
static unsigned
torture_kind(const struct plan *plan, enum nth_kind kind)
{
	uint64_t total = plan->all && !plan->stride ? 0 : torture_count(kind);
	uint64_t stride = plan->stride ? plan->stride : plan->all ? 1 : total / (plan->runs + 1) + 1;
	uint64_t from = plan->from ? plan->from : plan->all ? 1 : (stride + 1) / 2;
	unsigned runs = 0, bad = 0;
	bool struck = true;

	for (uint64_t nth = from; struck && (!plan->to || nth <= plan->to); nth += stride) {
		bad += !torture_run(kind, nth, plan->times, &struck);
		runs++;
	}
	printf("%s: %u lives, %u bad\n", names[kind], runs, bad);
	fflush(stdout);
	return bad;
}

/* Sanitizers have allocators of their own, which do not fail. */
static int
is_sanitizer(struct dl_phdr_info *loaded, size_t size, void *context)
{
	(void)size, (void)context;
	return strstr(loaded->dlpi_name, "/libasan.so") || strstr(loaded->dlpi_name, "/libtsan.so");
}

int
main(int argc, char **argv)
{
	struct plan plan = {.kind = -1, .times = 1, .runs = 6};
	unsigned bad = 0;

	read_options(argc, argv, &plan);
	if (dl_iterate_phdr(is_sanitizer, NULL)) {
		puts("skipped: built with a sanitizer");
		return 77;
	}
	signal(SIGPIPE, SIG_IGN);
	json_object_seed(0);
	if (!torture_begin())
		return EXIT_FAILURE;
	for (int kind = 0; kind < NTH_KIND_COUNT; kind++)
		if (plan.kind < 0 || plan.kind == kind)
			bad += torture_kind(&plan, (enum nth_kind)kind);
	torture_end();
	server_clean_up();
	return bad ? EXIT_FAILURE : EXIT_SUCCESS;
}
