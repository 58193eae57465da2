/* Counters for /metrics: relaxed atomics, any thread, no lock. */
#ifndef FETCHPOOL_BASE_METRICS_H
#define FETCHPOOL_BASE_METRICS_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/buffer.h"

enum metric {
#define X(name, ...) name,
#include "base/metrics.tbl.h"
#undef X
	METRIC_COUNT
};

extern _Atomic(uint64_t) metric_values[METRIC_COUNT];

static inline void
metric_add(enum metric metric, uint64_t count)
{
	atomic_fetch_add_explicit(&metric_values[metric], count, memory_order_relaxed);
}

/* Appends all counters in the Prometheus text format 0.0.4. */
void metrics_write(struct buffer *buffer);

/* Appends one gauge. labels may be "". Rows of one name are written one after the other, the first with its help. */
void metrics_write_gauge(struct buffer *buffer, const char *name, const char *labels, const char *help, double value);

#endif
