/* SPDX-License-Identifier: Apache-2.0
 * Claims about os/sig.c and os/priv.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/priv.h"
#include "os/sig.h"

static int in_child(int (*fn)(void))
{
    int st;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0)
        _exit(fn());
    assert_int_equal(waitpid(pid, &st, 0), pid);
    return WIFEXITED(st) ? WEXITSTATUS(st) : 1000 + WTERMSIG(st);
}

static int signals_are_read(void)
{
    const int want[] = {SIGHUP, SIGUSR1, 0};
    int fd;
    pid_t sender = 0;

    if (cn_sig_open(want, &fd) != CN_OK)
        return 1;
    if (cn_sig_next(fd, &sender) != 0)
        return 2;
    kill(getpid(), SIGUSR1);
    if (cn_sig_next(fd, &sender) != SIGUSR1 || sender != getpid())
        return 3;
    kill(getpid(), SIGHUP);
    kill(getpid(), SIGHUP);
    if (cn_sig_next(fd, NULL) != SIGHUP)
        return 4;
    return cn_sig_next(fd, NULL) == 0 ? 0 : 5;
}

static void test_blocked_signals_are_read_one_by_one(void **state)
{
    (void)state;
    assert_int_equal(in_child(signals_are_read), 0);
}

static int reset_child(void)
{
    const int want[] = {SIGTERM, 0};
    int fd;

    signal(SIGTERM, SIG_IGN);
    if (cn_sig_open(want, &fd) != CN_OK)
        return 1;
    cn_sig_reset();
    kill(getpid(), SIGTERM);
    return 2;
}

static void test_reset_makes_signals_deadly_again(void **state)
{
    (void)state;
    assert_int_equal(in_child(reset_child), 1000 + SIGTERM);
}

static int pipe_child(void)
{
    int p[2];

    cn_sig_ignore_pipe();
    if (pipe(p) != 0)
        return 1;
    close(p[0]);
    return write(p[1], "x", 1) < 0 && errno == EPIPE ? 0 : 2;
}

static void test_closed_pipe_is_an_error_not_a_death(void **state)
{
    (void)state;
    assert_int_equal(in_child(pipe_child), 0);
}

static int drop_child(void)
{
    cn_priv_t p;
    const char *why;

    if (cn_priv_lookup("nobody", NULL, &p, &why) != CN_OK || cn_priv_drop(&p) != CN_OK)
        return 1;
    if (getuid() != p.uid || geteuid() != p.uid || getgid() != p.gid)
        return 2;
    return setuid(0) == 0 ? 3 : 0;
}

static void test_dropping_leaves_no_way_back(void **state)
{
    (void)state;
    if (!cn_priv_is_root())
        skip();
    assert_int_equal(in_child(drop_child), 0);
}

static void test_unknown_users_and_groups_are_told_apart(void **state)
{
    cn_priv_t p;
    const char *why = NULL;

    (void)state;
    assert_int_equal(cn_priv_lookup("no-such-user-here", NULL, &p, &why), CN_ERR);
    assert_string_equal(why, "no such user");
    assert_int_equal(cn_priv_lookup("root", "no-such-group-here", &p, &why), CN_ERR);
    assert_string_equal(why, "no such group");
    assert_int_equal(cn_priv_lookup("1337", NULL, &p, &why), CN_OK);
    assert_int_equal(p.uid, 1337);
    assert_int_equal(p.gid, 1337);
    assert_int_equal(cn_priv_lookup("1337", "42", &p, &why), CN_OK);
    assert_int_equal(p.gid, 42);
}

static int confine_child(void)
{
    struct rlimit l;

    if (cn_priv_confine(7, 0) != CN_OK || cn_priv_nofile(64) != CN_OK)
        return 1;
    if (getrlimit(RLIMIT_CPU, &l) != 0 || l.rlim_cur != 7)
        return 2;
    if (getrlimit(RLIMIT_CORE, &l) != 0 || l.rlim_cur != 0)
        return 3;
    return getrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_cur == 64 ? 0 : 4;
}

static void test_limits_take_effect(void **state)
{
    (void)state;
    assert_int_equal(in_child(confine_child), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blocked_signals_are_read_one_by_one),
        cmocka_unit_test(test_reset_makes_signals_deadly_again),
        cmocka_unit_test(test_closed_pipe_is_an_error_not_a_death),
        cmocka_unit_test(test_dropping_leaves_no_way_back),
        cmocka_unit_test(test_unknown_users_and_groups_are_told_apart),
        cmocka_unit_test(test_limits_take_effect),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
