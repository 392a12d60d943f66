/* SPDX-License-Identifier: Apache-2.0
 * Between the files of the fault module.
 */
#ifndef CN_FAULT_INT_H
#define CN_FAULT_INT_H

#include <cairn/module.h>

typedef struct {
    cn_str_t name, value; /* any one line of the header is so */
} cn_fault_header_t;

/* One delay or one abort. */
typedef struct {
    cn_vec_t headers;    /* cn_fault_header_t: all must hold */
    uint32_t parts;      /* of CN_PARTS requests */
    uint64_t delay_ms;   /* of a delay */
    uint32_t status;     /* of an abort: HTTP, or 0 */
    int32_t grpc_status; /* of an abort without status */
} cn_fault_rule_t;

/* Of SERVICE and ROUTE; of each kind the first one whose headers hold counts. */
typedef struct {
    cn_vec_t delays, aborts; /* cn_fault_rule_t */
} cn_fault_conf_t;

/* ---- compile.c ---- */
extern const cn_directive_t cn_fault_directives[];

#endif
