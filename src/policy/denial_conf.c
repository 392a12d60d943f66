/* SPDX-License-Identifier: Apache-2.0
 *
 * The directives of refusals.
 */
#include "policy/denial.h"

const cn_range_t cn_denial_statuses = {400, 599};
const cn_enum_t cn_denial_grpc_statuses[] = {
    {"unavailable", 14}, {"resource_exhausted", 8}, {NULL, 0}};

cn_rc cn_denial_set_header(cn_conf_t *cf, const cn_directive_t *d, void *conf, const cn_str_t *argv,
                           unsigned argc CN_UNUSED)
{
    cn_denial_t *denial = (cn_denial_t *)((char *)conf + d->off);
    cn_denial_header_t *h;

    if (argv[1].n == 0)
        return cn_conf_error(cf, "a header needs a name");
    h = cn_vec_push(cn_conf_pool(cf), &denial->headers, sizeof(*h));
    *h = (cn_denial_header_t){cn_pool_lower(cn_conf_pool(cf), argv[1]), argv[2]};
    return CN_OK;
}
