/* SPDX-License-Identifier: Apache-2.0
 *
 * What one waypoint does, in the terms of its conf: clusters, services with
 * their routes and policies.  A pure function of the world.
 */
#ifndef CN_KUBE_TRANSLATE_H
#define CN_KUBE_TRANSLATE_H

#include "kube/traffic.h"

typedef struct {
    cn_str_t name; /* reviews.bookinfo:9080, reviews.bookinfo:9080/v1 */
    cn_str_t comment;
    const cn_service_t *svc; /* NULL: a pod's own */
    uint16_t port;
    cn_str_t alias;
    cn_protocol protocol;
    cn_vec_t dirs;      /* cn_dir_t * */
    cn_vec_t endpoints; /* cn_endpoint_out_t */
    bool resolved;      /* by name, or as the client has dialled: it has no endpoints to list */
    cn_vec_t labels;    /* cn_str_t: keys of labels that its endpoints say */
    bool with_nodes;    /* its endpoints say which node they are on */
    cn_str_t file;      /* of the endpoints, below endpoints.d; empty: in place */
} cn_out_cluster_t;

typedef struct {
    cn_str_t cluster; /* empty: answers 500, or closes the connection */
    uint32_t weight;
    cn_str_t filter; /* tag of the backend_filter; empty: none */
    cn_str_t comment;
} cn_out_backend_t;

typedef struct {
    cn_str_t name, comment;
    cn_str_t clients;  /* only for clients of this namespace; empty: for all */
    cn_vec_t named;    /* cn_str_t: namespaces for whose clients it is repeated */
    cn_vec_t matches;  /* const cn_http_match_t * */
    cn_vec_t dirs;     /* cn_dir_t *: what it does */
    cn_vec_t backends; /* cn_out_backend_t */
    cn_vec_t filters;  /* cn_dir_t *: backend_filter blocks */
    bool answers;      /* by itself: needs no backend */
} cn_out_route_t;

typedef struct {
    cn_str_t name, comment;
    cn_vec_t snis;     /* cn_str_t; none: any */
    cn_vec_t backends; /* cn_out_backend_t */
} cn_out_tls_route_t;

typedef struct {
    cn_str_t name, comment;
    cn_vec_t addresses;      /* cn_addr_t; port 0: any */
    const cn_service_t *svc; /* NULL: a pod's own */
    uint16_t port;
    cn_protocol protocol;
    cn_str_t cluster;
    cn_vec_t policies;     /* const cn_policy_t * */
    cn_vec_t dirs;         /* cn_dir_t *: for all its routes */
    cn_vec_t tcp_backends; /* cn_out_backend_t */
    cn_str_t tcp_comment;  /* which rule they are of */
    cn_vec_t tls_routes;   /* cn_out_tls_route_t */
    cn_vec_t routes;       /* cn_out_route_t, in the order of precedence */
} cn_out_service_t;

/* One file of conf.d. */
typedef struct {
    cn_str_t name; /* without ".conf" */
    cn_vec_t clusters, services;
} cn_out_unit_t;

typedef struct {
    const cn_world_t *world;
    const cn_gateway_t *waypoint;
    cn_str_t network;
    cn_str_t locality, node; /* of the waypoint's pods, when all have the same; else empty */
    cn_str_t labels;         /* of one of its pods, as far as clusters ask for them: k=v,k=v */
    cn_vec_t units;          /* cn_out_unit_t */
    cn_vec_t pods;           /* const cn_pod_t *: for the workloads file */
    cn_vec_t defaults;       /* cn_dir_t *: for all services */
    cn_vec_t files;          /* cn_traffic_file_t: certificates and keys */
    uint32_t workers;        /* worker processes; 0: as many as there are processors */
    uint64_t shutdown_ms;    /* for what runs when the waypoint ends; 0: the default */
} cn_out_t;

/* Everything is in the world's pool.  Complains to its diag. */
void cn_translate_run(const cn_world_t *, const cn_gateway_t *, cn_out_t *);

/* "k=v,k=v" of the labels below owner, as far as their keys are asked for. */
cn_str_t cn_translate_labels(cn_pool_t *, const cn_node_t *owner, const cn_vec_t *keys);

/* ---- routes.c, l4routes.c: one service port ---- */

/* Told of each cluster that is sent to.  False: the service has no such subset. */
typedef bool cn_routes_need_cb(void *arg, const cn_service_t *, const cn_service_port_t *,
                               cn_str_t subset);
typedef struct {
    const cn_world_t *w;
    const cn_service_t *svc;
    const cn_service_port_t *port;
    cn_routes_need_cb *need;
    void *arg;
} cn_routes_t;

/* The routes in the order in which they are tried (cn_out_route_t). */
void cn_routes_build(const cn_routes_t *, cn_vec_t *out);
/* Where connections go that carry no HTTP, or TLS. */
void cn_l4routes_build(const cn_routes_t *, cn_out_service_t *out);

typedef enum {
    CN_ROUTES_MISSING_500,  /* the Gateway API's: a share without a service answers 500 */
    CN_ROUTES_MISSING_503,  /* VirtualService's: it names a cluster that there is not */
    CN_ROUTES_MISSING_CLOSE /* connections: the share is closed */
} cn_routes_missing;
/* A backend as the conf has it.  Complains, at obj, when it does not exist. */
cn_out_backend_t cn_routes_backend(const cn_routes_t *, const cn_object_t *obj,
                                   const cn_backend_t *, cn_routes_missing);
/* "reviews.bookinfo:9080", with a subset "reviews.bookinfo:9080/v1" */
cn_str_t cn_routes_cluster_name(const cn_world_t *, const cn_service_t *, uint16_t port,
                                cn_str_t subset);

#endif
