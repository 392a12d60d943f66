/* SPDX-License-Identifier: Apache-2.0
 *
 * Parts of the access log, private to the module: formats compiled from
 * Envoy's command operators, and the sinks that lines go to.
 */
#ifndef CN_ACCESS_LOG_H
#define CN_ACCESS_LOG_H

#include <cairn/module.h>

/* ---- a growing line ---- */
typedef struct {
    char *p;
    size_t n, cap;
} al_buf_t;
void al_put(al_buf_t *, const char *, size_t);
static inline void al_puts(al_buf_t *b, cn_str_t s)
{
    al_put(b, s.p, s.n);
}

/* ---- operators ---- */
typedef struct al_op al_op_t;
/* Appends the value; false when there is none (nothing was appended). */
typedef bool al_value_fn(al_buf_t *, const cn_facts_t *, const al_op_t *);
typedef struct {
    const char *name; /* "REQ" */
    al_value_fn *value;
    bool args;   /* takes (X?Y) */
    bool number; /* a JSON number */
} al_operator_t;
struct al_op {
    const al_operator_t *op; /* NULL: literal text */
    cn_str_t text;           /* literal, or the first argument in lower case */
    cn_str_t other;          /* second argument: what counts when the first is absent */
    uint32_t max;            /* :Z; 0: whole */
};
const al_operator_t *al_operator_find(cn_str_t name);
/* The names of all operators, for error messages. */
cn_str_t al_operator_names(cn_pool_t *);

/* ---- formats ---- */
typedef struct {
    cn_vec_t ops;  /* al_op_t */
    cn_vec_t keys; /* cn_str_t, JSON only: one for each op */
    bool json;
} al_format_t;
/* CN_ERR: *why says what is wrong. */
CN_MUST cn_rc al_format_parse(cn_pool_t *, cn_str_t text, al_format_t *, cn_str_t *why);
extern const char al_format_istio[];
CN_MUST cn_rc al_format_json(cn_pool_t *, al_format_t *, cn_str_t *why);
/* Appends one line with its newline. */
void al_format_put(al_buf_t *, const al_format_t *, const cn_facts_t *);

/* ---- sinks ---- */
typedef struct al_sinks al_sinks_t;
typedef struct al_sink al_sink_t;
al_sinks_t *al_sinks_create(cn_loop_t *, cn_series_t *dropped);
void al_sinks_destroy(al_sinks_t *); /* flushes */
/* The sink of a path, opened on first use.  Lines to one that could not be
 * opened are dropped and counted. */
al_sink_t *al_sink_get(al_sinks_t *, cn_str_t path);
/* Where the next line goes; al_sink_line() afterwards hands it over. */
al_buf_t *al_sink_buf(al_sink_t *);
void al_sink_line(al_sinks_t *, al_sink_t *);
void al_sinks_reopen(al_sinks_t *);

#endif
