/* SPDX-License-Identifier: Apache-2.0
 * Between yaml.c and json_in.c only.
 */
#ifndef CN_KUBE_YAML_INT_H
#define CN_KUBE_YAML_INT_H

#include "kube/yaml.h"

/* Reads concatenated JSON texts that are no YAML (surrogate pairs, several
 * objects in a row).  The roots, const cn_node_t *, are added to docs; every
 * node has the line at which its text begins.  CN_ERR: *why and *line (in
 * text, from 0) say what is wrong; docs keeps those before it. */
CN_MUST cn_rc cn_json_in_read(cn_pool_t *, const cn_source_t *, cn_str_t text, uint32_t first_line,
                              cn_vec_t *docs, cn_str_t *why, uint32_t *line);

#endif
