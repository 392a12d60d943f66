/* SPDX-License-Identifier: Apache-2.0
 *
 * The input as Kubernetes objects: identified by kind, namespace and name, one
 * of each.  Says what the input cannot be: bad names, kinds that are misspelt
 * or have no effect here.  Knows nothing of what objects mean.
 */
#ifndef CN_KUBE_STORE_H
#define CN_KUBE_STORE_H

#include "kube/node.h"
#include "kube/schema.h"

typedef enum {
    CN_KIND_NAMESPACE,
    CN_KIND_SERVICE,
    CN_KIND_ENDPOINT_SLICE,
    CN_KIND_POD,
    CN_KIND_GATEWAY_CLASS,
    CN_KIND_GATEWAY,
    CN_KIND_HTTP_ROUTE,
    CN_KIND_GRPC_ROUTE,
    CN_KIND_TCP_ROUTE,
    CN_KIND_TLS_ROUTE,
    CN_KIND_VIRTUAL_SERVICE,
    CN_KIND_DESTINATION_RULE,
    CN_KIND_SERVICE_ENTRY,
    CN_KIND_WORKLOAD_ENTRY,
    CN_KIND_BACKEND_TLS_POLICY,
    CN_KIND_BACKEND_TRAFFIC_POLICY,
    CN_KIND_AUTHORIZATION_POLICY,
    CN_KIND_RATE_LIMIT_POLICY,
    CN_KIND_FAULT_POLICY,
    CN_KIND_ENVOY_FILTER,
    CN_KIND_NODE,
    CN_KIND_SECRET,
    CN_KIND_CONFIG_MAP,
    CN_KIND_MAX
} cn_kind;

typedef struct {
    cn_kind kind;
    cn_str_t ns, name; /* ns is empty for cluster-wide kinds */
    cn_str_t id;       /* "bookinfo/reviews", or the name alone */
    cn_str_t label;    /* "HTTPRoute bookinfo/reviews", for messages */
    cn_place_t pos;
    const cn_node_t *root;
    const cn_node_t *meta; /* metadata */
    const cn_node_t *spec; /* NULL when absent */
    cn_str_t created;      /* creationTimestamp, RFC 3339; may be empty */
    bool deleted;          /* deletionTimestamp is set */
} cn_object_t;

typedef struct {
    cn_pool_t *pool;
    cn_diag_t *diag;
    const cn_schema_t *schema[CN_KIND_MAX];
    cn_map_t by_key;
    cn_vec_t objects[CN_KIND_MAX]; /* cn_object_t *; sorted by cn_store_finish() */
    unsigned documents;            /* that were read, of any kind */
} cn_store_t;

void cn_store_init(cn_store_t *, cn_pool_t *, cn_diag_t *);
void cn_store_fini(cn_store_t *);
/* A cn_yaml_doc_cb: takes a document, with all objects of a List. */
void cn_store_add(void *store, const cn_node_t *root);
/* After the last document: orders the objects by namespace and name. */
void cn_store_finish(cn_store_t *);

const char *cn_store_kind_name(cn_kind);

/* The value of a label or annotation; empty when absent (has tells apart). */
cn_str_t cn_store_label(const cn_object_t *, const char *key);
bool cn_store_has_label(const cn_object_t *, const char *key);
cn_str_t cn_store_annotation(const cn_object_t *, const char *key);

/* "LABEL: message" at a node of the object, or at the object when node is NULL. */
void cn_store_warn(cn_diag_t *, const cn_object_t *, const cn_node_t *at, const char *fmt, ...)
    CN_PRINTF(4, 5);
void cn_store_error(cn_diag_t *, const cn_object_t *, const cn_node_t *at, const char *fmt, ...)
    CN_PRINTF(4, 5);

/* RFC 1123: labels of lower-case letters, digits and '-', joined by dots. */
bool cn_store_is_dns_label(cn_str_t);
bool cn_store_is_dns_subdomain(cn_str_t);
/* Letters, digits, '-', '_' and '.'; not empty: a label's value, and safe as a word anywhere. */
bool cn_store_is_label_value(cn_str_t);

#endif
