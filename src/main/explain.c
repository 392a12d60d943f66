/* SPDX-License-Identifier: Apache-2.0
 *
 * `cairn explain`: loads the configuration as a worker does, makes up a tunnel
 * and a request from the command line, and runs the real hooks on them without
 * sending anything.  What it prints comes from the modules that decide.
 */
#include "main/explain.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/log.h"
#include "http/uri.h"
#include "proxy/worker.h"

typedef struct {
    cn_pool_t *pool;
    cn_str_t from, to, method, target;
    cn_addr_t ip;     /* family 0: not given */
    cn_vec_t headers; /* cn_header_t */
    bool l4;
} ask_t;

void cn_explain_usage(void)
{
    fputs("usage: cairn explain [-p PREFIX] [-c CONF] [--from spiffe://TD/ns/NS/sa/SA] [--ip "
          "ADDRESS]\n"
          "                     --to HOST_OR_IP:PORT METHOD PATH [-H 'NAME: VALUE']...\n"
          "       without METHOD and PATH: a connection that is not HTTP\n"
          "exit status: 0 allowed, 3 denied, 4 no route, 2 wrong usage or configuration\n",
          stderr);
}

static cn_rc wrong(const char *what, const char *word)
{
    fprintf(stderr, "cairn explain: %s: %s\n", what, word);
    return CN_ERR;
}

/* ---- the command line ---- */

static cn_rc add_header(ask_t *a, const char *line)
{
    cn_str_t s = cn_str_c(line);
    size_t colon = cn_str_find(s, ':');

    if (colon == 0 || colon == s.n)
        return wrong("not a header, expected 'NAME: VALUE'", line);
    char *name = cn_pool_bytes(a->pool, colon);
    cn_str_lower(name, s.p, colon);
    cn_header_t *h = cn_vec_push(a->pool, &a->headers, sizeof(*h));
    h->name = cn_str_make(name, colon);
    h->value = cn_str_trim(cn_str_make(s.p + colon + 1, s.n - colon - 1));
    return CN_OK;
}

static cn_rc set_from(ask_t *a, const char *word)
{
    cn_spiffe_t id;

    a->from = cn_str_c(word);
    if (cn_spiffe_parse(a->from, &id) != CN_OK)
        return wrong("not an identity, expected spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/ACCOUNT",
                     word);
    return CN_OK;
}

static cn_rc set_option(ask_t *a, int opt, const char *word)
{
    switch (opt) {
    case 'f':
        return set_from(a, word);
    case 'i':
        if (cn_inet_parse_ip(cn_str_c(word), &a->ip) != CN_OK)
            return wrong("not an IP address", word);
        return CN_OK;
    case 't':
        a->to = cn_str_c(word);
        return CN_OK;
    case 'H':
        return add_header(a, word);
    default:
        return CN_ERR;
    }
}

static cn_rc parse(ask_t *a, int argc, char **argv)
{
    static const struct option longs[] = {{"from", required_argument, NULL, 'f'},
                                          {"ip", required_argument, NULL, 'i'},
                                          {"to", required_argument, NULL, 't'},
                                          {NULL, 0, NULL, 0}};
    int opt;

    optind = 0;
    while ((opt = getopt_long(argc, argv, "H:", longs, NULL)) != -1) {
        if (set_option(a, opt, optarg) != CN_OK)
            return CN_ERR;
    }
    int words = argc - optind;
    if (a->to.n == 0 || (words != 0 && words != 2))
        return CN_ERR;
    a->l4 = words == 0;
    if (!a->l4) {
        a->method = cn_str_c(argv[optind]);
        a->target = cn_str_c(argv[optind + 1]);
        if (a->target.n == 0 || (a->target.p[0] != '/' && !cn_str_eq(a->target, CN_STR("*"))))
            return wrong("a path begins with /", argv[optind + 1]);
    }
    return CN_OK;
}

/* ---- the request ---- */

static cn_str_t host_header(const ask_t *a)
{
    for (uint32_t i = 0; i < a->headers.n; i++) {
        const cn_header_t *h = (const cn_header_t *)a->headers.v + i;
        if (cn_str_eq(h->name, CN_STR("host")))
            return h->value;
    }
    return a->to;
}

static cn_msg_t *make_message(const ask_t *a)
{
    cn_msg_t *m = cn_pool_alloc(a->pool, sizeof(*m));

    cn_msg_init(m, a->pool);
    m->method = a->method;
    m->scheme = CN_STR("http");
    m->authority = host_header(a);
    m->version = CN_HTTP_11;
    m->target = a->target;
    m->content_length = CN_LENGTH_NONE;
    cn_uri_split(a->target, &m->path, &m->query, &m->has_query);
    for (uint32_t i = 0; i < a->headers.n; i++) {
        const cn_header_t *h = (const cn_header_t *)a->headers.v + i;
        if (!cn_str_eq(h->name, CN_STR("host")))
            cn_msg_add(m, &m->headers, h->name, h->value);
    }
    return m;
}

/* ---- the account ---- */

static void print_question(const ask_t *a)
{
    char ip[CN_INET_TEXT] = "";

    if (a->ip.family)
        cn_inet_put(ip, &a->ip, false);
    if (a->l4)
        printf("connection  to %.*s\n", CN_STR_ARG(a->to));
    else
        printf("request     %.*s %.*s to %.*s\n", CN_STR_ARG(a->method), CN_STR_ARG(a->target),
               CN_STR_ARG(a->to));
    printf("from        %.*s%s%s\n",
           CN_STR_ARG(a->from.n ? a->from : CN_STR("a client without identity")),
           ip[0] ? " at " : "", ip);
}

static int verdict(const cn_explain_t *ex)
{
    if (ex->status == 0) {
        printf("verdict     allowed: to cluster %.*s, host %.*s\n", CN_STR_ARG(ex->cluster),
               CN_STR_ARG(ex->host));
        return CN_EXPLAIN_ALLOWED;
    }
    if (ex->status == 403) {
        printf("verdict     denied%s: %.*s\n", ex->msg ? " (403)" : "", CN_STR_ARG(ex->details));
        return CN_EXPLAIN_DENIED;
    }
    if (ex->status == 404) {
        printf("verdict     no route (404): %.*s\n", CN_STR_ARG(ex->details));
        return CN_EXPLAIN_NO_ROUTE;
    }
    printf("verdict     allowed, but answered by the waypoint itself: %u %.*s\n", ex->status,
           CN_STR_ARG(ex->details));
    return CN_EXPLAIN_ALLOWED;
}

static int print_answer(const cn_explain_t *ex)
{
    const char *head = "account";

    if (ex->route.n > 0)
        printf("route       %.*s\n", CN_STR_ARG(ex->route));
    for (uint32_t i = 0; i < ex->lines.n; i++) {
        printf("%-11s %.*s\n", head, CN_STR_ARG(((const cn_str_t *)ex->lines.v)[i]));
        head = "";
    }
    return verdict(ex);
}

static int run(cn_worker_t *w, const ask_t *a)
{
    cn_explain_t ex = {.tunnel = {.pool = a->pool}};
    cn_section_t *section = NULL;

    print_question(a);
    switch (cn_tunnel_resolve(w->gen, a->to, &section, &ex.tunnel.dest)) {
    case CN_OK:
        break;
    case CN_DECLINE:
        printf("service     none: the waypoint does not serve %.*s\n", CN_STR_ARG(a->to));
        return CN_EXPLAIN_NO_ROUTE;
    default:
        fprintf(stderr, "cairn explain: not HOST:PORT or IP:PORT: %.*s\n", CN_STR_ARG(a->to));
        return CN_EXPLAIN_USAGE;
    }
    printf("service     %.*s (%.*s)\n", CN_STR_ARG(section->name), CN_STR_ARG(section->where));
    ex.tunnel.section = section;
    ex.tunnel.source = a->ip;
    ex.tunnel.authority = a->to;
    ex.tunnel.identity = a->from;
    if (w->tls)
        ex.tunnel.local_identity = cn_tls_ctx_identity(w->tls)->uri;
    ex.msg = a->l4 ? NULL : make_message(a);
    cn_req_explain_run(w, &ex);
    return print_answer(&ex);
}

static int load_and_run(const cn_reload_source_t *source, const ask_t *a)
{
    cn_loop_t *loop;
    cn_worker_t w = {0};
    cn_gen_t *gen;
    cn_str_t why;
    int status = CN_EXPLAIN_USAGE;

    if (cn_reload_read(source, NULL, false, a->pool, NULL, &gen, &why) != CN_OK) {
        fprintf(stderr, "cairn: %.*s\n", CN_STR_ARG(why));
        return status;
    }
    loop = cn_loop_create();
    if (cn_worker_init(&w, loop, 0, NULL) != CN_OK) {
        fputs("cairn explain: the modules cannot be set up\n", stderr);
    } else {
        if (cn_worker_apply(&w, gen, a->pool, &why) == CN_OK)
            status = run(&w, a);
        else
            fprintf(stderr, "cairn: %.*s\n", CN_STR_ARG(why));
        cn_worker_fini(&w);
    }
    cn_loop_destroy(loop);
    cn_gen_unref(gen);
    return status;
}

int cn_explain_main(const cn_reload_source_t *source, int argc, char **argv)
{
    ask_t a = {.pool = cn_pool_create(0)};
    int status = CN_EXPLAIN_USAGE;

    if (parse(&a, argc, argv) == CN_OK)
        status = load_and_run(source, &a);
    else
        cn_explain_usage();
    cn_pool_destroy(a.pool);
    return status;
}
