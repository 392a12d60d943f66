/* SPDX-License-Identifier: Apache-2.0
 *
 * The default policy and the words of the others.
 */
#include "upstream/retry.h"

const cn_retry_policy_t cn_retry_default = {
    .attempts = 2,
    .on = CN_RETRY_CONNECT_FAILURE | CN_RETRY_REFUSED_STREAM | CN_RETRY_UNAVAILABLE |
          CN_RETRY_CANCELLED,
    .backoff_ms = 25,
    .backoff_max_ms = 250,
};

const cn_enum_t cn_retry_words[] = {{"5xx", CN_RETRY_5XX},
                                    {"gateway-error", CN_RETRY_GATEWAY_ERROR},
                                    {"reset", CN_RETRY_RESET},
                                    {"reset-before-request", CN_RETRY_RESET_BEFORE_REQUEST},
                                    {"connect-failure", CN_RETRY_CONNECT_FAILURE},
                                    {"envoy-ratelimited", CN_RETRY_ENVOY_RATELIMITED},
                                    {"retriable-4xx", CN_RETRY_RETRIABLE_4XX},
                                    {"refused-stream", CN_RETRY_REFUSED_STREAM},
                                    {"retriable-status-codes", CN_RETRY_STATUS_CODES},
                                    {"retriable-headers", CN_RETRY_HEADERS},
                                    {"cancelled", CN_RETRY_CANCELLED},
                                    {"deadline-exceeded", CN_RETRY_DEADLINE_EXCEEDED},
                                    {"internal", CN_RETRY_INTERNAL},
                                    {"resource-exhausted", CN_RETRY_RESOURCE_EXHAUSTED},
                                    {"unavailable", CN_RETRY_UNAVAILABLE},
                                    {"http3-post-connect-failure", 0}, /* no HTTP/3 */
                                    {NULL, 0}};

cn_str_t cn_retry_put(cn_pool_t *pool, uint32_t on)
{
    cn_str_t out = CN_STR_NULL;

    for (const cn_enum_t *w = cn_retry_words; w->word; w++)
        if (on & (uint32_t)w->value)
            out = cn_pool_printf(pool, "%.*s%s%s", CN_STR_ARG(out), out.n ? ", " : "", w->word);
    return out;
}
