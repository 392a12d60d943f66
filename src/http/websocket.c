/* SPDX-License-Identifier: Apache-2.0
 *
 * Keys of WebSocket handshakes.  They prove that the other side speaks
 * WebSocket and protect nothing, so any random bytes and SHA-1 will do.
 */
#include "http/websocket.h"

#include <openssl/evp.h>

#include "core/b64.h"

#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

cn_str_t cn_websocket_key(cn_pool_t *pool, cn_rand_t *rand)
{
    uint64_t bytes[2] = {cn_rand_u64(rand), cn_rand_u64(rand)};

    return cn_b64_encode(pool, cn_str_make((const char *)bytes, sizeof(bytes)));
}

cn_str_t cn_websocket_accept(cn_pool_t *pool, cn_str_t key)
{
    cn_str_t text = cn_pool_printf(pool, "%.*s" GUID, CN_STR_ARG(key));
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;

    CN_BUG_ON(EVP_Digest(text.p, text.n, digest, &n, EVP_sha1(), NULL) != 1);
    return cn_b64_encode(pool, cn_str_make((const char *)digest, n));
}
