/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages over a socket pair.  Knows nothing of what they mean, and is not
 * watched by a loop here: the ends are plain descriptors.
 *
 * A worker handles hostile traffic, so the master treats what arrives from one
 * as untrusted: lengths are checked and unexpected descriptors are closed.
 */
#include "os/channel.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

typedef struct {
    uint32_t type;
    uint32_t len;
    uint64_t number;
} head_t;

/* Room for more descriptors than are ever sent: what a peer adds must be
 * received to be closed. */
#define MAX_FDS 4

typedef union {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int) * MAX_FDS)];
} control_t;

cn_rc cn_channel_pair(int fds[2])
{
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0 ? CN_OK
                                                                                           : CN_ERR;
}

cn_rc cn_channel_fork(pid_t *pid, int *fd, int *far)
{
    int ends[2];

    *pid = 0;
    if (cn_channel_pair(ends) != CN_OK)
        return CN_ERR;
    pid_t child = fork();
    int err = errno;
    if (child < 0) {
        close(ends[0]);
        close(ends[1]);
        errno = err;
        return CN_ERR;
    }
    if (child > 0 && far)
        *far = ends[1];
    else
        close(ends[child == 0 ? 0 : 1]);
    *pid = child;
    *fd = ends[child == 0 ? 1 : 0];
    return CN_OK;
}

/* ---- for processes that are no relatives ---- */

static socklen_t abstract_name(struct sockaddr_un *sun, cn_str_t name)
{
    size_t n = name.n < sizeof(sun->sun_path) - 1 ? name.n : sizeof(sun->sun_path) - 1;

    *sun = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(sun->sun_path + 1, name.p, n);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + n);
}

static cn_rc close_failed(int fd)
{
    int err = errno;

    close(fd);
    errno = err;
    return CN_ERR;
}

cn_rc cn_channel_listen(cn_str_t name, int *fd)
{
    struct sockaddr_un sun;
    socklen_t len = abstract_name(&sun, name);
    int s = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (s < 0)
        return CN_ERR;
    if (bind(s, (struct sockaddr *)&sun, len) != 0 || listen(s, 8) != 0)
        return close_failed(s);
    *fd = s;
    return CN_OK;
}

static cn_rc peer_of(int fd, struct ucred *cred)
{
    socklen_t len = sizeof(*cred);

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, cred, &len) == 0 ? CN_OK : CN_ERR;
}

cn_rc cn_channel_accept(int fd, int *channel)
{
    struct ucred cred;
    int s;

    while ((s = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        if (peer_of(s, &cred) == CN_OK && (cred.uid == 0 || cred.uid == geteuid())) {
            *channel = s;
            return CN_OK;
        }
        close(s);
    }
    return CN_AGAIN;
}

cn_rc cn_channel_connect(cn_str_t name, pid_t pid, int *channel)
{
    struct sockaddr_un sun;
    socklen_t len = abstract_name(&sun, name);
    struct ucred cred;
    int s = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (s < 0)
        return CN_ERR;
    if (connect(s, (struct sockaddr *)&sun, len) != 0)
        return close_failed(s);
    /* The name says nothing of who listens there. */
    if (peer_of(s, &cred) != CN_OK || cred.pid != pid) {
        errno = ESRCH;
        return close_failed(s);
    }
    *channel = s;
    return CN_OK;
}

/* ---- messages ---- */

void cn_channel_msg_init(cn_channel_msg_t *m, uint32_t type, uint64_t number)
{
    m->type = type;
    m->number = number;
    m->len = 0;
    m->fd = -1;
    m->text[0] = '\0';
}

void cn_channel_msg_text(cn_channel_msg_t *m, cn_str_t s)
{
    m->len = (uint32_t)(s.n < CN_CHANNEL_TEXT ? s.n : CN_CHANNEL_TEXT);
    if (m->len > 0)
        memcpy(m->text, s.p, m->len);
    m->text[m->len] = '\0';
}

cn_rc cn_channel_send(int channel, const cn_channel_msg_t *m)
{
    head_t head = {.type = m->type, .len = m->len, .number = m->number};
    struct iovec iov[2] = {{&head, sizeof(head)}, {(void *)(uintptr_t)m->text, m->len}};
    control_t control = {0};
    struct msghdr mh = {.msg_iov = iov, .msg_iovlen = 2};
    ssize_t n;

    if (m->fd >= 0) {
        mh.msg_control = control.bytes;
        mh.msg_controllen = CMSG_SPACE(sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&mh);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &m->fd, sizeof(int));
    }
    do {
        n = sendmsg(channel, &mh, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EAGAIN || errno == ENOBUFS ? CN_AGAIN : CN_ERR;
    return CN_OK;
}

/* Keeps the first descriptor of the message and closes any other. */
static int take_fd(struct msghdr *mh)
{
    int kept = -1;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
            if (kept < 0)
                kept = fd;
            else
                close(fd);
        }
    }
    return kept;
}

cn_rc cn_channel_recv(int channel, cn_channel_msg_t *m)
{
    head_t head;
    struct iovec iov[2] = {{&head, sizeof(head)}, {m->text, CN_CHANNEL_TEXT}};
    control_t control;
    struct msghdr mh = {.msg_iov = iov,
                        .msg_iovlen = 2,
                        .msg_control = control.bytes,
                        .msg_controllen = sizeof(control)};
    ssize_t n;

    do {
        n = recvmsg(channel, &mh, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EAGAIN ? CN_AGAIN : errno == ECONNRESET ? CN_DONE : CN_ERR;
    if (n == 0)
        return CN_DONE;
    m->fd = take_fd(&mh);
    if ((mh.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) || (size_t)n < sizeof(head) ||
        (size_t)n - sizeof(head) != head.len || head.type == 0) {
        if (m->fd >= 0)
            close(m->fd);
        m->fd = -1;
        errno = EPROTO;
        return CN_ERR;
    }
    m->type = head.type;
    m->number = head.number;
    m->len = head.len;
    m->text[m->len] = '\0';
    return CN_OK;
}

cn_rc cn_channel_wait(int channel, int ms)
{
    struct pollfd p = {.fd = channel, .events = POLLIN};
    int n;

    do {
        n = poll(&p, 1, ms);
    } while (n < 0 && errno == EINTR);
    return n > 0 ? CN_OK : n == 0 ? CN_AGAIN : CN_ERR;
}
