/* SPDX-License-Identifier: Apache-2.0
 *
 * What it costs to find a route among 10 and among 5,000, in instructions:
 * counted by single steps, so the figure does not depend on the machine's load.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>
/* cmocka wants the ones above first */
#include <cmocka.h>

#include "../route_int.h"

#define ASKS 40

/* N routes of ten kinds of path, the same kinds however many there are. */
static cn_http_route_set_t *make(cn_pool_t *pool, unsigned n)
{
    static const cn_http_route_how hows[] = {CN_HTTP_ROUTE_SEGMENTS, CN_HTTP_ROUTE_EXACT,
                                             CN_HTTP_ROUTE_PREFIX};
    cn_http_route_match_t *m = cn_pool_zalloc(pool, n * sizeof(*m));
    cn_http_route_set_t *set = cn_pool_zalloc(pool, sizeof(*set));

    for (unsigned i = 0; i < n; i++) {
        m[i].path.how = hows[i % CN_COUNT(hows)];
        m[i].path.text = cn_pool_printf(pool, "/team-%u/service-%u/v1", i % 10, i / 10);
        *(cn_http_route_entry_t *)cn_vec_push(pool, &set->entries, sizeof(cn_http_route_entry_t)) =
            (cn_http_route_entry_t){.route = i, .match = &m[i]};
    }
    if (n > 12)
        set->index = cn_http_route_index_build(pool, &set->entries);
    return set;
}

/* Paths of routes spread over the whole list. */
static void ask_all(const cn_http_route_set_t *set, cn_msg_t *msgs, unsigned n)
{
    for (unsigned i = 0; i < ASKS; i++) {
        cn_http_route_subject_t s = {.msg = &msgs[i]};
        const cn_http_route_entry_t *e = NULL;

        if (cn_http_route_find(set, &s, &e) != CN_OK || e->route != i * n / ASKS)
            abort();
    }
}

static void child(const cn_http_route_set_t *set, cn_msg_t *msgs, unsigned n)
{
    ask_all(set, msgs, n); /* what happens once only */
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
        _exit(77);
    raise(SIGSTOP);
    ask_all(set, msgs, n);
    raise(SIGSTOP);
    _exit(0);
}

/* Instructions between the two stops of a child; 0: it cannot be traced. */
static unsigned long count(const cn_http_route_set_t *set, cn_msg_t *msgs, unsigned n)
{
    unsigned long steps = 0;
    pid_t pid = fork();
    int status;

    if (pid == 0)
        child(set, msgs, n);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        return 0;
    assert_true(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    do {
        assert_int_equal(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        steps++;
    } while (WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP);
    assert_true(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    kill(pid, SIGKILL);
    (void)waitpid(pid, &status, 0);
    return steps;
}

static unsigned long cost(unsigned n)
{
    cn_pool_t *pool = cn_pool_create(0);
    cn_http_route_set_t *set = make(pool, n);
    cn_msg_t *msgs = cn_pool_zalloc(pool, ASKS * sizeof(*msgs));
    unsigned long steps;

    for (unsigned i = 0; i < ASKS; i++) {
        cn_msg_init(&msgs[i], pool);
        msgs[i].method = CN_STR("GET");
        msgs[i].path =
            ((const cn_http_route_entry_t *)set->entries.v)[i * n / ASKS].match->path.text;
    }
    steps = count(set, msgs, n);
    cn_pool_destroy(pool);
    return steps;
}

static void test_5000_routes_cost_what_10_do(void **state CN_UNUSED)
{
    unsigned long few = cost(10), many = cost(5000);

    if (few == 0 || many == 0)
        skip(); /* no tracing here */
    printf("a route among 10: %lu instructions, among 5000: %lu\n", few / ASKS, many / ASKS);
    assert_true(many * 10 <= few * 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_5000_routes_cost_what_10_do)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
