/* SPDX-License-Identifier: Apache-2.0
 *
 * `cairn explain`: what would become of a request, and why.
 */
#ifndef CN_MAIN_EXPLAIN_H
#define CN_MAIN_EXPLAIN_H

#include <stdio.h>

#include "main/reload.h"
#include "proxy/worker.h"

enum {
    CN_EXPLAIN_ALLOWED = 0,
    CN_EXPLAIN_USAGE = 2, /* or the configuration cannot be loaded */
    CN_EXPLAIN_DENIED = 3,
    CN_EXPLAIN_NO_ROUTE = 4
};

enum {
    CN_EXPLAIN_FROM,
    CN_EXPLAIN_IP,
    CN_EXPLAIN_TO,
    CN_EXPLAIN_METHOD,
    CN_EXPLAIN_PATH,
    CN_EXPLAIN_HEADER
};

/* A question; begins as {.pool}.  Without a method: a connection that is not HTTP. */
typedef struct {
    cn_pool_t *pool;
    cn_str_t from, to, method, target;
    cn_addr_t ip;     /* family 0: not given */
    cn_vec_t headers; /* cn_header_t */
    cn_str_t why;     /* what is wrong with it; may be empty even then */
} cn_explain_ask_t;

/* Sets a part of it (CN_EXPLAIN_FROM...), which lives as long as the question.
 * CN_ERR: why is in the question. */
CN_MUST cn_rc cn_explain_set(cn_explain_ask_t *, int what, cn_str_t);
/* Prints the account.  Leaves nothing behind in the worker: no metric, no log
 * line, no token of a limit.  Returns the exit status. */
int cn_explain_answer(cn_worker_t *, cn_explain_ask_t *, FILE *);

/* The arguments behind the word `explain` and its -c and -p, which the caller
 * has turned into the source.  Returns the exit status. */
int cn_explain_main(const cn_reload_source_t *, int argc, char **argv);
void cn_explain_usage(void);

#endif
