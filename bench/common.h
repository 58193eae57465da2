/* What the bench programs share: the clock, plain options, giving up. */
#ifndef FETCHPOOL_BENCH_COMMON_H
#define FETCHPOOL_BENCH_COMMON_H

#include <netinet/in.h>
#include <stdint.h>

/* Microseconds of the monotonic clock. */
int64_t bench_now_us(void);

/* Says why (with errno's message when it is not 0) and exits 1. */
void bench_die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* A whole number between the two, or the end of the program, which names the option. */
int64_t bench_number(const char *option, const char *text, int64_t minimum, int64_t maximum);

/* IPV4:PORT, or the end of the program. */
struct sockaddr_in bench_address(const char *text);

/* As many descriptors as the system lets this process have. */
void bench_raise_descriptors(void);

/* Every pthread call here can only fail for want of memory or through a bug. */
void bench_must(int error, const char *call);

#endif
