/* The crash loop as a program of its own; see crash.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "crash.h"

#include "rig.h"
#include "server.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static const char usage[] =
	"usage: tests/crash [--rounds N] [--seed S] [--binary PATH] [--state-dir DIR] [-- OPTIONS OF THE DAEMON]\n"
	"\n"
	"Starts the daemon (PATH, else $FETCHPOOL_BINARY, else src/fetchpool) N times (30) on one state directory, puts\n"
	"it under load, kills it (kill -9) at a random moment, and sees that nothing acknowledged is lost or changed,\n"
	"and nothing sent twice that must not be. Exits 1 when something was, and leaves the directory.\n";

static const struct option options[] = {
	{"rounds", required_argument, NULL, 'n'},
	{"seed", required_argument, NULL, 's'},
	{"binary", required_argument, NULL, 'b'},
	{"state-dir", required_argument, NULL, 'd'},
	{"help", no_argument, NULL, 'h'},
	{0},
};

static void
read_options(int argc, char **argv, struct crash_plan *plan)
{
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (option == 'n')
			plan->rounds = (unsigned)strtoul(optarg, NULL, 10);
		else if (option == 's')
			plan->seed = strtoull(optarg, NULL, 10);
		else if (option == 'b')
			setenv("FETCHPOOL_BINARY", optarg, 1);
		else if (option == 'd')
			plan->state_dir = optarg;
		else {
			fputs(usage, option == 'h' ? stdout : stderr);
			exit(option == 'h' ? EXIT_SUCCESS : 2);
		}
	}
	plan->options = (const char *const *)(uintptr_t)(argv + optind);
}

int
main(int argc, char **argv)
{
	struct crash_plan plan = {.rounds = 30, .seed = (uint64_t)time(NULL)};
	struct crash_report report;

	read_options(argc, argv, &plan);
	signal(SIGPIPE, SIG_IGN);
	json_object_seed(0);
	crash_run(&plan, &report);
	crash_print(&plan, &report);
	if (crash_fault_count(&report)) {
		fprintf(stderr, "crash: what the daemons left and said is in %s\n", server_directory());
		return EXIT_FAILURE;
	}
	server_clean_up();
	return EXIT_SUCCESS;
}
