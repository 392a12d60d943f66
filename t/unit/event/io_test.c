/* SPDX-License-Identifier: Apache-2.0
 * Claims about event/io.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "event/loop_int.h"

typedef struct {
    cn_task_t task;
    cn_io_t io;
    int runs;
    uint32_t why;
} watcher_t;

static void on_wake(cn_task_t *task, uint32_t why)
{
    watcher_t *w = cn_container_of(task, watcher_t, task);
    w->runs++;
    w->why |= why;
}

static void watcher_init(watcher_t *w, cn_loop_t *loop)
{
    memset(w, 0, sizeof(*w));
    cn_task_init(&w->task, loop, on_wake);
}

/* Waits until the watcher has seen a reason. */
static void wait_for(watcher_t *w, uint32_t why)
{
    for (int i = 0; i < 1000 && !(w->why & why); i++)
        cn_loop_round(w->task.loop, 10);
    assert_true(w->why & why);
    w->why = 0;
}

static void pair(int fd[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
}

static int setup(void **state)
{
    *state = cn_loop_create();
    return 0;
}

static int teardown(void **state)
{
    cn_loop_destroy(*state);
    return 0;
}

static void test_flags_are_set_and_the_task_woken(void **state)
{
    int fd[2];
    watcher_t w;
    pair(fd);
    watcher_init(&w, *state);
    assert_int_equal(cn_io_open(&w.io, *state, fd[0], &w.task), CN_OK);
    assert_false(w.io.readable || w.io.writable || w.io.hup);
    wait_for(&w, CN_WAKE_WRITE);
    assert_true(w.io.writable);
    assert_false(w.io.readable);
    assert_int_equal(write(fd[1], "x", 1), 1);
    wait_for(&w, CN_WAKE_READ);
    assert_true(w.io.readable);
    assert_false(w.io.hup);
    close(fd[1]);
    wait_for(&w, CN_WAKE_CLOSED);
    assert_true(w.io.hup);
    cn_io_close(&w.io);
    cn_io_close(&w.io);
    close(fd[0]);
}

static void test_half_close_of_the_peer_is_announced_as_readable(void **state)
{
    int fd[2];
    watcher_t w;
    pair(fd);
    watcher_init(&w, *state);
    assert_int_equal(cn_io_open(&w.io, *state, fd[0], &w.task), CN_OK);
    shutdown(fd[1], SHUT_WR);
    wait_for(&w, CN_WAKE_READ);
    assert_true(w.io.readable && w.io.hup);
    cn_io_close(&w.io);
    close(fd[0]);
    close(fd[1]);
}

static void test_room_to_write_wakes_only_who_was_refused(void **state)
{
    int fd[2];
    watcher_t w;
    pair(fd);
    watcher_init(&w, *state);
    assert_int_equal(cn_io_open(&w.io, *state, fd[0], &w.task), CN_OK);
    wait_for(&w, CN_WAKE_WRITE);
    assert_int_equal(write(fd[1], "x", 1), 1);
    for (int i = 0; i < 1000 && !w.io.readable; i++)
        cn_loop_round(*state, 10);
    assert_int_equal(w.why, CN_WAKE_READ);
    w.io.writable = false;
    assert_int_equal(write(fd[1], "x", 1), 1);
    wait_for(&w, CN_WAKE_WRITE);
    cn_io_close(&w.io);
    close(fd[0]);
    close(fd[1]);
}

/* What epoll collected for a descriptor that was closed, and whose number and
 * slot another one has got since, must not reach the other one. */
static void test_stale_event_is_dropped_after_descriptor_and_slot_reuse(void **state)
{
    cn_loop_t *loop = *state;
    int fd[2], other[2];
    watcher_t old, new;
    pair(fd);
    watcher_init(&old, loop);
    watcher_init(&new, loop);
    assert_int_equal(cn_io_open(&old.io, loop, fd[0], &old.task), CN_OK);
    struct epoll_event stale = {.events = EPOLLIN | EPOLLHUP,
                                .data.u64 = (uint64_t)old.io.gen << 32 | old.io.slot};
    uint32_t slot = old.io.slot;
    cn_io_close(&old.io);
    close(fd[0]);
    pair(other);
    assert_int_equal(other[0], fd[0]);
    assert_int_equal(cn_io_open(&new.io, loop, other[0], &new.task), CN_OK);
    assert_int_equal(new.io.slot, slot);
    cn_io_event(loop, &stale);
    cn_task_pass(loop);
    assert_int_equal(old.runs, 0);
    assert_int_equal(new.runs, 0);
    assert_false(new.io.readable || new.io.hup);
    cn_io_close(&new.io);
    cn_io_event(loop, &stale);
    assert_int_equal(new.runs, 0);
    close(fd[1]);
    close(other[0]);
    close(other[1]);
}

static void test_task_may_be_changed_and_missing(void **state)
{
    int fd[2];
    watcher_t a, b;
    pair(fd);
    watcher_init(&a, *state);
    watcher_init(&b, *state);
    assert_int_equal(cn_io_open(&a.io, *state, fd[0], NULL), CN_OK);
    assert_int_equal(write(fd[1], "x", 1), 1);
    for (int i = 0; i < 1000 && !a.io.readable; i++)
        cn_loop_round(*state, 10);
    assert_true(a.io.readable);
    a.io.task = &b.task;
    assert_int_equal(write(fd[1], "x", 1), 1);
    wait_for(&b, CN_WAKE_READ);
    assert_int_equal(a.runs, 0);
    cn_io_close(&a.io);
    close(fd[0]);
    close(fd[1]);
}

static void test_what_cannot_be_watched_is_an_error(void **state)
{
    watcher_t w;
    int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    watcher_init(&w, *state);
    assert_int_equal(cn_io_open(&w.io, *state, fd, &w.task), CN_ERR);
    assert_int_equal(errno, EPERM);
    cn_io_close(&w.io);
    close(fd);
    assert_int_equal(cn_io_open(&w.io, *state, fd, &w.task), CN_ERR);
    assert_int_equal(errno, EBADF);
}

static void test_many_slots_keep_their_owners(void **state)
{
    enum { N = 200 };
    static watcher_t w[N];
    int fd[N][2];
    for (int i = 0; i < N; i++) {
        pair(fd[i]);
        watcher_init(&w[i], *state);
        assert_int_equal(cn_io_open(&w[i].io, *state, fd[i][0], &w[i].task), CN_OK);
    }
    assert_int_equal(write(fd[150][1], "x", 1), 1);
    wait_for(&w[150], CN_WAKE_READ);
    for (int i = 0; i < N; i++) {
        assert_int_equal(w[i].io.readable, i == 150);
        cn_io_close(&w[i].io);
        close(fd[i][0]);
        close(fd[i][1]);
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_flags_are_set_and_the_task_woken),
        T(test_half_close_of_the_peer_is_announced_as_readable),
        T(test_room_to_write_wakes_only_who_was_refused),
        T(test_stale_event_is_dropped_after_descriptor_and_slot_reuse),
        T(test_task_may_be_changed_and_missing),
        T(test_what_cannot_be_watched_is_an_error),
        T(test_many_slots_keep_their_owners),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
