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
#include <string.h>
#include <time.h>

static const char usage[] =
	"usage: tests/crash [--rounds N] [--signal TERM] [--seed S] [--binary PATH] [--state-dir DIR]\n"
	"                   [-- OPTIONS OF THE DAEMON]\n"
	"       tests/crash --target PORT [--token TOKEN] [--seconds N] [--rate N] [--seed S]\n"
	"\n"
	"Starts the daemon (PATH, else $FETCHPOOL_BINARY, else src/fetchpool) N times (30) on one state directory, puts\n"
	"it under load, kills it (kill -9) at a random moment, and sees that nothing acknowledged is lost or changed,\n"
	"and nothing sent twice that must not be. With --signal TERM each round ends with SIGTERM under load: exit status 0,\n"
	"soon after its --drain-timeout. Exits 1 when something was, and leaves the directory.\n"
	"\n"
	"With --target it puts a daemon on 127.0.0.1:PORT under load for N seconds (60), at most N requests a second (100),\n"
	"and accounts for every job in the same way. That daemon must allow 127.0.0.0/8.\n";

static const struct option options[] = {
	{"rounds", required_argument, NULL, 'n'},
	{"seed", required_argument, NULL, 's'},
	{"binary", required_argument, NULL, 'b'},
	{"state-dir", required_argument, NULL, 'd'},
	{"signal", required_argument, NULL, 'k'},
	{"target", required_argument, NULL, 't'},
	{"token", required_argument, NULL, 'w'},
	{"seconds", required_argument, NULL, 'l'},
	{"rate", required_argument, NULL, 'r'},
	{"help", no_argument, NULL, 'h'},
	{0},
};

static void __attribute__((noreturn)) tell_usage(bool asked)
{
	fputs(usage, asked ? stdout : stderr);
	exit(asked ? EXIT_SUCCESS : 2);
}

/* A whole number from least to most, or the end. */
static unsigned
number(unsigned least, unsigned most)
{
	char *end;
	unsigned long value = strtoul(optarg, &end, 10);

	if (*end || end == optarg || value < least || value > most) {
		fprintf(stderr, "crash: \"%s\" is no number from %u to %u\n", optarg, least, most);
		exit(2);
	}
	return (unsigned)value;
}

static void
read_options(int argc, char **argv, struct crash_plan *plan)
{
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (option == 'n')
			plan->rounds = number(0, 1000000);
		else if (option == 's')
			plan->seed = strtoull(optarg, NULL, 10);
		else if (option == 'b')
			setenv("FETCHPOOL_BINARY", optarg, 1);
		else if (option == 'd')
			plan->state_dir = optarg;
		else if (option == 'k' && !strcmp(optarg, "TERM"))
			plan->terminate = true;
		else if (option == 't')
			plan->port = number(1, 65535);
		else if (option == 'w')
			plan->token = optarg;
		else if (option == 'l')
			plan->seconds = number(1, 86400);
		else if (option == 'r')
			plan->rate = number(1, 5000);
		else
			tell_usage(option == 'h');
	}
	plan->options = (const char *const *)(uintptr_t)(argv + optind);
}

int
main(int argc, char **argv)
{
	struct crash_plan plan = {.rounds = 30, .seed = (uint64_t)time(NULL), .seconds = 60, .rate = 100};
	struct crash_report report;

	read_options(argc, argv, &plan);
	signal(SIGPIPE, SIG_IGN);
	json_object_seed(0);
	(plan.port ? crash_soak : crash_run)(&plan, &report);
	crash_print(&plan, &report);
	if (crash_fault_count(&report)) {
		if (!plan.port)
			fprintf(stderr, "crash: what the daemons left and said is in %s\n", server_directory());
		return EXIT_FAILURE;
	}
	server_clean_up();
	return EXIT_SUCCESS;
}
