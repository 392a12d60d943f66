/* SPDX-License-Identifier: Apache-2.0
 *
 * What a request that a limit refuses is answered, as settings of a block: for
 * every module that refuses with a status and headers of the operator's choice.
 */
#ifndef CN_POLICY_DENIAL_H
#define CN_POLICY_DENIAL_H

#include "conf/conf.h"

typedef struct {
    cn_str_t name, value; /* the name in lower case */
} cn_denial_header_t;

typedef struct {
    uint32_t status;
    int grpc_status;
    cn_str_t body;
    cn_vec_t headers; /* cn_denial_header_t */
} cn_denial_t;

/* 429, for gRPC UNAVAILABLE. */
#define CN_DENIAL_DEFAULT .status = 429, .grpc_status = 14

extern const cn_range_t cn_denial_statuses;
extern const cn_enum_t cn_denial_grpc_statuses[];
/* `header NAME VALUE`; .off is that of the cn_denial_t. */
cn_rc cn_denial_set_header(cn_conf_t *, const cn_directive_t *, void *conf, const cn_str_t *argv,
                           unsigned argc);

/* Entries of the block's table; at: offset of the cn_denial_t in its settings.  `body` is the
 * module's, for it says when that one is used. */
#define CN_DENIAL_STATUS(at)                                                                       \
    {                                                                                              \
        .name = "status", .where = CN_AT_PRIVATE, .args = CN_ARGS(1, 1), .set = cn_set_u32,        \
        .off = (at) + offsetof(cn_denial_t, status), .arg = &cn_denial_statuses,                   \
        .syntax = "status NUMBER", .help = "Of a refusal.", .deflt = "429"                         \
    }
#define CN_DENIAL_HEADER(at)                                                                       \
    {                                                                                              \
        .name = "header", .where = CN_AT_PRIVATE | CN_D_REPEAT, .args = CN_ARGS(2, 2),             \
        .set = cn_denial_set_header, .off = (at), .syntax = "header NAME VALUE",                   \
        .help = "A header of a refusal."                                                           \
    }
#define CN_DENIAL_GRPC_STATUS(at)                                                                  \
    {                                                                                              \
        .name = "grpc_status", .where = CN_AT_PRIVATE, .args = CN_ARGS(1, 1), .set = cn_set_enum,  \
        .off = (at) + offsetof(cn_denial_t, grpc_status), .arg = cn_denial_grpc_statuses,          \
        .syntax = "grpc_status unavailable | resource_exhausted",                                  \
        .help = "What a gRPC client is told.", .deflt = "unavailable"                              \
    }

#endif
