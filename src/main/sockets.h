/* SPDX-License-Identifier: Apache-2.0
 *
 * The master's listening sockets.  They outlive configurations and, through
 * the environment, the program itself: a new binary takes them over, so that
 * no connection is refused in between.
 */
#ifndef CN_MAIN_SOCKETS_H
#define CN_MAIN_SOCKETS_H

#include "core/inet.h"
#include "main/conf.h"

/* "5;6;" as in nginx's NGINX: the descriptors that are handed over. */
#define CN_SOCKETS_ENV "CAIRN_LISTEN_FDS"

typedef struct {
    cn_addr_t addr;
    int fd;
} cn_socket_t;

typedef struct {
    cn_socket_t *v; /* heap */
    unsigned n, cap;
} cn_sockets_t;

/* Takes over what an older binary left.  Returns how many. */
unsigned cn_sockets_inherit(cn_sockets_t *, const char *env);
/* Opens what the configuration names and is not open yet.  When one fails,
 * those opened by this call are closed and *why, in pool, names it.  patient:
 * waits a little for an address in use, as at the start. */
CN_MUST cn_rc cn_sockets_open(cn_sockets_t *, const cn_main_conf_t *, bool patient, cn_pool_t *pool,
                              cn_str_t *why);
/* Closes what the configuration does not name. */
void cn_sockets_prune(cn_sockets_t *, const cn_main_conf_t *);
/* -1: not open. */
int cn_sockets_find(const cn_sockets_t *, const cn_addr_t *);
void cn_sockets_close(cn_sockets_t *);
/* In a child that is about to exec: lets the sockets survive it and names them
 * in the environment. */
CN_MUST cn_rc cn_sockets_export(const cn_sockets_t *);

#endif
