/* SPDX-License-Identifier: Apache-2.0
 * The proxy for the module's tests, which call none of it.
 */
#include <cairn/module.h>

cn_msg_t *cn_req_edit(cn_req_t *req CN_UNUSED)
{
    return NULL;
}

cn_pool_t *cn_req_pool(cn_req_t *req CN_UNUSED)
{
    return NULL;
}

void cn_req_filter(cn_req_t *req CN_UNUSED, const cn_module_t *module CN_UNUSED)
{
}

cn_headers_t *cn_req_trailers(cn_req_t *req CN_UNUSED, bool response CN_UNUSED)
{
    return NULL;
}
