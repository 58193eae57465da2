/* The log on stderr, a line a call, as text or JSON. Any thread. Not for library-like code in the middle: return errors. */
#ifndef FETCHPOOL_BASE_LOG_H
#define FETCHPOOL_BASE_LOG_H

#include <stdbool.h>

/* LOG_ALWAYS is for what the operator waits for, whatever the level. */
enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_ALWAYS };

void log_configure(enum log_level level, bool json);
bool log_enabled(enum log_level level);
void log_write(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_debug(...)                                                                                                 \
	do {                                                                                                           \
		if (log_enabled(LOG_DEBUG))                                                                            \
			log_write(LOG_DEBUG, __VA_ARGS__);                                                             \
	} while (0)
#define log_info(...) log_write(LOG_INFO, __VA_ARGS__)
#define log_warn(...) log_write(LOG_WARN, __VA_ARGS__)
#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)

#endif
