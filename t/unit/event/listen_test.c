/* SPDX-License-Identifier: Apache-2.0
 * Claims about event/listen.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/log.h"
#include "core/pool.h"
#include "event/listen.h"
#include "event/loop_int.h"
#include "event/sock.h"

#define MANY 100

typedef struct {
    cn_loop_t *loop;
    int listening;
    cn_addr_t addr, remote;
    cn_listener_t *listener;
    int n, stop_after; /* 0: never */
    int flags, fd_flags;
    int nodelay, keepalive; /* with them */
} env_t;

static int option(int fd, int level, int name)
{
    int v = 0;
    socklen_t len = sizeof(v);
    assert_int_equal(getsockopt(fd, level, name, &v, &len), 0);
    return v;
}

static void on_accept(void *ctx, int fd, const cn_addr_t *remote)
{
    env_t *e = ctx;
    e->n++;
    e->remote = *remote;
    e->flags = fcntl(fd, F_GETFL);
    e->fd_flags = fcntl(fd, F_GETFD);
    e->nodelay += option(fd, IPPROTO_TCP, TCP_NODELAY) != 0;
    e->keepalive += option(fd, SOL_SOCKET, SO_KEEPALIVE) != 0 &&
                    option(fd, IPPROTO_TCP, TCP_KEEPCNT) == (int)cn_sock_watch_default.probes;
    close(fd);
    if (e->n == e->stop_after) {
        cn_listen_stop(e->listener);
        e->listener = NULL;
    }
}

static cn_addr_t bound_addr(int fd)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    cn_addr_t a;
    assert_int_equal(getsockname(fd, (struct sockaddr *)&ss, &len), 0);
    cn_inet_from_sockaddr(&a, (struct sockaddr *)&ss, len);
    return a;
}

static int setup(void **state)
{
    env_t *e = cn_xzalloc(sizeof(*e));
    cn_addr_t a;
    assert_int_equal(cn_inet_parse_hostport(CN_STR("127.0.0.1:0"), true, &a), CN_OK);
    assert_int_equal(cn_listen_bind(&a, MANY, &e->listening), CN_OK);
    e->addr = bound_addr(e->listening);
    e->loop = cn_loop_create();
    *state = e;
    return 0;
}

static int teardown(void **state)
{
    env_t *e = *state;
    if (e->listener)
        cn_listen_stop(e->listener);
    cn_loop_destroy(e->loop);
    close(e->listening);
    free(e);
    return 0;
}

static void start(env_t *e)
{
    e->listener = cn_listen_start(e->loop, e->listening, on_accept, e);
}

static int raw_connect(const cn_addr_t *to)
{
    struct sockaddr_storage ss;
    socklen_t len = cn_inet_to_sockaddr(to, &ss);
    int fd = socket(to->family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&ss, len), 0);
    return fd;
}

static void wait_accepted(env_t *e, int n)
{
    for (int i = 0; i < 2000 && e->n < n; i++)
        cn_loop_round(e->loop, 10);
    assert_int_equal(e->n, n);
}

static void test_accepted_descriptor_is_ready_for_use(void **state)
{
    env_t *e = *state;
    start(e);
    int raw = raw_connect(&e->addr);
    wait_accepted(e, 1);
    cn_addr_t far = bound_addr(raw);
    assert_true(e->flags & O_NONBLOCK);
    assert_true(e->fd_flags & FD_CLOEXEC);
    assert_true(cn_inet_same_ip(&e->remote, &far));
    assert_int_equal(e->remote.port, far.port);
    close(raw);
}

static void test_all_of_a_crowd_are_accepted_in_batches(void **state)
{
    env_t *e = *state;
    int raw[MANY];
    for (int i = 0; i < MANY; i++)
        raw[i] = raw_connect(&e->addr);
    start(e);
    cn_loop_round(e->loop, 1000);
    assert_in_range(e->n, 1, MANY - 1);
    wait_accepted(e, MANY);
    assert_int_equal(e->nodelay, MANY);
    assert_int_equal(e->keepalive, MANY);
    for (int i = 0; i < MANY; i++)
        close(raw[i]);
}

/* An older program may have bound it, and handed it over. */
static void test_a_socket_without_our_options_gets_them(void **state)
{
    env_t *e = *state;
    int off = 0;
    assert_int_equal(setsockopt(e->listening, IPPROTO_TCP, TCP_NODELAY, &off, sizeof(off)), 0);
    assert_int_equal(setsockopt(e->listening, SOL_SOCKET, SO_KEEPALIVE, &off, sizeof(off)), 0);
    start(e);
    int raw = raw_connect(&e->addr);
    wait_accepted(e, 1);
    assert_int_equal(e->nodelay, 1);
    assert_int_equal(e->keepalive, 1);
    close(raw);
}

static void test_finish_takes_everybody_who_has_connected(void **state)
{
    env_t *e = *state;
    int raw[MANY];
    for (int i = 0; i < MANY; i++)
        raw[i] = raw_connect(&e->addr);
    start(e);
    cn_listen_finish(e->listener);
    e->listener = NULL;
    assert_int_equal(e->n, MANY);
    for (int i = 0; i < MANY; i++)
        close(raw[i]);
}

static void test_stop_inside_the_callback_leaves_the_others_queued(void **state)
{
    env_t *e = *state;
    int raw[3];
    e->stop_after = 1;
    for (int i = 0; i < 3; i++)
        raw[i] = raw_connect(&e->addr);
    start(e);
    for (int i = 0; i < 3; i++)
        cn_loop_round(e->loop, 100 * (i == 0));
    assert_int_equal(e->n, 1);
    assert_null(e->listener);
    e->stop_after = 0;
    start(e); /* the descriptor stayed open */
    wait_accepted(e, 3);
    for (int i = 0; i < 3; i++)
        close(raw[i]);
}

static size_t count_lines(const char *path)
{
    char buf[4096];
    size_t lines = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, buf, sizeof(buf));
    for (ssize_t i = 0; i < n; i++)
        lines += buf[i] == '\n';
    close(fd);
    return lines;
}

/* The lowest limit at which no descriptor can be opened. */
static void exhaust_descriptors(struct rlimit *old)
{
    int next = dup(STDERR_FILENO);
    assert_true(next >= 0);
    close(next);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, old), 0);
    struct rlimit low = {.rlim_cur = (rlim_t)next, .rlim_max = old->rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
}

static void test_exhausted_descriptors_pause_accepting_and_log_once(void **state)
{
    env_t *e = *state;
    char path[] = "/tmp/cn_listen_test_XXXXXX";
    struct rlimit old;
    int log = mkstemp(path);
    assert_true(log >= 0);
    close(log);
    assert_int_equal(cn_log_open(path, CN_LOG_INFO), CN_OK);
    start(e);
    int raw = raw_connect(&e->addr);
    exhaust_descriptors(&old);
    for (int i = 0; i < 2000 && e->loop->heap_n == 0; i++)
        cn_loop_round(e->loop, 10);
    for (int i = 0; i < 10; i++)
        cn_loop_round(e->loop, 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_int_equal(e->n, 0);
    assert_int_equal(e->loop->heap_n, 1);
    assert_int_equal(count_lines(path), 1);
    e->loop->now_ns += 600000000u;
    cn_timer_expire(e->loop);
    wait_accepted(e, 1);
    assert_int_equal(count_lines(path), 1);
    assert_int_equal(cn_log_open(NULL, CN_LOG_NOTICE), CN_OK);
    unlink(path);
    close(raw);
}

static void test_bind_reports_why_it_failed(void **state)
{
    env_t *e = *state;
    cn_addr_t none = {0};
    int fd = -1;
    assert_int_equal(cn_listen_bind(&e->addr, 1, &fd), CN_ERR);
    assert_int_equal(errno, EADDRINUSE);
    assert_int_equal(cn_listen_bind(&none, 1, &fd), CN_ERR);
    assert_int_equal(errno, EAFNOSUPPORT);
    assert_int_equal(fd, -1);
}

static int v6_only(int fd)
{
    int v = -1;
    socklen_t len = sizeof(v);
    assert_int_equal(getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v, &len), 0);
    return v;
}

static void test_only_the_unspecified_ipv6_address_takes_ipv4_too(void **state)
{
    cn_addr_t a;
    int fd;
    (void)state;
    assert_int_equal(cn_inet_parse_hostport(CN_STR("[::]:0"), true, &a), CN_OK);
    if (cn_listen_bind(&a, 1, &fd) != CN_OK)
        skip(); /* a machine without IPv6 */
    assert_int_equal(v6_only(fd), 0);
    close(fd);
    assert_int_equal(cn_inet_parse_hostport(CN_STR("[::1]:0"), true, &a), CN_OK);
    assert_int_equal(cn_listen_bind(&a, 1, &fd), CN_OK);
    assert_int_equal(v6_only(fd), 1);
    close(fd);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_accepted_descriptor_is_ready_for_use),
        T(test_all_of_a_crowd_are_accepted_in_batches),
        T(test_a_socket_without_our_options_gets_them),
        T(test_finish_takes_everybody_who_has_connected),
        T(test_stop_inside_the_callback_leaves_the_others_queued),
        T(test_exhausted_descriptors_pause_accepting_and_log_once),
        T(test_bind_reports_why_it_failed),
        T(test_only_the_unspecified_ipv6_address_takes_ipv4_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
