/* SPDX-License-Identifier: Apache-2.0
 *
 * Clocks and the two date formats.  Dates are computed here instead of by
 * gmtime_r(3), which takes a lock and looks at the environment; this runs once
 * per log line.
 */
#include "core/clock.h"

#include <string.h>
#include <time.h>

static uint64_t clock_ns(clockid_t id)
{
    struct timespec ts;
    CN_BUG_ON(clock_gettime(id, &ts) != 0);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t cn_clock_mono_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

uint64_t cn_clock_cpu_ns(void)
{
    return clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

uint64_t cn_clock_wall_us(void)
{
    return clock_ns(CLOCK_REALTIME) / 1000;
}

typedef struct {
    unsigned year, month, day; /* month and day from 1 */
    unsigned weekday;          /* 0: Sunday */
    unsigned hour, min, sec, ms;
} date_t;

/* Gregorian date of a day count since 1970, by 400-year eras that begin on the
 * first of March, so that the leap day ends the year. */
static void date_from_days(date_t *d, uint64_t days)
{
    uint64_t z = days + 719468; /* since 0000-03-01 */
    uint64_t era = z / 146097;
    unsigned doe = (unsigned)(z % 146097);
    unsigned yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    unsigned doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    unsigned mp = (5 * doy + 2) / 153; /* 0: March */

    d->day = doy - (153 * mp + 2) / 5 + 1;
    d->month = mp < 10 ? mp + 3 : mp - 9;
    d->year = (unsigned)((era * 400 + yoe + (d->month <= 2)) % 10000);
    d->weekday = (unsigned)((days + 4) % 7); /* 1970-01-01 was a Thursday */
}

static date_t date_from_wall(uint64_t wall_us)
{
    date_t d;
    uint64_t secs = wall_us / 1000000;
    unsigned of_day = (unsigned)(secs % 86400);

    date_from_days(&d, secs / 86400);
    d.hour = of_day / 3600;
    d.min = of_day / 60 % 60;
    d.sec = of_day % 60;
    d.ms = (unsigned)(wall_us / 1000 % 1000);
    return d;
}

static char *put_digits(char *out, unsigned v, unsigned width)
{
    for (unsigned i = width; i-- > 0; v /= 10)
        out[i] = (char)('0' + v % 10);
    return out + width;
}

static char *put_text(char *out, const char *text, size_t n)
{
    memcpy(out, text, n);
    return out + n;
}

void cn_clock_put_iso(char out[CN_CLOCK_ISO_LEN], uint64_t wall_us)
{
    date_t d = date_from_wall(wall_us);
    out = put_digits(out, d.year, 4);
    *out++ = '-';
    out = put_digits(out, d.month, 2);
    *out++ = '-';
    out = put_digits(out, d.day, 2);
    *out++ = 'T';
    out = put_digits(out, d.hour, 2);
    *out++ = ':';
    out = put_digits(out, d.min, 2);
    *out++ = ':';
    out = put_digits(out, d.sec, 2);
    *out++ = '.';
    out = put_digits(out, d.ms, 3);
    *out = 'Z';
}

void cn_clock_put_http(char out[CN_CLOCK_HTTP_LEN], uint64_t wall_us)
{
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    date_t d = date_from_wall(wall_us);

    out = put_text(out, days + 3 * d.weekday, 3);
    out = put_text(out, ", ", 2);
    out = put_digits(out, d.day, 2);
    *out++ = ' ';
    out = put_text(out, months + 3 * (d.month - 1), 3);
    *out++ = ' ';
    out = put_digits(out, d.year, 4);
    *out++ = ' ';
    out = put_digits(out, d.hour, 2);
    *out++ = ':';
    out = put_digits(out, d.min, 2);
    *out++ = ':';
    out = put_digits(out, d.sec, 2);
    put_text(out, " GMT", 4);
}
