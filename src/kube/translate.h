/* SPDX-License-Identifier: Apache-2.0
 *
 * What one waypoint does, in the terms of its conf: clusters, services with
 * their routes and policies.  A pure function of the world.
 */
#ifndef CN_KUBE_TRANSLATE_H
#define CN_KUBE_TRANSLATE_H

#include "kube/model.h"

typedef struct {
    cn_str_t name; /* reviews.bookinfo:9080 */
    cn_str_t comment;
    const cn_service_t *svc; /* NULL: a pod's own */
    uint16_t port;
    cn_str_t alias;
    cn_protocol protocol;
    cn_vec_t endpoints; /* cn_endpoint_out_t */
    cn_str_t file;      /* of the endpoints, below endpoints.d; empty: in place */
} cn_out_cluster_t;

typedef struct {
    cn_str_t cluster; /* empty: answers 500 */
    uint32_t weight;
    cn_str_t comment;
} cn_out_backend_t;

typedef struct {
    cn_str_t name, comment;
    cn_vec_t matches;  /* const cn_http_match_t * */
    cn_vec_t backends; /* cn_out_backend_t */
} cn_out_route_t;

typedef struct {
    cn_str_t name, comment;
    cn_vec_t addresses;      /* cn_addr_t; port 0: any */
    const cn_service_t *svc; /* NULL: a pod's own */
    uint16_t port;
    cn_protocol protocol;
    cn_str_t cluster;
    cn_vec_t policies; /* const cn_policy_t * */
    cn_vec_t routes;   /* cn_out_route_t, in the order of precedence */
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
    cn_vec_t units; /* cn_out_unit_t */
    cn_vec_t pods;  /* const cn_pod_t *: for the workloads file */
} cn_out_t;

/* Everything is in the world's pool.  Complains to its diag. */
void cn_translate_run(const cn_world_t *, const cn_gateway_t *, cn_out_t *);

/* routes.c: the routes of one service port in the order in which they are
 * tried.  `need` is told of each backend that is sent to. */
typedef void cn_routes_need_cb(void *arg, const cn_service_t *, const cn_service_port_t *);
void cn_routes_build(const cn_world_t *, const cn_service_t *, uint16_t port,
                     cn_routes_need_cb *need, void *arg, cn_vec_t *out);
/* "reviews.bookinfo:9080" */
cn_str_t cn_routes_cluster_name(const cn_world_t *, const cn_service_t *, uint16_t port);

#endif
