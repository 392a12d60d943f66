/* SPDX-License-Identifier: Apache-2.0
 *
 * Listening sockets.  Several workers watch the same one, level-triggered and
 * exclusive, so what one leaves in the queue wakes another.  The descriptor
 * belongs to the caller before, while and after it is watched; accepted ones
 * go to the callback.
 *
 * When descriptors or memory run out, accept4(2) fails while the socket stays
 * readable; so watching stops until the pause timer has run.
 */
#include "event/listen.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/log.h"
#include "core/pool.h"
#include "event/sock.h"

#define BATCH 32 /* connections per run: leave some to the other workers */
#define PAUSE_MS 500
#define QUEUE_MAX 65536 /* who fills it faster than that is no client */

struct cn_listener {
    cn_task_t task;
    cn_timer_t pause;
    cn_io_t io;
    cn_loop_t *loop;
    int fd;
    bool stopped;
    cn_accept_cb *cb;
    void *ctx;
};

static cn_rc close_keep_errno(int fd)
{
    int cause = errno;
    close(fd);
    errno = cause;
    return CN_ERR;
}

static int only_v6(const cn_addr_t *a)
{
    static const uint8_t any[16];
    return memcmp(a->ip, any, sizeof(any)) != 0;
}

cn_rc cn_listen_bind(const cn_addr_t *a, int backlog, int *out)
{
    struct sockaddr_storage ss;
    socklen_t len = cn_inet_to_sockaddr(a, &ss);
    int on = 1, v6 = only_v6(a);
    int fd = socket(a->family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return CN_ERR;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0)
        return close_keep_errno(fd);
    if (a->family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6, sizeof(v6)) != 0)
        return close_keep_errno(fd);
    cn_sock_set_options(fd);
    if (bind(fd, (struct sockaddr *)&ss, len) != 0 || listen(fd, backlog) != 0)
        return close_keep_errno(fd);
    *out = fd;
    return CN_OK;
}

static void pause_accepting(cn_listener_t *l, int cause)
{
    cn_io_close(&l->io);
    cn_timer_set(&l->pause, PAUSE_MS);
    cn_log(CN_LOG_ERROR, "listen", "accept: %s; pausing for %d ms", strerrordesc_np(cause),
           PAUSE_MS);
}

static void resume_accepting(cn_listener_t *l)
{
    if (cn_io_open_listen(&l->io, l->loop, l->fd, &l->task) != CN_OK)
        pause_accepting(l, errno);
}

/* Failures of the one connection that was taken off the queue (accept(2)). */
static bool is_passing(int cause)
{
    switch (cause) {
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
    case EPERM:
        return true;
    default:
        return false;
    }
}

/* False when there is nothing more to accept now. */
static bool accept_one(cn_listener_t *l)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    int fd = accept4(l->fd, (struct sockaddr *)&ss, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd >= 0) {
        cn_addr_t remote;
        cn_inet_from_sockaddr(&remote, (struct sockaddr *)&ss, len);
        l->cb(l->ctx, fd, &remote);
        return true;
    }
    if (errno == EAGAIN)
        return false;
    if (is_passing(errno))
        return true;
    pause_accepting(l, errno);
    return false;
}

static void on_wake(cn_task_t *task, uint32_t why)
{
    cn_listener_t *l = cn_container_of(task, cn_listener_t, task);
    if (why & CN_WAKE_TIMER)
        resume_accepting(l);
    if (!(why & CN_WAKE_READ) || cn_timer_is_set(&l->pause))
        return;
    for (int i = 0; i < BATCH && !l->stopped; i++) {
        if (!accept_one(l))
            return;
    }
}

cn_listener_t *cn_listen_start(cn_loop_t *loop, int fd, cn_accept_cb *cb, void *ctx)
{
    cn_listener_t *l = cn_xzalloc(sizeof(*l));
    l->loop = loop;
    l->fd = fd;
    l->cb = cb;
    l->ctx = ctx;
    cn_sock_set_options(fd); /* bound by an older program, perhaps */
    cn_task_init(&l->task, loop, on_wake);
    cn_timer_init(&l->pause, &l->task, CN_WAKE_TIMER);
    resume_accepting(l);
    return l;
}

void cn_listen_finish(cn_listener_t *l)
{
    for (int i = 0; i < QUEUE_MAX && accept_one(l); i++)
        continue;
    cn_listen_stop(l);
}

void cn_listen_stop(cn_listener_t *l)
{
    l->stopped = true;
    cn_timer_stop(&l->pause);
    cn_io_close(&l->io);
    cn_task_fini(&l->task);
    /* The callback may be what stops us. */
    cn_loop_retire(l->loop, free, l);
}
