/* SPDX-License-Identifier: Apache-2.0
 *
 * What cairn-gen has to say about its input: one line each, "file:line:
 * warning: object: field: why", printed in the order of the input.  The same
 * line is said once.
 */
#ifndef CN_KUBE_DIAG_H
#define CN_KUBE_DIAG_H

#include <stdio.h>

#include "core/map.h"
#include "core/pool.h"

/* One input file, in the order of the command line. */
typedef struct {
    cn_str_t name;
    unsigned index;
} cn_source_t;

typedef struct {
    const cn_source_t *src; /* NULL: not about a place in the input */
    uint32_t line;          /* from 1; 0: the file as a whole */
} cn_place_t;

typedef struct {
    cn_pool_t *pool;
    cn_vec_t lines;        /* private */
    cn_map_t seen, marked; /* private */
    unsigned errors, warnings;
} cn_diag_t;

void cn_diag_init(cn_diag_t *, cn_pool_t *);
void cn_diag_fini(cn_diag_t *);

/* Control bytes are written as \xNN: a name in the input cannot forge a line. */
void cn_diag_error(cn_diag_t *, cn_place_t, const char *fmt, ...) CN_PRINTF(3, 4);
void cn_diag_warn(cn_diag_t *, cn_place_t, const char *fmt, ...) CN_PRINTF(3, 4);

/* What is wrong with this value has been said: cn_diag_marked() keeps others from
 * saying it once more.  The value must live as long as the diag. */
void cn_diag_mark(cn_diag_t *, const void *value);
bool cn_diag_marked(const cn_diag_t *, const void *value);

/* Sorts by place and prints all. */
void cn_diag_print(cn_diag_t *, FILE *);

#endif
