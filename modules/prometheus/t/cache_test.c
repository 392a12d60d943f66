/* SPDX-License-Identifier: Apache-2.0
 * The series that a request is counted in, found again without its labels' text.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "../cache.h"

typedef struct {
    prom_cache_t *cache;
    cn_section_t service, cluster_section;
    cn_cluster_t cluster;
    cn_tunnel_t tunnel;
    cn_workload_t source, destination;
    cn_facts_t f;
} fix_t;

static int setup(void **state)
{
    fix_t *fx = calloc(1, sizeof(*fx));

    fx->cache = prom_cache_create();
    fx->service.text_mac = 11;
    fx->cluster_section.text_mac = 12;
    fx->cluster.section = &fx->cluster_section;
    fx->tunnel.identity = CN_STR("spiffe://cluster.local/ns/default/sa/curl");
    fx->source.id = 13;
    fx->destination.id = 14;
    fx->f = (cn_facts_t){.section = &fx->service,
                         .cluster = &fx->cluster,
                         .tunnel = &fx->tunnel,
                         .source = &fx->source,
                         .destination = &fx->destination,
                         .status = 200,
                         .grpc_status = -1};
    *state = fx;
    return 0;
}

static int teardown(void **state)
{
    fix_t *fx = *state;

    prom_cache_destroy(fx->cache);
    free(fx);
    return 0;
}

/* Never looked into by the cache. */
static cn_series_t *series(uintptr_t i)
{
    return (cn_series_t *)i;
}

/* The facts as they are now are counted in series i from now on. */
static void teach(fix_t *fx, uintptr_t i)
{
    prom_http_series_t *s;

    assert_false(prom_cache_find(fx->cache, &fx->f, &s));
    assert_non_null(s);
    *s = (prom_http_series_t){series(i), series(i + 1), series(i + 2), series(i + 3), NULL, NULL};
}

static void expect(fix_t *fx, uintptr_t i)
{
    prom_http_series_t *s;

    assert_true(prom_cache_find(fx->cache, &fx->f, &s));
    assert_ptr_equal(s->requests, series(i));
    assert_ptr_equal(s->response_bytes, series(i + 3));
}

static void test_equal_facts_find_the_series_whatever_memory_they_are_in(void **state)
{
    fix_t *fx = *state;
    cn_workload_t copy;
    char identity[64];

    teach(fx, 100);
    copy = fx->source;
    fx->f.source = &copy;
    memcpy(identity, fx->tunnel.identity.p, fx->tunnel.identity.n);
    fx->tunnel.identity.p = identity;
    expect(fx, 100);
}

static void test_each_fact_that_is_in_the_labels_tells_requests_apart(void **state)
{
    fix_t *fx = *state;
    prom_http_series_t *s;
    const cn_facts_t first = fx->f;

    teach(fx, 100);
#define DIFFERS(change)                                                                            \
    do {                                                                                           \
        change;                                                                                    \
        assert_false(prom_cache_find(fx->cache, &fx->f, &s));                                      \
        fx->f = first;                                                                             \
    } while (0)
    DIFFERS(fx->f.status = 201);
    DIFFERS(fx->f.flags = CN_FLAG_UF);
    DIFFERS(fx->f.grpc = true);
    DIFFERS(fx->f.grpc_status = 0);
    DIFFERS(fx->f.mutual_tls = true);
    DIFFERS(fx->f.cluster = NULL);
    DIFFERS(fx->f.source = NULL);
    DIFFERS(fx->f.destination = NULL);
    DIFFERS(fx->source.id = 99);
    DIFFERS(fx->service.text_mac = 99);
    DIFFERS(fx->cluster_section.text_mac = 99);
    DIFFERS(fx->tunnel.identity = CN_STR("spiffe://cluster.local/ns/default/sa/wget"));
}

static void test_a_record_without_an_id_is_not_remembered(void **state)
{
    fix_t *fx = *state;
    prom_http_series_t *s;

    fx->source.id = 0;
    assert_false(prom_cache_find(fx->cache, &fx->f, &s));
    assert_null(s);
}

static void test_a_full_statistics_region_is_asked_again(void **state)
{
    fix_t *fx = *state;
    prom_http_series_t *s;

    assert_false(prom_cache_find(fx->cache, &fx->f, &s));
    *s = (prom_http_series_t){0};
    teach(fx, 100);
    expect(fx, 100);
}

static void test_more_label_sets_than_places_displace_each_other(void **state)
{
    fix_t *fx = *state;
    prom_http_series_t *s;

    for (uint64_t i = 1; i <= 5000; i++) {
        fx->source.id = i;
        if (!prom_cache_find(fx->cache, &fx->f, &s))
            *s = (prom_http_series_t){.requests = series(i)};
        assert_ptr_equal(s->requests, series(i));
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_equal_facts_find_the_series_whatever_memory_they_are_in),
        T(test_each_fact_that_is_in_the_labels_tells_requests_apart),
        T(test_a_record_without_an_id_is_not_remembered),
        T(test_a_full_statistics_region_is_asked_again),
        T(test_more_label_sets_than_places_displace_each_other),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
