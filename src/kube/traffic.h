/* SPDX-License-Identifier: Apache-2.0
 *
 * What a cluster does beside having endpoints: the traffic policy of its
 * DestinationRule, knobs of the Service, the Gateway API's backend policies and
 * MeshConfig, as directives of a cluster block.
 */
#ifndef CN_KUBE_TRAFFIC_H
#define CN_KUBE_TRAFFIC_H

#include "kube/value.h"

/* The DestinationRule of a service as one waypoint sees it (semantics 4.1). */
typedef struct {
    const cn_destination_t *rule; /* whose trafficPolicy counts; NULL: none */
    cn_vec_t subsets;             /* const cn_subset_t * */
} cn_traffic_choice_t;
void cn_traffic_choose(const cn_world_t *, const cn_gateway_t *, const cn_service_t *,
                       cn_traffic_choice_t *out);
const cn_subset_t *cn_traffic_subset(const cn_traffic_choice_t *, cn_str_t name);

/* A file that the conf names beside it: certificates and keys. */
typedef struct {
    cn_str_t path; /* "tls.d/bookinfo.client.key" */
    cn_str_t text;
} cn_traffic_file_t;

typedef struct {
    const cn_world_t *w;
    const cn_gateway_t *waypoint;
    const cn_service_t *svc;
    const cn_service_port_t *port;
    const cn_traffic_choice_t *choice;
    const cn_subset_t *subset; /* NULL: all endpoints */
    cn_vec_t *files;           /* cn_traffic_file_t: those that are needed are added once */
    cn_vec_t *dirs;            /* cn_dir_t *: the result */
    cn_protocol protocol;      /* in: the port's; out: towards the endpoints */
    cn_vec_t labels;           /* cn_str_t, out: keys of labels that it asks for */
    bool uses_node;            /* out: it asks which node endpoints are on */
    bool blocked;              /* out: what it needs is missing: nothing may be sent */
    bool original;             /* out: PASSTHROUGH: sent where the client has dialled */
} cn_traffic_t;
void cn_traffic_build(cn_traffic_t *);

/* tls.c: TLS to the endpoints, from the policy's `tls` (NULL: none) or a BackendTLSPolicy. */
void cn_tls_build(cn_traffic_t *, const cn_object_t *rule, const cn_node_t *tls);
/* locality.c: which endpoints are preferred by where they are. */
void cn_locality_build(cn_traffic_t *, const cn_object_t *rule, const cn_node_t *lb, bool outlier);

#endif
