/* SPDX-License-Identifier: Apache-2.0
 *
 * Header edits as configuration: what to remove, then what to set or add, in
 * the order of the file.  Edited by routes and by their backends.
 */
#ifndef CN_HTTP_EDIT_H
#define CN_HTTP_EDIT_H

#include "conf/conf.h"
#include "http/msg.h"

typedef struct {
    cn_str_t name; /* lower case */
    cn_str_t value;
    bool add; /* beside the lines that are there; else instead of them */
} cn_edit_put_t;

typedef struct {
    cn_vec_t removes; /* cn_str_t, lower case */
    cn_vec_t puts;    /* cn_edit_put_t */
    cn_str_t host;    /* `set host H`: the request's authority; empty: unchanged */
} cn_edits_t;

/* Whether such a header may be edited: NULL, or a constant text that says why
 * not.  What describes the connection or the framing belongs to the proxy. */
const char *cn_edit_refused(cn_str_t name);
/* A value that a header can have: no control bytes but TAB. */
bool cn_edit_value_ok(cn_str_t value);

/* Setters for `NAME set|add HEADER VALUE` and `NAME remove HEADER`; the field,
 * a cn_edits_t, is at conf + off.  The first use in a block drops what was
 * inherited.  Only in a request is `host` the authority. */
cn_setter_fn cn_edit_set_request;
cn_setter_fn cn_edit_set_response;

static inline bool cn_edits_none(const cn_edits_t *e)
{
    return e->removes.n == 0 && e->puts.n == 0 && e->host.n == 0;
}

/* Does all but `host`, which is the caller's.  headers: those of the message. */
void cn_edits_apply(const cn_edits_t *, cn_msg_t *, cn_headers_t *);

#endif
