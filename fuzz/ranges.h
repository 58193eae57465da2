/*
 * Which addresses are special, from the IANA registries and the contract, by other means than the server's: as first and
 * last address of every range, in one list, written without a look at its table.
 */
#ifndef FETCHPOOL_FUZZ_RANGES_H
#define FETCHPOOL_FUZZ_RANGES_H

#include <stdbool.h>

#include "fetch/egress.h"

/* True when it must not be fetched unless a rule allows it. This machine's own addresses are not known here. */
bool address_is_special(const struct address *address);

#endif
