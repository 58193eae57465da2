/* See clock.h. */
#include "base/clock.h"

#include <ctype.h>
#include <errno.h>
#include <stdatomic.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/text.h"

int64_t
mono_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t
mono_ms(void)
{
	return mono_us() / 1000;
}

int64_t
wall_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t
wall_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

#define JUMP_MS 60000

int64_t
steady_wall_ms(void)
{
	static atomic_int_least64_t kept_offset = INT64_MIN; /* of the wall clock to the monotonic one */
	int64_t mono = mono_ms(), offset = wall_ms() - mono, kept = atomic_load(&kept_offset);

	if (kept != INT64_MIN && (offset - kept >= JUMP_MS || kept - offset >= JUMP_MS))
		return mono + kept;
	if (offset != kept)
		atomic_store(&kept_offset, offset);
	return mono + offset;
}

void
time_format(int64_t wall, char *buffer)
{
	time_t seconds = (time_t)(wall / 1000 - (wall % 1000 < 0)); /* rounded down before 1970 too */
	struct tm tm;

	gmtime_r(&seconds, &tm);
	snprintf(buffer, CLOCK_TIME_BYTES, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ",
		(unsigned)(tm.tm_year + 1900) % 10000u, (unsigned)(tm.tm_mon + 1) % 100u, (unsigned)tm.tm_mday % 100u,
		(unsigned)tm.tm_hour % 100u, (unsigned)tm.tm_min % 100u, (unsigned)tm.tm_sec % 100u,
		(unsigned)(wall - (int64_t)seconds * 1000));
}

/* Reads exactly count digits at *at and moves past them. */
static bool
take_digits(const char **at, int count, int *ret)
{
	int value = 0;

	for (int i = 0; i < count; i++) {
		if (!isdigit((unsigned char)(*at)[i]))
			return false;
		value = value * 10 + ((*at)[i] - '0');
	}
	*at += count;
	*ret = value;
	return true;
}

static bool
take_char(const char **at, const char *wanted)
{
	if (**at == '\0' || strchr(wanted, **at) == NULL)
		return false;
	++*at;
	return true;
}

/* Days since 1970-01-01 of a date in the Gregorian calendar (Howard Hinnant's days_from_civil). */
static int64_t
days_of(int year, int month, int day)
{
	int64_t y = month <= 2 ? year - 1 : year;
	int64_t era = (y >= 0 ? y : y - 399) / 400;
	int64_t year_of_era = y - era * 400;
	int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

	return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719468;
}

static int
days_in_month(int year, int month)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	return month == 2 && leap ? 29 : days[month - 1];
}

/* Reads ".123", any number of digits, as milliseconds. */
static bool
take_fraction(const char **at, int *ret_ms)
{
	int ms = 0, scale = 100;

	*ret_ms = 0;
	if (!take_char(at, "."))
		return true;
	if (!isdigit((unsigned char)**at))
		return false;
	for (; isdigit((unsigned char)**at); ++*at, scale /= 10)
		ms += (**at - '0') * scale;
	*ret_ms = ms;
	return true;
}

static bool
take_offset(const char **at, int *ret_minutes)
{
	int hours, minutes, sign = **at == '-' ? -1 : 1;

	*ret_minutes = 0;
	if (take_char(at, "Zz"))
		return true;
	if (!take_char(at, "+-") || !take_digits(at, 2, &hours) || !take_char(at, ":") || !take_digits(at, 2, &minutes))
		return false;
	if (hours > 23 || minutes > 59)
		return false;
	*ret_minutes = sign * (hours * 60 + minutes);
	return true;
}

int
time_parse(const char *text, int64_t *ret_wall_ms)
{
	int year, month, day, hour, minute, second, ms, offset;
	const char *at = text;

	if (!take_digits(&at, 4, &year) || !take_char(&at, "-") || !take_digits(&at, 2, &month) ||
		!take_char(&at, "-") || !take_digits(&at, 2, &day) || !take_char(&at, "Tt ") ||
		!take_digits(&at, 2, &hour) || !take_char(&at, ":") || !take_digits(&at, 2, &minute) ||
		!take_char(&at, ":") || !take_digits(&at, 2, &second) || !take_fraction(&at, &ms) ||
		!take_offset(&at, &offset) || *at != '\0')
		return -EINVAL;
	if (month < 1 || month > 12 || day < 1 || day > days_in_month(year, month) || hour > 23 || minute > 59 ||
		second > 60)
		return -EINVAL;
	int64_t minutes = (days_of(year, month, day) * 24 + hour) * 60 + minute - offset;
	*ret_wall_ms = (minutes * 60 + second) * 1000 + ms;
	return 0;
}

int
duration_from_seconds(double seconds, int64_t *ret_ms)
{
	double ms = seconds * 1000;

	if (!(seconds >= 0) || isinf(seconds))
		return -EINVAL;
	if (ms > (double)CLOCK_MAX_DURATION_MS)
		return -ERANGE;
	*ret_ms = (int64_t)(ms + 0.5);
	if (*ret_ms == 0 && seconds > 0)
		*ret_ms = 1;
	return 0;
}

/* The seconds of a unit; 0 when it is none. */
static double
unit_seconds(const char *unit)
{
	static const struct {
		const char *name;
		double seconds;
	} units[] = {{"", 1}, {"s", 1}, {"ms", 0.001}, {"m", 60}, {"h", 3600}, {"d", 86400}};

	for (size_t i = 0; i < sizeof units / sizeof *units; i++)
		if (strcmp(unit, units[i].name) == 0)
			return units[i].seconds;
	return 0;
}

int
duration_parse(const char *text, int64_t *ret_ms)
{
	size_t whole = strspn(text, "0123456789"), end = whole;

	if (text[end] == '.')
		end += 1 + strspn(text + end + 1, "0123456789");
	if (whole == 0 || text[end - 1] == '.')
		return -EINVAL;
	double unit = unit_seconds(text + end);
	if (unit == 0)
		return -EINVAL;
	return duration_from_seconds(text_to_double(text, end) * unit, ret_ms);
}

void
duration_format(int64_t ms, char *buffer, size_t size)
{
	static const struct {
		const char *name;
		int64_t ms;
	} units[] = {{"h", 3600000}, {"m", 60000}, {"s", 1000}};

	for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
		if (ms != 0 && ms % units[i].ms == 0) {
			snprintf(buffer, size, "%" PRId64 "%s", ms / units[i].ms, units[i].name);
			return;
		}
	}
	snprintf(buffer, size, "%" PRId64 "ms", ms);
}
