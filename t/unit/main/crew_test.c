/* SPDX-License-Identifier: Apache-2.0
 *
 * The crew of a master whose workers are played by the test: it has the other
 * ends of their channels.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "main/master_int.h"

#define PLACES 4
#define MODULE 7u

typedef struct {
    cn_master_t m;
    int far[PLACES];
} fix_t;

static int setup(void **state)
{
    fix_t *f = cn_xzalloc(sizeof(*f));

    f->m.loop = cn_loop_create();
    f->m.board = cn_xzalloc(cn_board_size(PLACES));
    cn_crew_create(&f->m, PLACES);
    for (unsigned i = 0; i < PLACES; i++) {
        int ends[2];

        assert_int_equal(cn_channel_pair(ends), CN_OK);
        assert_int_equal(cn_io_open(&f->m.crew[i].io, f->m.loop, ends[0], &f->m.task), CN_OK);
        f->m.crew[i].channel = ends[0];
        f->m.crew[i].far = dup(ends[1]);
        f->m.crew[i].pid = getpid();
        f->far[i] = ends[1];
    }
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fix_t *f = *state;

    cn_crew_destroy(&f->m);
    for (unsigned i = 0; i < PLACES; i++)
        close(f->far[i]);
    cn_loop_destroy(f->m.loop);
    free(f->m.board);
    free(f);
    return 0;
}

static void set_states(fix_t *f, cn_crew_state a, cn_crew_state b, cn_crew_state c, cn_crew_state d)
{
    const cn_crew_state v[PLACES] = {a, b, c, d};

    for (unsigned i = 0; i < PLACES; i++)
        f->m.crew[i].state = v[i];
}

/* Worker `from` has accepted a connection that is meant for `to`. */
static void hand_over(fix_t *f, unsigned from, unsigned to)
{
    cn_channel_msg_t msg;

    f->m.board->v[to].given++;
    cn_channel_msg_init(&msg, CN_FROM_CONN, (uint64_t)to << 16 | MODULE);
    msg.fd = dup(0);
    assert_int_equal(cn_channel_send(f->far[from], &msg), CN_OK);
    close(msg.fd);
}

/* Who gets it; -1: nobody. */
static int taker(fix_t *f)
{
    cn_channel_msg_t msg;
    int who = -1;

    cn_crew_listen(&f->m);
    for (int i = 0; i < PLACES; i++) {
        if (cn_channel_recv(f->far[i], &msg) != CN_OK)
            continue;
        assert_int_equal(who, -1);
        assert_int_equal(msg.type, CN_TO_CONN);
        assert_int_equal(msg.number, MODULE);
        assert_true(msg.fd >= 0);
        close(msg.fd);
        f->m.board->v[i].taken++;
        who = i;
    }
    return who;
}

static void expect_nothing_on_its_way(const fix_t *f)
{
    for (unsigned i = 0; i < PLACES; i++)
        assert_int_equal(f->m.board->v[i].given, f->m.board->v[i].taken);
}

static void expect_order(fix_t *f, unsigned worker, uint32_t type)
{
    cn_channel_msg_t msg;

    assert_int_equal(cn_channel_recv(f->far[worker], &msg), CN_OK);
    assert_int_equal(msg.type, type);
    if (msg.fd >= 0)
        close(msg.fd);
}

#define RUNS CN_CREW_RUNNING
#define LEAVES CN_CREW_LEAVING
#define STARTS CN_CREW_STARTING

static void test_a_connection_goes_to_whom_it_is_meant_for(void **state)
{
    fix_t *f = *state;

    set_states(f, RUNS, RUNS, RUNS, RUNS);
    hand_over(f, 0, 2);
    assert_int_equal(taker(f), 2);
    expect_nothing_on_its_way(f);
}

static void test_one_for_who_leaves_stays_with_who_accepted_it(void **state)
{
    fix_t *f = *state;

    set_states(f, RUNS, RUNS, LEAVES, STARTS);
    hand_over(f, 1, 2);
    assert_int_equal(taker(f), 1);
    hand_over(f, 1, 3);
    assert_int_equal(taker(f), 1);
    expect_nothing_on_its_way(f);
}

static void test_when_both_leave_another_takes_it(void **state)
{
    fix_t *f = *state;

    set_states(f, LEAVES, LEAVES, RUNS, RUNS);
    f->m.crew[2].spare = true;
    hand_over(f, 0, 1);
    assert_int_equal(taker(f), 3);
    expect_nothing_on_its_way(f);
}

static void test_when_all_leave_one_that_is_still_there_takes_it(void **state)
{
    fix_t *f = *state;

    set_states(f, LEAVES, LEAVES, LEAVES, CN_CREW_FREE);
    f->m.crew[0].going = true;
    hand_over(f, 1, 0);
    assert_int_equal(taker(f), 1);
    expect_nothing_on_its_way(f);
}

/* It must not go with a connection in its channel, nor get one afterwards. */
static void test_who_leaves_goes_when_nothing_is_on_its_way_to_it(void **state)
{
    fix_t *f = *state;
    cn_channel_msg_t msg;

    set_states(f, LEAVES, LEAVES, CN_CREW_FREE, CN_CREW_FREE);
    hand_over(f, 0, 1);
    cn_channel_msg_init(&msg, CN_FROM_IDLE, 0);
    assert_int_equal(cn_channel_send(f->far[0], &msg), CN_OK);
    cn_crew_listen(&f->m);
    expect_order(f, 0, CN_TO_CONN);
    expect_order(f, 0, CN_TO_GO);
    hand_over(f, 1, 0);
    assert_int_equal(taker(f), 1);
}

static unsigned signals;

static void on_signal(int signo)
{
    (void)signo;
    signals++;
}

/* Its doors may be open, and it may have accepted one. */
static void test_who_starts_is_told_to_leave_in_order(void **state)
{
    fix_t *f = *state;

    signal(SIGTERM, on_signal);
    set_states(f, STARTS, RUNS, STARTS, CN_CREW_FREE);
    cn_crew_dismiss(&f->m, true);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(f->m.crew[i].state, LEAVES);
        expect_order(f, i, CN_TO_RETIRE);
    }
    assert_int_equal(signals, 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_a_connection_goes_to_whom_it_is_meant_for),
        T(test_one_for_who_leaves_stays_with_who_accepted_it),
        T(test_when_both_leave_another_takes_it),
        T(test_when_all_leave_one_that_is_still_there_takes_it),
        T(test_who_leaves_goes_when_nothing_is_on_its_way_to_it),
        T(test_who_starts_is_told_to_leave_in_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
