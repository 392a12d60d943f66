/* SPDX-License-Identifier: Apache-2.0
 *
 * The fields that each kind has, to find misspelt ones and those that should be
 * maps and are not.  Fields below metadata and status are never looked at.
 */
#ifndef CN_KUBE_SCHEMA_H
#define CN_KUBE_SCHEMA_H

#include "kube/node.h"

typedef struct cn_schema cn_schema_t;

/* Text form: "spec{parentRefs[group kind] hostnames+ labels~}": {} a map, [] a list of
 * maps, + a list of single values, ~ a map with keys of the user's, * any value;
 * nothing: any value too, or a single one when the text begins with "=".  The
 * text is ours and correct. */
const cn_schema_t *cn_schema_compile(cn_pool_t *, const char *text);

/* Warns once for each unknown key, with the known one it may have meant, and for
 * each value of another shape, which is marked (diag.h). */
void cn_schema_check(const cn_schema_t *, cn_diag_t *, const cn_node_t *root, cn_str_t object);

/* Edits (insert, delete, replace; letters compared without case) that make b of
 * a, or limit + 1 when more are needed. */
unsigned cn_schema_distance(cn_str_t a, cn_str_t b, unsigned limit);

/* One schema text for each kind, by cn_kind. */
extern const char *const cn_schema_texts[];
extern const char cn_schema_meshconfig[], cn_schema_proxyconfig[];

#endif
