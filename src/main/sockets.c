/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening, keeping and handing over listening sockets.  Knows addresses, not
 * what is spoken on them.  The table and its descriptors are the master's.
 */
#include "main/sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "core/log.h"
#include "event/listen.h"

/* An older process may still be closing its own. */
#define PATIENCE_TRIES 5
#define PATIENCE_MS 500

static bool same(const cn_addr_t *a, const cn_addr_t *b)
{
    return a->port == b->port && cn_inet_same_ip(a, b);
}

static void add(cn_sockets_t *s, const cn_addr_t *addr, int fd)
{
    if (s->n == s->cap) {
        s->cap = s->cap ? s->cap * 2 : 8;
        s->v = cn_xrealloc(s->v, sizeof(*s->v) * s->cap);
    }
    s->v[s->n++] = (cn_socket_t){.addr = *addr, .fd = fd};
}

int cn_sockets_find(const cn_sockets_t *s, const cn_addr_t *addr)
{
    for (unsigned i = 0; i < s->n; i++) {
        if (same(&s->v[i].addr, addr))
            return s->v[i].fd;
    }
    return -1;
}

/* Only a listening TCP socket is taken; anything else is not ours. */
static void adopt(cn_sockets_t *s, int fd)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss), on_len = sizeof(int);
    int on = 0;
    cn_addr_t addr;

    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &on_len) != 0 || !on ||
        getsockname(fd, (struct sockaddr *)&ss, &len) != 0)
        return;
    cn_inet_from_sockaddr(&addr, (struct sockaddr *)&ss, len);
    if (addr.family == 0 || cn_sockets_find(s, &addr) >= 0)
        return;
    int flags = fcntl(fd, F_GETFL);
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0 || flags < 0 ||
        fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
        return;
    add(s, &addr, fd);
}

unsigned cn_sockets_inherit(cn_sockets_t *s, const char *env)
{
    cn_str_t rest = cn_str_c(env), piece;
    uint64_t fd;

    while (cn_str_split(&rest, ';', &piece)) {
        if (cn_str_u64(piece, INT32_MAX, &fd) == CN_OK && fd > 2)
            adopt(s, (int)fd);
    }
    return s->n;
}

static cn_rc bind_one(const cn_main_listen_t *l, bool patient, int *fd)
{
    const struct timespec pause = {0, PATIENCE_MS * 1000000L};

    for (int tries = 1;; tries++) {
        if (cn_listen_bind(&l->addr, (int)l->backlog, fd) == CN_OK)
            return CN_OK;
        if (errno != EADDRINUSE || !patient || tries == PATIENCE_TRIES)
            return CN_ERR;
        nanosleep(&pause, NULL);
    }
}

/* A family or address that is turned off on this machine. */
static bool is_absent(int err)
{
    return err == EADDRNOTAVAIL || err == EAFNOSUPPORT;
}

static void close_from(cn_sockets_t *s, unsigned from)
{
    while (s->n > from)
        close(s->v[--s->n].fd);
}

cn_rc cn_sockets_open(cn_sockets_t *s, const cn_main_conf_t *m, bool patient, cn_pool_t *pool,
                      cn_str_t *why)
{
    unsigned before = s->n;

    for (unsigned i = 0; i < m->listens.n; i++) {
        const cn_main_listen_t *l = cn_main_listen(m, i);
        char text[CN_INET_TEXT];
        int fd;

        if (cn_sockets_find(s, &l->addr) >= 0)
            continue;
        if (bind_one(l, patient, &fd) != CN_OK) {
            int err = errno;
            cn_inet_put(text, &l->addr, true);
            if (l->optional && is_absent(err)) {
                cn_log(CN_LOG_NOTICE, "master", "not listening on %s: %s", text, strerror(err));
                continue;
            }
            *why = cn_pool_printf(pool, "%.*s: cannot listen on %s: %s", CN_STR_ARG(l->where), text,
                                  strerror(err));
            close_from(s, before);
            return CN_ERR;
        }
        add(s, &l->addr, fd);
    }
    return CN_OK;
}

static bool named(const cn_main_conf_t *m, const cn_addr_t *addr)
{
    for (unsigned i = 0; i < m->listens.n; i++) {
        if (same(&cn_main_listen(m, i)->addr, addr))
            return true;
    }
    return false;
}

void cn_sockets_prune(cn_sockets_t *s, const cn_main_conf_t *m)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < s->n; i++) {
        if (named(m, &s->v[i].addr))
            s->v[kept++] = s->v[i];
        else
            close(s->v[i].fd);
    }
    s->n = kept;
}

void cn_sockets_close(cn_sockets_t *s)
{
    close_from(s, 0);
    free(s->v);
    *s = (cn_sockets_t){0};
}

cn_rc cn_sockets_export(const cn_sockets_t *s)
{
    char *env = cn_xzalloc((size_t)s->n * 12 + 1);
    size_t at = 0;
    cn_rc rc = CN_OK;

    for (unsigned i = 0; i < s->n; i++) {
        if (fcntl(s->v[i].fd, F_SETFD, 0) != 0)
            rc = CN_ERR;
        at += (size_t)snprintf(env + at, 13, "%d;", s->v[i].fd);
    }
    if (setenv(CN_SOCKETS_ENV, env, 1) != 0)
        rc = CN_ERR;
    free(env);
    return rc;
}
