/*
 * The daemon: options, an ordered start, signals, drain, and the teardown in reverse.
 *
 * The main thread alone takes signals, with sigwait; every other thread has them blocked.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/api.h"
#include "base/clock.h"
#include "base/descriptors.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/options.h"
#include "base/systemd.h"
#include "service/service.h"
#include "watchdog.h"

#define EXIT_USAGE 2
#define STATUS_SERVING "STATUS=serving"

extern char **environ;

struct program {
	int argc;
	char **argv;
	struct config config;
	struct systemd systemd;
	struct service *service;
	struct api *api;
	struct watchdog watchdog;
	sigset_t signals;
};

static const struct options_checks checks = {
	.egress_rule = service_egress_rule_valid,
	.proxy_problem = service_proxy_problem,
};

/* As options_load. Sockets that were passed take the place of the default address, and stand beside those that were asked for. */
static int
load_config(const struct program *program, struct config *ret, char **ret_message)
{
	int error = options_load(program->argc, program->argv, environ, &checks, ret, ret_message);

	if (error != 0 || program->systemd.passed_sockets == 0)
		return error;
	ret->passed_sockets = program->systemd.passed_sockets;
	if (config_listens_by_default(ret))
		config_list_clear(&ret->listen);
	return 0;
}

/* ---- the start */

static void
block_signals(sigset_t *signals)
{
	sigemptyset(signals);
	sigaddset(signals, SIGTERM);
	sigaddset(signals, SIGINT);
	sigaddset(signals, SIGHUP);
	pthread_sigmask(SIG_BLOCK, signals, NULL);
	signal(SIGPIPE, SIG_IGN);
}

/* Each fetch and each client needs a descriptor: what there are not enough for is not begun. */
static void
fit_descriptors(struct config *config, bool tell)
{
	int64_t limit = descriptors_raise_limit();
	struct descriptor_plan plan;

	descriptors_plan(config, limit, &plan);
	if (!plan.fits && tell)
		log_warn(
			"the limit of open files is %lld, so max-connections is %lld and max-in-flight %lld, not %lld and %lld; "
			"raise it (LimitNOFILE, ulimit -n) to %lld, or set less",
			(long long)limit, (long long)plan.connections, (long long)plan.in_flight,
			(long long)config->max_connections, (long long)config->max_in_flight, (long long)plan.wanted);
	descriptors_apply(&plan, config);
}

/* libcurl and what it uses look at these; nothing from the environment may steer where we fetch or what is logged. */
static void
clean_environment(void)
{
	static const char *const names[] = {"SSLKEYLOGFILE", "http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY",
		"all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY", "CURL_HOME"};

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		unsetenv(names[i]);
}

static void
announce(const struct program *program)
{
	const char *address;

	for (size_t i = 0; (address = api_address(program->api, i)) != NULL; i++)
		log_write(LOG_ALWAYS, "listening on %s", address);
	systemd_notify(&program->systemd, "READY=1\n" STATUS_SERVING);
}

static int
start(struct program *program)
{
	char *message = NULL;
	const char *what = "the service";

	/* The door opens before the jobs of the last run are taken up, so that /livez and /readyz tell of it. */
	int error = service_new(&program->config, &program->service, &message);
	if (error == 0) {
		what = "the front door";
		error = api_start(&program->config, program->service, &program->api, &message);
	}
	if (error == 0) {
		systemd_notify(&program->systemd, "STATUS=taking up the jobs of the last run");
		what = "the service";
		error = service_start(program->service, &message);
	}
	if (error == 0) {
		what = "the watchdog's thread";
		error = watchdog_start(&program->watchdog, &program->systemd, program->service);
	}
	if (error != 0) {
		if (message != NULL)
			log_error("cannot start: %s", message);
		else
			log_error("cannot start %s: %s", what, strerror(-error));
	}
	free(message);
	return error;
}

/* ---- while it runs */

/* Says which settings a reload cannot take over. */
static void
tell_what_waits(const struct config *running, const struct config *wanted)
{
	char now[512], then[512];

	for (size_t i = 0; i < options_count(); i++) {
		struct option_view option = options_view(i);

		if (option.reloadable)
			continue;
		options_value_text(running, i, now, sizeof now);
		options_value_text(wanted, i, then, sizeof then);
		if (strcmp(now, then) != 0)
			log_warn("%s stays %s until a restart; it is now set to %s", option.name, now, then);
	}
}

static void
reload(struct program *program)
{
	struct config config;
	char *message = NULL;

	systemd_notify_reloading(&program->systemd);
	int error = load_config(program, &config, &message);
	if (error == 0) {
		fit_descriptors(&config, false);
		error = api_reload(program->api, &config, &message);
		if (error == 0) {
			log_configure((enum log_level)config.log_level, program->config.log_format != 0);
			tell_what_waits(&program->config, &config);
		}
		config_release(&config);
	}
	if (error == 0) {
		metric_add(METRIC_RELOADS, 1);
		log_info(
			"reloaded tokens, certificate, egress rules, CA bundles, client certificates, proxies, origin limits and log level");
	} else {
		log_error("nothing reloaded: %s", message != NULL ? message : strerror(-error));
	}
	systemd_notify(&program->systemd, "READY=1\n" STATUS_SERVING "%s",
		error == 0 ? "" : "; the last reload failed, the log says why");
	free(message);
}

/* A second signal while the server drains ends the wait. */
struct drain_watch {
	struct program *program;
	_Atomic(bool) over, aborted;
};

static void *
watch_signals(void *context)
{
	struct drain_watch *watch = context;
	int signal_number;

	while (sigwait(&watch->program->signals, &signal_number) == 0 && !watch->over) {
		if (signal_number == SIGHUP)
			continue;
		watch->aborted = true;
		log_write(LOG_ALWAYS, "signal %d again: aborting", signal_number);
		service_abort(watch->program->service);
	}
	return NULL;
}

/* Returns false when it was cut short. */
static bool
drain(struct program *program)
{
	struct drain_watch watch = {.program = program};
	pthread_t watcher;

	log_info("draining for up to %lld ms", (long long)program->config.drain_timeout_ms);
	systemd_notify(&program->systemd, "STOPPING=1\nSTATUS=draining for up to %lld ms",
		(long long)program->config.drain_timeout_ms);
	bool watching = thread_start(&watcher, "signals", watch_signals, &watch) == 0;
	service_drain(program->service);
	service_await_idle(program->service, mono_ms() + program->config.drain_timeout_ms);
	if (watching) {
		watch.over = true;
		pthread_kill(watcher, SIGTERM);
		thread_join(watcher);
	}
	return !watch.aborted;
}

static bool
serve(struct program *program)
{
	int signal_number;

	for (;;) {
		if (sigwait(&program->signals, &signal_number) != 0)
			continue;
		if (signal_number != SIGHUP)
			return drain(program);
		reload(program);
	}
}

static int
run(struct program *program)
{
	bool clean = false;

	clean_environment();
	fit_descriptors(&program->config, true);
	int error = start(program);
	if (error == 0) {
		announce(program);
		clean = serve(program);
	}
	watchdog_stopping(&program->watchdog);
	if (program->service != NULL)
		service_stop(program->service);
	if (program->api != NULL)
		api_stop(program->api);
	watchdog_stop(&program->watchdog);
	service_free(program->service);
	log_info("stopped");
	return error == 0 && clean ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* Says what is wrong with the options. */
static int
refuse(char *message)
{
	fprintf(stderr, "fetchpool: %s\n", message != NULL ? message : "out of memory");
	free(message);
	return EXIT_USAGE;
}

int
main(int argc, char **argv)
{
	struct program program = {.argc = argc, .argv = argv};
	char *message = NULL;
	int status = EXIT_SUCCESS;

	block_signals(&program.signals); /* one that comes during the start is taken after it */
	if (systemd_init(&program.systemd, &message) != 0 || load_config(&program, &program.config, &message) != 0)
		return refuse(message);
	log_configure((enum log_level)program.config.log_level, program.config.log_format != 0);
	if (program.config.help)
		options_print_help(stdout);
	else if (program.config.version)
		printf("fetchpool %s\n", FETCHPOOL_VERSION);
	else if (api_check(&program.config, &message) != 0 || service_check(&program.config, &message) != 0)
		status = refuse(message);
	else if (program.config.check_store)
		status = service_check_store(&program.config);
	else if (program.config.egress_check != NULL)
		status = api_egress_check(&program.config);
	else if (!program.config.check_config)
		status = run(&program);
	config_release(&program.config);
	systemd_release(&program.systemd);
	return status;
}
