/* SPDX-License-Identifier: Apache-2.0
 * Claims about core/log.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log.h"

static char dir[] = "/tmp/cn_log_test_XXXXXX";
static char path[64], moved[64];

static int setup(void **state)
{
    (void)state;
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof(path), "%s/log", dir);
    snprintf(moved, sizeof(moved), "%s/log.1", dir);
    return 0;
}

static int each(void **state)
{
    (void)state;
    unlink(path);
    unlink(moved);
    return cn_log_open(path, CN_LOG_INFO) == CN_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    unlink(path);
    unlink(moved);
    return rmdir(dir);
}

static const char *content(const char *file)
{
    static char buf[8192];
    int fd = open(file, O_RDONLY);
    assert_true(fd >= 0);
    ssize_t n = read(fd, buf, sizeof(buf) - 1);
    close(fd);
    assert_true(n >= 0);
    buf[n] = '\0';
    return buf;
}

static void test_line_has_time_level_process_worker_area(void **state)
{
    char want[128];
    (void)state;
    cn_log_set_worker(3);
    cn_log_write(CN_LOG_WARN, "tls", "hello %d", 5);
    cn_log_set_worker(-1);
    cn_log_write(CN_LOG_INFO, "conf", "x");
    const char *text = content(path);
    assert_int_equal(text[10], 'T');
    assert_int_equal(text[CN_CLOCK_ISO_LEN - 1], 'Z');
    snprintf(want, sizeof(want), " warn %d#3 tls: hello 5\n", (int)getpid());
    assert_memory_equal(text + CN_CLOCK_ISO_LEN, want, strlen(want));
    snprintf(want, sizeof(want), " info %d#-1 conf: x\n", (int)getpid());
    assert_string_equal(text + strlen(text) - strlen(want), want);
}

static void test_levels_above_the_chosen_one_are_silent(void **state)
{
    (void)state;
    cn_log(CN_LOG_DEBUG, "x", "no");
    assert_string_equal(content(path), "");
    cn_log_set_level(CN_LOG_DEBUG);
    cn_log(CN_LOG_DEBUG, "x", "yes");
    assert_non_null(strstr(content(path), "x: yes\n"));
}

static void test_peer_cannot_forge_a_line(void **state)
{
    (void)state;
    cn_log_write(CN_LOG_WARN, "h1", "%s", "a\r\n2026 emerg: \x1b[2J\x7f\t.");
    const char *text = content(path);
    assert_non_null(strstr(text, "a\\x0d\\x0a2026 emerg: \\x1b[2J\\x7f\\x09.\n"));
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
}

static void test_long_message_is_cut_but_stays_one_line(void **state)
{
    char big[5000];
    (void)state;
    memset(big, '\n', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    cn_log_write(CN_LOG_WARN, "h1", "%s", big);
    const char *text = content(path);
    assert_in_range(strlen(text), 1000, 2048);
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
}

static void test_reopen_follows_a_rename(void **state)
{
    (void)state;
    cn_log_write(CN_LOG_WARN, "a", "one");
    assert_int_equal(rename(path, moved), 0);
    cn_log_write(CN_LOG_WARN, "a", "two");
    assert_int_equal(cn_log_reopen(), CN_OK);
    cn_log_write(CN_LOG_WARN, "a", "three");
    assert_non_null(strstr(content(moved), "two"));
    assert_null(strstr(content(moved), "three"));
    assert_non_null(strstr(content(path), "three"));
}

static void test_failed_open_keeps_the_old_sink(void **state)
{
    (void)state;
    assert_int_equal(cn_log_open("/nonexistent/dir/log", CN_LOG_EMERG), CN_ERR);
    assert_int_equal(errno, ENOENT);
    cn_log_write(CN_LOG_INFO, "a", "still here");
    assert_non_null(strstr(content(path), "still here"));
}

static void test_writing_keeps_errno(void **state)
{
    (void)state;
    errno = EPIPE;
    cn_log_write(CN_LOG_INFO, "a", "%s", "x");
    assert_int_equal(errno, EPIPE);
}

static void test_level_names(void **state)
{
    cn_log_level level = CN_LOG_INFO;
    (void)state;
    assert_int_equal(cn_log_parse_level(CN_STR("emerg"), &level), CN_OK);
    assert_int_equal(level, CN_LOG_EMERG);
    assert_int_equal(cn_log_parse_level(CN_STR("debug"), &level), CN_OK);
    assert_int_equal(level, CN_LOG_DEBUG);
    assert_int_equal(cn_log_parse_level(CN_STR("Debug"), &level), CN_ERR);
    assert_int_equal(cn_log_parse_level(CN_STR(""), &level), CN_ERR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_line_has_time_level_process_worker_area, each),
        cmocka_unit_test_setup(test_levels_above_the_chosen_one_are_silent, each),
        cmocka_unit_test_setup(test_peer_cannot_forge_a_line, each),
        cmocka_unit_test_setup(test_long_message_is_cut_but_stays_one_line, each),
        cmocka_unit_test_setup(test_reopen_follows_a_rename, each),
        cmocka_unit_test_setup(test_failed_open_keeps_the_old_sink, each),
        cmocka_unit_test_setup(test_writing_keeps_errno, each),
        cmocka_unit_test(test_level_names),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
