/* SPDX-License-Identifier: Apache-2.0
 *
 * Questions to name servers: c-ares does the protocol, the worker's loop its
 * sockets and time.  Only this file knows c-ares.
 *
 * c-ares calls back from inside its own functions, so an answer that comes is
 * noted and given out by the resolver's task.  A question belongs to whoever
 * asked until it is answered or forgotten; while c-ares still has it, a
 * forgotten one stays, without anybody to tell.
 */
#include <arpa/inet.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <ares.h>

#include "dns_int.h"

#define SOCKS_MAX 64u
#define ROUNDS 32u /* of reading one socket in a run */
#define TRIES 2

typedef struct {
    cn_list_t link; /* resolver->socks */
    cn_io_t io;
} sock_t;

struct dns_resolver {
    cn_loop_t *loop;
    cn_task_t task;
    cn_timer_t timer;
    ares_channel channel; /* NULL: none could be made */
    bool ready;
    cn_list_t socks, answered, asked;
    dns_main_t conf;
    cn_pool_t *pool;  /* of conf */
    int64_t resolv_s; /* when resolv.conf was changed that the channel knows */
};

struct dns_question {
    dns_resolver_t *r;
    cn_list_t link; /* r->answered or r->asked */
    dns_answer_cb *fn;
    void *ctx;
    bool with_ares;
    dns_answer_t answer;
};

/* ---- sockets and time ---- */

static sock_t *find_sock(dns_resolver_t *r, int fd)
{
    cn_list_each (node, &r->socks) {
        sock_t *s = cn_list_entry(node, sock_t, link);

        if (s->io.fd == fd)
            return s;
    }
    return NULL;
}

/* What c-ares waits for; neither: the descriptor is about to be closed. */
static void on_sock(void *data, ares_socket_t fd, int readable, int writable)
{
    dns_resolver_t *r = data;
    sock_t *s = find_sock(r, fd);

    if (s && !readable && !writable) {
        cn_io_close(&s->io);
        cn_list_remove(&s->link);
        cn_loop_retire(r->loop, free, s);
    } else if (!s && (readable || writable)) {
        s = cn_xzalloc(sizeof(*s));
        if (cn_io_open(&s->io, r->loop, fd, &r->task) == CN_OK) {
            cn_list_push(&r->socks, &s->link);
            return;
        }
        free(s); /* the question runs into its timeout */
    }
}

static bool is_readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, 0) == 1;
}

/* Readiness is told once (edge-triggered), and c-ares may leave something. */
static void read_sock(dns_resolver_t *r, int fd)
{
    for (unsigned i = 0; i < ROUNDS && find_sock(r, fd) && is_readable(fd); i++)
        ares_process_fd(r->channel, fd, ARES_SOCKET_BAD);
}

static void serve_socks(dns_resolver_t *r)
{
    int fds[SOCKS_MAX];
    bool writable[SOCKS_MAX];
    unsigned n = 0;

    cn_list_each (node, &r->socks) {
        sock_t *s = cn_list_entry(node, sock_t, link);

        if (n == SOCKS_MAX)
            break;
        writable[n] = s->io.writable;
        s->io.writable = false;
        fds[n++] = s->io.fd;
    }
    for (unsigned i = 0; i < n; i++) {
        if (writable[i] && find_sock(r, fds[i]))
            ares_process_fd(r->channel, ARES_SOCKET_BAD, fds[i]);
        read_sock(r, fds[i]);
    }
}

static void set_timer(dns_resolver_t *r)
{
    struct timeval tv, *next = ares_timeout(r->channel, NULL, &tv);

    if (next)
        cn_timer_set(&r->timer, (uint64_t)next->tv_sec * 1000 + (uint64_t)next->tv_usec / 1000 + 1);
    else
        cn_timer_stop(&r->timer);
}

/* ---- answers ---- */

static void give_out(dns_resolver_t *r)
{
    while (!cn_list_empty(&r->answered)) {
        dns_question_t *q = cn_list_entry(r->answered.next, dns_question_t, link);

        cn_list_remove(&q->link);
        if (q->fn)
            q->fn(q->ctx, &q->answer);
        free(q);
    }
}

static void on_wake(cn_task_t *task, uint32_t why)
{
    dns_resolver_t *r = cn_container_of(task, dns_resolver_t, task);

    if (r->ready) {
        serve_socks(r);
        if (why & CN_WAKE_TIMER)
            ares_process_fd(r->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    }
    give_out(r);
    if (r->ready)
        set_timer(r);
}

static bool is_wanted(const dns_resolver_t *r, int family, bool any_v4)
{
    switch (r->conf.family) {
    case DNS_V4_PREFERRED:
        return family == AF_INET || !any_v4;
    case DNS_V4:
        return family == AF_INET;
    case DNS_V6:
        return family == AF_INET6;
    default:
        return true;
    }
}

static void take_addresses(dns_question_t *q, const struct ares_addrinfo *info)
{
    const struct ares_addrinfo_node *node;
    dns_answer_t *a = &q->answer;
    bool any_v4 = false;

    for (node = info->nodes; node; node = node->ai_next)
        any_v4 |= node->ai_family == AF_INET;
    for (node = info->nodes; node && a->n < DNS_ANSWERS; node = node->ai_next) {
        uint32_t ttl = node->ai_ttl > 0 ? (uint32_t)node->ai_ttl : 0;

        if (!is_wanted(q->r, node->ai_family, any_v4))
            continue;
        cn_inet_from_sockaddr(&a->v[a->n], node->ai_addr, node->ai_addrlen);
        a->v[a->n].port = 0;
        if (a->v[a->n].family == 0)
            continue;
        if (a->n == 0 || ttl < a->ttl_s)
            a->ttl_s = ttl;
        a->n++;
    }
}

static const char *error_text(int status)
{
    switch (status) {
    case ARES_SUCCESS:
    case ARES_ENODATA:
        return "the name has no address of a family that is wanted";
    case ARES_ENOTFOUND:
        return "the name does not exist";
    case ARES_ETIMEOUT:
        return "no name server answered in time";
    case ARES_ECONNREFUSED:
        return "no name server could be asked";
    case ARES_ESERVFAIL:
    case ARES_EREFUSED:
        return "the name servers failed or refused to answer";
    default:
        return "the name could not be resolved";
    }
}

static void on_answer(void *arg, int status, int timeouts CN_UNUSED, struct ares_addrinfo *info)
{
    dns_question_t *q = arg;

    q->with_ares = false;
    if (status == ARES_SUCCESS && info)
        take_addresses(q, info);
    if (info)
        ares_freeaddrinfo(info);
    if (!q->fn) { /* forgotten */
        cn_list_remove(&q->link);
        free(q);
        return;
    }
    if (q->answer.n == 0) {
        q->answer.error = error_text(status);
        q->answer.denied =
            status == ARES_SUCCESS || status == ARES_ENODATA || status == ARES_ENOTFOUND;
    }
    cn_list_remove(&q->link);
    cn_list_push(&q->r->answered, &q->link);
    cn_task_wake(&q->r->task, CN_WAKE_USER);
}

/* ---- questions ---- */

dns_question_t *dns_ask(dns_resolver_t *r, cn_str_t name, dns_answer_cb *fn, void *ctx)
{
    struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC, .ai_flags = ARES_AI_NOSORT};
    dns_question_t *q = cn_xzalloc(sizeof(*q));
    char text[DNS_NAME_MAX + 2];

    q->r = r;
    q->fn = fn;
    q->ctx = ctx;
    cn_list_push(&r->asked, &q->link);
    if (!r->ready || name.n > DNS_NAME_MAX) {
        on_answer(q, ARES_ENOTINITIALIZED, 0, NULL);
        return q;
    }
    memcpy(text, name.p, name.n);
    text[name.n] = '\0';
    if (r->conf.family == DNS_V4)
        hints.ai_family = AF_INET;
    else if (r->conf.family == DNS_V6)
        hints.ai_family = AF_INET6;
    q->with_ares = true;
    ares_getaddrinfo(r->channel, text, NULL, &hints, on_answer, q);
    set_timer(r);
    return q;
}

void dns_forget(dns_question_t *q)
{
    if (!q)
        return;
    q->fn = NULL;
    if (q->with_ares)
        return;
    cn_list_remove(&q->link);
    free(q);
}

/* ---- life ---- */

static void close_channel(dns_resolver_t *r)
{
    if (r->ready)
        ares_destroy(r->channel); /* answers what is open */
    r->ready = false;
    r->channel = NULL;
}

static void set_servers(dns_resolver_t *r)
{
    const cn_addr_t *servers = r->conf.servers.v;
    cn_str_t list = CN_STR_NULL;

    for (uint32_t i = 0; i < r->conf.servers.n; i++) {
        char text[CN_INET_TEXT];

        cn_inet_put(text, &servers[i], true);
        list = cn_pool_printf(r->pool, "%.*s%s%s", CN_STR_ARG(list), i ? "," : "", text);
    }
    if (list.n &&
        ares_set_servers_ports_csv(r->channel, cn_pool_cstr(r->pool, list)) != ARES_SUCCESS)
        cn_log(CN_LOG_ERROR, "dns", "the name servers could not be set");
}

static int64_t resolv_changed(void)
{
    struct stat st;

    return stat("/etc/resolv.conf", &st) == 0 ? (int64_t)st.st_mtime : 0;
}

static void open_channel(dns_resolver_t *r)
{
    char lookups[] = "fb"; /* /etc/hosts, then name servers */
    struct ares_options o = {.flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES,
                             .timeout = (int)r->conf.timeout_ms,
                             .tries = TRIES,
                             .lookups = lookups,
                             .sock_state_cb = on_sock,
                             .sock_state_cb_data = r};
    int rc = ares_init_options(&r->channel, &o,
                               ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES |
                                   ARES_OPT_LOOKUPS | ARES_OPT_SOCK_STATE_CB);

    r->ready = rc == ARES_SUCCESS;
    r->resolv_s = resolv_changed();
    if (r->ready)
        set_servers(r);
    else
        cn_log(CN_LOG_ERROR, "dns", "no names can be resolved: %s", ares_strerror(rc));
}

static bool is_same(const dns_resolver_t *r, const dns_main_t *c)
{
    return r->ready && r->conf.timeout_ms == c->timeout_ms && r->conf.family == c->family &&
           r->conf.servers.n == c->servers.n &&
           (c->servers.n == 0
                ? r->resolv_s == resolv_changed()
                : memcmp(r->conf.servers.v, c->servers.v, c->servers.n * sizeof(cn_addr_t)) == 0);
}

void dns_resolver_configure(dns_resolver_t *r, const dns_main_t *c)
{
    if (is_same(r, c))
        return;
    close_channel(r);
    cn_pool_destroy(r->pool);
    r->pool = cn_pool_exempt(cn_pool_create(512));
    r->conf = *c;
    r->conf.servers = (cn_vec_t){0};
    for (uint32_t i = 0; i < c->servers.n; i++)
        *(cn_addr_t *)cn_vec_push(r->pool, &r->conf.servers, sizeof(cn_addr_t)) =
            ((const cn_addr_t *)c->servers.v)[i];
    open_channel(r);
}

dns_resolver_t *dns_resolver_create(cn_loop_t *loop)
{
    dns_resolver_t *r = cn_xzalloc(sizeof(*r));

    ares_library_init(ARES_LIB_INIT_ALL);
    r->loop = loop;
    cn_list_init(&r->socks);
    cn_list_init(&r->answered);
    cn_list_init(&r->asked);
    cn_task_init(&r->task, loop, on_wake);
    cn_timer_init(&r->timer, &r->task, CN_WAKE_TIMER);
    return r;
}

void dns_resolver_destroy(dns_resolver_t *r)
{
    close_channel(r);
    cn_list_each (node, &r->answered)
        free(cn_list_entry(node, dns_question_t, link));
    cn_timer_stop(&r->timer);
    cn_task_fini(&r->task);
    cn_pool_destroy(r->pool);
    free(r);
    ares_library_cleanup();
}
