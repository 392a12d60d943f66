/* SPDX-License-Identifier: Apache-2.0
 *
 * Four workers in one process, on the shared memory that a master would have
 * made.  Their loops' clock is the test's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
/* cmocka wants the ones above first */
#include <cmocka.h>

#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../breaker_int.h"
#include "core/log.h"
#include "event/loop_int.h"
#include "os/shm.h"
#include "proxy/worker.h"
#include "upstream/admission.h"

#define WORKERS 4

extern const cn_module_t cn_module_circuit_breaker;
const cn_module_t *const cn_modules[] = {&cn_module_circuit_breaker, NULL};
const unsigned cn_nmodules = 1;
const cn_conf_absent_t cn_modules_absent[] = {{NULL, NULL}};

typedef struct {
    cn_pool_t *pool;
    cn_loop_t *loop;
    cn_shm_t *shm;
    cn_shared_t *shared;
    cn_gen_t *gen;
    cn_worker_t w[WORKERS];
} bed_t;

static const cn_units_t *units(void)
{
    static const cn_conf_ops_t no_levels[CN_LV_MAX];
    static const cn_conf_unit_t none = {"main", NULL, no_levels};
    static const cn_units_t *made;

    if (!made)
        made = cn_worker_units_create(&none);
    return made;
}

static void load(bed_t *b, const char *conf)
{
    cn_bundle_t *bundle = cn_bundle_create(CN_STR_NULL);
    cn_conf_load_t how = {.units = units(), .bundle = bundle, .file = CN_STR("/t.conf")};
    cn_str_t why = CN_STR_NULL;

    cn_bundle_put(bundle, how.file, cn_str_c(conf));
    if (cn_gen_load(&how, b->pool, &b->gen, &why) != CN_OK)
        fail_msg("%.*s", CN_STR_ARG(why));
    cn_bundle_destroy(bundle);
}

static void start_worker(bed_t *b, unsigned i)
{
    cn_str_t why;

    assert_int_equal(cn_worker_init(&b->w[i], b->loop, i, NULL), CN_OK);
    cn_worker_share(&b->w[i], b->shared);
    assert_int_equal(cn_worker_apply(&b->w[i], b->gen, b->pool, &why), CN_OK);
}

static void open_bed(bed_t *b, const char *conf)
{
    *b = (bed_t){.pool = cn_pool_create(0), .loop = cn_loop_create()};
    cn_log_set_level(CN_LOG_EMERG);
    load(b, conf);
    assert_int_equal(cn_shm_create(cn_shared_need(b->gen, WORKERS), &b->shm), CN_OK);
    assert_int_equal(cn_shared_create(b->shm, b->gen, WORKERS, &b->shared), CN_OK);
    for (unsigned i = 0; i < WORKERS; i++)
        start_worker(b, i);
}

static void close_bed(bed_t *b)
{
    for (unsigned i = 0; i < WORKERS; i++)
        cn_worker_fini(&b->w[i]);
    cn_shared_destroy(b->shared);
    cn_shm_destroy(b->shm);
    cn_gen_unref(b->gen);
    cn_loop_destroy(b->loop);
    cn_pool_destroy(b->pool);
}

static cn_cluster_t *cluster(bed_t *b, unsigned worker)
{
    return cn_clusters_find(b->w[worker].clusters, CN_STR("a:80"));
}

static bool take(bed_t *b, unsigned worker, cn_admit_kind kind, cn_ticket_t *t)
{
    return cn_admission_take(&b->w[worker].admissions, cluster(b, worker), kind, t);
}

static void give(bed_t *b, unsigned worker, cn_ticket_t *t)
{
    cn_admission_return(&b->w[worker].admissions, t);
}

static void pass(bed_t *b, uint64_t ms)
{
    b->loop->now_ns += ms * 1000000;
    cn_timer_expire(b->loop);
    while (cn_task_pass(b->loop))
        continue;
}

/* ---- limits ---- */

static void test_a_limit_holds_over_all_workers(void **state CN_UNUSED)
{
    static const cn_admit_kind kinds[] = {CN_ADMIT_REQUEST, CN_ADMIT_PENDING, CN_ADMIT_RETRY};

    for (size_t k = 0; k < CN_COUNT(kinds); k++) {
        cn_ticket_t t[7] = {{0}}, more = {0};
        bed_t b;

        open_bed(&b, "cluster a:80 { breaker max_requests=7 max_pending=7 max_retries=7; }");
        for (unsigned i = 0; i < 7; i++)
            assert_true(take(&b, i % WORKERS, kinds[k], &t[i]));
        for (unsigned i = 0; i < WORKERS; i++)
            assert_false(take(&b, i, kinds[k], &more));
        give(&b, 2, &t[2]);
        assert_true(take(&b, 3, kinds[k], &more));
        assert_false(take(&b, 0, kinds[k], &t[2]));
        give(&b, 3, &more);
        for (unsigned i = 0; i < 7; i++)
            give(&b, i % WORKERS, &t[i]);
        for (unsigned i = 0; i < 7; i++)
            assert_true(take(&b, 1, kinds[k], &t[i]));
        for (unsigned i = 0; i < 7; i++)
            give(&b, 1, &t[i]);
        close_bed(&b);
    }
}

static void test_a_limit_of_0_admits_nobody(void **state CN_UNUSED)
{
    cn_ticket_t t = {0};
    bed_t b;

    open_bed(&b, "cluster a:80 { breaker max_requests=0; }");
    assert_false(take(&b, 0, CN_ADMIT_REQUEST, &t));
    assert_true(take(&b, 0, CN_ADMIT_PENDING, &t)); /* not limited */
    give(&b, 0, &t);
    close_bed(&b);
}

/* ---- connections ---- */

static void nothing(cn_task_t *t CN_UNUSED, uint32_t why CN_UNUSED)
{
}

/* A request of a worker that waits for a connection. */
typedef struct {
    cn_task_t task;
    cn_waiter_t waiter;
} request_t;

static void request_init(bed_t *b, request_t *r, unsigned worker)
{
    cn_task_init(&r->task, b->loop, nothing);
    r->waiter = (cn_waiter_t){.cluster = cluster(b, worker), .task = &r->task, .why = CN_WAKE_USER};
    cn_list_init(&r->waiter.link);
}

static void request_fini(request_t *r)
{
    cn_list_remove(&r->waiter.link);
    cn_task_fini(&r->task);
}

static void ask(bed_t *b, request_t *r, unsigned worker)
{
    cn_ticket_t t = {0};

    assert_false(take(b, worker, CN_ADMIT_CONNECTION, &t));
    cn_admission_wait(&b->w[worker].admissions, &r->waiter);
}

static bool spare(bed_t *b, unsigned worker)
{
    return cn_admission_spare(&b->w[worker].admissions, cluster(b, worker));
}

static void test_connections_are_limited_over_all_workers(void **state CN_UNUSED)
{
    cn_ticket_t t[3] = {{0}};
    bed_t b;

    open_bed(&b, "cluster a:80 { breaker max_connections=2; }");
    assert_true(take(&b, 0, CN_ADMIT_CONNECTION, &t[0]));
    assert_true(take(&b, 1, CN_ADMIT_CONNECTION, &t[1]));
    for (unsigned i = 0; i < WORKERS; i++)
        assert_false(take(&b, i, CN_ADMIT_CONNECTION, &t[2])); /* also who has none at all */
    give(&b, 0, &t[0]);
    assert_true(take(&b, 3, CN_ADMIT_CONNECTION, &t[2]));
    give(&b, 1, &t[1]);
    give(&b, 3, &t[2]);
    close_bed(&b);
}

static void test_each_worker_may_have_one_that_many_requests_share(void **state CN_UNUSED)
{
    cn_ticket_t t[3] = {{0}};
    bed_t b;

    open_bed(&b, "cluster a:80 { breaker max_connections=1; }");
    assert_true(take(&b, 0, CN_ADMIT_CONNECTION, &t[0]));
    assert_true(cn_admission_take_shared(&b.w[1].admissions, cluster(&b, 1), &t[1]));
    assert_false(cn_admission_take_shared(&b.w[1].admissions, cluster(&b, 1), &t[2]));
    give(&b, 1, &t[1]); /* it was beyond the limit: nobody gets it */
    assert_false(take(&b, 2, CN_ADMIT_CONNECTION, &t[2]));
    give(&b, 0, &t[0]);
    assert_true(take(&b, 2, CN_ADMIT_CONNECTION, &t[2]));
    give(&b, 2, &t[2]);
    close_bed(&b);
}

static void test_what_idles_is_for_the_worker_that_waits_longest(void **state CN_UNUSED)
{
    cn_ticket_t t = {0}, more = {0};
    request_t first, second;
    bed_t b;

    open_bed(&b, "cluster a:80 { breaker max_connections=1; }");
    request_init(&b, &first, 2);
    request_init(&b, &second, 1);
    assert_true(take(&b, 0, CN_ADMIT_CONNECTION, &t));
    assert_false(spare(&b, 0));
    ask(&b, &first, 2);
    pass(&b, 1);
    ask(&b, &second, 1);
    assert_true(spare(&b, 0));
    give(&b, 0, &t);
    assert_false(take(&b, 0, CN_ADMIT_CONNECTION, &t));
    assert_false(take(&b, 1, CN_ADMIT_CONNECTION, &more));
    assert_true(take(&b, 2, CN_ADMIT_CONNECTION, &more));
    cn_list_remove(&first.waiter.link);
    assert_true(spare(&b, 2)); /* of worker 1, which still waits */
    give(&b, 2, &more);
    assert_false(take(&b, 2, CN_ADMIT_CONNECTION, &more));
    assert_true(take(&b, 1, CN_ADMIT_CONNECTION, &more));
    assert_false(spare(&b, 1));
    give(&b, 1, &more);
    request_fini(&first);
    request_fini(&second);
    close_bed(&b);
}

static void test_who_no_longer_asks_holds_up_nobody(void **state CN_UNUSED)
{
    cn_ticket_t t = {0};
    request_t gone, lost;
    bed_t b;

    open_bed(&b, "cluster a:80 { breaker max_connections=1; }");
    request_init(&b, &gone, 1);
    request_init(&b, &lost, 2);
    assert_true(take(&b, 0, CN_ADMIT_CONNECTION, &t));
    ask(&b, &gone, 1);
    ask(&b, &lost, 2);
    give(&b, 0, &t);
    cn_shared_worker_gone(b.shared, 2);
    assert_false(take(&b, 3, CN_ADMIT_CONNECTION, &t));
    pass(&b, 101);
    assert_true(take(&b, 3, CN_ADMIT_CONNECTION, &t));
    assert_false(spare(&b, 3));
    give(&b, 3, &t);
    request_fini(&gone);
    request_fini(&lost);
    close_bed(&b);
}

static void test_a_worker_with_requests_of_its_own_keeps_its_turn(void **state CN_UNUSED)
{
    cn_ticket_t t = {0};
    request_t own, other;
    bed_t b;

    open_bed(&b, "cluster a:80 { breaker max_connections=1; }");
    request_init(&b, &own, 0);
    request_init(&b, &other, 1);
    assert_true(take(&b, 0, CN_ADMIT_CONNECTION, &t));
    ask(&b, &own, 0);
    pass(&b, 10);
    ask(&b, &other, 1);
    assert_false(spare(&b, 0));
    pass(&b, 25);
    assert_true(spare(&b, 0));
    give(&b, 0, &t);
    ask(&b, &own, 0); /* although it began to wait before the other */
    assert_true(take(&b, 1, CN_ADMIT_CONNECTION, &t));
    give(&b, 1, &t);
    request_fini(&own);
    request_fini(&other);
    close_bed(&b);
}

static void test_what_a_dead_worker_had_is_free_again(void **state CN_UNUSED)
{
    cn_ticket_t t[4] = {{0}}, more[4] = {{0}};
    bed_t b;

    open_bed(&b, "cluster a:80 { breaker max_requests=4; }");
    for (unsigned i = 0; i < 4; i++)
        assert_true(take(&b, i < 3 ? 1 : 2, CN_ADMIT_REQUEST, &t[i]));
    assert_false(take(&b, 0, CN_ADMIT_REQUEST, &more[0]));
    cn_shared_worker_gone(b.shared, 1);
    for (unsigned i = 0; i < 3; i++)
        assert_true(take(&b, 0, CN_ADMIT_REQUEST, &more[i]));
    assert_false(take(&b, 3, CN_ADMIT_REQUEST, &more[3]));
    for (unsigned i = 0; i < 3; i++)
        give(&b, 0, &more[i]);
    /* the dead worker's own object ends here without taking anything twice */
    for (unsigned i = 0; i < 4; i++)
        give(&b, i < 3 ? 1 : 2, &t[i]);
    for (unsigned i = 0; i < 4; i++)
        assert_true(take(&b, 0, CN_ADMIT_REQUEST, &more[i]));
    for (unsigned i = 0; i < 4; i++)
        give(&b, 0, &more[i]);
    close_bed(&b);
}

/* What the racing processes write: how many are inside, and what went wrong. */
typedef struct {
    int32_t ready, inside, most, admitted, over;
} race_t;

static CN_NORETURN void race(bed_t *b, unsigned worker, race_t *r, int32_t limit)
{
    __atomic_add_fetch(&r->ready, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&r->ready, __ATOMIC_SEQ_CST) < WORKERS)
        continue;
    for (unsigned i = 0; i < 100000; i++) {
        cn_ticket_t t = {0};
        int32_t now;

        if (!take(b, worker, CN_ADMIT_REQUEST, &t))
            continue;
        now = __atomic_add_fetch(&r->inside, 1, __ATOMIC_SEQ_CST);
        if (now > limit)
            __atomic_add_fetch(&r->over, 1, __ATOMIC_SEQ_CST);
        if (now > __atomic_load_n(&r->most, __ATOMIC_SEQ_CST))
            __atomic_store_n(&r->most, now, __ATOMIC_SEQ_CST);
        __atomic_add_fetch(&r->admitted, 1, __ATOMIC_SEQ_CST);
        __atomic_sub_fetch(&r->inside, 1, __ATOMIC_SEQ_CST);
        give(b, worker, &t);
    }
    _exit(0);
}

static void test_workers_that_race_for_the_last_place_never_share_it(void **state CN_UNUSED)
{
    race_t *r = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cn_ticket_t t[2] = {{0}};
    bed_t b;

    assert_true(r != MAP_FAILED);
    open_bed(&b, "cluster a:80 { breaker max_requests=1; }");
    for (unsigned i = 0; i < WORKERS; i++)
        if (fork() == 0)
            race(&b, i, r, 1);
    for (unsigned i = 0; i < WORKERS; i++) {
        int status = -1;

        wait(&status);
        assert_int_equal(status, 0);
    }
    assert_int_equal(r->over, 0);
    assert_int_equal(r->most, 1);
    assert_true(r->admitted > 0);
    /* nothing is left behind */
    assert_true(take(&b, 0, CN_ADMIT_REQUEST, &t[0]));
    assert_false(take(&b, 1, CN_ADMIT_REQUEST, &t[1]));
    give(&b, 0, &t[0]);
    munmap(r, 4096);
    close_bed(&b);
}

static void test_counts_survive_a_new_configuration(void **state CN_UNUSED)
{
    cn_ticket_t t = {0}, more = {0};
    bed_t b;
    cn_gen_t *old;
    cn_str_t why;

    open_bed(&b, "cluster a:80 { breaker max_requests=1; }");
    assert_true(take(&b, 0, CN_ADMIT_REQUEST, &t));
    old = b.gen;
    load(&b, "cluster a:80 { breaker max_requests=2; }");
    for (unsigned i = 0; i < WORKERS; i++)
        assert_int_equal(cn_worker_apply(&b.w[i], b.gen, b.pool, &why), CN_OK);
    cn_gen_unref(old);
    assert_true(take(&b, 1, CN_ADMIT_REQUEST, &more));
    cn_ticket_t third = {0};
    assert_false(take(&b, 2, CN_ADMIT_REQUEST, &third));
    give(&b, 0, &t);
    give(&b, 1, &more);
    close_bed(&b);
}

/* ---- outlier detection ---- */

#define TEN                                                                                        \
    "endpoint 10.0.0.1:80; endpoint 10.0.0.2:80; endpoint 10.0.0.3:80; endpoint 10.0.0.4:80; "     \
    "endpoint 10.0.0.5:80; endpoint 10.0.0.6:80; endpoint 10.0.0.7:80; endpoint 10.0.0.8:80; "     \
    "endpoint 10.0.0.9:80; endpoint 10.0.0.10:80; "

static void answer(bed_t *b, unsigned worker, unsigned host, unsigned status)
{
    cn_outcome_t out = {.how = CN_OUT_RESPONSE, .status = (uint16_t)status, .grpc_status = -1};
    cn_cluster_t *c = cluster(b, worker);

    cn_admission_report(&b->w[worker].admissions, c, c->hosts[host], &out);
}

static void fail_with(bed_t *b, unsigned worker, unsigned host, cn_out_how how)
{
    cn_outcome_t out = {.how = how, .grpc_status = -1};
    cn_cluster_t *c = cluster(b, worker);

    cn_admission_report(&b->w[worker].admissions, c, c->hosts[host], &out);
}

static bool usable(bed_t *b, unsigned worker, unsigned host)
{
    cn_pick_t pick = {.admissions = &b->w[worker].admissions};
    cn_cluster_t *c = cluster(b, worker);

    return cn_cluster_admits(c, &pick, c->hosts[host]);
}

static uint64_t epoch(bed_t *b, unsigned worker)
{
    cn_pick_t pick = {.admissions = &b->w[worker].admissions};

    return cn_cluster_look(cluster(b, worker), &pick).epoch;
}

static void test_failures_in_a_row_are_counted_by_all_workers_together(void **state CN_UNUSED)
{
    bed_t b;

    open_bed(&b, "cluster a:80 { " TEN "outlier; }");
    for (unsigned i = 0; i < 4; i++)
        answer(&b, i, 3, 500);
    for (unsigned i = 0; i < WORKERS; i++)
        assert_true(usable(&b, i, 3));
    uint64_t before = epoch(&b, 1);
    answer(&b, 2, 3, 500);
    for (unsigned i = 0; i < WORKERS; i++)
        assert_false(usable(&b, i, 3));
    assert_true(epoch(&b, 1) != before);
    assert_true(usable(&b, 0, 2));
    close_bed(&b);
}

static void test_a_success_starts_the_count_anew(void **state CN_UNUSED)
{
    bed_t b;

    open_bed(&b, "cluster a:80 { " TEN "outlier; }");
    for (unsigned i = 0; i < 20; i++)
        answer(&b, i % WORKERS, 0, i % 5 == 4 ? 404 : 503);
    assert_true(usable(&b, 0, 0));
    close_bed(&b);
}

static void configure(bed_t *b, const char *conf)
{
    cn_gen_t *old = b->gen;
    cn_str_t why;

    load(b, conf);
    for (unsigned i = 0; i < WORKERS; i++)
        assert_int_equal(cn_worker_apply(&b->w[i], b->gen, b->pool, &why), CN_OK);
    cn_gen_unref(old);
}

static void test_a_host_returns_though_configurations_change_all_the_time(void **state CN_UNUSED)
{
    static const char *const confs[] = {"cluster a:80 { " TEN "outlier; }",
                                        "cluster a:80 { " TEN "outlier; } cluster b:80 { }"};
    bed_t b;

    open_bed(&b, confs[0]);
    for (unsigned i = 0; i < 5; i++)
        answer(&b, 0, 3, 500);
    assert_false(usable(&b, 0, 3));
    for (unsigned i = 0; i < 45; i++) {
        configure(&b, confs[i % 2]);
        pass(&b, 1000);
    }
    assert_true(usable(&b, 0, 3));
    close_bed(&b);
}

static void test_only_clusters_with_something_to_do_are_watched(void **state CN_UNUSED)
{
    const cn_circuit_breaker_t *x;
    bed_t b;

    open_bed(&b, "cluster a:80 { outlier interval=5s; } cluster b:80 { breaker max_requests=1; } "
                 "cluster c:80 { }");
    x = cn_worker_module(&b.w[0], &cn_module_circuit_breaker);
    assert_int_equal(x->watched.used, 2);
    assert_int_equal(x->tick_ms, 5000);
    configure(&b,
              "cluster a:80 { outlier interval=20s; } cluster b:80 { breaker max_requests=1; }");
    assert_int_equal(x->watched.used, 2);
    assert_int_equal(x->tick_ms, 20000);
    configure(&b, "cluster a:80 { } cluster c:80 { outlier interval=7s; }");
    assert_int_equal(x->watched.used, 1);
    assert_int_equal(x->tick_ms, 7000);
    configure(&b, "cluster a:80 { }");
    assert_int_equal(x->watched.used, 0);
    assert_false(cn_timer_is_set(&x->timer));
    close_bed(&b);
}

static void
test_a_host_returns_after_its_time_and_stays_longer_away_each_time(void **state CN_UNUSED)
{
    bed_t b;

    open_bed(&b,
             "cluster a:80 { " TEN "outlier consecutive_5xx=2 interval=10s base_ejection=30s; }");
    for (unsigned times = 1; times <= 3; times++) {
        answer(&b, 0, 0, 500);
        answer(&b, 1, 0, 500);
        for (unsigned i = 0; i < 3 * times - 1; i++) {
            pass(&b, 10000);
            assert_false(usable(&b, 2, 0));
        }
        pass(&b, 10000);
        pass(&b, 1);
        for (unsigned i = 0; i < WORKERS; i++)
            assert_true(usable(&b, i, 0));
    }
    /* quiet intervals take the multiplier back */
    for (unsigned i = 0; i < 4; i++)
        pass(&b, 10001);
    answer(&b, 0, 0, 500);
    answer(&b, 1, 0, 500);
    for (unsigned i = 0; i < 4; i++)
        pass(&b, 10001);
    assert_true(usable(&b, 0, 0));
    close_bed(&b);
}

static void test_only_a_part_of_the_hosts_is_put_aside_but_always_one(void **state CN_UNUSED)
{
    bed_t b;

    open_bed(&b, "cluster a:80 { " TEN "outlier consecutive_5xx=1 max_ejection_percent=30; }");
    for (unsigned i = 0; i < 10; i++)
        answer(&b, i % WORKERS, i, 500);
    unsigned away = 0;
    for (unsigned i = 0; i < 10; i++)
        away += !usable(&b, 0, i);
    assert_int_equal(away, 3);
    close_bed(&b);
    open_bed(&b, "cluster a:80 { endpoint 10.0.0.1:80; endpoint 10.0.0.2:80; "
                 "outlier consecutive_5xx=1 max_ejection_percent=0; }");
    answer(&b, 0, 0, 500);
    answer(&b, 0, 1, 500);
    assert_false(usable(&b, 3, 0));
    assert_true(usable(&b, 3, 1));
    close_bed(&b);
    open_bed(&b, "cluster a:80 { endpoint 10.0.0.1:80; "
                 "outlier consecutive_5xx=1 max_ejection_percent=99; }");
    answer(&b, 0, 0, 500);
    assert_true(usable(&b, 0, 0)); /* the only one */
    close_bed(&b);
}

static void test_gateway_errors_have_a_count_of_their_own(void **state CN_UNUSED)
{
    bed_t b;

    open_bed(&b, "cluster a:80 { " TEN "outlier consecutive_5xx=0 consecutive_gateway=3; }");
    for (unsigned i = 0; i < 9; i++)
        answer(&b, 0, 0, 500);
    assert_true(usable(&b, 0, 0));
    answer(&b, 0, 0, 502);
    answer(&b, 1, 0, 503);
    answer(&b, 2, 0, 500); /* starts anew */
    answer(&b, 2, 0, 504);
    answer(&b, 2, 0, 504);
    assert_true(usable(&b, 0, 0));
    answer(&b, 3, 0, 502);
    assert_false(usable(&b, 0, 0));
    close_bed(&b);
}

static void test_what_does_not_answer_counts_as_503_or_504(void **state CN_UNUSED)
{
    bed_t b;

    open_bed(&b, "cluster a:80 { " TEN "outlier consecutive_gateway=4; }");
    fail_with(&b, 0, 0, CN_OUT_CONNECT);
    fail_with(&b, 0, 0, CN_OUT_CONNECT_TIMEOUT);
    fail_with(&b, 0, 0, CN_OUT_TIMEOUT);
    assert_true(usable(&b, 0, 0));
    fail_with(&b, 0, 0, CN_OUT_RESET);
    assert_false(usable(&b, 0, 0));
    close_bed(&b);
}

static void test_local_failures_can_be_counted_apart(void **state CN_UNUSED)
{
    bed_t b;

    open_bed(&b, "cluster a:80 { " TEN
                 "outlier consecutive_5xx=2 split_local=on consecutive_local=3; }");
    fail_with(&b, 0, 0, CN_OUT_CONNECT);
    fail_with(&b, 1, 0, CN_OUT_CONNECT);
    answer(&b, 1, 0, 500); /* it was reached */
    fail_with(&b, 0, 0, CN_OUT_RESET);
    fail_with(&b, 0, 0, CN_OUT_CONNECT_TIMEOUT);
    assert_true(usable(&b, 0, 0));
    fail_with(&b, 0, 0, CN_OUT_CONNECT);
    assert_false(usable(&b, 0, 0));
    answer(&b, 0, 1, 500);
    answer(&b, 0, 1, 500);
    assert_true(usable(&b, 0, 1)); /* one in ten is away already */
    close_bed(&b);
}

static void test_grpc_statuses_count_as_what_they_mean(void **state CN_UNUSED)
{
    bed_t b;
    cn_cluster_t *c;

    open_bed(&b, "cluster a:80 { " TEN "outlier consecutive_5xx=1; }");
    c = cluster(&b, 0);
    for (unsigned i = 0; i < 2; i++) {
        /* NOT_FOUND, UNAVAILABLE */
        cn_outcome_t out = {
            .how = CN_OUT_RESPONSE, .status = 200, .grpc_status = (int16_t)(i ? 14 : 5)};

        cn_admission_report(&b.w[0].admissions, c, c->hosts[0], &out);
        assert_true(usable(&b, 0, 0) == (i == 0));
    }
    close_bed(&b);
}

static void test_too_few_healthy_hosts_are_told_to_the_balancer(void **state CN_UNUSED)
{
    cn_pick_t pick = {0};
    bed_t b;

    open_bed(&b, "cluster a:80 { " TEN "outlier min_health_percent=40; }");
    pick.admissions = &b.w[0].admissions;
    assert_int_equal(cn_cluster_look(cluster(&b, 0), &pick).panic_percent, 40);
    close_bed(&b);
}

static void test_requests_go_elsewhere_while_a_host_is_away(void **state CN_UNUSED)
{
    cn_pick_t pick = {0};
    bed_t b;

    open_bed(&b, "cluster a:80 { endpoint 10.0.0.1:80; endpoint 10.0.0.2:80; "
                 "outlier consecutive_5xx=1 interval=1s base_ejection=1s; }");
    pick = (cn_pick_t){.rand = &b.w[3].rand, .admissions = &b.w[3].admissions};
    assert_ptr_equal(cn_cluster_pick(cluster(&b, 3), &pick), cluster(&b, 3)->hosts[0]);
    answer(&b, 0, 0, 500);
    assert_ptr_equal(cn_cluster_pick(cluster(&b, 3), &pick), cluster(&b, 3)->hosts[1]);
    pass(&b, 1001);
    pass(&b, 1001);
    assert_ptr_equal(cn_cluster_pick(cluster(&b, 3), &pick), cluster(&b, 3)->hosts[0]);
    close_bed(&b);
}

static void test_a_cluster_without_the_directive_is_left_alone(void **state CN_UNUSED)
{
    cn_ticket_t t[3] = {{0}};
    bed_t b;

    open_bed(&b, "cluster a:80 { " TEN "}");
    for (unsigned i = 0; i < 100; i++)
        answer(&b, 0, 0, 500);
    assert_true(usable(&b, 0, 0));
    for (unsigned i = 0; i < 3; i++)
        assert_true(take(&b, 0, CN_ADMIT_REQUEST, &t[i]));
    for (unsigned i = 0; i < 3; i++)
        give(&b, 0, &t[i]);
    close_bed(&b);
}

static void test_a_full_table_limits_nothing(void **state CN_UNUSED)
{
    cn_ticket_t t = {0}, other = {0}, more = {0};
    bed_t b;

    open_bed(&b, "breaker_memory clusters=1 hosts=1; cluster b:80 { breaker max_requests=1; } "
                 "cluster a:80 { breaker max_requests=1; }");
    assert_true(cn_admission_take(&b.w[0].admissions,
                                  cn_clusters_find(b.w[0].clusters, CN_STR("b:80")),
                                  CN_ADMIT_REQUEST, &other));
    assert_true(take(&b, 0, CN_ADMIT_REQUEST, &t));
    assert_true(take(&b, 0, CN_ADMIT_REQUEST, &more));
    give(&b, 0, &t);
    give(&b, 0, &more);
    give(&b, 0, &other);
    close_bed(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_limit_holds_over_all_workers),
        cmocka_unit_test(test_a_limit_of_0_admits_nobody),
        cmocka_unit_test(test_connections_are_limited_over_all_workers),
        cmocka_unit_test(test_each_worker_may_have_one_that_many_requests_share),
        cmocka_unit_test(test_what_idles_is_for_the_worker_that_waits_longest),
        cmocka_unit_test(test_who_no_longer_asks_holds_up_nobody),
        cmocka_unit_test(test_a_worker_with_requests_of_its_own_keeps_its_turn),
        cmocka_unit_test(test_what_a_dead_worker_had_is_free_again),
        cmocka_unit_test(test_workers_that_race_for_the_last_place_never_share_it),
        cmocka_unit_test(test_counts_survive_a_new_configuration),
        cmocka_unit_test(test_failures_in_a_row_are_counted_by_all_workers_together),
        cmocka_unit_test(test_a_success_starts_the_count_anew),
        cmocka_unit_test(test_a_host_returns_after_its_time_and_stays_longer_away_each_time),
        cmocka_unit_test(test_only_a_part_of_the_hosts_is_put_aside_but_always_one),
        cmocka_unit_test(test_gateway_errors_have_a_count_of_their_own),
        cmocka_unit_test(test_what_does_not_answer_counts_as_503_or_504),
        cmocka_unit_test(test_local_failures_can_be_counted_apart),
        cmocka_unit_test(test_grpc_statuses_count_as_what_they_mean),
        cmocka_unit_test(test_too_few_healthy_hosts_are_told_to_the_balancer),
        cmocka_unit_test(test_requests_go_elsewhere_while_a_host_is_away),
        cmocka_unit_test(test_a_cluster_without_the_directive_is_left_alone),
        cmocka_unit_test(test_a_full_table_limits_nothing),
        cmocka_unit_test(test_a_host_returns_though_configurations_change_all_the_time),
        cmocka_unit_test(test_only_clusters_with_something_to_do_are_watched),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
