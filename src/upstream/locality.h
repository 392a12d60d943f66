/* SPDX-License-Identifier: Apache-2.0
 *
 * Where something runs: region, zone and subzone, as the labels
 * topology.kubernetes.io/region, topology.kubernetes.io/zone and
 * topology.istio.io/subzone of its node say.
 */
#ifndef CN_UPSTREAM_LOCALITY_H
#define CN_UPSTREAM_LOCALITY_H

#include "core/str.h"

/* Longest name of a place, a node or a network: a Kubernetes object name. */
#define CN_LOCALITY_NAME 253u

typedef struct {
    cn_str_t region, zone, subzone; /* empty: not known */
} cn_locality_t;

/* "region/zone/subzone", later parts may be missing; parts point into the text.
 * CN_ERR: empty, more than three parts, one too long, or one that is empty
 * before one that is not. */
CN_MUST cn_rc cn_locality_parse(cn_str_t text, cn_locality_t *);
/* How much two have in common: 0 nothing known or another region, 1 the region,
 * 2 the zone too, 3 all.  A part that neither names counts as the same, as in
 * Istio (an empty subzone is a subzone). */
unsigned cn_locality_common(const cn_locality_t *, const cn_locality_t *);

#endif
