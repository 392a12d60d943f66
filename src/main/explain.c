/* SPDX-License-Identifier: Apache-2.0
 *
 * `cairn explain` and the endpoint /explain: make up a tunnel and a request, and
 * run the real hooks on them without sending anything: in a worker of its own
 * after loading the configuration, or in a live one.  What is printed comes from
 * the modules that decide.
 */
#include "main/explain.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/log.h"
#include "http/uri.h"
#include "proxy/worker.h"

void cn_explain_usage(void)
{
    fputs("usage: cairn explain [-p PREFIX] [-c CONF] [--from spiffe://TD/ns/NS/sa/SA] [--ip "
          "ADDRESS]\n"
          "                     --to HOST_OR_IP:PORT METHOD PATH [-H 'NAME: VALUE']...\n"
          "       without METHOD and PATH: a connection that is not HTTP\n"
          "exit status: 0 allowed, 3 denied, 4 no route, 2 wrong usage or configuration\n",
          stderr);
}

static cn_rc wrong(cn_explain_ask_t *a, const char *what, cn_str_t word)
{
    a->why = cn_pool_printf(a->pool, "%s: %.*s", what, CN_STR_ARG(word));
    return CN_ERR;
}

/* ---- the question ---- */

static cn_rc add_header(cn_explain_ask_t *a, cn_str_t line)
{
    size_t colon = cn_str_find(line, ':');

    if (colon == 0 || colon == line.n)
        return wrong(a, "not a header, expected 'NAME: VALUE'", line);
    cn_header_t *h = cn_vec_push(a->pool, &a->headers, sizeof(*h));
    h->name = cn_pool_lower(a->pool, cn_str_make(line.p, colon));
    h->value = cn_str_trim(cn_str_make(line.p + colon + 1, line.n - colon - 1));
    return CN_OK;
}

cn_rc cn_explain_set(cn_explain_ask_t *a, int what, cn_str_t word)
{
    cn_spiffe_t id;

    switch (what) {
    case CN_EXPLAIN_FROM:
        a->from = word;
        if (cn_spiffe_parse(word, &id) != CN_OK)
            return wrong(
                a, "not an identity, expected spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/ACCOUNT", word);
        return CN_OK;
    case CN_EXPLAIN_IP:
        return cn_inet_parse_ip(word, &a->ip) == CN_OK ? CN_OK
                                                       : wrong(a, "not an IP address", word);
    case CN_EXPLAIN_TO:
        a->to = word;
        return CN_OK;
    case CN_EXPLAIN_METHOD:
        a->method = word;
        return CN_OK;
    case CN_EXPLAIN_PATH:
        a->target = word;
        if (word.n == 0 || (word.p[0] != '/' && !cn_str_eq(word, CN_STR("*"))))
            return wrong(a, "a path begins with /", word);
        return CN_OK;
    case CN_EXPLAIN_HEADER:
        return add_header(a, word);
    default:
        return CN_ERR;
    }
}

static cn_rc parse(cn_explain_ask_t *a, int argc, char **argv)
{
    static const struct option longs[] = {{"from", required_argument, NULL, CN_EXPLAIN_FROM},
                                          {"ip", required_argument, NULL, CN_EXPLAIN_IP},
                                          {"to", required_argument, NULL, CN_EXPLAIN_TO},
                                          {NULL, 0, NULL, 0}};
    int opt;

    optind = 0;
    while ((opt = getopt_long(argc, argv, "H:", longs, NULL)) != -1) {
        if (opt == '?' ||
            cn_explain_set(a, opt == 'H' ? CN_EXPLAIN_HEADER : opt, cn_str_c(optarg)) != CN_OK)
            return CN_ERR;
    }
    int words = argc - optind;
    if (a->to.n == 0 || (words != 0 && words != 2))
        return CN_ERR;
    if (words == 0)
        return CN_OK;
    if (cn_explain_set(a, CN_EXPLAIN_METHOD, cn_str_c(argv[optind])) != CN_OK)
        return CN_ERR;
    return cn_explain_set(a, CN_EXPLAIN_PATH, cn_str_c(argv[optind + 1]));
}

/* ---- the request ---- */

static cn_str_t host_header(const cn_explain_ask_t *a)
{
    for (uint32_t i = 0; i < a->headers.n; i++) {
        const cn_header_t *h = (const cn_header_t *)a->headers.v + i;
        if (cn_str_eq(h->name, CN_STR("host")))
            return h->value;
    }
    return a->to;
}

static cn_msg_t *make_message(const cn_explain_ask_t *a)
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

static void print_question(const cn_explain_ask_t *a, FILE *f)
{
    char ip[CN_INET_TEXT] = "";

    if (a->ip.family)
        cn_inet_put(ip, &a->ip, false);
    if (a->method.n == 0)
        fprintf(f, "connection  to %.*s\n", CN_STR_ARG(a->to));
    else
        fprintf(f, "request     %.*s %.*s to %.*s\n", CN_STR_ARG(a->method), CN_STR_ARG(a->target),
                CN_STR_ARG(a->to));
    fprintf(f, "from        %.*s%s%s\n",
            CN_STR_ARG(a->from.n ? a->from : CN_STR("a client without identity")),
            ip[0] ? " at " : "", ip);
}

static int verdict(const cn_explain_t *ex, FILE *f)
{
    if (ex->status == 0) {
        fprintf(f, "verdict     allowed: to cluster %.*s, host %.*s\n", CN_STR_ARG(ex->cluster),
                CN_STR_ARG(ex->host));
        return CN_EXPLAIN_ALLOWED;
    }
    if (ex->status == 403) {
        fprintf(f, "verdict     denied%s: %.*s\n", ex->msg ? " (403)" : "",
                CN_STR_ARG(ex->details));
        return CN_EXPLAIN_DENIED;
    }
    if (ex->status == 404) {
        fprintf(f, "verdict     no route (404): %.*s\n", CN_STR_ARG(ex->details));
        return CN_EXPLAIN_NO_ROUTE;
    }
    fprintf(f, "verdict     allowed, but answered by the waypoint itself: %u %.*s\n", ex->status,
            CN_STR_ARG(ex->details));
    return CN_EXPLAIN_ALLOWED;
}

static int print_answer(const cn_explain_t *ex, FILE *f)
{
    const char *head = "account";

    if (ex->route.n > 0)
        fprintf(f, "route       %.*s\n", CN_STR_ARG(ex->route));
    for (uint32_t i = 0; i < ex->lines.n; i++) {
        fprintf(f, "%-11s %.*s\n", head, CN_STR_ARG(((const cn_str_t *)ex->lines.v)[i]));
        head = "";
    }
    return verdict(ex, f);
}

int cn_explain_answer(cn_worker_t *w, cn_explain_ask_t *a, FILE *f)
{
    cn_explain_t ex = {.tunnel = {.pool = a->pool}};
    cn_section_t *section = NULL;

    print_question(a, f);
    switch (cn_tunnel_resolve(w->gen, a->to, &section, &ex.tunnel.dest)) {
    case CN_OK:
        break;
    case CN_DECLINE:
        fprintf(f, "service     none: the waypoint does not serve %.*s\n", CN_STR_ARG(a->to));
        return CN_EXPLAIN_NO_ROUTE;
    default:
        (void)wrong(a, "not HOST:PORT or IP:PORT", a->to);
        return CN_EXPLAIN_USAGE;
    }
    fprintf(f, "service     %.*s (%.*s)\n", CN_STR_ARG(section->name), CN_STR_ARG(section->where));
    ex.tunnel.section = section;
    ex.tunnel.source = a->ip;
    ex.tunnel.authority = a->to;
    ex.tunnel.identity = a->from;
    if (w->tls)
        ex.tunnel.local_identity = cn_tls_ctx_identity(w->tls)->uri;
    ex.msg = a->method.n ? make_message(a) : NULL;
    cn_req_explain_run(w, &ex);
    return print_answer(&ex, f);
}

static int load_and_run(const cn_reload_source_t *source, cn_explain_ask_t *a)
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
            status = cn_explain_answer(&w, a, stdout);
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
    cn_explain_ask_t a = {.pool = cn_pool_create(0)};
    int status = CN_EXPLAIN_USAGE;
    bool asked = parse(&a, argc, argv) == CN_OK;

    if (asked)
        status = load_and_run(source, &a);
    if (a.why.n)
        fprintf(stderr, "cairn explain: %.*s\n", CN_STR_ARG(a.why));
    if (!asked)
        cn_explain_usage();
    cn_pool_destroy(a.pool);
    return status;
}
