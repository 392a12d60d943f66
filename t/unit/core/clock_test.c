/* SPDX-License-Identifier: Apache-2.0
 * Claims about core/clock.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <time.h>

#include "core/clock.h"
#include "core/rand.h"

static void test_monotonic_clock_does_not_go_back(void **state)
{
    (void)state;
    uint64_t last = cn_clock_mono_ns();
    for (int i = 0; i < 1000; i++) {
        uint64_t now = cn_clock_mono_ns();
        assert_true(now >= last);
        last = now;
    }
    assert_true(cn_clock_wall_us() > 1700000000u * 1000000ull);
}

static void test_iso_format_with_milliseconds(void **state)
{
    char out[CN_CLOCK_ISO_LEN];
    (void)state;
    cn_clock_put_iso(out, 1795433293067999u);
    assert_memory_equal(out, "2026-11-23T11:28:13.067Z", sizeof(out));
    cn_clock_put_iso(out, 0);
    assert_memory_equal(out, "1970-01-01T00:00:00.000Z", sizeof(out));
}

static void test_http_format_of_the_rfc(void **state)
{
    char out[CN_CLOCK_HTTP_LEN];
    (void)state;
    cn_clock_put_http(out, 784111777u * 1000000ull);
    assert_memory_equal(out, "Sun, 06 Nov 1994 08:49:37 GMT", sizeof(out));
}

static void assert_same_as_libc(uint64_t secs)
{
    char iso[CN_CLOCK_ISO_LEN], http[CN_CLOCK_HTTP_LEN], want[64];
    time_t t = (time_t)secs;
    struct tm tm;
    assert_non_null(gmtime_r(&t, &tm));
    cn_clock_put_iso(iso, secs * 1000000);
    assert_true(strftime(want, sizeof(want), "%Y-%m-%dT%H:%M:%S.000Z", &tm) == sizeof(iso));
    assert_memory_equal(iso, want, sizeof(iso));
    cn_clock_put_http(http, secs * 1000000);
    assert_true(strftime(want, sizeof(want), "%a, %d %b %Y %H:%M:%S GMT", &tm) == sizeof(http));
    assert_memory_equal(http, want, sizeof(http));
}

static void test_dates_agree_with_libc_over_centuries(void **state)
{
    cn_rand_t rnd;
    (void)state;
    cn_rand_init(&rnd, 1);
    for (int i = 0; i < 20000; i++)
        assert_same_as_libc(cn_rand_u64(&rnd) % 253402300800u); /* until the year 9999 */
    for (uint64_t day = 0; day < 366 * 140; day++)
        assert_same_as_libc(day * 86400);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_monotonic_clock_does_not_go_back),
        cmocka_unit_test(test_iso_format_with_milliseconds),
        cmocka_unit_test(test_http_format_of_the_rfc),
        cmocka_unit_test(test_dates_agree_with_libc_over_centuries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
