/* SPDX-License-Identifier: Apache-2.0
 *
 * Balancers on made-up hosts; random numbers come from a fixed seed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
/* cmocka wants the ones above first */
#include <cmocka.h>

#include <cairn/module.h>

extern const cn_module_t cn_module_lb;

#define HOSTS 5
#define PICKS 20000

typedef struct {
    cn_host_t hosts[HOSTS];
    cn_host_t *v[HOSTS];
    cn_cluster_t cluster;
    cn_rand_t rand;
    const cn_lb_ops_t *ops;
    void *ctx;
    unsigned hits[HOSTS];
} bed_t;

static const cn_lb_ops_t *balancer(const char *name)
{
    for (const cn_lb_ops_t *const *lb = cn_module_lb.lb; *lb; lb++)
        if (strcmp((*lb)->name, name) == 0)
            return *lb;
    fail_msg("no balancer %s", name);
    return NULL;
}

static void open_bed(bed_t *b, const char *name, uint32_t n)
{
    *b = (bed_t){.ops = balancer(name)};
    for (uint32_t i = 0; i < HOSTS; i++) {
        b->hosts[i] = (cn_host_t){.weight = 1, .healthy = true};
        b->v[i] = &b->hosts[i];
    }
    b->cluster.lb = b->ops;
    b->cluster.hosts = b->v;
    b->cluster.nhosts = n;
    cn_rand_init(&b->rand, 7);
}

static void build(bed_t *b)
{
    b->ctx = b->ops->build(&b->cluster, b->ctx);
}

static void close_bed(bed_t *b)
{
    b->ops->destroy(b->ctx);
}

static cn_host_t *pick(bed_t *b, cn_host_t *const *tried, unsigned ntried)
{
    const cn_pick_t p = {.rand = &b->rand, .tried = tried, .ntried = ntried};

    return b->ops->pick(&b->cluster, b->ctx, &p);
}

static void run(bed_t *b, unsigned n)
{
    memset(b->hits, 0, sizeof(b->hits));
    while (n--) {
        const cn_host_t *h = pick(b, NULL, 0);

        assert_non_null(h);
        b->hits[h - b->hosts]++;
    }
}

static void assert_near(unsigned got, unsigned want)
{
    if (got + want / 10 < want || got > want + want / 10)
        fail_msg("%u is not near %u", got, want);
}

static const char *const names[] = {"round_robin", "least_request", "random"};

static void test_no_healthy_host_is_nobody(void **state CN_UNUSED)
{
    for (size_t i = 0; i < CN_COUNT(names); i++) {
        bed_t b;

        open_bed(&b, names[i], 0);
        build(&b);
        assert_null(pick(&b, NULL, 0));
        b.cluster.nhosts = 2;
        b.hosts[0].healthy = b.hosts[1].healthy = false;
        build(&b);
        assert_null(pick(&b, NULL, 0));
        close_bed(&b);
    }
}

static void test_unhealthy_hosts_get_nothing_and_the_others_equal_shares(void **state CN_UNUSED)
{
    for (size_t i = 0; i < CN_COUNT(names); i++) {
        bed_t b;

        open_bed(&b, names[i], 5);
        b.hosts[1].healthy = false;
        build(&b);
        run(&b, PICKS);
        assert_int_equal(b.hits[1], 0);
        assert_near(b.hits[0], PICKS / 4);
        assert_near(b.hits[2], PICKS / 4);
        assert_near(b.hits[3], PICKS / 4);
        assert_near(b.hits[4], PICKS / 4);
        close_bed(&b);
    }
}

static void test_a_host_that_fails_after_the_build_gets_nothing(void **state CN_UNUSED)
{
    for (size_t i = 0; i < CN_COUNT(names); i++) {
        bed_t b;

        open_bed(&b, names[i], 3);
        build(&b);
        b.hosts[2].healthy = false;
        b.hosts[0].gone = true;
        run(&b, 100);
        assert_int_equal(b.hits[1], 100);
        b.hosts[1].healthy = false;
        assert_null(pick(&b, NULL, 0));
        close_bed(&b);
    }
}

static void test_shares_follow_the_weights(void **state CN_UNUSED)
{
    for (size_t i = 0; i < CN_COUNT(names); i++) {
        bed_t b;

        open_bed(&b, names[i], 4);
        b.hosts[0].weight = 6;
        b.hosts[1].weight = 3;
        b.hosts[2].weight = 1;
        b.hosts[3].weight = 0;
        build(&b);
        run(&b, PICKS);
        assert_near(b.hits[0], PICKS / 10 * 6);
        assert_near(b.hits[1], PICKS / 10 * 3);
        assert_near(b.hits[2], PICKS / 10);
        assert_int_equal(b.hits[3], 0);
        close_bed(&b);
    }
}

static void test_hosts_that_were_tried_are_avoided_while_there_are_others(void **state CN_UNUSED)
{
    for (size_t i = 0; i < 2 * CN_COUNT(names); i++) {
        bed_t b;
        cn_host_t *tried[3];

        open_bed(&b, names[i / 2], 3);
        b.hosts[0].weight = i % 2 ? 10 : 1;
        build(&b);
        tried[0] = &b.hosts[0];
        tried[1] = &b.hosts[2];
        tried[2] = &b.hosts[1];
        for (int k = 0; k < 100; k++) {
            assert_ptr_equal(pick(&b, tried, 2), &b.hosts[1]);
            assert_non_null(pick(&b, tried, 3));
        }
        close_bed(&b);
    }
}

static void test_round_robin_takes_turns(void **state CN_UNUSED)
{
    bed_t b;
    const cn_host_t *first;

    open_bed(&b, "round_robin", 3);
    build(&b);
    first = pick(&b, NULL, 0);
    for (int i = 1; i < 30; i++)
        assert_ptr_equal(pick(&b, NULL, 0), &b.hosts[(first - b.hosts + i) % 3]);
    close_bed(&b);
}

static void test_round_robin_goes_on_after_a_change(void **state CN_UNUSED)
{
    bed_t b;
    const cn_host_t *h;

    open_bed(&b, "round_robin", 4);
    build(&b);
    h = pick(&b, NULL, 0);
    build(&b);
    assert_ptr_equal(pick(&b, NULL, 0), &b.hosts[(h - b.hosts + 1) % 4]);
    b.cluster.nhosts = 1;
    build(&b);
    assert_ptr_equal(pick(&b, NULL, 0), &b.hosts[0]);
    close_bed(&b);
}

static void test_round_robin_does_not_send_bursts_to_heavy_hosts(void **state CN_UNUSED)
{
    bed_t b;
    unsigned longest = 0, burst = 0;

    open_bed(&b, "round_robin", 3);
    b.hosts[0].weight = 5;
    build(&b);
    for (int i = 0; i < 70; i++) {
        burst = pick(&b, NULL, 0) == &b.hosts[0] ? burst + 1 : 0;
        longest = burst > longest ? burst : longest;
    }
    assert_true(longest <= 4); /* 5 of every 7, around one of the others */
    close_bed(&b);
}

static void test_least_request_prefers_the_idle_host(void **state CN_UNUSED)
{
    bed_t b;

    open_bed(&b, "least_request", 2);
    build(&b);
    b.hosts[0].active = 10;
    run(&b, 1000);
    assert_true(b.hits[1] > 850);
    close_bed(&b);
}

static void test_least_request_counts_by_weight(void **state CN_UNUSED)
{
    bed_t b;

    open_bed(&b, "least_request", 2);
    b.hosts[0].weight = 10;
    build(&b);
    b.hosts[0].active = 10;
    b.hosts[1].active = 5; /* five times as busy for its weight */
    run(&b, 1000);
    assert_true(b.hits[0] > 950);
    close_bed(&b);
}

/* With the counts kept, two choices level the hosts out. */
static void test_least_request_levels_out(void **state CN_UNUSED)
{
    bed_t b;

    open_bed(&b, "least_request", 5);
    build(&b);
    b.hosts[3].active = 100;
    for (int i = 0; i < 400; i++)
        pick(&b, NULL, 0)->active++;
    for (int i = 0; i < HOSTS; i++)
        assert_true(b.hosts[i].active >= 95 && b.hosts[i].active <= 105);
    close_bed(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_healthy_host_is_nobody),
        cmocka_unit_test(test_unhealthy_hosts_get_nothing_and_the_others_equal_shares),
        cmocka_unit_test(test_a_host_that_fails_after_the_build_gets_nothing),
        cmocka_unit_test(test_shares_follow_the_weights),
        cmocka_unit_test(test_hosts_that_were_tried_are_avoided_while_there_are_others),
        cmocka_unit_test(test_round_robin_takes_turns),
        cmocka_unit_test(test_round_robin_goes_on_after_a_change),
        cmocka_unit_test(test_round_robin_does_not_send_bursts_to_heavy_hosts),
        cmocka_unit_test(test_least_request_prefers_the_idle_host),
        cmocka_unit_test(test_least_request_counts_by_weight),
        cmocka_unit_test(test_least_request_levels_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
