/* SPDX-License-Identifier: Apache-2.0
 *
 * Answers of a rate limit service: a gRPC frame with a RateLimitResponse.  What
 * is taken from one must be safe to put into messages, whatever the bytes were.
 */
#include "../../modules/rate_limit_service/rls_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_header(const rls_header_t *h)
{
    CN_BUG_ON(h->name.n == 0 || h->name.p[0] == ':');
    CN_BUG_ON(cn_str_eq(h->name, CN_STR("content-length")) || cn_str_eq(h->name, CN_STR("host")) ||
              cn_str_eq(h->name, CN_STR("transfer-encoding")));
    for (size_t i = 0; i < h->name.n; i++)
        CN_BUG_ON((unsigned char)h->name.p[i] <= ' ' || strchr(":A\"\x7f", h->name.p[i]));
    for (size_t i = 0; i < h->value.n; i++)
        CN_BUG_ON(h->value.p[i] == '\n' || h->value.p[i] == '\r' || h->value.p[i] == '\0');
}

static void check(const rls_answer_t *a, size_t size)
{
    CN_BUG_ON(a->nto_response > RLS_HEADERS_MAX || a->nto_request > RLS_HEADERS_MAX);
    for (uint32_t i = 0; i < a->nto_response; i++)
        check_header(&a->to_response[i]);
    for (uint32_t i = 0; i < a->nto_request; i++)
        check_header(&a->to_request[i]);
    for (size_t i = 0; i < a->policy.n; i++)
        CN_BUG_ON((unsigned char)a->policy.p[i] < ' ' && a->policy.p[i] != '\t');
    CN_BUG_ON(a->body.n > size);
}

/* As it is, and in a frame of the right length. */
static void read(const uint8_t *data, size_t size, bool framed)
{
    cn_pool_t *pool = cn_pool_create(0);
    cn_chain_t body = {0};
    rls_answer_t a;
    const char *why = NULL;
    uint8_t head[5] = {0, 0, (uint8_t)(size >> 16), (uint8_t)(size >> 8), (uint8_t)size};

    if (framed)
        cn_chain_copy(&body, head, sizeof(head));
    cn_chain_copy(&body, data, size);
    if (rls_read(&body, pool, &a, &why) == CN_OK)
        check(&a, size);
    else
        CN_BUG_ON(!why);
    cn_chain_clear(&body);
    cn_pool_destroy(pool);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > RLS_ANSWER_MAX)
        return 0;
    read(data, size, false);
    read(data, size, true);
    return 0;
}
