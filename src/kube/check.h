/* SPDX-License-Identifier: Apache-2.0
 *
 * The attach audit: what every route and policy binds to, and why an object
 * has no effect.
 */
#ifndef CN_KUBE_CHECK_H
#define CN_KUBE_CHECK_H

#include <stdio.h>

#include "kube/model.h"

void cn_check_print(const cn_world_t *, FILE *);

#endif
