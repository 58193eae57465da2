/* The retry object of a job's spec. See codec.h. */
#include "api/codec_private.h"

/* But for unsafe, none of it changes anything while there is one attempt. */
struct retry {
	int64_t max_attempts, backoff_ms, max_backoff_ms;
	double factor;
	bool jitter, unsafe, statuses_given;
};

static int
read_max_attempts(void *context, const json_t *value, struct problem *problem)
{
	return codec_read_integer(value, 1, 100, &((struct retry *)context)->max_attempts, problem);
}

static int
read_backoff(void *context, const json_t *value, struct problem *problem)
{
	return codec_read_positive_duration(value, &((struct retry *)context)->backoff_ms, problem);
}

static int
read_max_backoff(void *context, const json_t *value, struct problem *problem)
{
	return codec_read_positive_duration(value, &((struct retry *)context)->max_backoff_ms, problem);
}

static int
read_factor(void *context, const json_t *value, struct problem *problem)
{
	struct retry *retry = context;

	if (!json_is_number(value) || json_number_value(value) < 1 || json_number_value(value) > 100)
		return codec_wrong(problem, "factor is a number from 1 to 100");
	retry->factor = json_number_value(value);
	return 0;
}

static int
read_jitter(void *context, const json_t *value, struct problem *problem)
{
	return codec_read_boolean(value, &((struct retry *)context)->jitter, problem);
}

static int
read_unsafe(void *context, const json_t *value, struct problem *problem)
{
	return codec_read_boolean(value, &((struct retry *)context)->unsafe, problem);
}

static int
read_on_status(void *context, const json_t *value, struct problem *problem)
{
	int64_t status;

	if (!json_is_array(value))
		return codec_wrong(problem, "on_status is a list of status codes");
	for (size_t i = 0; i < json_array_size(value); i++) {
		if (codec_read_integer(json_array_get(value, i), 100, 599, &status, problem) != 0) {
			problem_prefix(problem, NULL, i);
			return -1;
		}
	}
	((struct retry *)context)->statuses_given = true;
	return 0;
}

int
codec_read_retry(void *context, const json_t *value, struct problem *problem)
{
	static const struct codec_key keys[] = {
		{"max_attempts", read_max_attempts, false},
		{"backoff", read_backoff, false},
		{"factor", read_factor, false},
		{"max_backoff", read_max_backoff, false},
		{"jitter", read_jitter, false},
		{"on_status", read_on_status, false},
		{"unsafe", read_unsafe, false},
	};
	struct spec_reader *reader = context;
	struct retry retry = {.max_attempts = 1, .jitter = true};

	if (!json_is_object(value))
		return codec_wrong(problem, "retry is an object");
	if (codec_each(value, keys, sizeof keys / sizeof *keys, &retry, problem) != 0)
		return -1;
	if (retry.max_attempts > 1)
		reader->not_built = "/retry";
	reader->spec->retry_unsafe = retry.unsafe;
	return 0;
}
