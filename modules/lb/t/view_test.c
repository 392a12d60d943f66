/* SPDX-License-Identifier: Apache-2.0
 *
 * Near hosts first: whose place counts, how the load moves to farther hosts,
 * shares by place, and hosts that warm up.
 */
#include "stub.h"

static void word(bed_t *b, const char *w)
{
    *(cn_str_t *)cn_vec_push(b->req.pool, &b->conf.words, sizeof(cn_str_t)) = cn_str_c(w);
}

static void prefer(bed_t *b, cn_lb_locality_kind kind, const char *const *words)
{
    b->conf.locality = kind;
    while (*words)
        word(b, *words++);
}

static const char *const places[] = {"r1/z1/a", "r1/z1/b", "r1/z2/a", "r2/z1/a"};
static const char *const near[] = {"region", "zone", "subzone", NULL};

/* Hosts 0-3, 4-7, 8-11 and 12-15: subzone, zone, region, another region. */
static void open_places(bed_t *b)
{
    bed_open(b, "random", 16);
    for (unsigned i = 0; i < 16; i++)
        bed_place(b, i, places[i / 4]);
}

/* What each place got, in percent, rounded. */
static void run_places(bed_t *b, unsigned got[4])
{
    memset(got, 0, 4 * sizeof(*got));
    bed_run(b, 20000);
    for (unsigned i = 0; i < 16; i++)
        got[i / 4] += b->hits[i];
    for (unsigned i = 0; i < 4; i++)
        got[i] = (got[i] + 100) / 200;
}

static void expect(bed_t *b, unsigned a, unsigned z, unsigned r, unsigned other)
{
    const unsigned want[] = {a, z, r, other};
    unsigned got[4];

    run_places(b, got);
    for (unsigned i = 0; i < 4; i++)
        if (got[i] + 2 < want[i] || got[i] > want[i] + 2)
            fail_msg("place %u got %u %%, not %u %%", i, got[i], want[i]);
}

static void test_the_nearest_hosts_get_everything_while_they_are_healthy(void **state CN_UNUSED)
{
    bed_t b;

    open_places(&b);
    prefer(&b, CN_LB_PREFER, near);
    bed_client(&b, "r1/z1/a", "");
    bed_build(&b);
    expect(&b, 100, 0, 0, 0);
    bed_client(&b, "r2/z1/a", "");
    expect(&b, 0, 0, 0, 100);
    bed_client(&b, "r1/z2/x", ""); /* no such subzone: the zone's */
    expect(&b, 0, 0, 100, 0);
    bed_close(&b);
}

/* Envoy's priority levels: a level takes 1.4 times the share of its hosts that are healthy. */
static void test_load_moves_on_in_the_measure_of_missing_hosts(void **state CN_UNUSED)
{
    bed_t b;

    open_places(&b);
    prefer(&b, CN_LB_PREFER, near);
    bed_client(&b, "r1/z1/a", "");
    bed_build(&b);
    bed_eject(&b, 0, true);
    expect(&b, 100, 0, 0, 0); /* 75 % are enough */
    bed_eject(&b, 1, true);
    expect(&b, 70, 30, 0, 0);
    bed_eject(&b, 4, true);
    bed_eject(&b, 5, true);
    bed_eject(&b, 6, true);
    expect(&b, 70, 30, 0, 0); /* 35 % of the zone's hosts suffice for 30 % */
    bed_eject(&b, 2, true);
    expect(&b, 35, 35, 30, 0);
    bed_eject(&b, 3, true);
    bed_eject(&b, 7, true);
    expect(&b, 0, 0, 100, 0);
    for (unsigned i = 8; i < 12; i++)
        bed_eject(&b, i, true);
    expect(&b, 0, 0, 0, 100);
    for (unsigned i = 0; i < 16; i++)
        bed_eject(&b, i, i != 5);
    expect(&b, 0, 100, 0, 0); /* whoever is left takes all */
    bed_close(&b);
}

static void test_hosts_that_are_configured_unhealthy_count_as_missing(void **state CN_UNUSED)
{
    bed_t b;

    open_places(&b);
    prefer(&b, CN_LB_PREFER, near);
    bed_client(&b, "r1/z1/a", "");
    b.hosts[0].healthy = b.hosts[1].healthy = false;
    bed_build(&b);
    expect(&b, 70, 30, 0, 0);
    bed_close(&b);
}

static void
test_the_waypoints_place_counts_when_asked_for_or_the_clients_is_unknown(void **state CN_UNUSED)
{
    bed_t b;

    open_places(&b);
    prefer(&b, CN_LB_PREFER, near);
    assert_int_equal(cn_locality_parse(CN_STR("r2/z1/a"), &b.conf.here.locality), CN_OK);
    bed_build(&b);
    expect(&b, 0, 0, 0, 100);
    bed_client(&b, "r1/z1/a", "");
    expect(&b, 100, 0, 0, 0);
    b.conf.origin_waypoint = true;
    expect(&b, 0, 0, 0, 100);
    bed_close(&b);
}

static void test_failover_names_the_region_that_comes_next(void **state CN_UNUSED)
{
    static const char *const pair[] = {"r9", "r2", NULL};
    bed_t b;

    open_places(&b);
    prefer(&b, CN_LB_FAILOVER, pair);
    bed_client(&b, "r9/z1", "");
    bed_build(&b);
    expect(&b, 0, 0, 0, 100);
    bed_client(&b, "r1/z1/a", "");
    expect(&b, 100, 0, 0, 0);
    bed_close(&b);
}

static void test_priority_goes_by_labels_from_the_first_on(void **state CN_UNUSED)
{
    static const char *const labels[] = {"topology.kubernetes.io/region", "version", "tier=gold",
                                         NULL};
    bed_t b;

    open_places(&b);
    prefer(&b, CN_LB_PRIORITY, labels);
    bed_client(&b, "r1/z9", "");
    b.req.source.version = CN_STR("v2");
    b.places[1].labels = CN_STR("version=v2");
    b.places[5].labels = CN_STR("app=x,version=v2,tier=gold");
    b.places[9].labels = CN_STR("version=v1,tier=gold");
    bed_build(&b);
    bed_run(&b, 100);
    assert_int_equal(b.hits[5], 100);
    bed_eject(&b, 5, true);
    bed_run(&b, 100);
    assert_int_equal(b.hits[1], 100);
    bed_eject(&b, 1, true);
    bed_run(&b, 2000);
    assert_true(b.hits[0] > 100 && b.hits[9] > 100 && b.hits[12] == 0);
    bed_close(&b);
}

static void test_the_same_node_comes_first_and_other_networks_last(void **state CN_UNUSED)
{
    static const char *const words[] = {"network", "region", "zone", "subzone", "node", NULL};
    bed_t b;

    open_places(&b);
    prefer(&b, CN_LB_PREFER, words);
    bed_client(&b, "r1/z1/a", "n7");
    b.places[2].node = CN_STR("n7");
    b.places[3].node = CN_STR("n7");
    b.places[3].network = CN_STR("net-b");
    b.places[0].network = CN_STR("net-a"); /* ours */
    bed_build(&b);
    bed_run(&b, 100);
    assert_int_equal(b.hits[2], 100);
    bed_eject(&b, 2, true);
    bed_run(&b, 1000);
    assert_true(b.hits[0] > 400 && b.hits[1] > 400);
    bed_close(&b);
}

static void test_local_traffic_knows_no_other_node(void **state CN_UNUSED)
{
    bed_t b;

    open_places(&b);
    b.conf.local = true;
    b.places[9].node = b.places[10].node = CN_STR("n1");
    bed_build(&b);
    bed_client(&b, "", "n1");
    bed_run(&b, 100);
    assert_int_equal(b.hits[9] + b.hits[10], 100);
    bed_client(&b, "", "n2");
    assert_int_equal(bed_pick(&b), -1);
    b.conf.here.node = CN_STR("n1");
    bed_client(&b, "", "");
    assert_true(bed_pick(&b) >= 0);
    bed_close(&b);
}

static void split(bed_t *b, const char *from, const char *to, uint32_t weight)
{
    cn_lb_split_t *s = b->conf.splits.v;
    cn_lb_share_t *share;

    b->conf.locality = CN_LB_DISTRIBUTE;
    if (!s) {
        s = cn_vec_push(b->req.pool, &b->conf.splits, sizeof(*s));
        *s = (cn_lb_split_t){0};
        assert_int_equal(cn_locality_parse(cn_str_c(from), &s->from), CN_OK);
    }
    share = cn_vec_push(b->req.pool, &s->shares, sizeof(*share));
    assert_int_equal(cn_locality_parse(cn_str_c(to), &share->to), CN_OK);
    share->weight = weight;
}

static void test_shares_by_place_hold_and_shrink_with_health(void **state CN_UNUSED)
{
    static const double shares[] = {5, 5, 5, 5, 5, 5, 5, 5, 7.5, 7.5, 7.5, 7.5, 7.5, 7.5, 7.5, 7.5};
    double half[16];
    bed_t b;

    open_places(&b);
    split(&b, "r1/z1/*", "r1/z1/*", 40);
    split(&b, "r1/z1/*", "r1/z2/*", 30);
    split(&b, "r1/z1/*", "r2", 30);
    bed_client(&b, "r1/z1/a", "");
    bed_build(&b);
    bed_run(&b, 20000);
    bed_fits(&b, shares, 16);
    /* a quarter of z2 is left: 35 % of its 30 parts; of 80.5 parts in all */
    for (unsigned i = 9; i < 12; i++)
        bed_eject(&b, i, true);
    for (unsigned i = 0; i < 16; i++)
        half[i] = i < 8 ? 5 : i == 8 ? 10.5 : i < 12 ? 0 : 7.5;
    bed_run(&b, 20000);
    bed_fits(&b, half, 16);
    bed_client(&b, "r3/z1", ""); /* no line for it: everywhere */
    bed_run(&b, 1600);
    assert_true(b.hits[12] > 50 && b.hits[0] > 50);
    bed_close(&b);
}

static void test_a_hash_chooses_among_the_nearest_too(void **state CN_UNUSED)
{
    bed_t b;

    open_places(&b);
    bed_close(&b);
    bed_open(&b, "maglev", 16);
    for (unsigned i = 0; i < 16; i++)
        bed_place(&b, i, places[i / 4]);
    prefer(&b, CN_LB_PREFER, near);
    b.conf.affinity = true;
    bed_client(&b, "r1/z2/a", "");
    bed_build(&b);
    for (unsigned i = 0; i < 200; i++) {
        bed_source(&b, i);
        int h = bed_pick(&b);
        assert_true(h >= 8 && h < 12);
        assert_int_equal(bed_pick(&b), h);
    }
    bed_close(&b);
}

static void test_all_are_chosen_from_when_too_few_are_usable(void **state CN_UNUSED)
{
    bed_t b;

    bed_open(&b, "random", 10);
    bed_build(&b);
    for (unsigned i = 0; i < 6; i++)
        bed_eject(&b, i, true);
    b.look.panic_percent = 30;
    bed_run(&b, 1000);
    assert_int_equal(b.hits[0], 0);
    b.look.panic_percent = 50;
    bed_run(&b, 10000);
    for (unsigned i = 0; i < 10; i++)
        assert_true(b.hits[i] > 850 && b.hits[i] < 1150);
    for (unsigned i = 6; i < 10; i++)
        bed_eject(&b, i, true);
    assert_true(bed_pick(&b) >= 0);
    b.look.panic_percent = 0;
    assert_int_equal(bed_pick(&b), -1);
    bed_close(&b);
}

static void test_more_places_than_there_is_room_for_are_served(void **state CN_UNUSED)
{
    char name[] = "r1/z1/..";
    bed_t b;

    open_places(&b);
    prefer(&b, CN_LB_PREFER, near);
    bed_build(&b);
    for (unsigned round = 0; round < 2; round++)
        for (unsigned i = 0; i < 500; i++) {
            name[6] = (char)('a' + i % 26);
            name[7] = (char)('a' + i / 26);
            bed_client(&b, name, "");
            int h = bed_pick(&b);
            assert_true(h >= 0 && h < 8);
        }
    bed_close(&b);
}

static void test_a_sessions_host_is_kept_while_it_drains(void **state CN_UNUSED)
{
    bed_t b;

    bed_open(&b, "random", 4);
    b.hosts[2].healthy = false;
    bed_build(&b);
    b.pick.prefer = &b.hosts[2];
    assert_int_not_equal(bed_pick(&b), 2);
    b.hosts[2].draining = true;
    for (unsigned i = 0; i < 50; i++)
        assert_int_equal(bed_pick(&b), 2);
    b.hosts[2].gone = true;
    assert_int_not_equal(bed_pick(&b), 2);
    b.hosts[2].gone = false;
    bed_eject(&b, 2, true);
    assert_int_not_equal(bed_pick(&b), 2);
    bed_close(&b);
}

/* ---- warm-up ---- */

static void warm(bed_t *b, uint32_t least)
{
    b->conf.warm_ns = 100ull * 1000000000;
    for (unsigned i = 0; i <= CN_LB_CURVE; i++) {
        b->conf.curve[i] = (uint16_t)(i * CN_LB_ONE / CN_LB_CURVE);
        if (b->conf.curve[i] < least * CN_LB_ONE / 100)
            b->conf.curve[i] = (uint16_t)(least * CN_LB_ONE / 100);
    }
}

static void test_a_new_host_gets_a_part_of_its_share_at_first(void **state CN_UNUSED)
{
    static const char *const lbs[] = {"round_robin", "least_request"};
    static const double shares[] = {1, 1, 1, 0.25};

    for (size_t i = 0; i < 2 * CN_COUNT(lbs); i++) {
        bed_t b;
        uint64_t now = cn_clock_mono_ns();

        bed_open(&b, lbs[i / 2], 4);
        warm(&b, 25);
        b.conf.warm_ns = now / 2; /* nothing changes while this runs */
        for (unsigned k = 0; k < 4; k++)
            b.hosts[k].fresh_ns = k == 3 ? now : 0;
        for (unsigned k = 0; k < 4 && i % 2; k++)
            b.hosts[k].weight = 7; /* equal, but by another path below */
        bed_build(&b);
        bed_run(&b, 20000);
        if (i / 2 == 1)
            bed_fits(&b, shares, 4);
        if (b.hits[3] < 1400 || b.hits[3] > 1680) /* 1538 of 20000 */
            fail_msg("%u for the new one", b.hits[3]);
        bed_close(&b);
    }
}

static void test_warmth_follows_the_curve(void **state CN_UNUSED)
{
    bed_t b;
    cn_host_t h = {.fresh_ns = 1000};

    bed_open(&b, "round_robin", 1);
    warm(&b, 10);
    assert_int_equal(cn_lb_pick_warmth(&b.conf, &h, 1000), CN_LB_ONE / 10);
    assert_int_equal(cn_lb_pick_warmth(&b.conf, &h, 0), CN_LB_ONE / 10);
    uint32_t middle = cn_lb_pick_warmth(&b.conf, &h, 1000 + b.conf.warm_ns / 2);
    assert_true(middle > CN_LB_ONE / 2 - 3 && middle < CN_LB_ONE / 2 + 3);
    assert_true(cn_lb_pick_warmth(&b.conf, &h, 999 + b.conf.warm_ns) > CN_LB_ONE - 3);
    assert_int_equal(cn_lb_pick_warmth(&b.conf, &h, 1000 + b.conf.warm_ns), CN_LB_ONE);
    bed_close(&b);
}

static void test_hosts_that_are_all_new_share_equally(void **state CN_UNUSED)
{
    static const double equal[] = {1, 1, 1, 1};
    uint64_t now = cn_clock_mono_ns();
    bed_t b;

    bed_open(&b, "least_request", 4);
    warm(&b, 10);
    b.conf.warm_ns *= 1000;
    for (unsigned k = 0; k < 4; k++)
        b.hosts[k].fresh_ns = now;
    bed_build(&b);
    bed_run(&b, 8000);
    bed_fits(&b, equal, 4);
    bed_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_nearest_hosts_get_everything_while_they_are_healthy),
        cmocka_unit_test(test_load_moves_on_in_the_measure_of_missing_hosts),
        cmocka_unit_test(test_hosts_that_are_configured_unhealthy_count_as_missing),
        cmocka_unit_test(test_the_waypoints_place_counts_when_asked_for_or_the_clients_is_unknown),
        cmocka_unit_test(test_failover_names_the_region_that_comes_next),
        cmocka_unit_test(test_priority_goes_by_labels_from_the_first_on),
        cmocka_unit_test(test_the_same_node_comes_first_and_other_networks_last),
        cmocka_unit_test(test_local_traffic_knows_no_other_node),
        cmocka_unit_test(test_shares_by_place_hold_and_shrink_with_health),
        cmocka_unit_test(test_a_hash_chooses_among_the_nearest_too),
        cmocka_unit_test(test_all_are_chosen_from_when_too_few_are_usable),
        cmocka_unit_test(test_more_places_than_there_is_room_for_are_served),
        cmocka_unit_test(test_a_sessions_host_is_kept_while_it_drains),
        cmocka_unit_test(test_a_new_host_gets_a_part_of_its_share_at_first),
        cmocka_unit_test(test_warmth_follows_the_curve),
        cmocka_unit_test(test_hosts_that_are_all_new_share_equally),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
