/* SPDX-License-Identifier: Apache-2.0
 *
 * Kubernetes objects as typed structs, read out of their documents once.
 * Everything lives in the world's pool.  Values were checked when they were
 * read: what is here can be written into a conf file as it is.
 */
#ifndef CN_KUBE_MODEL_H
#define CN_KUBE_MODEL_H

#include "core/inet.h"
#include "kube/meshconfig.h"
#include "kube/store.h"

/* ---- shared parts ---- */

typedef enum { CN_SEL_IN, CN_SEL_NOT_IN, CN_SEL_EXISTS, CN_SEL_ABSENT } cn_sel_op;

typedef struct {
    cn_str_t key;
    cn_sel_op op;
    cn_vec_t values; /* cn_str_t */
} cn_sel_term_t;

/* All terms must hold; no terms: everything is selected. */
typedef struct {
    cn_vec_t terms; /* cn_sel_term_t */
} cn_selector_t;

typedef struct cn_gateway cn_gateway_t;

/* How an object found, or did not find, its waypoint (semantics 2.2). */
typedef enum {
    CN_BIND_NONE,    /* no label anywhere */
    CN_BIND_OPT_OUT, /* the label says none */
    CN_BIND_OK,
    CN_BIND_MISSING, /* the label names no Gateway */
    CN_BIND_DENIED,  /* allowedRoutes */
    CN_BIND_TYPE,    /* istio.io/waypoint-for */
    CN_BIND_EXEMPT   /* cannot have one: headless, ExternalName, a waypoint's own */
} cn_bind_state;

typedef struct {
    cn_bind_state state;
    const cn_gateway_t *gateway; /* OK, DENIED, TYPE */
    bool inherited;              /* the label is the namespace's */
    cn_str_t why;                /* one phrase, for people */
} cn_binding_t;

/* ---- core ---- */

typedef struct {
    const cn_object_t *obj;
} cn_namespace_t;

typedef enum {
    CN_PROTOCOL_AUTO,
    CN_PROTOCOL_HTTP,
    CN_PROTOCOL_HTTP2,
    CN_PROTOCOL_GRPC,
    CN_PROTOCOL_TCP
} cn_protocol;

typedef struct {
    cn_str_t name;
    uint16_t port;
    uint16_t target; /* 0: by name, or the same as port when that is empty too */
    cn_str_t target_name;
    cn_protocol protocol;
} cn_service_port_t;

typedef struct {
    const cn_object_t *obj;
    cn_str_t host;  /* reviews.bookinfo.svc.cluster.local */
    cn_vec_t vips;  /* cn_addr_t, port 0 */
    cn_vec_t ports; /* cn_service_port_t: TCP only, in the order of the object */
    bool headless, external_name;
    bool publish_not_ready; /* pods count as ready at once */
    bool has_selector;
    cn_selector_t selector;
    cn_vec_t slices;      /* const cn_slice_t * */
    cn_binding_t binding; /* this and the following by cn_attach_all() */
    cn_vec_t routes;      /* cn_bound_route_t: in effect at its waypoint */
    cn_vec_t policies;    /* const cn_policy_t *: that name it as a target */
} cn_service_t;

typedef struct {
    cn_addr_t addr;
    bool ready, terminating;
    cn_str_t pod; /* targetRef; may be empty */
} cn_slice_endpoint_t;

typedef struct {
    cn_str_t name;
    uint16_t port;
} cn_named_port_t;

typedef struct {
    const cn_object_t *obj;
    cn_str_t service;
    cn_vec_t ports;     /* cn_named_port_t: TCP only */
    cn_vec_t endpoints; /* cn_slice_endpoint_t */
} cn_slice_t;

typedef struct {
    const cn_object_t *obj;
    cn_vec_t ips; /* cn_addr_t; the first is the one that is dialled */
    bool host_network;
    bool ready;
    bool running;  /* neither finished nor being deleted */
    bool captured; /* speaks HBONE on 15008 */
    cn_str_t service_account;
    cn_vec_t ports; /* cn_named_port_t */
    cn_str_t workload;
    const char *workload_type;
    cn_str_t canonical_name, canonical_revision;
    cn_binding_t binding;
} cn_pod_t;

/* ---- Gateway API ---- */

typedef struct {
    const cn_object_t *obj;
    cn_str_t controller;
} cn_gateway_class_t;

typedef enum { CN_FROM_SAME, CN_FROM_ALL, CN_FROM_SELECTOR, CN_FROM_NONE } cn_from;

struct cn_gateway {
    const cn_object_t *obj;
    cn_str_t class_name;
    bool is_waypoint;      /* by its class, its binding, or because it has an HBONE listener */
    cn_str_t waypoint_for; /* label of the Gateway or its class; "service" by default */
    uint16_t proxy_port;   /* where a ztunnel in front sends PROXY headers; 0: HBONE comes to us */
    cn_from from;          /* allowedRoutes of the listener of that port, else of the HBONE one */
    cn_selector_t selector;
    cn_str_t network;  /* label topology.istio.io/network; may be empty */
    cn_vec_t policies; /* const cn_policy_t *, by cn_attach_all() */
};

typedef enum { CN_MATCH_EXACT, CN_MATCH_PREFIX, CN_MATCH_REGEX } cn_match_kind;

typedef struct {
    cn_match_kind kind;
    cn_str_t name; /* of a header (lower case) or parameter; empty for a path */
    cn_str_t value;
} cn_value_match_t;

typedef struct {
    cn_value_match_t path; /* always set: prefix / by default */
    cn_str_t method;       /* empty: any */
    cn_vec_t headers;      /* cn_value_match_t */
    cn_vec_t query;        /* cn_value_match_t */
} cn_http_match_t;

typedef struct {
    cn_str_t ns, name;
    uint16_t port;
    uint32_t weight; /* not 0 */
    const cn_node_t *node;
    cn_str_t invalid; /* why it answers 500; empty: valid as far as the route says */
} cn_backend_t;

typedef struct {
    cn_str_t name;  /* <ns>.<route>.<index>, or the rule's own */
    uint32_t index; /* in spec.rules */
    const cn_node_t *node;
    cn_vec_t matches;  /* cn_http_match_t; never empty */
    cn_vec_t backends; /* cn_backend_t; empty: 500 */
    cn_str_t broken;   /* why the whole rule answers 500; empty: it does not */
} cn_http_rule_t;

typedef struct {
    const cn_node_t *node;
    cn_str_t group, kind, ns, name;
    uint16_t port; /* 0: all */
    bool section;  /* has a sectionName */
} cn_parent_ref_t;

typedef struct {
    const cn_object_t *obj;
    cn_vec_t parents; /* cn_parent_ref_t */
    cn_vec_t rules;   /* cn_http_rule_t: those that can match anything */
    bool hostnames;
} cn_http_route_t;

typedef struct {
    const cn_http_route_t *route;
    uint16_t port; /* 0: all */
} cn_bound_route_t;

/* ---- Istio ---- */

typedef enum { CN_ACTION_ALLOW, CN_ACTION_DENY, CN_ACTION_AUDIT } cn_action;

/* A list of values under a directive of the conf's authz blocks. */
typedef struct {
    const char *word; /* "principals", "not_paths", ... */
    cn_vec_t values;  /* cn_str_t; not empty */
} cn_policy_field_t;

typedef struct {
    cn_vec_t fields; /* cn_policy_field_t; all must hold */
} cn_policy_clause_t;

typedef struct {
    bool negated;
    cn_str_t key;
    cn_vec_t values;
} cn_policy_when_t;

typedef struct {
    cn_vec_t from, to; /* cn_policy_clause_t; one of each must hold; none: any */
    cn_vec_t when;     /* cn_policy_when_t; all must hold */
} cn_policy_rule_t;

typedef struct {
    const cn_node_t *node;
    cn_str_t group, kind, ns, name; /* ns may be empty */
} cn_target_ref_t;

typedef struct {
    const cn_object_t *obj;
    cn_action action;
    bool dry_run, custom;
    bool has_selector;
    cn_selector_t selector;
    cn_vec_t targets; /* cn_target_ref_t */
    cn_vec_t rules;   /* cn_policy_rule_t; ALLOW without rules denies everything */
} cn_policy_t;

/* ---- all of it ---- */

/* What became of one reference of an object, for people (attach.c). */
typedef struct {
    const cn_object_t *obj;
    const cn_node_t *at; /* the reference; NULL: the object */
    cn_str_t target;     /* "Service bookinfo/reviews:9080" */
    cn_str_t waypoint;   /* "bookinfo/waypoint", or empty */
    bool effect;
    bool expected; /* without effect here, and rightly so: no warning */
    cn_str_t text;
} cn_audit_row_t;

typedef struct {
    cn_pool_t *pool;
    cn_diag_t *diag;
    cn_mesh_t mesh;
    cn_vec_t services, pods, gateways, routes, policies; /* pointers, by namespace and name */
    cn_map_t namespaces;                                 /* name -> cn_namespace_t */
    cn_map_t classes;                                    /* name -> cn_gateway_class_t */
    cn_map_t service_map, gateway_map, pod_map;          /* "ns/name" */
    cn_map_t pods_by_ip;     /* address text -> cn_pod_t; without hostNetwork */
    cn_map_t leaving;        /* address text of finished pods and those being deleted -> cn_pod_t */
    cn_vec_t class_policies; /* const cn_policy_t *: for every waypoint, by cn_attach_all() */
    cn_vec_t audit;          /* cn_audit_row_t, by cn_attach_all() */
} cn_world_t;

/* Reads all of a finished store.  Fields in use are checked and complained about. */
void cn_model_init(cn_world_t *, const cn_store_t *, const cn_mesh_t *);
void cn_model_fini(cn_world_t *);
cn_str_t cn_model_key(const cn_world_t *, cn_str_t ns, cn_str_t name);

/* model_core.c, model_gateway.c, model_istio.c: one object each, in cn_model_init's order. */
void cn_model_core_namespace(cn_world_t *, const cn_object_t *);
void cn_model_core_service(cn_world_t *, const cn_object_t *);
void cn_model_core_slice(cn_world_t *, const cn_object_t *);
void cn_model_core_pod(cn_world_t *, const cn_object_t *);
cn_protocol cn_model_core_protocol(uint16_t port, cn_str_t name, cn_str_t app_protocol);
void cn_model_gateway_class(cn_world_t *, const cn_object_t *);
void cn_model_gateway_gateway(cn_world_t *, const cn_object_t *);
void cn_model_route_read(cn_world_t *, const cn_object_t *);
void cn_model_istio_policy(cn_world_t *, const cn_object_t *);

/* ---- attach.c ---- */

/* Finds the waypoint of every service and pod, and what every route and policy
 * is attached to.  Says what has no effect: in the audit, and as a warning
 * where somebody will have expected one. */
void cn_attach_all(cn_world_t *);
static inline bool cn_attach_bound(const cn_binding_t *b, const cn_gateway_t *g)
{
    return b->state == CN_BIND_OK && b->gateway == g;
}

/* ---- endpoints.c ---- */

typedef struct {
    cn_addr_t addr;
    bool healthy;
    const cn_pod_t *pod; /* NULL: not a pod that we know */
} cn_endpoint_out_t;
/* The endpoints of a service port (cn_endpoint_out_t), ordered by address. */
void cn_endpoints_build(const cn_world_t *, const cn_service_t *, const cn_service_port_t *,
                        cn_vec_t *out);
/* "spiffe://td/ns/N/sa/S" of a pod. */
cn_str_t cn_endpoints_identity(const cn_world_t *, const cn_pod_t *);

/* ---- reading fields (read.c) ---- */

typedef struct {
    cn_world_t *w;
    const cn_object_t *obj;
} cn_reader_t;

/* A field's text; empty when absent.  A number or a boolean is taken as text,
 * with a warning, since the API server would refuse it. */
cn_str_t cn_read_text(const cn_reader_t *, const cn_node_t *map, const char *key);
/* A whole number within [min, max].  False: absent, or refused with an error. */
bool cn_read_number(const cn_reader_t *, const cn_node_t *map, const char *key, int64_t min,
                    int64_t max, int64_t *out);
/* Elements of a list; 0 when absent; not a list: an error. */
uint32_t cn_read_list(const cn_reader_t *, const cn_node_t *map, const char *key,
                      const cn_node_item_t **items);
/* Appends the texts of a list (cn_str_t). */
void cn_read_texts(const cn_reader_t *, const cn_node_t *map, const char *key, cn_vec_t *out);
/* A LabelSelector ({matchLabels, matchExpressions}); false: it has an unknown operator. */
bool cn_read_selector(const cn_reader_t *, const cn_node_t *node, cn_selector_t *);
/* The key-value pairs of a map as terms (Service spec.selector). */
void cn_read_labels(const cn_reader_t *, const cn_node_t *map, cn_selector_t *);
/* Whether the labels of an object hold.  meta may be NULL; extra_key gives one
 * label more (kubernetes.io/metadata.name), or NULL. */
bool cn_read_selects(const cn_selector_t *, const cn_node_t *meta, const char *extra_key,
                     cn_str_t extra_value);

#endif
