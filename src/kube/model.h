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
#include "kube/route.h"
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
    CN_PROTOCOL_GRPC_WEB, /* gRPC behind a translation of what browsers send */
    CN_PROTOCOL_TCP,
    CN_PROTOCOL_TLS /* the name in the client's hello can be seen, no more */
} cn_protocol;
/* Whether requests can be seen in it. */
static inline bool cn_model_is_http(cn_protocol p)
{
    return p != CN_PROTOCOL_TCP && p != CN_PROTOCOL_TLS;
}

typedef struct {
    cn_str_t name;
    uint16_t port;
    uint16_t target; /* 0: by name, or the same as port when that is empty too */
    cn_str_t target_name;
    cn_protocol protocol;
} cn_service_port_t;

/* Where the endpoints of a service come from (ServiceEntry resolution). */
typedef enum {
    CN_RESOLVE_STATIC,  /* known: a Kubernetes Service, or endpoints with addresses */
    CN_RESOLVE_NONE,    /* the address that the client has dialled */
    CN_RESOLVE_DNS,     /* every answer is an endpoint */
    CN_RESOLVE_DNS_ONE, /* DNS_ROUND_ROBIN: the answers are one endpoint */
    CN_RESOLVE_DYNAMIC  /* DYNAMIC_DNS: the request's own host */
} cn_resolution;

typedef struct cn_tls_policy cn_tls_policy_t;
typedef struct cn_backend_policy cn_backend_policy_t;
typedef struct cn_limits_policy cn_limits_policy_t; /* limits.h */

/* A Service, or one host of a ServiceEntry. */
typedef struct {
    const cn_object_t *obj;
    cn_str_t host;  /* reviews.bookinfo.svc.cluster.local */
    cn_str_t block; /* "reviews.bookinfo", "httpbin.org@egress": of its blocks and files */
    cn_vec_t vips;  /* cn_addr_t, port 0 */
    cn_vec_t ports; /* cn_service_port_t: TCP only, in the order of the object */
    bool headless, external_name;
    bool publish_not_ready; /* pods count as ready at once */
    bool has_selector;
    bool is_entry; /* of a ServiceEntry */
    bool external; /* MESH_EXTERNAL: endpoints do not speak HBONE */
    cn_resolution resolution;
    cn_selector_t selector;
    cn_vec_t slices;      /* const cn_slice_t * */
    cn_vec_t entries;     /* cn_entry_t *: endpoints of a ServiceEntry */
    cn_vec_t sans;        /* cn_str_t: names that certificates of its endpoints may have */
    cn_vec_t exports;     /* cn_str_t: namespaces that see it; none: all */
    cn_binding_t binding; /* this and the following by cn_attach_all() */
    cn_vec_t routes;      /* cn_bound_route_t: in effect at its waypoint */
    cn_vec_t policies;    /* const cn_policy_t *: that name it as a target */
    cn_vec_t tls;         /* const cn_tls_policy_t *: of its ports, the one in effect first */
    const cn_backend_policy_t *backend; /* XBackendTrafficPolicy; NULL: none */
} cn_service_t;

typedef struct {
    cn_addr_t addr;
    bool ready, terminating;
    cn_str_t pod;  /* targetRef; may be empty */
    cn_str_t node; /* may be empty */
} cn_slice_endpoint_t;

typedef struct {
    cn_str_t name;
    uint16_t port;
} cn_named_port_t;

/* A WorkloadEntry, or an endpoint written into a ServiceEntry. */
typedef struct {
    const cn_object_t *obj;
    const cn_node_t *node; /* with its labels */
    bool is_ip;
    cn_addr_t addr;
    cn_str_t host;     /* not is_ip: a name to resolve */
    cn_vec_t ports;    /* cn_named_port_t: other than the service's */
    cn_str_t locality; /* "region/zone/subzone"; may be empty */
    cn_str_t network, service_account;
    uint32_t weight;
    bool captured;        /* speaks HBONE on 15008 */
    cn_binding_t binding; /* of a WorkloadEntry */
} cn_entry_t;

typedef struct {
    cn_str_t locality; /* "region/zone/subzone"; may be empty */
} cn_machine_t;

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
    cn_str_t node;  /* that it runs on; may be empty */
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

typedef struct {
    const cn_http_route_t *route;
    uint16_t port;    /* 0: all */
    cn_str_t clients; /* a consumer's route: the namespace whose clients it is for; else empty */
} cn_bound_route_t;

typedef struct {
    const cn_node_t *node;
    cn_str_t group, kind, ns, name; /* ns may be empty */
    cn_str_t section;
} cn_target_ref_t;

/* BackendTLSPolicy: TLS to the endpoints of a service. */
struct cn_tls_policy {
    const cn_object_t *obj;
    const cn_node_t *at; /* spec.validation */
    cn_vec_t targets;    /* cn_target_ref_t */
    cn_str_t section;    /* of the target it was attached by: a port's name; empty: all ports */
    cn_str_t hostname;
    cn_vec_t sans;       /* cn_str_t */
    bool system;         /* the system's certificate authorities */
    cn_str_t config_map; /* that has ca.crt, in its namespace */
    cn_str_t invalid;    /* why nothing can be sent; empty: it can */
};

/* XBackendTrafficPolicy */
struct cn_backend_policy {
    const cn_object_t *obj;
    cn_vec_t targets; /* cn_target_ref_t */
    cn_vec_t cluster; /* cn_dir_t *: of the service's clusters */
    cn_vec_t service; /* cn_dir_t *: of its service blocks, and of routes to it alone */
};

/* ---- Istio ---- */

typedef struct {
    cn_str_t name;
    const cn_object_t *obj;
    const cn_node_t *node;
    cn_selector_t labels;
} cn_subset_t;

typedef struct {
    const cn_object_t *obj;
    cn_str_t host; /* a full name; may begin with "*." */
    cn_vec_t exports;
    bool has_selector;
    cn_selector_t selector; /* of the waypoint's pods */
    cn_vec_t subsets;       /* cn_subset_t */
} cn_destination_t;

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
    bool said;     /* a warning was given where the row was made */
    cn_str_t text;
} cn_audit_row_t;

typedef struct {
    cn_pool_t *pool;
    cn_diag_t *diag;
    cn_mesh_t mesh;
    cn_vec_t services, pods, gateways, routes, policies; /* pointers, by namespace and name */
    cn_vec_t entries;                                    /* cn_entry_t *: of WorkloadEntry */
    cn_vec_t destinations;                               /* cn_destination_t * */
    cn_vec_t tls_policies, backend_policies;             /* pointers */
    cn_vec_t delegated;  /* cn_str_t: VirtualServices that others delegate to */
    cn_map_t namespaces; /* name -> cn_namespace_t */
    cn_map_t classes;    /* name -> cn_gateway_class_t */
    cn_map_t service_map, gateway_map, pod_map; /* "ns/name" */
    cn_map_t machines;                          /* name of a Node -> cn_machine_t */
    cn_map_t virtual_map;                       /* "ns/name" of VirtualServices -> cn_object_t */
    cn_map_t secrets, config_maps;              /* "ns/name" -> cn_object_t */
    cn_map_t hosts;           /* host -> cn_vec_t of cn_service_t *, the one that counts first */
    cn_map_t destination_map; /* host without wildcard -> cn_vec_t of cn_destination_t * */
    cn_map_t pods_by_ip;      /* address text -> cn_pod_t; without hostNetwork */
    cn_map_t leaving;        /* address text of finished pods and those being deleted -> cn_pod_t */
    cn_vec_t class_policies; /* const cn_policy_t *: for every waypoint, by cn_attach_all() */
    cn_vec_t limits;         /* cn_limits_policy_t *: rate limits and faults */
    cn_vec_t envoy_filters;  /* private to envoyfilter.c */
    cn_map_t limit_bounds;   /* label of a target -> cn_vec_t of cn_limits_bound_t (limits.c) */
    cn_vec_t audit;          /* cn_audit_row_t, by cn_attach_all() */
} cn_world_t;

/* Reading one object. */
typedef struct {
    const cn_world_t *w;
    const cn_object_t *obj;
} cn_reader_t;

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
/* The rules in a list, as those of an ALLOW policy are read: one that cannot be
 * read is left out (cn_policy_rule_t). */
void cn_model_istio_rules(const cn_world_t *, const cn_object_t *, const cn_node_t *map,
                          const char *key, const char *where, cn_vec_t *rules);
void cn_model_core_machine(cn_world_t *, const cn_object_t *);
/* An index by namespace and name of what is looked up later as it is. */
void cn_model_core_secret(cn_world_t *, const cn_object_t *);
void cn_model_core_config_map(cn_world_t *, const cn_object_t *);
void cn_model_virtualservice_index(cn_world_t *, const cn_object_t *);
void cn_model_virtualservice_read(cn_world_t *, const cn_object_t *);
void cn_model_destinationrule_read(cn_world_t *, const cn_object_t *);
void cn_model_serviceentry_read(cn_world_t *, const cn_object_t *);
void cn_model_serviceentry_workload(cn_world_t *, const cn_object_t *);
void cn_model_backendpolicy_tls(cn_world_t *, const cn_object_t *);
void cn_model_backendpolicy_traffic(cn_world_t *, const cn_object_t *);

/* Adds a service to the world's lists and its host to the index. */
void cn_model_add_service(cn_world_t *, cn_service_t *);
/* The service of a host as a namespace sees it: its own, a Kubernetes Service, the
 * oldest; NULL: none. */
cn_service_t *cn_model_find_host(const cn_world_t *, cn_str_t host, cn_str_t ns);
/* Whether an object that is exported to these namespaces is seen from ns. */
bool cn_model_exported(const cn_vec_t *exports, const cn_object_t *, cn_str_t ns);
/* Older first; written by hand, that is without a time, last; then by name. */
int cn_model_older(const cn_object_t *, const cn_object_t *);
void cn_model_read_target(const cn_reader_t *, const cn_node_t *, cn_target_ref_t *);

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
    const cn_pod_t *pod;    /* NULL: not a pod that we know */
    const cn_node_t *owner; /* has its labels; NULL: none */
    uint32_t weight;
    cn_str_t identity; /* "spiffe://td/ns/N/sa/S" of one that speaks HBONE; else empty */
    cn_str_t locality; /* "region/zone/subzone"; may be empty */
    cn_str_t node;     /* that it runs on; may be empty */
} cn_endpoint_out_t;
/* The endpoints of a service port (cn_endpoint_out_t), ordered by address; of a
 * subset those with its labels. */
void cn_endpoints_build(const cn_world_t *, const cn_service_t *, const cn_service_port_t *,
                        const cn_selector_t *subset, cn_vec_t *out);
/* A pod as the only endpoint of itself. */
cn_endpoint_out_t cn_endpoints_pod(const cn_world_t *, const cn_pod_t *);
cn_endpoint_out_t cn_endpoints_entry(const cn_world_t *, const cn_entry_t *);
/* The name of a Node's "region/zone/subzone"; empty: not known. */
cn_str_t cn_endpoints_locality(const cn_world_t *, cn_str_t node);

/* ---- reading fields (read.c) ---- */

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
