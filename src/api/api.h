/* The front door: what main starts and stops, and what the handlers share. */
#ifndef FETCHPOOL_API_API_H
#define FETCHPOOL_API_API_H

#include "base/config.h"
#include "service/service.h"

struct api;

/* Opens the doors. The config and the service outlive the api. Returns 0 or -errno with a message (malloc'd or NULL). */
int api_start(const struct config *config, struct service *service, struct api **ret, char **ret_message)
	__attribute__((warn_unused_result));

/* The addresses that are listened on; the index beyond the last gives NULL. */
const char *api_address(const struct api *api, size_t index);

/* Looks at what api_start would trip over: addresses that need tokens, the tokens' file. 0 or -errno with a message. */
int api_check(const struct config *config, char **ret_message) __attribute__((warn_unused_result));

/*
 * Judges the URL of --egress-check as POST /v1/egress/check does, look-ups included, and prints the same object on the
 * standard output. Gives the exit status: 0 allowed, 1 refused, 2 no URL or no verdict (told on the standard error).
 */
int api_egress_check(const struct config *config);

/* Takes over what SIGHUP may change, here and in the service, or nothing. Returns 0 or -errno with a message. */
int api_reload(struct api *api, const struct config *config, char **ret_message) __attribute__((warn_unused_result));

/* After service_stop: nobody may be parked any more. */
void api_stop(struct api *api);

#endif
