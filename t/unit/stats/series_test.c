/* SPDX-License-Identifier: Apache-2.0
 * Metric series: merging over slots, inheritance, limits, exposition.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "core/hash.h"
#include "stats/series.h"

static const cn_metric_def_t requests = {"x_requests_total", CN_METRIC_COUNTER, "t"};
static const cn_metric_def_t open_now = {"x_open", CN_METRIC_GAUGE, "t"};
static const cn_metric_def_t duration = {"x_duration_milliseconds", CN_METRIC_HISTOGRAM, "t"};
static const cn_metric_def_t *const defs[] = {&requests, &open_now, &duration};

static void *make_region(unsigned slots, size_t bytes)
{
    void *mem = calloc(1, cn_stats_region_size(slots, bytes));

    cn_stats_region_init(mem, slots, bytes);
    return mem;
}

static cn_stats_t *open_slot(void *mem, int slot)
{
    cn_stats_t *st = NULL;

    assert_int_equal(cn_stats_open(mem, slot, defs, 3, &st), CN_OK);
    return st;
}

static char *text_of(cn_stats_t *st)
{
    cn_chain_t out;
    char *text;

    cn_chain_init(&out);
    cn_stats_expose(st, &out);
    text = calloc(1, out.bytes + 1);
    cn_chain_peek(&out, text, out.bytes);
    cn_chain_clear(&out);
    return text;
}

static void expect_line(cn_stats_t *st, const char *line)
{
    char *text = text_of(st);

    if (!strstr(text, line))
        fail_msg("missing: %s\nin:\n%s", line, text);
    free(text);
}

static void test_slots_are_summed_by_labels(void **state)
{
    void *mem = make_region(2, 4096);
    cn_stats_t *a = open_slot(mem, 0), *b = open_slot(mem, 1), *reader = open_slot(mem, -1);

    (void)state;
    cn_series_add(cn_stats_series(a, 0, CN_STR("k=\"1\"")), 3);
    cn_series_add(cn_stats_series(b, 0, CN_STR("k=\"1\"")), 4);
    cn_series_add(cn_stats_series(b, 0, CN_STR("k=\"2\"")), 1);
    expect_line(reader, "x_requests_total{k=\"1\"} 7\n");
    expect_line(reader, "x_requests_total{k=\"2\"} 1\n");
    cn_stats_close(a);
    cn_stats_close(b);
    cn_stats_close(reader);
    free(mem);
}

static void test_counters_survive_their_worker_and_gauges_do_not(void **state)
{
    void *mem = make_region(1, 4096);
    cn_stats_t *first = open_slot(mem, 0), *second;

    (void)state;
    cn_series_add(cn_stats_series(first, 0, CN_STR("")), 5);
    cn_series_add(cn_stats_series(first, 1, CN_STR("")), 9);
    second = open_slot(mem, 0); /* the first one died without closing */
    cn_series_add(cn_stats_series(second, 0, CN_STR("")), 1);
    expect_line(second, "x_requests_total{} 6\n");
    expect_line(second, "x_open{} 0\n");
    cn_stats_close(second);
    cn_stats_close(first);
    free(mem);
}

static void test_microseconds_are_shown_as_seconds(void **state)
{
    static const cn_metric_def_t def = {"x_busy_seconds", CN_METRIC_GAUGE_MICROS, "Busy."};
    const cn_metric_def_t *const one[] = {&def};
    void *mem = make_region(1, 4096);
    cn_stats_t *st = NULL, *next = NULL;

    (void)state;
    assert_int_equal(cn_stats_open(mem, 0, one, 1, &st), CN_OK);
    cn_series_set(cn_stats_series(st, 0, CN_STR("")), 12000345);
    expect_line(st, "# TYPE x_busy_seconds gauge\nx_busy_seconds{} 12.000345\n");
    assert_int_equal(cn_stats_open(mem, 0, one, 1, &next), CN_OK); /* it died without closing */
    expect_line(next, "x_busy_seconds{} 0.000000\n");
    cn_stats_close(next);
    cn_stats_close(st);
    free(mem);
}

static void test_histogram_buckets_are_cumulative_and_bounds_inclusive(void **state)
{
    void *mem = make_region(1, 4096);
    cn_stats_t *st = open_slot(mem, 0);
    cn_series_t *s = cn_stats_series(st, 2, CN_STR("k=\"v\""));

    (void)state;
    cn_series_observe(s, 0);
    cn_series_observe(s, 1);
    cn_series_observe(s, 5);
    cn_series_observe(s, 6);
    cn_series_observe(s, 4000000);
    expect_line(st, "x_duration_milliseconds_bucket{k=\"v\",le=\"0.5\"} 1\n");
    expect_line(st, "x_duration_milliseconds_bucket{k=\"v\",le=\"1\"} 2\n");
    expect_line(st, "x_duration_milliseconds_bucket{k=\"v\",le=\"5\"} 3\n");
    expect_line(st, "x_duration_milliseconds_bucket{k=\"v\",le=\"10\"} 4\n");
    expect_line(st, "x_duration_milliseconds_bucket{k=\"v\",le=\"3600000\"} 4\n");
    expect_line(st, "x_duration_milliseconds_bucket{k=\"v\",le=\"+Inf\"} 5\n");
    expect_line(st, "x_duration_milliseconds_sum{k=\"v\"} 4000012\n");
    expect_line(st, "x_duration_milliseconds_count{k=\"v\"} 5\n");
    cn_stats_close(st);
    free(mem);
}

static void test_full_slot_refuses_and_counts(void **state)
{
    void *mem = make_region(1, 128);
    cn_stats_t *st = open_slot(mem, 0);

    (void)state;
    assert_non_null(cn_stats_series(st, 0, CN_STR("a=\"1\"")));
    assert_non_null(cn_stats_series(st, 0, CN_STR("a=\"2\"")));
    assert_null(cn_stats_series(st, 2, CN_STR("a=\"3\"")));
    cn_series_observe(NULL, 1);
    expect_line(st, "cairn_stats_overflow_total{} 1\n");
    cn_stats_close(st);
    free(mem);
}

static void test_same_labels_give_the_same_series_after_growth(void **state)
{
    void *mem = make_region(1, 1 << 20);
    cn_stats_t *st = open_slot(mem, 0);
    cn_series_t *first = cn_stats_series(st, 0, CN_STR("n=\"0\""));
    char label[32];

    (void)state;
    for (int i = 1; i < 2000; i++) {
        int n = snprintf(label, sizeof(label), "n=\"%d\"", i);

        assert_non_null(cn_stats_series(st, 0, cn_str_make(label, (size_t)n)));
    }
    assert_ptr_equal(cn_stats_series(st, 0, CN_STR("n=\"0\"")), first);
    cn_stats_close(st);
    free(mem);
}

static void test_another_layout_is_refused(void **state)
{
    void *mem = make_region(1, 4096);
    cn_stats_t *wrong;

    (void)state;
    memset(mem, 0x55, 64);
    assert_int_equal(cn_stats_open(mem, -1, defs, 3, &wrong), CN_ERR);
    free(mem);
}

/* Two binaries with other families in another order. */
static void test_sides_add_counters_and_keep_gauges_apart(void **state)
{
    static const cn_metric_def_t fresh = {"x_fresh_total", CN_METRIC_COUNTER, "new"};
    static const cn_metric_def_t *const newer[] = {&fresh, &open_now, &requests};
    size_t size = cn_stats_region_size(2, 4096);
    void *mem = calloc(1, size);
    cn_stats_t *old, *new;

    (void)state;
    cn_stats_sides_init(mem, 1, 4096);
    old = open_slot(mem, 0);
    cn_series_add(cn_stats_series(old, 0, CN_STR("k=\"1\"")), 3);
    cn_series_set(cn_stats_series(old, 1, CN_STR("")), 5);
    assert_int_equal(cn_stats_side_find(mem, size, 1, 4096), 1);
    assert_int_equal(cn_stats_open(mem, 1, newer, 3, &new), CN_OK);
    cn_series_add(cn_stats_series(new, 2, CN_STR("k=\"1\"")), 4);
    cn_series_add(cn_stats_series(new, 0, CN_STR("")), 1);
    cn_series_set(cn_stats_series(new, 1, CN_STR("")), 7);
    assert_int_equal(cn_stats_side_find(mem, size, 1, 4096), -1);
    expect_line(new, "x_requests_total{k=\"1\"} 7\n");
    expect_line(new, "x_open{} 7\n");
    expect_line(old, "x_requests_total{k=\"1\"} 7\n");
    expect_line(old, "x_open{} 5\n");
    expect_line(old, "x_fresh_total{} 1\n"); /* which it knows nothing else of */
    cn_stats_close(old);
    assert_int_equal(cn_stats_side_find(mem, size, 1, 4096), 0);
    old = open_slot(mem, 0);
    cn_series_add(cn_stats_series(old, 0, CN_STR("k=\"1\"")), 1);
    expect_line(new, "x_requests_total{k=\"1\"} 8\n");
    cn_stats_close(new);
    cn_stats_close(old);
    free(mem);
}

static void test_region_of_another_shape_is_not_taken_over(void **state)
{
    size_t size = cn_stats_region_size(4, 4096);
    void *mem = calloc(1, size);

    (void)state;
    assert_int_equal(cn_stats_side_find(mem, size, 2, 4096), -1);
    cn_stats_sides_init(mem, 2, 4096);
    assert_int_equal(cn_stats_side_find(mem, size, 2, 4096), 0);
    assert_int_equal(cn_stats_side_find(mem, size - 8, 2, 4096), -1);
    assert_int_equal(cn_stats_side_find(mem, size, 1, 4096), -1);
    assert_int_equal(cn_stats_side_find(mem, size, 2, 8192), -1);
    free(mem);
}

/* A worker that has lost its mind harms no scrape. */
static void test_nonsense_in_a_slot_is_not_read(void **state)
{
    void *mem = make_region(2, 4096);
    cn_stats_t *mad = open_slot(mem, 0), *st = open_slot(mem, 1);
    uint32_t *entry = (uint32_t *)(void *)cn_stats_series(mad, 0, CN_STR("k=\"1\""));

    (void)state;
    cn_series_add(cn_stats_series(st, 0, CN_STR("k=\"2\"")), 1);
    for (unsigned i = 0; i < 4; i++) {
        uint32_t was = entry[i];
        entry[i] = i == 3 ? 0 : UINT32_MAX - 7;
        expect_line(st, "x_requests_total{k=\"2\"} 1\n");
        entry[i] = 0;
        expect_line(st, "x_requests_total{k=\"2\"} 1\n");
        entry[i] = was;
    }
    cn_stats_close(mad);
    cn_stats_close(st);
    free(mem);
}

static void test_families_are_grouped_and_sorted(void **state)
{
    void *mem = make_region(1, 4096);
    cn_stats_t *st = open_slot(mem, 0);
    char *text, *counter, *gauge, *histogram;

    (void)state;
    cn_series_observe(cn_stats_series(st, 2, CN_STR("")), 1);
    cn_series_set(cn_stats_series(st, 1, CN_STR("")), 1);
    cn_series_add(cn_stats_series(st, 0, CN_STR("")), 1);
    text = text_of(st);
    counter = strstr(text, "# TYPE x_requests_total counter");
    gauge = strstr(text, "# TYPE x_open gauge");
    histogram = strstr(text, "# TYPE x_duration_milliseconds histogram");
    assert_true(counter && gauge && histogram);
    assert_true(counter < gauge && gauge < histogram);
    assert_non_null(strstr(text, "# HELP x_open t\n# TYPE x_open gauge\n"));
    free(text);
    cn_stats_close(st);
    free(mem);
}

static void test_label_values_are_escaped(void **state)
{
    char out[32];
    size_t n = cn_stats_escape(out, sizeof(out), CN_STR("a\"b\\c\nd"));

    (void)state;
    assert_memory_equal(out, "a\\\"b\\\\c\\nd", 10);
    assert_int_equal(n, 10);
    assert_int_equal(cn_stats_escape(out, 2, CN_STR("a\"")), 1); /* never half an escape */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slots_are_summed_by_labels),
        cmocka_unit_test(test_counters_survive_their_worker_and_gauges_do_not),
        cmocka_unit_test(test_microseconds_are_shown_as_seconds),
        cmocka_unit_test(test_histogram_buckets_are_cumulative_and_bounds_inclusive),
        cmocka_unit_test(test_full_slot_refuses_and_counts),
        cmocka_unit_test(test_same_labels_give_the_same_series_after_growth),
        cmocka_unit_test(test_another_layout_is_refused),
        cmocka_unit_test(test_sides_add_counters_and_keep_gauges_apart),
        cmocka_unit_test(test_region_of_another_shape_is_not_taken_over),
        cmocka_unit_test(test_nonsense_in_a_slot_is_not_read),
        cmocka_unit_test(test_families_are_grouped_and_sorted),
        cmocka_unit_test(test_label_values_are_escaped),
    };

    cn_hash_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
