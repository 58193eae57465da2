/* What has to hold of every job's spec that the codec took, and of a job as it writes it. */
#ifndef FETCHPOOL_FUZZ_JOB_CHECKS_H
#define FETCHPOOL_FUZZ_JOB_CHECKS_H

#include <jansson.h>

#include "core/job.h"

struct problem;

/* Nothing in it can break a request's head or run outside of the contract's bounds. */
void check_spec(const struct job_spec *spec);

/* A refusal is a status of the client's or for lack of something, with words, and its body is JSON. Releases it. */
void check_problem(struct problem *problem);

/*
 * Writes the job of this spec, with the response (NULL: none), as a client would get it, and reads that by the letter of
 * RFC 8259. Takes the spec over, not the response. The job's JSON, for further checks; to decref.
 */
json_t *check_written(struct job_spec *spec, const struct response *response);

/* Frees what json_dumps gave: the codec has jansson take memory in a way of its own. */
void fuzz_free_json_text(char *text);

#endif
