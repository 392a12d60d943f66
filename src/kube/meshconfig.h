/* SPDX-License-Identifier: Apache-2.0
 *
 * What Istio's MeshConfig says to a waypoint, with Istio's defaults.
 */
#ifndef CN_KUBE_MESHCONFIG_H
#define CN_KUBE_MESHCONFIG_H

#include "kube/store.h"

typedef struct {
    cn_str_t trust_domain;
    cn_vec_t aliases; /* cn_str_t */
    cn_str_t root_namespace;
    cn_str_t cluster_id, network; /* network may be empty */
    cn_str_t log_file;            /* empty: no access log */
    bool log_json;
    cn_str_t log_format;            /* empty: Istio's default line */
    const char *path_normalization; /* the conf's word */
    cn_str_t connect_timeout;       /* the conf's form: "10s" */
    const cn_object_t *obj;         /* for messages about the following; NULL: none was read */
    const cn_node_t *retry;         /* defaultHttpRetryPolicy */
    const cn_node_t *locality;      /* localityLbSetting */
    const cn_node_t *keepalive;     /* tcpKeepalive */
    const cn_node_t *proxy;         /* defaultConfig */
    bool rules_name_files;          /* --tls-files */
    bool upgrade_h2;                /* h2UpgradePolicy: UPGRADE */
    cn_vec_t service_exports, virtual_exports, destination_exports; /* cn_str_t; none: all */
} cn_mesh_t;

void cn_meshconfig_default(cn_mesh_t *);
/* Text of a MeshConfig, or of the ConfigMap that holds one under data.mesh.
 * CN_ERR: no document could be read; said to diag. */
CN_MUST cn_rc cn_meshconfig_read(cn_mesh_t *, cn_pool_t *, cn_diag_t *, const cn_source_t *,
                                 cn_str_t text);

#endif
