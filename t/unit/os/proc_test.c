/* SPDX-License-Identifier: Apache-2.0
 * Claims about os/proc.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/proc.h"

/* Waits for a child to end without collecting it. */
static void await(pid_t pid)
{
    siginfo_t info;

    assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
}

static void test_reap_tells_exit_status_and_signal(void **state)
{
    cn_proc_end_t end;

    (void)state;
    assert_false(cn_proc_reap(&end));
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(17);
    await(pid);
    assert_true(cn_proc_reap(&end));
    assert_int_equal(end.pid, pid);
    assert_int_equal(end.status, 17);
    assert_int_equal(end.signo, 0);

    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        for (;;)
            pause();
    }
    assert_false(cn_proc_reap(&end));
    kill(pid, SIGKILL);
    await(pid);
    assert_true(cn_proc_reap(&end));
    assert_int_equal(end.status, -1);
    assert_int_equal(end.signo, SIGKILL);
    assert_false(end.core);
}

static void test_close_others_keeps_exactly_the_named(void **state)
{
    (void)state;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int a[2], b[2];
        if (pipe(a) != 0 || pipe(b) != 0)
            _exit(1);
        int keep[] = {b[1], -1, a[0], 2};
        cn_proc_close_others(keep, 4);
        bool right = fcntl(a[0], F_GETFD) >= 0 && fcntl(a[1], F_GETFD) < 0 &&
                     fcntl(b[0], F_GETFD) < 0 && fcntl(b[1], F_GETFD) >= 0 &&
                     fcntl(2, F_GETFD) >= 0;
        _exit(right ? 0 : 2);
    }
    int st;
    waitpid(pid, &st, 0);
    assert_true(WIFEXITED(st) && WEXITSTATUS(st) == 0);
}

static void test_quota_is_rounded_up_and_max_means_none(void **state)
{
    (void)state;
    assert_int_equal(cn_proc_quota(CN_STR("max 100000\n")), 0);
    assert_int_equal(cn_proc_quota(CN_STR("200000 100000\n")), 2);
    assert_int_equal(cn_proc_quota(CN_STR("150000 100000\n")), 2);
    assert_int_equal(cn_proc_quota(CN_STR("50000 100000")), 1);
    assert_int_equal(cn_proc_quota(CN_STR("50000 0")), 0);
    assert_int_equal(cn_proc_quota(CN_STR("")), 0);
    assert_int_equal(cn_proc_quota(CN_STR("abc")), 0);
    assert_true(cn_proc_cpus() >= 1);
}

static void test_mask_reads_lowest_processor_last(void **state)
{
    cpu_set_t set;

    (void)state;
    assert_int_equal(cn_proc_parse_mask(CN_STR("0101"), &set), CN_OK);
    assert_true(CPU_ISSET(0, &set) && !CPU_ISSET(1, &set) && CPU_ISSET(2, &set));
    assert_int_equal(CPU_COUNT(&set), 2);
    assert_int_equal(cn_proc_parse_mask(CN_STR("000"), &set), CN_ERR);
    assert_int_equal(cn_proc_parse_mask(CN_STR("012"), &set), CN_ERR);
    assert_int_equal(cn_proc_parse_mask(CN_STR(""), &set), CN_ERR);
}

static void test_binding_leaves_one_processor(void **state)
{
    (void)state;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        cpu_set_t now;
        if (cn_proc_bind_nth(1000003) != CN_OK || sched_getaffinity(0, sizeof(now), &now) != 0)
            _exit(1);
        _exit(CPU_COUNT(&now) == 1 ? 0 : 2);
    }
    int st;
    waitpid(pid, &st, 0);
    assert_true(WIFEXITED(st) && WEXITSTATUS(st) == 0);
}

static void test_pid_file_round_trip_and_bad_content(void **state)
{
    char path[] = "/tmp/cairn-pid-XXXXXX";
    int fd = mkstemp(path);
    pid_t pid = 0;

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "garbage that is longer than a pid", 33), 33);
    close(fd);
    errno = 0;
    assert_int_equal(cn_proc_pid_read(path, &pid), CN_ERR);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(cn_proc_pid_write(path, 4711), CN_OK);
    assert_int_equal(cn_proc_pid_read(path, &pid), CN_OK);
    assert_int_equal(pid, 4711);
    unlink(path);
    assert_int_equal(cn_proc_pid_read(path, &pid), CN_ERR);
    assert_int_equal(errno, ENOENT);
    assert_int_equal(cn_proc_pid_write("/nonexistent/dir/pid", 1), CN_ERR);
}

static void test_pid_file_that_is_a_pipe_is_not_waited_for(void **state)
{
    char path[] = "/tmp/cairn-pid-XXXXXX";
    int fd = mkstemp(path);
    pid_t pid;

    (void)state;
    close(fd);
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(cn_proc_pid_read(path, &pid), CN_ERR);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(cn_proc_pid_write(path, 4711), CN_ERR);
    assert_int_equal(errno, ENXIO);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pid_file_that_is_a_pipe_is_not_waited_for),
        cmocka_unit_test(test_reap_tells_exit_status_and_signal),
        cmocka_unit_test(test_close_others_keeps_exactly_the_named),
        cmocka_unit_test(test_quota_is_rounded_up_and_max_means_none),
        cmocka_unit_test(test_mask_reads_lowest_processor_last),
        cmocka_unit_test(test_binding_leaves_one_processor),
        cmocka_unit_test(test_pid_file_round_trip_and_bad_content),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
