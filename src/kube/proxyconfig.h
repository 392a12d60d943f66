/* SPDX-License-Identifier: Apache-2.0
 *
 * Istio's ProxyConfig at a waypoint: MeshConfig's defaultConfig and, over it field
 * by field, the annotation proxy.istio.io/config that Istio copies from a Gateway
 * to its pods.
 */
#ifndef CN_KUBE_PROXYCONFIG_H
#define CN_KUBE_PROXYCONFIG_H

#include "kube/translate.h"

/* Fills out->workers and out->shutdown_ms, and appends to out->defaults what hosts
 * and clients are told in headers.  Complains about what has no effect here. */
void cn_proxyconfig_put(const cn_world_t *, const cn_gateway_t *, cn_out_t *);

#endif
