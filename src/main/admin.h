/* SPDX-License-Identifier: Apache-2.0
 *
 * The endpoints of cairn itself: health, metrics, and what an operator asks
 * for.  A small HTTP/1.1 server over the proxy's own codec; answers are made
 * whole before they are sent.
 */
#ifndef CN_MAIN_ADMIN_H
#define CN_MAIN_ADMIN_H

#include <jansson.h>

#include "main/board.h"
#include "proxy/worker.h"

typedef struct cn_admin_server cn_admin_server_t;

/* Passes an operator's wish to the master: CN_TO_* of main/worker.h. */
typedef void cn_admin_ask_cb(void *ctx, unsigned what, unsigned value);

cn_admin_server_t *cn_admin_create(cn_worker_t *, const cn_board_t *, unsigned slots,
                                   cn_admin_ask_cb *, void *ctx);
/* Closes all connections.  NULL is allowed. */
void cn_admin_destroy(cn_admin_server_t *);
/* The worker is about to end: a connection is answered once more and then closed. */
void cn_admin_leave(cn_admin_server_t *);
/* Connections now open. */
unsigned cn_admin_active(const cn_admin_server_t *);
/* kind: CN_ADMIN_* of the listener.  fd is the callee's. */
void cn_admin_accept(cn_admin_server_t *, unsigned kind, int fd, const cn_addr_t *remote);

/* The program as a whole takes no new traffic any more: not ready.  A worker that
 * leaves because others take over does not say so, since the program is. */
void cn_admin_drain(cn_admin_server_t *);

/* ---- for the endpoints (admin_pages.c, admin_dump.c) ---- */

cn_worker_t *cn_admin_worker(cn_admin_server_t *);
const cn_board_t *cn_admin_board(const cn_admin_server_t *);
unsigned cn_admin_slots(const cn_admin_server_t *); /* of the board */
void cn_admin_ask(cn_admin_server_t *, unsigned what, unsigned value);
/* Are we fit for traffic? */
bool cn_admin_ready(const cn_admin_server_t *);
bool cn_admin_draining(const cn_admin_server_t *);

/* An endpoint of the core; those of modules have cn_admin_t. */
typedef struct {
    const char *path;
    unsigned where; /* CN_ADMIN_* */
    const char *methods;
    bool local; /* refused to clients of other hosts */
    void (*handle)(cn_admin_server_t *, cn_admin_req_t *);
    const char *help;
} cn_admin_page_t;
extern const cn_admin_page_t cn_admin_pages[]; /* ends with a NULL path */

void cn_admin_config_dump(cn_admin_server_t *, cn_admin_req_t *);
void cn_admin_clusters(cn_admin_server_t *, cn_admin_req_t *);
void cn_admin_explain(cn_admin_server_t *, cn_admin_req_t *); /* admin_explain.c */
/* Finds an argument of the query; empty when absent. */
cn_str_t cn_admin_arg(const cn_admin_req_t *, const char *name);
/* Answers with the value, which is the callee's. */
void cn_admin_json(cn_admin_req_t *, json_t *);
json_t *cn_admin_text(cn_str_t); /* a string, whatever its bytes are */
json_t *cn_admin_number(uint64_t);
void cn_admin_printf(cn_admin_req_t *, const char *fmt, ...) CN_PRINTF(2, 3);

#endif
