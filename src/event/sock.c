/* SPDX-License-Identifier: Apache-2.0
 *
 * TCP sockets as streams.  Writes go straight to the kernel, so what was
 * accepted was written, and the end of a direction is one shutdown(2).  The
 * two directions fail apart: after a failed write, what the other side sent
 * before can still be read.
 *
 *   state       entered by                     left by
 *   CONNECTING  cn_sock_connect                connected, refused, timed out
 *   OPEN        accepted, connected            failure, close
 *   FAILED      any failure; err is set        close
 *   LINGERING   close without abort while the  end of stream, failure, timer,
 *               other side may still send      end of the loop
 *
 * Closing a socket that has unread data, or that receives some afterwards,
 * makes the kernel send a reset, which can destroy what we sent last on its
 * way.  So a closed stream first ends its direction and discards what comes.
 *
 * The object belongs to the stream's user until close, then to itself; it is
 * freed at the end of that round.
 */
#include "event/sock.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include "core/pool.h"

#define IOV_MAX_SLICES 64
#define READ_MIN 2048 /* a smaller rest of a chunk is not worth a system call */
#define WIDE 3        /* fresh chunks beside it for a peer that fills what it gets */
#define LINGER_MS 5000
#define LINGER_BYTES 65536 /* discarded per run */
#define RESENT_MIN 2       /* times that a segment or probe was sent again */
#define WATCH_STEPS 8

enum state { CONNECTING, OPEN, FAILED, LINGERING };

typedef struct {
    cn_stream_t stream;
    cn_task_t task;
    cn_timer_t timer;
    cn_io_t io;
    cn_leaver_t leaver;
    cn_loop_t *loop;
    int fd;
    enum state state;
    cn_rc rx;      /* what reading gives for good: CN_DONE, CN_ERR; CN_OK before */
    bool tx_ended; /* shutdown was asked for */
    bool tx_failed;
    bool peer_known;
    bool wide;        /* the last recv(2) filled its room */
    uint64_t dead_ms; /* OPEN: the timer watches what is not acknowledged */
    cn_peer_t peer;
} sock_t;

static sock_t *sock_of(cn_stream_t *s)
{
    return cn_container_of(s, sock_t, stream);
}

static const char *text_of(int cause)
{
    const char *text = strerrordesc_np(cause);
    return text ? text : "unknown error";
}

/* ---- setting up ---- */

static cn_serr connect_error(int cause)
{
    switch (cause) {
    case ECONNREFUSED:
        return CN_SERR_REFUSED;
    case ETIMEDOUT:
        return CN_SERR_TIMEOUT;
    default:
        return CN_SERR_UNREACHABLE;
    }
}

static cn_serr io_error(int cause)
{
    switch (cause) {
    case ECONNRESET:
    case EPIPE:
        return CN_SERR_RESET;
    default:
        return connect_error(cause);
    }
}

static void set_failed(sock_t *s, cn_serr err, const char *text)
{
    if (s->state == CONNECTING)
        cn_timer_stop(&s->timer);
    s->state = FAILED;
    s->tx_failed = true;
    s->rx = cn_stream_fail(&s->stream, err, text);
    cn_stream_wake(&s->stream, CN_WAKE_STATE | CN_WAKE_READ | CN_WAKE_WRITE);
}

static void set_open(sock_t *s)
{
    s->state = OPEN;
    cn_timer_stop(&s->timer);
    if (s->tx_ended)
        shutdown(s->fd, SHUT_WR);
    /* Optimistic: the first try tells. */
    s->io.readable = s->io.writable = true;
    cn_stream_wake(&s->stream, CN_WAKE_STATE | CN_WAKE_READ | CN_WAKE_WRITE);
}

/* Best effort: not every stream socket is TCP in tests, and none of these is
 * needed to be correct. */
static void set_keepalive(int fd, const cn_sock_watch_t *w)
{
    int on = w->probes > 0;
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    if (!on)
        return;
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &w->idle_s, sizeof(w->idle_s));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &w->interval_s, sizeof(w->interval_s));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &w->probes, sizeof(w->probes));
}

void cn_sock_set_options(int fd)
{
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    set_keepalive(fd, &cn_sock_watch_default);
}

static void finish_connect(sock_t *s)
{
    int cause = 0;
    socklen_t len = sizeof(cause);
    if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &cause, &len) != 0)
        cause = errno;
    if (cause != 0)
        set_failed(s, connect_error(cause), text_of(cause));
    else
        set_open(s);
}

static void start_connect(sock_t *s, const cn_addr_t *to)
{
    struct sockaddr_storage ss;
    socklen_t len = cn_inet_to_sockaddr(to, &ss);

    s->fd = socket(to->family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->fd < 0) {
        set_failed(s, CN_SERR_UNREACHABLE, text_of(errno));
        return;
    }
    cn_sock_set_options(s->fd);
    int rc = connect(s->fd, (struct sockaddr *)&ss, len);
    if (rc != 0 && errno != EINPROGRESS)
        set_failed(s, connect_error(errno), text_of(errno));
    else if (cn_io_open(&s->io, s->loop, s->fd, &s->task) != CN_OK)
        set_failed(s, CN_SERR_UNREACHABLE, text_of(errno));
    else if (rc == 0)
        set_open(s);
}

/* ---- a peer that is gone ---- */

const cn_sock_watch_t cn_sock_watch_default = {1500, 180, 60, 5};

typedef enum { ALL_TAKEN, WAITING, DEAD } alive;

/* Lost segments are resent and a closed window is probed; a peer that is there
 * acknowledges both. */
static alive look_at(int fd, uint64_t dead_ms)
{
    struct tcp_info ti = {0};
    socklen_t len = sizeof(ti);
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &ti, &len) != 0)
        return ALL_TAKEN;
    if (ti.tcpi_unacked == 0 && ti.tcpi_probes == 0)
        return ALL_TAKEN;
    if ((ti.tcpi_retransmits >= RESENT_MIN || ti.tcpi_probes >= RESENT_MIN) &&
        ti.tcpi_last_ack_recv >= dead_ms)
        return DEAD;
    return WAITING;
}

static void watch(sock_t *s)
{
    switch (look_at(s->fd, s->dead_ms)) {
    case DEAD:
        set_failed(s, CN_SERR_TIMEOUT, "the peer acknowledges nothing any more");
        break;
    case WAITING:
        cn_timer_set(&s->timer, s->dead_ms / WATCH_STEPS + 1);
        break;
    case ALL_TAKEN:
        /* A full buffer behind a closed window: there is no next write that would
         * watch again. */
        if (!s->io.writable)
            cn_timer_set(&s->timer, s->dead_ms / WATCH_STEPS + 1);
        break;
    }
}

void cn_sock_watch(cn_stream_t *stream, const cn_sock_watch_t *w)
{
    sock_t *s = sock_of(stream);
    s->dead_ms = w->dead_ms;
    if (s->fd >= 0)
        set_keepalive(s->fd, w);
}

/* ---- the end ---- */

static void destroy(sock_t *s)
{
    cn_timer_stop(&s->timer);
    cn_io_close(&s->io);
    cn_task_fini(&s->task);
    cn_list_remove(&s->leaver.link);
    if (s->fd >= 0)
        close(s->fd);
    cn_loop_retire(s->loop, free, s);
}

static void leave_now(cn_leaver_t *l)
{
    destroy(cn_container_of(l, sock_t, leaver));
}

/* Reads and forgets; true when the other side has ended or failed. */
static bool discard(sock_t *s)
{
    char buf[8192];
    for (size_t total = 0; total < LINGER_BYTES;) {
        ssize_t n = recv(s->fd, buf, sizeof(buf), 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return false;
        if (n <= 0)
            return true;
        total += (size_t)n;
    }
    cn_task_wake(&s->task, CN_WAKE_SELF);
    return false;
}

static void linger(sock_t *s)
{
    s->state = LINGERING;
    s->stream.owner = NULL;
    if (!s->tx_ended)
        shutdown(s->fd, SHUT_WR);
    if (discard(s)) {
        destroy(s);
        return;
    }
    cn_loop_leave(s->loop, &s->leaver, leave_now);
    cn_timer_set(&s->timer, LINGER_MS);
}

/* ---- the task ---- */

static void on_wake(cn_task_t *task, uint32_t why)
{
    sock_t *s = cn_container_of(task, sock_t, task);
    switch (s->state) {
    case CONNECTING:
        if (why & (CN_WAKE_WRITE | CN_WAKE_CLOSED))
            finish_connect(s);
        else if (why & CN_WAKE_TIMER)
            set_failed(s, CN_SERR_TIMEOUT, "connect timeout");
        return;
    case OPEN:
        if (why & CN_WAKE_TIMER)
            watch(s);
        cn_stream_wake(&s->stream, why & ~(uint32_t)CN_WAKE_TIMER);
        return;
    case FAILED:
        cn_stream_wake(&s->stream, why & ~(uint32_t)CN_WAKE_TIMER);
        return;
    case LINGERING:
        if ((why & CN_WAKE_TIMER) || discard(s))
            destroy(s);
        return;
    }
}

/* ---- stream operations ---- */

static cn_rc sock_ready(cn_stream_t *stream)
{
    sock_t *s = sock_of(stream);
    if (s->state == CONNECTING)
        return CN_AGAIN;
    return stream->err == CN_SERR_NONE ? CN_OK : CN_ERR;
}

/* The failure was recorded, now or with a failed write before. */
static cn_rc read_failed(sock_t *s, cn_serr err, const char *text)
{
    s->rx = cn_stream_fail(&s->stream, err, text);
    return s->rx;
}

/* Room for one recv(2): in dst, and in fresh chunks behind it. */
typedef struct {
    struct iovec iov[1 + WIDE];
    cn_chunk_t *fresh[WIDE];
    unsigned n; /* of fresh */
    size_t bytes;
} room_t;

static void room_make(room_t *r, cn_chain_t *dst, size_t max, bool wide)
{
    char *p;
    size_t n;

    cn_chain_reserve(dst, READ_MIN, &p, &n);
    r->bytes = n < max ? n : max;
    r->iov[0] = (struct iovec){p, r->bytes};
    for (r->n = 0; wide && r->n < WIDE && r->bytes < max; r->n++) {
        cn_chunk_t *c = r->fresh[r->n] = cn_chunk_new(CN_CHUNK_LARGE);
        size_t part = max - r->bytes < c->cap ? max - r->bytes : c->cap;

        r->iov[1 + r->n] = (struct iovec){c->data, part};
        r->bytes += part;
    }
}

/* Appends the got bytes and gives the chunks that stayed empty back. */
static void room_use(room_t *r, cn_chain_t *dst, size_t got)
{
    size_t part = got < r->iov[0].iov_len ? got : r->iov[0].iov_len;

    cn_chain_commit(dst, part);
    got -= part;
    for (unsigned i = 0; i < r->n; i++) {
        part = got < r->iov[1 + i].iov_len ? got : r->iov[1 + i].iov_len;
        cn_chain_add(dst, r->fresh[i], 0, (uint32_t)part);
        cn_chunk_unref(r->fresh[i]);
        got -= part;
    }
}

/* One recv(2).  CN_OK: bytes came and more may be there; CN_AGAIN: bytes came
 * or not, no more now; *got says. */
static cn_rc read_some(sock_t *s, cn_chain_t *dst, size_t max, size_t *got)
{
    room_t room;
    ssize_t n;

    room_make(&room, dst, max, s->wide);
    do {
        struct msghdr msg = {.msg_iov = room.iov, .msg_iovlen = 1 + room.n};
        n = recvmsg(s->fd, &msg, 0);
    } while (n < 0 && errno == EINTR);
    int cause = n < 0 ? errno : 0;
    *got = n > 0 ? (size_t)n : 0;
    room_use(&room, dst, *got);
    s->stream.rx += *got;
    s->wide = *got == room.bytes || *got > CN_CHUNK_LARGE;
    if (n < 0 && cause != EAGAIN)
        return read_failed(s, io_error(cause), text_of(cause));
    if (n == 0) {
        if (s->tx_failed)
            return read_failed(s, CN_SERR_RESET, text_of(ECONNRESET));
        s->rx = CN_DONE;
        return CN_DONE;
    }
    /* Less than asked for: nothing is left, and what comes next makes a new
     * edge.  But an end that was already announced makes none. */
    if (n < 0 || (*got < room.bytes && !s->io.hup)) {
        s->io.readable = false;
        return CN_AGAIN;
    }
    return CN_OK;
}

static cn_rc sock_read(cn_stream_t *stream, cn_chain_t *dst, size_t max)
{
    sock_t *s = sock_of(stream);
    size_t total = 0;

    if (s->state == CONNECTING)
        return CN_AGAIN;
    if (s->rx != CN_OK)
        return s->rx;
    while (s->io.readable && total < max) {
        size_t got;
        cn_rc rc = read_some(s, dst, max - total, &got);
        total += got;
        if (rc == CN_OK)
            continue;
        if (total == 0)
            return rc;
        break;
    }
    return total > 0 ? CN_OK : CN_AGAIN;
}

static cn_rc write_failed(sock_t *s, cn_serr err, const char *text)
{
    s->tx_failed = true;
    return cn_stream_fail(&s->stream, err, text);
}

static cn_rc sock_write(cn_stream_t *stream, cn_chain_t *src)
{
    sock_t *s = sock_of(stream);

    if (s->state == CONNECTING)
        return CN_AGAIN;
    if (s->tx_failed || stream->err != CN_SERR_NONE)
        return CN_ERR;
    if (s->tx_ended && src->bytes > 0)
        return write_failed(s, CN_SERR_LOCAL, "write after shutdown");
    while (src->bytes > 0) {
        struct iovec iov[IOV_MAX_SLICES];
        if (!s->io.writable)
            return CN_AGAIN;
        struct msghdr msg = {.msg_iov = iov};
        msg.msg_iovlen = (size_t)cn_chain_iov(src, iov, IOV_MAX_SLICES);
        ssize_t n = sendmsg(s->fd, &msg, MSG_NOSIGNAL);
        if (n >= 0) {
            cn_chain_skip(src, (size_t)n);
            stream->tx += (size_t)n;
            if (s->dead_ms && !cn_timer_is_set(&s->timer))
                cn_timer_set(&s->timer, s->dead_ms / 2 + 1);
        } else if (errno == EAGAIN) {
            s->io.writable = false;
        } else if (errno != EINTR) {
            return write_failed(s, io_error(errno), text_of(errno));
        }
    }
    return CN_OK;
}

static void sock_shutdown(cn_stream_t *stream)
{
    sock_t *s = sock_of(stream);
    if (s->tx_ended)
        return;
    s->tx_ended = true;
    if (s->state == OPEN)
        shutdown(s->fd, SHUT_WR);
}

static void sock_close(cn_stream_t *stream, bool do_abort)
{
    sock_t *s = sock_of(stream);
    bool ended = s->rx == CN_DONE && s->tx_ended;

    if (do_abort && !ended && s->fd >= 0) {
        struct linger now = {.l_onoff = 1, .l_linger = 0};
        setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    }
    /* Nothing sent: nothing that a reset could destroy. */
    if (do_abort || s->state != OPEN || s->rx != CN_OK || s->tx_failed || stream->tx == 0)
        destroy(s);
    else
        linger(s);
}

static void fill_addresses(sock_t *s)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    if (getsockname(s->fd, (struct sockaddr *)&ss, &len) == 0)
        cn_inet_from_sockaddr(&s->peer.local, (struct sockaddr *)&ss, len);
    len = sizeof(ss);
    if (s->peer.remote.family == 0 && getpeername(s->fd, (struct sockaddr *)&ss, &len) == 0)
        cn_inet_from_sockaddr(&s->peer.remote, (struct sockaddr *)&ss, len);
}

static const cn_peer_t *sock_peer(cn_stream_t *stream)
{
    sock_t *s = sock_of(stream);
    /* The local address is not settled before the connection is. */
    if (!s->peer_known && s->state == OPEN) {
        s->peer_known = true;
        fill_addresses(s);
    }
    return &s->peer;
}

static const cn_stream_ops_t sock_ops = {
    .ready = sock_ready,
    .read = sock_read,
    .write = sock_write,
    .shutdown = sock_shutdown,
    .close = sock_close,
    .peer = sock_peer,
};

static sock_t *sock_new(cn_loop_t *loop, const cn_addr_t *remote, cn_task_t *owner)
{
    sock_t *s = cn_xzalloc(sizeof(*s));
    s->stream.ops = &sock_ops;
    s->stream.owner = owner;
    s->loop = loop;
    s->fd = -1;
    s->state = CONNECTING;
    if (remote)
        s->peer.remote = *remote;
    cn_list_init(&s->leaver.link);
    cn_task_init(&s->task, loop, on_wake);
    cn_timer_init(&s->timer, &s->task, CN_WAKE_TIMER);
    return s;
}

cn_stream_t *cn_sock_accepted(cn_loop_t *loop, int fd, const cn_addr_t *remote, cn_task_t *owner)
{
    sock_t *s = sock_new(loop, remote, owner);
    s->fd = fd;
    if (cn_io_open(&s->io, loop, fd, &s->task) == CN_OK)
        set_open(s);
    else
        set_failed(s, CN_SERR_UNREACHABLE, text_of(errno));
    return &s->stream;
}

cn_stream_t *cn_sock_connect(cn_loop_t *loop, const cn_addr_t *to, uint64_t timeout_ms,
                             cn_task_t *owner)
{
    sock_t *s = sock_new(loop, to, owner);
    if (timeout_ms > 0)
        cn_timer_set(&s->timer, timeout_ms);
    start_connect(s, to);
    return &s->stream;
}
