/* See service.h. */
#include "service.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/codec.h"
#include "base/log.h"
#include "base/options.h"
#include "fuzz.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

char fuzz_socket_path[100];

static struct config config;
static bool configured;

const struct config *
fuzz_config(void)
{
	static const struct options_checks checks = {.egress_rule = service_egress_rule_valid};
	char listen[sizeof fuzz_socket_path + 16], state[sizeof fuzz_socket_path + 16], *message = NULL;
	char *const nothing[] = {NULL};

	if (configured)
		return &config;
	int length = snprintf(fuzz_socket_path, sizeof fuzz_socket_path, "%s/socket", fuzz_directory());
	FUZZ_CHECK(length < (int)sizeof fuzz_socket_path, "the path of TMPDIR is too long for a socket");
	snprintf(listen, sizeof listen, "--listen=unix:%s", fuzz_socket_path);
	snprintf(state, sizeof state, "--state-dir=%.*s/state", length - (int)strlen("/socket"), fuzz_socket_path);
	const char *const arguments[] = {"fuzz", listen, state, "--store=memory", "--workers=1", "--front-threads=1",
		"--egress-deny=0.0.0.0/0", "--egress-deny=::/0", "--secret-header=x-secret", "--max-wait=20ms",
		"--max-queued=1000", "--store-max-jobs=200", "--store-max-bytes=8MiB", "--max-request-bytes=64KiB",
		"--drain-timeout=0s", "--log-level=error"};
	int error = options_load((int)COUNT(arguments), (char **)arguments, nothing, &checks, &config, &message);
	FUZZ_CHECK(error == 0, "the options: %s", message == NULL ? strerror(-error) : message);
	log_configure((enum log_level)config.log_level, false);
	configured = true;
	return &config;
}

struct service *
fuzz_service(void)
{
	static struct service *service;
	char *message = NULL;

	if (service == NULL) {
		codec_init();
		int error = service_new(fuzz_config(), &service, &message);
		FUZZ_CHECK(error == 0, "the service: %s", message == NULL ? strerror(-error) : message);
	}
	return service;
}
