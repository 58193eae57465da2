/* See metrics.h. */
#include "base/metrics.h"

#include <inttypes.h>
#include <string.h>

_Atomic(uint64_t) metric_values[METRIC_COUNT];

static const struct {
	const char *name, *labels, *help;
} rows[METRIC_COUNT] = {
#define X(id, name, labels, help) [id] = {name, labels, help},
#include "base/metrics.tbl.h"
#undef X
};

static void
write_head(struct buffer *buffer, const char *name, const char *type, const char *help)
{
	buffer_printf(buffer, "# HELP fetchpool_%s %s\n# TYPE fetchpool_%s %s\n", name, help, name, type);
}

static void
write_name(struct buffer *buffer, const char *name, const char *labels)
{
	buffer_printf(buffer, "fetchpool_%s%s%s%s ", name, *labels ? "{" : "", labels, *labels ? "}" : "");
}

void
metrics_write(struct buffer *buffer)
{
	for (int i = 0; i < METRIC_COUNT; i++) {
		if (i == 0 || strcmp(rows[i].name, rows[i - 1].name) != 0)
			write_head(buffer, rows[i].name, "counter", rows[i].help);
		write_name(buffer, rows[i].name, rows[i].labels);
		buffer_printf(buffer, "%" PRIu64 "\n", atomic_load_explicit(&metric_values[i], memory_order_relaxed));
	}
}

void
metrics_write_gauge(struct buffer *buffer, const char *name, const char *labels, const char *help, double value)
{
	if (help != NULL)
		write_head(buffer, name, "gauge", help);
	write_name(buffer, name, labels);
	buffer_printf(buffer, "%.17g\n", value);
}
