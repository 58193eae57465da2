/*
 * A service as the daemon has it, with the memory store, that reaches nobody: every address is refused, and
 * no_resolver.c, linked before the library, knows no name and asks nobody for one.
 */
#ifndef FETCHPOOL_FUZZ_SERVICE_H
#define FETCHPOOL_FUZZ_SERVICE_H

#include "base/config.h"
#include "service/service.h"

/* Where the front door of fuzz_api listens: a unix socket. */
extern char fuzz_socket_path[];

/* Made at the first call; not started. The secret headers are the usual ones and x-secret. */
struct service *fuzz_service(void);

/* Its settings. */
const struct config *fuzz_config(void);

#endif
