/* SPDX-License-Identifier: Apache-2.0
 *
 * TCP sockets as streams.  A socket stream keeps its own small task so that
 * closing can finish delivering what was accepted.
 */
#ifndef CN_EVENT_SOCK_H
#define CN_EVENT_SOCK_H

#include "event/stream.h"

/* TCP_NODELAY and keep-alive.  Of a listening socket: whatever it accepts has them, so that a
 * connection costs no calls for them. */
void cn_sock_set_options(int fd);
/* Takes over a connected non-blocking descriptor (closed on failure too).
 * Its options are its own affair.  Never NULL: failure shows in ready().
 * remote may be NULL: asked from the kernel when wanted.  The owner is woken. */
cn_stream_t *cn_sock_accepted(cn_loop_t *, int fd, const cn_addr_t *remote, cn_task_t *owner);
/* Starts to connect; never fails at once: the cause shows in ready().
 * timeout_ms 0: none. */
cn_stream_t *cn_sock_connect(cn_loop_t *, const cn_addr_t *to, uint64_t timeout_ms,
                             cn_task_t *owner);

/* How to find out that the other side is gone. */
typedef struct {
    /* While data is resent and nothing is acknowledged for so long, the stream
     * fails with CN_SERR_TIMEOUT; 0: the system decides, after minutes.  Other
     * than TCP_USER_TIMEOUT it leaves a reader alone that is slow but answers. */
    uint64_t dead_ms;
    uint32_t idle_s, interval_s, probes; /* keep-alive of an idle one; probes 0: none */
} cn_sock_watch_t;
/* 1.5 s; 180 s, 60 s and 5. */
extern const cn_sock_watch_t cn_sock_watch_default;
/* For a stream of cn_sock_connect() or cn_sock_accepted(); without it dead_ms is 0. */
void cn_sock_watch(cn_stream_t *, const cn_sock_watch_t *);

#endif
