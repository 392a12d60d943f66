/* SPDX-License-Identifier: Apache-2.0
 *
 * The keys of WebSocket's opening handshake over HTTP/1.1 (RFC 6455 4), which
 * HTTP/2 takes no notice of (RFC 8441 5): who translates between them makes
 * and checks them in the other side's place.
 */
#ifndef CN_HTTP_WEBSOCKET_H
#define CN_HTTP_WEBSOCKET_H

#include "core/pool.h"
#include "core/rand.h"

/* A fresh Sec-WebSocket-Key. */
cn_str_t cn_websocket_key(cn_pool_t *, cn_rand_t *);
/* The Sec-WebSocket-Accept that answers this key. */
cn_str_t cn_websocket_accept(cn_pool_t *, cn_str_t key);

#endif
