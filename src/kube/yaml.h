/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads YAML and JSON text into document trees.  Documents are independent:
 * one that cannot be read is reported with its line and costs only itself.
 * What one file can make us hold is bounded in size, depth, nodes and alias
 * expansion.
 */
#ifndef CN_KUBE_YAML_H
#define CN_KUBE_YAML_H

#include "kube/node.h"

#define CN_YAML_MAX_BYTES (512u << 20)
#define CN_YAML_MAX_DEPTH 256
#define CN_YAML_MAX_NODES (16u << 20)
/* Nodes that aliases and merge keys may add to a document. */
#define CN_YAML_MAX_ALIASED 100000

typedef void cn_yaml_doc_cb(void *arg, const cn_node_t *root);

/* Calls cb for each document that holds anything, in order.  Nodes and their
 * text live in the pool; src must live as long. */
void cn_yaml_read(cn_pool_t *, cn_diag_t *, const cn_source_t *src, cn_str_t text,
                  cn_yaml_doc_cb *cb, void *arg);

#endif
