/* SPDX-License-Identifier: Apache-2.0
 *
 * TCP sockets as streams.  A socket stream keeps its own small task so that
 * closing can finish delivering what was accepted.
 */
#ifndef CN_EVENT_SOCK_H
#define CN_EVENT_SOCK_H

#include "event/stream.h"

/* Takes over a connected non-blocking descriptor (closed on failure too).
 * Sets TCP_NODELAY and keep-alive.  Never NULL: failure shows in ready().
 * remote may be NULL: asked from the kernel when wanted.  The owner is woken. */
cn_stream_t *cn_sock_accepted(cn_loop_t *, int fd, const cn_addr_t *remote, cn_task_t *owner);
/* Starts to connect; never fails at once: the cause shows in ready().
 * timeout_ms 0: none. */
cn_stream_t *cn_sock_connect(cn_loop_t *, const cn_addr_t *to, uint64_t timeout_ms,
                             cn_task_t *owner);

#endif
