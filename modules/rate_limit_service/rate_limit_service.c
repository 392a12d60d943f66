/* SPDX-License-Identifier: Apache-2.0
 *
 * rate_limit_service: limits that several proxies share, kept by a service
 * that speaks Envoy's rate limit protocol.
 */
#include "rls_int.h"

const cn_module_t cn_module_rate_limit_service = {
    .abi = CN_MODULE_ABI,
    .name = "rate_limit_service",
    .after = "rate_limit",
    .directives = rls_directives,
    .conf[CN_LV_MAIN] = {.size = sizeof(rls_conf_t)},
    .conf[CN_LV_SERVICE] = {.size = sizeof(rls_conf_t)},
    .conf[CN_LV_ROUTE] = {.size = sizeof(rls_conf_t)},
};
