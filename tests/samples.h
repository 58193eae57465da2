/*
 * Jobs with everything set, with nothing set, and with whatever chance sets; and what came of them. And the looks, field by
 * field, at whether one is as the other: they fail the test that is not.
 */
#ifndef TESTS_SAMPLES_H
#define TESTS_SAMPLES_H

#include "core/job.h"
#include "ledger/ledger.h"

struct sampler {
	uint64_t random; /* not 0 */
	int chance;      /* that something optional is set: 0 never, 100 always */
};

/* A job with an id; the caller's. */
struct job *sample_job(struct sampler *sampler);

/* How a job ended: what hangs on it is the caller's. A body is in memory. */
struct ledger_end sample_end(struct sampler *sampler, const struct job *job);
struct attempt *sample_attempt(struct sampler *sampler);
struct response *sample_response(struct sampler *sampler);

/* All of a spec but the bytes of its body, which a store gives back only for jobs that are not done. */
void same_spec(const struct job_spec *a, const struct job_spec *b);
void same_request_body(const struct job_spec *a, const struct job_spec *b);
void same_attempt(const struct attempt *a, const struct attempt *b);

/* All of a response but where its body is. */
void same_response(const struct response *a, const struct response *b);
void same_error(const struct job_error *a, const struct job_error *b);

/* What does not change in a job. */
void same_job(const struct job *a, const struct job *b);

/* The found job ended in this way. */
void ended_so(const struct job *found, const struct ledger_end *end, enum ledger_depth depth);

#endif
