/* SPDX-License-Identifier: Apache-2.0
 * Claims about os/channel.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/channel.h"

static void test_message_arrives_whole_with_text_and_number(void **state)
{
    int ch[2];
    cn_channel_msg_t m;

    (void)state;
    assert_int_equal(cn_channel_pair(ch), CN_OK);
    cn_channel_msg_init(&m, 7, 1234567890123u);
    cn_channel_msg_text(&m, CN_STR("why: because"));
    assert_int_equal(cn_channel_send(ch[0], &m), CN_OK);
    cn_channel_msg_init(&m, 8, 1);
    assert_int_equal(cn_channel_send(ch[0], &m), CN_OK);

    assert_int_equal(cn_channel_recv(ch[1], &m), CN_OK);
    assert_int_equal(m.type, 7);
    assert_true(m.number == 1234567890123u);
    assert_string_equal(m.text, "why: because");
    assert_int_equal(m.fd, -1);
    assert_int_equal(cn_channel_recv(ch[1], &m), CN_OK);
    assert_int_equal(m.type, 8);
    assert_int_equal(m.len, 0);
    assert_int_equal(cn_channel_recv(ch[1], &m), CN_AGAIN);
    close(ch[0]);
    close(ch[1]);
}

static void test_descriptor_passes_and_is_close_on_exec(void **state)
{
    int ch[2], p[2];
    cn_channel_msg_t m;
    char c = 0;

    (void)state;
    assert_int_equal(cn_channel_pair(ch), CN_OK);
    assert_int_equal(pipe(p), 0);
    cn_channel_msg_init(&m, 1, 0);
    m.fd = p[1];
    assert_int_equal(cn_channel_send(ch[0], &m), CN_OK);
    close(p[1]);
    assert_int_equal(cn_channel_recv(ch[1], &m), CN_OK);
    assert_true(m.fd >= 0);
    assert_int_equal(fcntl(m.fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    assert_int_equal(write(m.fd, "x", 1), 1);
    assert_int_equal(read(p[0], &c, 1), 1);
    assert_int_equal(c, 'x');
    close(m.fd);
    assert_int_equal(read(p[0], &c, 1), 0);
    close(p[0]);
    close(ch[0]);
    close(ch[1]);
}

static void test_text_longer_than_the_limit_is_cut(void **state)
{
    static const char text[CN_CHANNEL_TEXT + 10] = {[0 ... CN_CHANNEL_TEXT + 9] = 'a'};
    int ch[2];
    cn_channel_msg_t m;

    (void)state;
    assert_int_equal(cn_channel_pair(ch), CN_OK);
    cn_channel_msg_init(&m, 1, 0);
    cn_channel_msg_text(&m, cn_str_make(text, sizeof(text)));
    assert_int_equal(cn_channel_send(ch[0], &m), CN_OK);
    assert_int_equal(cn_channel_recv(ch[1], &m), CN_OK);
    assert_int_equal(m.len, CN_CHANNEL_TEXT);
    assert_int_equal(strlen(m.text), CN_CHANNEL_TEXT);
    close(ch[0]);
    close(ch[1]);
}

static void test_death_of_the_other_end_is_seen_on_both_sides(void **state)
{
    int ch[2];
    cn_channel_msg_t m;

    (void)state;
    assert_int_equal(cn_channel_pair(ch), CN_OK);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(ch[0]);
        cn_channel_msg_init(&m, 3, 9);
        _exit(cn_channel_send(ch[1], &m) == CN_OK ? 0 : 1);
    }
    close(ch[1]);
    waitpid(pid, NULL, 0);
    assert_int_equal(cn_channel_recv(ch[0], &m), CN_OK);
    assert_int_equal(m.type, 3);
    assert_int_equal(cn_channel_recv(ch[0], &m), CN_DONE);
    assert_int_equal(cn_channel_send(ch[0], &m), CN_ERR);
    close(ch[0]);
}

static void test_full_channel_says_again_and_loses_nothing(void **state)
{
    int ch[2];
    cn_channel_msg_t m;
    uint64_t sent = 0, got = 0;

    (void)state;
    assert_int_equal(cn_channel_pair(ch), CN_OK);
    for (;;) {
        cn_channel_msg_init(&m, 1, sent);
        cn_rc rc = cn_channel_send(ch[0], &m);
        if (rc == CN_AGAIN)
            break;
        assert_int_equal(rc, CN_OK);
        sent++;
    }
    assert_true(sent > 0);
    while (cn_channel_recv(ch[1], &m) == CN_OK) {
        assert_true(m.number == got);
        got++;
    }
    assert_true(got == sent);
    close(ch[0]);
    close(ch[1]);
}

static void test_malformed_message_is_refused_and_its_descriptor_closed(void **state)
{
    int ch[2], p[2];
    cn_channel_msg_t m;
    char c;
    struct {
        uint32_t type, len;
        uint64_t number;
    } head = {.type = 1, .len = 99};
    struct iovec iov = {&head, sizeof(head)};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct msghdr mh = {.msg_iov = &iov,
                        .msg_iovlen = 1,
                        .msg_control = control.bytes,
                        .msg_controllen = sizeof(control.bytes)};

    (void)state;
    assert_int_equal(cn_channel_pair(ch), CN_OK);
    assert_int_equal(pipe(p), 0);
    struct cmsghdr *cm = CMSG_FIRSTHDR(&mh);
    cm->cmsg_level = SOL_SOCKET;
    cm->cmsg_type = SCM_RIGHTS;
    cm->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(cm), &p[1], sizeof(int));
    assert_int_equal(sendmsg(ch[0], &mh, 0), sizeof(head));
    close(p[1]);
    assert_int_equal(cn_channel_recv(ch[1], &m), CN_ERR);
    assert_int_equal(m.fd, -1);
    assert_int_equal(read(p[0], &c, 1), 0);

    assert_int_equal(send(ch[0], "short", 5, 0), 5);
    assert_int_equal(cn_channel_recv(ch[1], &m), CN_ERR);
    cn_channel_msg_init(&m, 5, 0);
    assert_int_equal(cn_channel_send(ch[0], &m), CN_OK);
    assert_int_equal(cn_channel_recv(ch[1], &m), CN_OK);
    assert_int_equal(m.type, 5);
    close(p[0]);
    close(ch[0]);
    close(ch[1]);
}

static void test_wait_times_out_and_sees_a_message(void **state)
{
    int ch[2];
    cn_channel_msg_t m;

    (void)state;
    assert_int_equal(cn_channel_pair(ch), CN_OK);
    assert_int_equal(cn_channel_wait(ch[1], 0), CN_AGAIN);
    cn_channel_msg_init(&m, 1, 0);
    assert_int_equal(cn_channel_send(ch[0], &m), CN_OK);
    assert_int_equal(cn_channel_wait(ch[1], 0), CN_OK);
    close(ch[0]);
    close(ch[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_message_arrives_whole_with_text_and_number),
        cmocka_unit_test(test_descriptor_passes_and_is_close_on_exec),
        cmocka_unit_test(test_text_longer_than_the_limit_is_cut),
        cmocka_unit_test(test_death_of_the_other_end_is_seen_on_both_sides),
        cmocka_unit_test(test_full_channel_says_again_and_loses_nothing),
        cmocka_unit_test(test_malformed_message_is_refused_and_its_descriptor_closed),
        cmocka_unit_test(test_wait_times_out_and_sees_a_message),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
