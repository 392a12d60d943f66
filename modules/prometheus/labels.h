/* SPDX-License-Identifier: Apache-2.0
 *
 * The label set of the istio_* families, private to the module.
 */
#ifndef CN_PROMETHEUS_LABELS_H
#define CN_PROMETHEUS_LABELS_H

#include <cairn/module.h>

/* Enough for 25 labels with values of ordinary length; longer values are cut
 * at PROM_VALUE_MAX, so the whole always fits. */
#define PROM_VALUE_MAX 200
#define PROM_LABELS_MAX (25 * (40 + 2 * PROM_VALUE_MAX))

typedef enum { PROM_HTTP, PROM_TCP, PROM_MESSAGES } prom_kind_t;

/* Writes the labels in Istio's emission order (facts/observability 1.3) as they
 * are exposed, and returns their length. */
size_t prom_labels_put(char *out, const cn_facts_t *, prom_kind_t);

#endif
