/* SPDX-License-Identifier: Apache-2.0
 *
 * cairn-tunnel: a small program of its own that calls through a waypoint (or
 * any HBONE server) without a ztunnel.  Every connection that it accepts
 * becomes a CONNECT stream of a shared HBONE connection, so that curl, load
 * generators and browsers can act as a workload of the mesh.  It knows nothing
 * of cairn's configuration.
 *
 *   connection state  entered by             left by
 *   HELLO             accept, with --socks5  methods read
 *   REQUEST           methods read           request read
 *   OPENING           target known           CONNECT answered, failed
 *   RELAYING          CONNECT answered       both directions ended, failure
 *
 * A connection owns its two streams and ends with them.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/hash.h"
#include "core/log.h"
#include "event/listen.h"
#include "event/sock.h"
#include "http/h2pool.h"
#include "http/uri.h"
#include "main/build.h"
#include "os/sig.h"
#include "tls/ctx.h"
#include "tls/stream.h"
#include "tunnel/tunnel.h"

#define BACKLOG 1024
#define TIMEOUT_MS 10000u
#define BUDGET 262144u     /* bytes relayed per run and direction */
#define SOCKS_MAX 1024u    /* of SOCKS messages and what follows them, before the tunnel is open */
#define AUTHORITY_MAX 300u /* a name of 255 bytes and a port */

typedef struct {
    const char *via, *cert, *key, *roots, *to, *listen;
    bool socks;
} options_t;

typedef struct {
    cn_loop_t *loop;
    cn_pool_t *mem;
    cn_tls_ctx_t *tls;
    cn_h2pool_t *pool;
    cn_addr_t via;
    cn_str_t to;
    bool socks;
    cn_list_t conns;
    cn_task_t signals;
    cn_io_t signal_io;
} cli_t;

enum state { HELLO, REQUEST, OPENING, RELAYING };

typedef struct {
    cli_t *cli;
    cn_list_t link;
    cn_task_t task;
    enum state state;
    cn_stream_t *sock, *tunnel;
    cn_chain_t in; /* SOCKS messages, then bytes for the tunnel */
    cn_relay_t relay;
    char target[AUTHORITY_MAX];
} conn_t;

/* ---- connections ---- */

static void free_conn(conn_t *c, bool do_abort)
{
    cn_list_remove(&c->link);
    cn_task_fini(&c->task);
    cn_stream_close(c->sock, do_abort);
    if (c->tunnel)
        cn_stream_close(c->tunnel, do_abort);
    cn_relay_fini(&c->relay);
    cn_chain_clear(&c->in);
    cn_loop_retire(c->cli->loop, free, c);
}

static void open_tunnel(conn_t *c, cn_str_t authority)
{
    snprintf(c->target, sizeof(c->target), "%.*s", CN_STR_ARG(authority));
    c->state = OPENING;
    c->tunnel = cn_h2pool_open(c->cli->pool, cn_str_c(c->target), NULL, TIMEOUT_MS, &c->task);
}

/* ---- SOCKS 5 (RFC 1928): CONNECT without authentication ---- */

enum {
    SOCKS_OK = 0,
    SOCKS_FAILED = 1,
    SOCKS_DENIED = 2,
    SOCKS_UNREACHABLE = 4,
    SOCKS_REFUSED = 5,
    SOCKS_TIMEOUT = 6,
    SOCKS_BAD_COMMAND = 7,
    SOCKS_BAD_ADDRESS = 8
};

/* Replies are a few bytes on a fresh connection: the kernel takes them. */
static bool send_bytes(conn_t *c, const void *data, size_t n)
{
    cn_chain_t out;
    bool ok;

    cn_chain_init(&out);
    cn_chain_copy(&out, data, n);
    ok = cn_stream_write(c->sock, &out) == CN_OK;
    cn_chain_clear(&out);
    return ok;
}

static bool socks_reply(conn_t *c, uint8_t code)
{
    const uint8_t reply[10] = {5, code, 0, 1};

    return send_bytes(c, reply, sizeof(reply));
}

static cn_rc socks_refuse(conn_t *c, uint8_t code)
{
    return socks_reply(c, code) ? CN_DONE : CN_ERR;
}

static cn_rc socks_hello(conn_t *c)
{
    uint8_t head[2 + 255];
    size_t n = cn_chain_peek(&c->in, head, sizeof(head));

    if (n >= 1 && head[0] != 5) {
        fprintf(stderr, "cairn-tunnel: a client does not speak SOCKS 5\n");
        return CN_ERR;
    }
    if (n < 2 || n < 2u + head[1])
        return CN_AGAIN;
    cn_chain_skip(&c->in, 2u + head[1]);
    if (!memchr(head + 2, 0, head[1]))
        return send_bytes(c, "\x05\xff", 2) ? CN_DONE : CN_ERR;
    c->state = REQUEST;
    return send_bytes(c, "\x05\x00", 2) ? CN_OK : CN_ERR;
}

/* The target in a request as an authority; its length in the message, or 0. */
static size_t socks_target(const uint8_t *m, size_t n, char *out, cn_rc *rc)
{
    cn_addr_t addr = {0};
    size_t len = m[3] == 1 ? 4 : m[3] == 4 ? 16 : m[3] == 3 && n > 4 ? 1u + m[4] : 0;
    size_t whole = 4 + len + 2;

    *rc = CN_AGAIN;
    if (m[3] != 1 && m[3] != 3 && m[3] != 4)
        *rc = CN_ERR;
    if (*rc == CN_ERR || (m[3] == 3 && n < 5) || n < whole)
        return 0;
    addr.port = (uint16_t)(m[whole - 2] << 8 | m[whole - 1]);
    *rc = CN_OK;
    if (m[3] == 3) {
        snprintf(out, AUTHORITY_MAX, "%.*s:%u", (int)m[4], (const char *)m + 5, addr.port);
        return whole;
    }
    addr.family = m[3] == 1 ? AF_INET : AF_INET6;
    memcpy(addr.ip, m + 4, len);
    cn_inet_put(out, &addr, true);
    return whole;
}

static cn_rc socks_request(conn_t *c)
{
    uint8_t m[4 + 1 + 255 + 2];
    size_t n = cn_chain_peek(&c->in, m, sizeof(m)), whole;
    char target[AUTHORITY_MAX];
    cn_str_t host;
    uint16_t port;
    cn_rc rc;

    if (n < 4)
        return CN_AGAIN;
    if (m[0] != 5 || m[1] != 1)
        return socks_refuse(c, SOCKS_BAD_COMMAND);
    whole = socks_target(m, n, target, &rc);
    if (rc == CN_AGAIN)
        return CN_AGAIN;
    if (rc != CN_OK || cn_uri_authority(cn_str_c(target), &host, &port) != CN_OK || port == 0)
        return socks_refuse(c, SOCKS_BAD_ADDRESS);
    cn_chain_skip(&c->in, whole);
    open_tunnel(c, cn_str_c(target));
    return CN_OK;
}

static uint8_t socks_code(cn_serr err)
{
    switch (err) {
    case CN_SERR_REFUSED:
        return SOCKS_REFUSED;
    case CN_SERR_TIMEOUT:
        return SOCKS_TIMEOUT;
    case CN_SERR_UNREACHABLE:
        return SOCKS_UNREACHABLE;
    case CN_SERR_DENIED:
        return SOCKS_DENIED;
    default:
        return SOCKS_FAILED;
    }
}

/* Messages are looked at before the client's end is: it may have ended its
 * direction already, behind a whole request and what is for the tunnel. */
static cn_rc socks(conn_t *c)
{
    cn_rc rc = CN_OK, got = CN_OK;

    while (c->state < OPENING && (rc == CN_OK || (rc == CN_AGAIN && got == CN_OK))) {
        got = CN_AGAIN;
        if (c->in.bytes < SOCKS_MAX)
            got = cn_stream_read(c->sock, &c->in, SOCKS_MAX - c->in.bytes);
        if (got == CN_ERR)
            return CN_ERR;
        rc = c->state == HELLO ? socks_hello(c) : socks_request(c);
        if (rc == CN_AGAIN && got == CN_DONE)
            return CN_ERR;
    }
    return rc;
}

/* ---- tunnels ---- */

static cn_rc opening(conn_t *c)
{
    cn_rc rc = cn_stream_ready(c->tunnel);
    char via[CN_INET_TEXT];

    if (rc == CN_AGAIN)
        return CN_AGAIN;
    if (rc == CN_ERR) {
        cn_inet_put(via, &c->cli->via, true);
        fprintf(stderr, "cairn-tunnel: no tunnel to %s through %s: %s\n", c->target, via,
                c->tunnel->err_text ? c->tunnel->err_text : "failed");
        return c->cli->socks ? socks_refuse(c, socks_code(c->tunnel->err)) : CN_ERR;
    }
    if (c->cli->socks && !socks_reply(c, SOCKS_OK))
        return CN_ERR;
    c->state = RELAYING;
    cn_relay_init(&c->relay, c->sock, c->tunnel);
    cn_chain_move(&c->relay.ab, &c->in, c->in.bytes);
    return CN_OK;
}

static void on_conn(cn_task_t *task, uint32_t why CN_UNUSED)
{
    conn_t *c = cn_container_of(task, conn_t, task);
    bool more = false;
    cn_rc rc = CN_OK;

    if (c->state < OPENING)
        rc = socks(c);
    if (rc == CN_OK && c->state == OPENING)
        rc = opening(c);
    if (rc == CN_OK && c->state == RELAYING)
        rc = cn_relay_run(&c->relay, BUDGET, &more);
    if (rc == CN_DONE || rc == CN_ERR)
        free_conn(c, rc == CN_ERR);
    else if (more)
        cn_task_wake(&c->task, CN_WAKE_SELF);
}

static void on_accept(void *ctx, int fd, const cn_addr_t *remote)
{
    cli_t *cli = ctx;
    conn_t *c = cn_xzalloc(sizeof(*c));

    c->cli = cli;
    cn_list_push(&cli->conns, &c->link);
    cn_task_init(&c->task, cli->loop, on_conn);
    c->sock = cn_sock_accepted(cli->loop, fd, remote, &c->task);
    if (!cli->socks)
        open_tunnel(c, cli->to);
}

/* ---- the shared connection ---- */

static cn_stream_t *on_dial(void *ctx, uint64_t timeout_ms, cn_task_t *owner)
{
    cli_t *cli = ctx;
    cn_stream_t *sock = cn_sock_connect(cli->loop, &cli->via, timeout_ms, NULL);

    return cn_tls_client(cli->loop, sock, cli->tls, CN_STR_NULL, TIMEOUT_MS, owner);
}

/* ---- start and end ---- */

static void usage(FILE *out)
{
    fputs("usage: cairn-tunnel --via IP:15008 --cert FILE --key FILE --roots FILE\n"
          "                    (--to HOST:PORT --listen ADDRESS:PORT | --socks5 ADDRESS:PORT)\n"
          "  --via      the waypoint, or any HBONE server\n"
          "  --cert     our workload's certificate chain (PEM) with a SPIFFE identity\n"
          "  --key      its private key\n"
          "  --roots    the mesh's root certificates; the server must be of our trust domain\n"
          "  --to       service address and port that every connection leads to\n"
          "  --listen   where to accept connections; port 0: any\n"
          "  --socks5   accept SOCKS 5 clients, which say themselves where to\n"
          "  --version, --help\n",
          out);
}

/* The exit status, or -1 to go on. */
static int read_options(int argc, char **argv, options_t *o)
{
    static const struct option table[] = {
        {"via", required_argument, NULL, 'v'},    {"cert", required_argument, NULL, 'c'},
        {"key", required_argument, NULL, 'k'},    {"roots", required_argument, NULL, 'r'},
        {"to", required_argument, NULL, 't'},     {"listen", required_argument, NULL, 'l'},
        {"socks5", required_argument, NULL, 's'}, {"version", no_argument, NULL, 'V'},
        {"help", no_argument, NULL, 'h'},         {0}};
    int opt;

    while ((opt = getopt_long(argc, argv, "Vh", table, NULL)) != -1) {
        switch (opt) {
        case 'v':
            o->via = optarg;
            break;
        case 'c':
            o->cert = optarg;
            break;
        case 'k':
            o->key = optarg;
            break;
        case 'r':
            o->roots = optarg;
            break;
        case 't':
            o->to = optarg;
            break;
        case 's':
            o->socks = true;
            /* fall through */
        case 'l':
            o->listen = optarg;
            break;
        case 'V':
            printf("cairn-tunnel %s\n", cn_build_version);
            return 0;
        case 'h':
            usage(stdout);
            return 0;
        default:
            usage(stderr);
            return 2;
        }
    }
    if (optind == argc && o->via && o->cert && o->key && o->roots && o->listen &&
        o->socks != !!o->to)
        return -1;
    usage(stderr);
    return 2;
}

static bool complain(const char *what, const char *value, const char *why)
{
    fprintf(stderr, "cairn-tunnel: %s %s: %s\n", what, value, why);
    return false;
}

static bool prepare(cli_t *cli, const options_t *o)
{
    cn_tls_conf_t conf = {.cert_file = cn_str_c(o->cert),
                          .key_file = cn_str_c(o->key),
                          .bundle_file = cn_str_c(o->roots)};
    cn_str_t why, host;
    uint16_t port;

    if (cn_inet_parse_hostport(cn_str_c(o->via), false, &cli->via) != CN_OK)
        return complain("--via", o->via, "expected IP:PORT");
    if (o->to && (strlen(o->to) >= AUTHORITY_MAX ||
                  cn_uri_authority(cn_str_c(o->to), &host, &port) != CN_OK || port == 0))
        return complain("--to", o->to, "expected HOST:PORT");
    if (cn_tls_ctx_create(&conf, cli->mem, &cli->tls, &why) != CN_OK) {
        fprintf(stderr, "cairn-tunnel: %.*s\n", CN_STR_ARG(why));
        return false;
    }
    cli->to = cn_str_c(o->to);
    cli->socks = o->socks;
    return true;
}

static bool listen_on(const char *where, int *fd)
{
    cn_addr_t addr;
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    char text[CN_INET_TEXT];

    if (cn_inet_parse_hostport(cn_str_c(where), true, &addr) != CN_OK)
        return complain("cannot listen on", where, "expected ADDRESS:PORT");
    if (cn_listen_bind(&addr, BACKLOG, fd) != CN_OK)
        return complain("cannot listen on", where, strerror(errno));
    if (getsockname(*fd, (struct sockaddr *)&ss, &len) == 0)
        cn_inet_from_sockaddr(&addr, (struct sockaddr *)&ss, len);
    cn_inet_put(text, &addr, true);
    printf("listening on %s\n", text);
    fflush(stdout);
    return true;
}

static void raise_descriptors(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        fprintf(stderr, "cairn-tunnel: descriptors stay limited: %s\n", strerror(errno));
}

static void on_signal(cn_task_t *task, uint32_t why CN_UNUSED)
{
    cn_loop_stop(cn_container_of(task, cli_t, signals)->loop);
}

static bool watch_signals(cli_t *cli, int *fd)
{
    static const int ends[] = {SIGTERM, SIGINT, 0};

    cn_sig_ignore_pipe();
    cn_task_init(&cli->signals, cli->loop, on_signal);
    return cn_sig_open(ends, fd) == CN_OK &&
           cn_io_open(&cli->signal_io, cli->loop, *fd, &cli->signals) == CN_OK;
}

static void serve(cli_t *cli, int listen_fd)
{
    static const cn_h2pool_cbs_t cbs = {.dial = on_dial};
    cn_listener_t *listener = cn_listen_start(cli->loop, listen_fd, on_accept, cli);

    cli->pool = cn_h2pool_create(cli->loop, &cn_h2_conf_hbone, &cbs, cli);
    cn_loop_run(cli->loop);
    cn_listen_stop(listener);
    cn_list_each (node, &cli->conns)
        free_conn(cn_list_entry(node, conn_t, link), true);
    cn_h2pool_destroy(cli->pool);
}

int main(int argc, char **argv)
{
    cli_t cli = {0};
    options_t options = {0};
    int listen_fd = -1, signal_fd = -1, status = read_options(argc, argv, &options);

    if (status >= 0)
        return status;
    cn_hash_seed();
    cn_log_set_level(CN_LOG_WARN);
    raise_descriptors();
    cli.mem = cn_pool_create(0);
    cli.loop = cn_loop_create();
    cn_list_init(&cli.conns);
    status = 1;
    if (watch_signals(&cli, &signal_fd) && prepare(&cli, &options) &&
        listen_on(options.listen, &listen_fd)) {
        serve(&cli, listen_fd);
        status = 0;
    }
    if (cli.signal_io.loop)
        cn_io_close(&cli.signal_io);
    cn_task_fini(&cli.signals);
    cn_loop_destroy(cli.loop);
    cn_tls_ctx_unref(cli.tls);
    cn_pool_destroy(cli.mem);
    close(listen_fd);
    close(signal_fd);
    return status;
}
