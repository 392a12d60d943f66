/* SPDX-License-Identifier: Apache-2.0
 *
 * See the header.  What is asked for and not given fails: nothing here makes up
 * bytes of its own.
 */
#include "tls/draw.h"

#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#include "core/base.h"

#define STRENGTH 256u      /* of OpenSSL's generators, AES-256 */
#define REQUEST_MAX 65536u /* bytes; larger wishes come in parts */

static void *on_new(void *provctx, void *parent CN_UNUSED,
                    const OSSL_DISPATCH *parent_calls CN_UNUSED)
{
    return provctx;
}

static void on_free(void *ctx CN_UNUSED)
{
}

static int on_begin(void *ctx CN_UNUSED, unsigned strength, int resistance CN_UNUSED,
                    const unsigned char *text CN_UNUSED, size_t n CN_UNUSED,
                    const OSSL_PARAM params[] CN_UNUSED)
{
    return strength <= STRENGTH;
}

static int on_end(void *ctx CN_UNUSED)
{
    return 1;
}

static int on_generate(void *ctx CN_UNUSED, unsigned char *out, size_t n, unsigned strength,
                       int resistance, const unsigned char *more CN_UNUSED, size_t more_n CN_UNUSED)
{
    return strength <= STRENGTH && !resistance && n <= REQUEST_MAX &&
           RAND_priv_bytes(out, (int)n) == 1;
}

static int on_lock(void *ctx CN_UNUSED)
{
    return 1;
}

static int on_get(void *ctx CN_UNUSED, OSSL_PARAM params[])
{
    OSSL_PARAM *state = OSSL_PARAM_locate(params, OSSL_RAND_PARAM_STATE);
    OSSL_PARAM *strength = OSSL_PARAM_locate(params, OSSL_RAND_PARAM_STRENGTH);
    OSSL_PARAM *max = OSSL_PARAM_locate(params, OSSL_RAND_PARAM_MAX_REQUEST);

    return (!state || OSSL_PARAM_set_int(state, EVP_RAND_STATE_READY) == 1) &&
           (!strength || OSSL_PARAM_set_uint(strength, STRENGTH) == 1) &&
           (!max || OSSL_PARAM_set_size_t(max, REQUEST_MAX) == 1);
}

const OSSL_DISPATCH cn_tls_draw[] = {
    {OSSL_FUNC_RAND_NEWCTX, (void (*)(void))on_new},
    {OSSL_FUNC_RAND_FREECTX, (void (*)(void))on_free},
    {OSSL_FUNC_RAND_INSTANTIATE, (void (*)(void))on_begin},
    {OSSL_FUNC_RAND_UNINSTANTIATE, (void (*)(void))on_end},
    {OSSL_FUNC_RAND_GENERATE, (void (*)(void))on_generate},
    {OSSL_FUNC_RAND_ENABLE_LOCKING, (void (*)(void))on_lock},
    {OSSL_FUNC_RAND_GET_CTX_PARAMS, (void (*)(void))on_get},
    {0, NULL},
};
