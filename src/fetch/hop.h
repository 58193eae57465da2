/* One request and its answer on a libcurl easy handle: options, callbacks, and what a result means. The loop's thread. */
#ifndef FETCHPOOL_FETCH_HOP_H
#define FETCHPOOL_FETCH_HOP_H

#include <curl/curl.h>

#include "fetch/transfer.h"

/* Sets the easy handle up for the transfer's hop. Returns 0 or -ENOMEM. */
int hop_prepare(struct transfer *transfer) __attribute__((warn_unused_result));

/* The phase as far as libcurl knows it: TCP connected or not, TLS done or not. */
enum job_phase hop_phase(const struct transfer *transfer);

/* True when libcurl failed since the proxy cannot reach this address of the target, and there is another to try. */
bool hop_elsewhere(const struct transfer *transfer, CURLcode result);

/* Turns a libcurl failure into the transfer's error. */
void hop_explain_failure(struct transfer *transfer, CURLcode result);

/* Reads address and timings of the hop into the attempt. */
void hop_take_figures(struct transfer *transfer);

#endif
