/* SPDX-License-Identifier: Apache-2.0
 *
 * Accepting on a shared listening socket.
 */
#ifndef CN_EVENT_LISTEN_H
#define CN_EVENT_LISTEN_H

#include "event/stream.h"

typedef struct cn_listener cn_listener_t;
/* fd is connected, non-blocking, close-on-exec, has the listening socket's options, and is now the
 * callee's. */
typedef void cn_accept_cb(void *ctx, int fd, const cn_addr_t *remote);

/* Binds and listens: SO_REUSEADDR, cn_sock_set_options(), non-blocking, close-on-exec; IPv6 sockets
 * are v6-only unless the address is [::].  CN_ERR with errno. */
CN_MUST cn_rc cn_listen_bind(const cn_addr_t *, int backlog, int *fd);

/* Starts accepting; batches accept4 calls up to a bound per round.  When
 * descriptors run out, accepting pauses for a moment and the log says so. */
cn_listener_t *cn_listen_start(cn_loop_t *, int fd, cn_accept_cb *, void *ctx);
/* Stops accepting; does not close fd. */
void cn_listen_stop(cn_listener_t *);
/* The same, but whoever has connected already is taken first: for a socket that
 * nobody will accept on any more. */
void cn_listen_finish(cn_listener_t *);

#endif
