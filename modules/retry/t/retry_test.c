/* SPDX-License-Identifier: Apache-2.0
 *
 * Settings as conf text and what they tell the forwarder; budgets as seen by
 * one worker and by two.  Intervals here are an hour, so that no test depends
 * on the time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
/* cmocka wants the ones above first */
#include <cmocka.h>

#include "../retry_int.h"
#include "../../../t/unit/fixture/module_conf.h"
#include "stub.h"

extern const cn_module_t cn_module_retry;

typedef struct {
    cn_pool_t *pool;
    cn_gen_t *gen;
    cn_worker_t worker[2];
    void *wctx[2];
} bed_t;

static void open_bed(bed_t *b, const char *text)
{
    size_t size = cn_module_retry_shm[0].size(NULL, 2);

    cn_hash_seed();
    b->pool = cn_pool_create(0);
    b->gen = cn_fixture_module_gen(&cn_module_retry, b->pool, cn_str_c(text));
    b->worker[0].shm = b->worker[1].shm = (cn_shm_view_t){calloc(1, size), size, 2, 0};
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(cn_module_retry.worker_init(&b->worker[i], &b->wctx[i]), CN_OK);
}

static void close_bed(bed_t *b)
{
    for (unsigned i = 0; i < 2; i++)
        cn_module_retry.worker_fini(&b->worker[i], b->wctx[i]);
    cn_gen_unref(b->gen);
    cn_pool_destroy(b->pool);
    free(b->worker[0].shm.mem);
}

/* ---- settings ---- */

static const cn_section_t *service(const bed_t *b)
{
    return cn_map_get(&b->gen->services, CN_STR("s"));
}

static const cn_module_retry_conf_t *of_route(const bed_t *b, const char *name)
{
    const cn_section_t *s = service(b);

    for (uint32_t i = 0; i < s->nroutes; i++)
        if (cn_str_eq(s->routes[i].name, cn_str_c(name)))
            return s->routes[i].confs[CN_UNIT_MODULES];
    return NULL;
}

static const char conf[] =
    "request_timeout 15s; retry { attempts 1; }"
    "cluster c { endpoint 10.0.0.1:80; }"
    "service s { address 10.1.0.1:80; cluster c; try_timeout 1s;"
    "  route all { stream_idle_timeout 5m; request_timeout 2s;"
    "    retry { attempts 5; on 5xx 429 cancelled; codes 503; headers X-Try; backoff 10ms;"
    "            avoid_tried off; other_localities on; } }"
    "  route off { request_timeout 0; retry off; }"
    "  route plain { retry { } }"
    "  route none { } }";

static void test_a_route_says_it_all(void **state CN_UNUSED)
{
    bed_t b = {0};
    cn_req_t req = {0};
    const cn_module_retry_conf_t *c;

    open_bed(&b, conf);
    c = of_route(&b, "all");
    assert_true(cn_module_retry.active(c, CN_PH_POLICY));
    assert_int_equal(cn_module_retry.phase[CN_PH_POLICY](&req, c, NULL), CN_OK);
    assert_int_equal(req.request_ms, 2000);
    assert_int_equal(req.try_ms, 1000);
    assert_int_equal(req.idle_ms, 300000);
    assert_int_equal(req.policy->attempts, 5);
    assert_int_equal(req.policy->on,
                     CN_RETRY_5XX | CN_RETRY_CANCELLED | CN_RETRY_STATUS_CODES | CN_RETRY_HEADERS);
    assert_int_equal(req.policy->codes.n, 2);
    assert_int_equal(((const uint16_t *)req.policy->codes.v)[0], 429);
    assert_true(cn_str_eq(((const cn_str_t *)req.policy->headers.v)[0], CN_STR("x-try")));
    assert_int_equal(req.policy->backoff_ms, 10);
    assert_int_equal(req.policy->backoff_max_ms, 100);
    assert_true(req.policy->keep_tried && req.policy->other_localities);
    close_bed(&b);
}

static void test_levels_are_inherited_and_replaced(void **state CN_UNUSED)
{
    bed_t b = {0};

    open_bed(&b, conf);
    assert_int_equal(of_route(&b, "off")->request_ms, 0);
    assert_int_equal(of_route(&b, "off")->policy.attempts, 0);
    assert_int_equal(of_route(&b, "plain")->request_ms, 15000);
    assert_int_equal(of_route(&b, "plain")->policy.attempts, 2); /* a block says it all */
    assert_int_equal(of_route(&b, "plain")->policy.on, cn_retry_default.on);
    assert_int_equal(of_route(&b, "none")->policy.attempts, 1);
    assert_int_equal(of_route(&b, "none")->try_ms, 1000);
    close_bed(&b);
}

static void test_without_settings_it_is_not_called(void **state CN_UNUSED)
{
    bed_t b = {0};

    open_bed(&b, "cluster c { endpoint 10.0.0.1:80; }"
                 "service s { address 10.1.0.1:80; cluster c; }");
    assert_false(cn_module_retry.active(service(&b)->confs[CN_UNIT_MODULES], CN_PH_POLICY));
    close_bed(&b);
}

static void test_silence_may_have_no_limit(void **state CN_UNUSED)
{
    bed_t b = {0};
    cn_req_t req = {0};
    const void *c;

    open_bed(&b, "cluster c { endpoint 10.0.0.1:80; }"
                 "service s { address 10.1.0.1:80; cluster c; stream_idle_timeout 0; }");
    c = service(&b)->confs[CN_UNIT_MODULES];
    assert_true(cn_module_retry.active(c, CN_PH_POLICY));
    req.idle_ms = 1;
    assert_int_equal(cn_module_retry.phase[CN_PH_POLICY](&req, c, NULL), CN_OK);
    assert_int_equal(req.idle_ms, 0);
    close_bed(&b);
}

/* ---- budgets ---- */

static const void *budget_of(const bed_t *b, const char *cluster)
{
    const cn_section_t *s = cn_map_get(&b->gen->clusters, cn_str_c(cluster));

    return s->confs[CN_UNIT_MODULES];
}

static bool admit(bed_t *b, unsigned worker, const void *budget, cn_admit_kind kind)
{
    return cn_module_retry.admission->admit(b->wctx[worker], NULL, budget, kind);
}

/* n requests that fail and could be retried `most` times each; the retries. */
static unsigned storm(bed_t *b, const void *budget, unsigned n, unsigned most)
{
    unsigned retries = 0;

    for (unsigned i = 0; i < n; i++) {
        assert_true(admit(b, i % 2, budget, CN_ADMIT_REQUEST));
        for (unsigned k = 0; k < most && admit(b, i % 2, budget, CN_ADMIT_RETRY); k++) {
            assert_true(admit(b, i % 2, budget, CN_ADMIT_REQUEST));
            retries++;
        }
    }
    return retries;
}

static const char clusters[] = "cluster a { endpoint 10.0.0.1:80; retry_budget min=0 interval=1h; }"
                               "cluster b { endpoint 10.0.0.1:80; retry_budget percent=12.5 min=0 "
                               "interval=1h; }"
                               "cluster few { endpoint 10.0.0.1:80; retry_budget percent=0 min=1 "
                               "interval=100s; }"
                               "cluster none { endpoint 10.0.0.1:80; }";

static void test_retries_stay_within_their_share_over_all_workers(void **state CN_UNUSED)
{
    bed_t b = {0};

    open_bed(&b, clusters);
    assert_int_equal(storm(&b, budget_of(&b, "a"), 1000, 3), 200);
    assert_int_equal(storm(&b, budget_of(&b, "b"), 800, 3), 100);
    close_bed(&b);
}

static void test_clusters_have_budgets_of_their_own(void **state CN_UNUSED)
{
    bed_t b = {0};

    open_bed(&b, clusters);
    for (unsigned i = 0; i < 100; i++)
        assert_true(admit(&b, 0, budget_of(&b, "a"), CN_ADMIT_REQUEST));
    assert_false(admit(&b, 0, budget_of(&b, "b"), CN_ADMIT_RETRY));
    assert_true(admit(&b, 1, budget_of(&b, "a"), CN_ADMIT_RETRY));
    close_bed(&b);
}

static void test_a_few_retries_a_second_are_always_allowed(void **state CN_UNUSED)
{
    bed_t b = {0};

    open_bed(&b, clusters);
    assert_int_equal(storm(&b, budget_of(&b, "few"), 1000, 3), 100);
    close_bed(&b);
}

static void test_a_cluster_without_a_budget_has_no_bound(void **state CN_UNUSED)
{
    bed_t b = {0};

    open_bed(&b, clusters);
    assert_int_equal(storm(&b, budget_of(&b, "none"), 100, 3), 300);
    close_bed(&b);
}

static void test_connections_are_no_matter_of_the_budget(void **state CN_UNUSED)
{
    bed_t b = {0};

    open_bed(&b, clusters);
    assert_true(admit(&b, 0, budget_of(&b, "few"), CN_ADMIT_CONNECTION));
    assert_true(admit(&b, 0, budget_of(&b, "few"), CN_ADMIT_PENDING));
    close_bed(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_route_says_it_all),
        cmocka_unit_test(test_levels_are_inherited_and_replaced),
        cmocka_unit_test(test_without_settings_it_is_not_called),
        cmocka_unit_test(test_silence_may_have_no_limit),
        cmocka_unit_test(test_retries_stay_within_their_share_over_all_workers),
        cmocka_unit_test(test_clusters_have_budgets_of_their_own),
        cmocka_unit_test(test_a_few_retries_a_second_are_always_allowed),
        cmocka_unit_test(test_a_cluster_without_a_budget_has_no_bound),
        cmocka_unit_test(test_connections_are_no_matter_of_the_budget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
