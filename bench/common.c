/* See common.h. */
#include "common.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

int64_t
bench_now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

void
bench_die(const char *format, ...)
{
	int error = errno;
	va_list arguments;

	va_start(arguments, format);
	fputs("bench: ", stderr);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	if (error != 0)
		fprintf(stderr, ": %s", strerror(error));
	fputc('\n', stderr);
	exit(1);
}

int64_t
bench_number(const char *option, const char *text, int64_t minimum, int64_t maximum)
{
	char *end;
	long long value;

	errno = 0;
	value = strtoll(text, &end, 10);
	if (end == text || *end != '\0' || errno != 0 || value < minimum || value > maximum) {
		errno = 0;
		bench_die("%s: a number from %lld to %lld is wanted, not \"%s\"", option, (long long)minimum,
			(long long)maximum, text);
	}
	return value;
}

struct sockaddr_in
bench_address(const char *text)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	const char *colon = strrchr(text, ':');
	char host[INET_ADDRSTRLEN] = "";

	errno = 0;
	if (colon != NULL && (size_t)(colon - text) < sizeof host)
		memcpy(host, text, (size_t)(colon - text));
	if (colon == NULL || inet_pton(AF_INET, host, &address.sin_addr) != 1) {
		errno = 0;
		bench_die("IPV4:PORT is wanted, not \"%s\"", text);
	}
	address.sin_port = htons((uint16_t)bench_number("port", colon + 1, 0, 65535));
	return address;
}

void
bench_raise_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

void
bench_must(int error, const char *call)
{
	if (error != 0) {
		errno = error;
		bench_die("%s", call);
	}
}
