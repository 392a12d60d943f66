/* SPDX-License-Identifier: Apache-2.0
 *
 * TLS over a stream, as a stream.  OpenSSL reads and writes chains of
 * ciphertext through a BIO of ours and never sees a descriptor; all records of
 * one write() go down in one write of the lower stream.
 *
 *   state       entered by               left by
 *   CONNECTING  creation                 lower stream ready, failed
 *   HANDSHAKE   lower stream ready       done, refused, timed out
 *   OPEN        peer accepted            failure of reading, close
 *   FAILED      err is set               close
 *   CLOSING     close, with ciphertext   delivered, failure, timer, end of the loop
 *               not yet taken below
 *
 * The lower stream wakes a task of ours, which drives the handshake and sends
 * what is left of earlier writes before it tells the owner.  The object belongs
 * to the stream's user until close, then to itself; it owns the lower stream.
 */
#include "tls/stream.h"

#include <stdio.h>
#include <stdlib.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "tls/tls_int.h"

#define RECORD_MAX 16384u
#define WHOLE_MIN 8192u /* a slice of this size is its own record, not copied together */
#define OUT_MAX 81920u  /* ciphertext held before writes are refused: 64 KiB in frames, at once */
#define PULL 32768u     /* ciphertext taken from below at once */
#define READ_MIN 2048u  /* room in a chunk that is worth decrypting into */
#define LINGER_MS 5000u
#define ALERT_REASON 1000 /* OpenSSL: reason codes of received alerts begin here */

enum state { CONNECTING, HANDSHAKE, OPEN, FAILED, CLOSING };

typedef struct {
    cn_stream_t s;
    cn_loop_t *loop;
    cn_task_t task;
    cn_timer_t timer;
    cn_leaver_t leaver;
    cn_stream_t *lower;
    cn_tls_ctx_t *ctx;
    SSL *ssl;
    cn_pool_t *pool;
    cn_str_t pin;           /* identity that the peer must have; empty: any trusted */
    cn_tls_expect_t expect; /* outside the mesh */
    uint64_t handshake_ms;
    enum state state;
    bool server;
    bool lower_ended;  /* nothing more to read below */
    bool lower_failed; /* ... because reading failed */
    bool cut;          /* ... without a close_notify */
    bool rx_ended;     /* close_notify or the end of the lower stream */
    bool tx_ended;     /* shutdown was asked for */
    bool notified;     /* close_notify is in out or sent */
    bool lower_shut;
    bool tx_failed;
    cn_serr verdict;    /* of our own check of the peer's certificate */
    cn_chain_t in, out; /* ciphertext */
    cn_peer_t peer;
    char text[512]; /* for err_text */
} tls_t;

static tls_t *tls_of(cn_stream_t *s)
{
    return cn_container_of(s, tls_t, s);
}

/* ---- the BIO ---- */

static int bio_create(BIO *bio)
{
    BIO_set_init(bio, 1);
    return 1;
}

static int bio_write(BIO *bio, const char *data, int n)
{
    tls_t *t = BIO_get_data(bio);

    cn_chain_copy(&t->out, data, (size_t)n);
    return n;
}

/* True when ciphertext is there. */
static bool pull(tls_t *t)
{
    cn_rc rc;

    if (t->in.bytes)
        return true;
    if (t->lower_ended)
        return false;
    rc = cn_stream_read(t->lower, &t->in, PULL);
    t->lower_failed = rc == CN_ERR;
    t->lower_ended = rc == CN_DONE || rc == CN_ERR;
    return t->in.bytes > 0;
}

static int bio_read(BIO *bio, char *out, int n)
{
    tls_t *t = BIO_get_data(bio);
    size_t got;

    BIO_clear_retry_flags(bio);
    if (!pull(t)) {
        t->cut = t->lower_ended;
        if (t->cut)
            return 0;
        BIO_set_retry_read(bio);
        return -1;
    }
    got = cn_chain_peek(&t->in, out, (size_t)n);
    cn_chain_skip(&t->in, got);
    return (int)got;
}

static long bio_ctrl(BIO *bio, int cmd, long num CN_UNUSED, void *ptr CN_UNUSED)
{
    tls_t *t = BIO_get_data(bio);

    if (cmd == BIO_CTRL_EOF)
        return t->lower_ended && t->in.bytes == 0;
    return cmd == BIO_CTRL_FLUSH;
}

static BIO_METHOD *bio_method(cn_tls_ctx_t *ctx)
{
    if (!ctx->bio) {
        ctx->bio = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "cn_stream");
        if (!ctx->bio)
            cn_pool_out_of_memory();
        BIO_meth_set_create(ctx->bio, bio_create);
        BIO_meth_set_write(ctx->bio, bio_write);
        BIO_meth_set_read(ctx->bio, bio_read);
        BIO_meth_set_ctrl(ctx->bio, bio_ctrl);
    }
    return ctx->bio;
}

/* ---- the peer ---- */

static cn_serr judge_identity(tls_t *t, const cn_spiffe_t *id)
{
    if (!cn_tls_ctx_trusts(t->ctx, id->trust_domain)) {
        snprintf(t->text, sizeof(t->text), "the peer is %.200s of a trust domain that is not ours",
                 id->uri.p);
        return CN_SERR_IDENTITY;
    }
    if (t->pin.n && !cn_str_eq(t->pin, id->uri)) {
        snprintf(t->text, sizeof(t->text), "the peer is %.200s, expected %.200s", id->uri.p,
                 t->pin.p);
        return CN_SERR_IDENTITY;
    }
    t->peer.identity = cn_pool_dup(t->pool, id->uri);
    return CN_SERR_NONE;
}

/* Ours to judge once the chain is good (hbone.md 1.1): a leaf, with an identity
 * of a trusted domain, and the one that was asked for. */
static cn_serr judge(tls_t *t, X509 *leaf)
{
    cn_spiffe_t id;

    if (X509_get_extension_flags(leaf) & EXFLAG_CA) {
        snprintf(t->text, sizeof(t->text), "the peer's certificate is a CA's");
        return CN_SERR_TLS;
    }
    if (cn_tls_ctx_cert_identity(t->pool, leaf, &id) != CN_OK) {
        snprintf(t->text, sizeof(t->text), "the peer's certificate has no SPIFFE identity");
        return CN_SERR_IDENTITY;
    }
    return judge_identity(t, &id);
}

static bool has_uri(X509 *leaf, cn_str_t uri)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
    bool found = false;

    for (int i = 0; !found && i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        const ASN1_IA5STRING *text = name->d.uniformResourceIdentifier;

        found = name->type == GEN_URI &&
                cn_str_eq(uri, cn_str_make((const char *)ASN1_STRING_get0_data(text),
                                           (size_t)ASN1_STRING_length(text)));
    }
    GENERAL_NAMES_free(names);
    return found;
}

/* RFC 9525: subjectAltName only, and a wildcard is a whole label. */
static bool is_for(tls_t *t, X509 *leaf, cn_str_t name)
{
    cn_addr_t addr;

    if (cn_inet_parse_ip(name, &addr) == CN_OK)
        return X509_check_ip_asc(leaf, cn_pool_cstr(t->pool, name), 0) == 1;
    if (memchr(name.p, '/', name.n))
        return has_uri(leaf, name);
    return X509_check_host(leaf, name.p, name.n,
                           X509_CHECK_FLAG_NEVER_CHECK_SUBJECT |
                               X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS,
                           NULL) == 1;
}

static cn_serr judge_web(tls_t *t, X509 *leaf)
{
    const cn_tls_expect_t *e = &t->expect;

    for (unsigned i = 0; i < e->nsans; i++)
        if (is_for(t, leaf, e->sans[i]))
            return CN_SERR_NONE;
    if (e->nsans == 0 && e->name.n && is_for(t, leaf, e->name))
        return CN_SERR_NONE;
    snprintf(t->text, sizeof(t->text), "the server's certificate is not for %.200s",
             e->nsans    ? e->sans[0].p
             : e->name.n ? e->name.p
                         : "any name that is known");
    return CN_SERR_IDENTITY;
}

static tls_t *of_store(X509_STORE_CTX *store)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());

    return SSL_get_app_data(ssl);
}

static int on_verify(int ok, X509_STORE_CTX *store)
{
    tls_t *t = of_store(store);

    if (!ok || X509_STORE_CTX_get_error_depth(store) != 0)
        return ok;
    t->verdict = (t->ctx->web ? judge_web : judge)(t, X509_STORE_CTX_get_current_cert(store));
    if (t->verdict == CN_SERR_NONE)
        return 1;
    X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REJECTED);
    return 0;
}

/* Whether a peer is the one that was asked for is a question to each connection. */
int cn_tls_stream_verify(X509_STORE_CTX *store, void *arg CN_UNUSED)
{
    tls_t *t = of_store(store);
    const cn_spiffe_t *known;
    int rc = cn_tls_seen_verify(t->ctx->seen, store, t->server, &known);

    if (!known)
        return rc;
    t->verdict = judge_identity(t, known);
    if (t->verdict == CN_SERR_NONE)
        return 1;
    X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REJECTED);
    return 0;
}

static const char *verify_text(long result)
{
    switch (result) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        return "the peer's certificate has expired";
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return "the peer's certificate is not valid yet";
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
        return "the peer's certificate is of an unknown CA";
    case X509_V_ERR_INVALID_PURPOSE:
        return "the peer's certificate is not for this use (extended key usage)";
    default:
        return X509_verify_cert_error_string(result);
    }
}

static const char *reason_text(unsigned long code)
{
    switch (ERR_GET_REASON(code)) {
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
        return "the peer sent no certificate";
    case SSL_R_UNSUPPORTED_PROTOCOL:
        return "the peer does not speak TLS 1.3";
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_HTTP_REQUEST:
    case SSL_R_PACKET_LENGTH_TOO_LONG:
        return "the peer does not speak TLS";
    case SSL_R_CALLBACK_FAILED:
    case SSL_R_NO_APPLICATION_PROTOCOL:
        return "the peer does not offer ALPN h2";
    default:
        return ERR_reason_error_string(code);
    }
}

/* ---- failure ---- */

/* SSL_get_error() wants none of before.  To clear a queue takes hundreds of instructions, also when
 * it is empty. */
static void forget_errors(void)
{
    if (ERR_peek_error() != 0)
        ERR_clear_error();
}

/* OpenSSL 3.0 has no words for one of TLS 1.3's. */
static const char *alert_text(int alert)
{
    return alert == SSL_AD_CERTIFICATE_REQUIRED ? "certificate required"
                                                : SSL_alert_desc_string_long(alert);
}

/* Text for the failure that OpenSSL just reported. */
static void explain(tls_t *t)
{
    unsigned long code = ERR_peek_last_error();
    int reason = ERR_GET_REASON(code);
    long verified = SSL_get_verify_result(t->ssl);
    const char *text;

    if (verified != X509_V_OK) {
        snprintf(t->text, sizeof(t->text), "%s", verify_text(verified));
    } else if (ERR_GET_LIB(code) == ERR_LIB_SSL && reason >= ALERT_REASON) {
        snprintf(t->text, sizeof(t->text), "the peer refused: %s",
                 alert_text(reason - ALERT_REASON));
    } else {
        text = code ? reason_text(code) : "the peer closed the connection during the handshake";
        snprintf(t->text, sizeof(t->text), "%s", text ? text : "TLS failure");
    }
}

static cn_rc fail(tls_t *t, cn_serr err, const char *text)
{
    t->state = FAILED;
    cn_timer_stop(&t->timer);
    return cn_stream_fail(&t->s, err, text);
}

static cn_rc fail_as_lower(tls_t *t)
{
    const char *text = t->lower->err_text;

    snprintf(t->text, sizeof(t->text), "%s", text ? text : "connection failed");
    return fail(t, t->lower->err, t->text);
}

/* After SSL_do_handshake or SSL_read failed for good. */
static cn_rc fail_as_openssl(tls_t *t)
{
    /* Probes come and go without a word: nothing is wrong with TLS. */
    bool left = SSL_is_server(t->ssl) && ERR_peek_last_error() == 0;

    if (t->verdict != CN_SERR_NONE)
        return fail(t, t->verdict, t->text);
    if (t->lower_failed)
        return fail_as_lower(t);
    explain(t);
    return fail(t, left ? CN_SERR_RESET : CN_SERR_TLS, t->text);
}

/* ---- sending ---- */

/* Sends ciphertext as far as the lower stream takes it. */
static void flush(tls_t *t)
{
    if (t->lower_shut) /* an answer to a key update, after our close_notify */
        cn_chain_clear(&t->out);
    if (t->out.bytes && !t->tx_failed && cn_stream_write(t->lower, &t->out) == CN_ERR) {
        t->tx_failed = true;
        cn_chain_clear(&t->out);
    }
    if (t->out.bytes == 0 && t->notified && !t->lower_shut) {
        t->lower_shut = true;
        cn_stream_shutdown(t->lower);
    }
}

/* One record from the front of src. */
static bool encrypt(tls_t *t, cn_chain_t *src)
{
    char together[RECORD_MAX];
    cn_str_t part = cn_chain_front(src);
    size_t done;

    if (part.n < WHOLE_MIN && part.n < src->bytes)
        part = cn_str_make(together, cn_chain_peek(src, together, sizeof(together)));
    if (part.n > RECORD_MAX)
        part.n = RECORD_MAX;
    forget_errors();
    if (SSL_write_ex(t->ssl, part.p, part.n, &done) != 1)
        return false;
    cn_chain_skip(src, done);
    t->s.tx += done;
    return true;
}

static cn_rc write_failed(tls_t *t)
{
    const char *text = t->lower->err_text;

    if (t->s.err != CN_SERR_NONE)
        return CN_ERR;
    t->s.had_enough = t->lower->had_enough;
    snprintf(t->text, sizeof(t->text), "%s", text ? text : "cannot write");
    return cn_stream_fail(&t->s, t->lower->err ? t->lower->err : CN_SERR_TLS, t->text);
}

static cn_rc tls_write(cn_stream_t *s, cn_chain_t *src)
{
    tls_t *t = tls_of(s);

    if (t->state == CONNECTING || t->state == HANDSHAKE)
        return CN_AGAIN;
    if (t->state == FAILED)
        return CN_ERR;
    if (t->tx_ended && src->bytes)
        return cn_stream_fail(s, CN_SERR_LOCAL, "write after shutdown");
    while (src->bytes && !t->tx_failed && t->out.bytes < OUT_MAX) {
        if (!encrypt(t, src))
            t->tx_failed = true;
        if (t->out.bytes >= OUT_MAX || src->bytes == 0)
            flush(t);
    }
    if (t->tx_failed)
        return write_failed(t);
    return src->bytes ? CN_AGAIN : CN_OK;
}

/* Who ends without a close_notify is gone, as a rule, and would answer ours with a reset. */
static void notify(tls_t *t)
{
    if (t->notified || t->state != OPEN)
        return;
    t->notified = true;
    if (!t->cut) {
        forget_errors();
        (void)SSL_shutdown(t->ssl);
    }
    flush(t);
}

static void tls_shutdown(cn_stream_t *s)
{
    tls_t *t = tls_of(s);

    t->tx_ended = true;
    notify(t);
}

/* ---- handshake ---- */

static void set_open(tls_t *t)
{
    const unsigned char *alpn;
    unsigned n;
    const cn_peer_t *lower = cn_stream_peer(t->lower);

    SSL_get0_alpn_selected(t->ssl, &alpn, &n);
    if (!t->ctx->web && (n != 2 || memcmp(alpn, "h2", 2) != 0)) {
        fail(t, CN_SERR_TLS, "the peer did not choose ALPN h2");
        return;
    }
    t->state = OPEN;
    cn_timer_stop(&t->timer);
    t->peer.remote = lower->remote;
    t->peer.local = lower->local;
    t->peer.local_identity = cn_pool_dup(t->pool, t->ctx->identity.uri);
    t->peer.alpn = cn_pool_dup(t->pool, cn_str_make((const char *)alpn, n));
    if (t->tx_ended)
        notify(t);
}

static void shake(tls_t *t)
{
    int rc;

    forget_errors();
    rc = SSL_do_handshake(t->ssl);
    flush(t); /* after a refusal this is the alert */
    if (rc == 1)
        set_open(t);
    else if (SSL_get_error(t->ssl, rc) != SSL_ERROR_WANT_READ)
        fail_as_openssl(t);
    else if (t->tx_failed)
        fail_as_lower(t);
}

static void connect_lower(tls_t *t)
{
    cn_rc rc = cn_stream_ready(t->lower);

    if (rc == CN_ERR) {
        fail_as_lower(t);
    } else if (rc == CN_OK) {
        t->state = HANDSHAKE;
        if (t->handshake_ms)
            cn_timer_set(&t->timer, t->handshake_ms);
    }
}

static void begin(tls_t *t, uint32_t why)
{
    if (t->state == CONNECTING)
        connect_lower(t);
    if (t->state == HANDSHAKE)
        shake(t);
    if (t->state == HANDSHAKE && (why & CN_WAKE_TIMER))
        fail(t, CN_SERR_TIMEOUT, "TLS handshake timeout");
    if (t->state == OPEN || t->state == FAILED)
        cn_stream_wake(&t->s, CN_WAKE_STATE | CN_WAKE_READ | CN_WAKE_WRITE);
}

static cn_rc tls_ready(cn_stream_t *s)
{
    tls_t *t = tls_of(s);

    if (t->state == CONNECTING || t->state == HANDSHAKE)
        return CN_AGAIN;
    return s->err == CN_SERR_NONE ? CN_OK : CN_ERR;
}

/* ---- receiving ---- */

static cn_rc read_stopped(tls_t *t)
{
    switch (SSL_get_error(t->ssl, 0)) {
    case SSL_ERROR_WANT_READ:
        return CN_AGAIN;
    case SSL_ERROR_ZERO_RETURN:
        /* OpenSSL makes no difference between close_notify and the end below. */
        if (t->lower_failed)
            return fail_as_lower(t);
        t->rx_ended = true;
        return CN_DONE;
    default:
        return fail_as_openssl(t);
    }
}

/* Decrypts up to max bytes behind what dst holds. */
static cn_rc decrypt(tls_t *t, cn_chain_t *dst, size_t max, size_t *total)
{
    while (*total < max) {
        char *p;
        size_t room, got = 0;
        int ok;

        if (SSL_has_pending(t->ssl) == 0 && !pull(t) && !t->lower_ended)
            return CN_AGAIN;
        cn_chain_reserve(dst, READ_MIN, &p, &room);
        if (room > max - *total)
            room = max - *total;
        forget_errors();
        ok = SSL_read_ex(t->ssl, p, room, &got);
        cn_chain_commit(dst, ok == 1 ? got : 0);
        if (ok != 1)
            return read_stopped(t);
        *total += got;
    }
    return CN_OK;
}

static cn_rc tls_read(cn_stream_t *s, cn_chain_t *dst, size_t max)
{
    tls_t *t = tls_of(s);
    size_t total = 0;
    cn_rc rc;

    if (t->state == CONNECTING || t->state == HANDSHAKE)
        return CN_AGAIN;
    if (t->state == FAILED)
        return CN_ERR;
    if (t->rx_ended)
        return CN_DONE;
    rc = decrypt(t, dst, max, &total);
    s->rx += total;
    if (t->out.bytes)
        flush(t); /* an answer to a key update */
    return total ? CN_OK : rc;
}

/* ---- the end ---- */

static void destroy(tls_t *t, bool do_abort)
{
    t->lower->owner = NULL;
    cn_stream_close(t->lower, do_abort);
    cn_timer_stop(&t->timer);
    cn_task_fini(&t->task);
    cn_list_remove(&t->leaver.link);
    SSL_free(t->ssl);
    cn_chain_clear(&t->in);
    cn_chain_clear(&t->out);
    cn_tls_ctx_unref(t->ctx);
    cn_pool_destroy(t->pool);
    cn_loop_retire(t->loop, free, t);
}

static void leave_now(cn_leaver_t *l)
{
    destroy(cn_container_of(l, tls_t, leaver), true);
}

static void tls_close(cn_stream_t *s, bool do_abort)
{
    tls_t *t = tls_of(s);

    s->owner = NULL;
    if (do_abort && !(t->rx_ended && t->tx_ended)) {
        destroy(t, true);
        return;
    }
    notify(t);
    flush(t);
    if (t->out.bytes == 0) {
        destroy(t, false);
        return;
    }
    t->state = CLOSING;
    cn_timer_set(&t->timer, LINGER_MS);
    cn_loop_leave(t->loop, &t->leaver, leave_now);
}

static void on_wake(cn_task_t *task, uint32_t why)
{
    tls_t *t = cn_container_of(task, tls_t, task);

    if (t->state == CONNECTING || t->state == HANDSHAKE) {
        begin(t, why);
        return;
    }
    flush(t);
    if (t->state != CLOSING)
        cn_stream_wake(&t->s, why & ~(uint32_t)CN_WAKE_TIMER);
    else if (t->out.bytes == 0 || (why & CN_WAKE_TIMER))
        destroy(t, t->out.bytes > 0);
}

static const cn_peer_t *tls_peer(cn_stream_t *s)
{
    tls_t *t = tls_of(s);

    if (t->peer.remote.family == 0) {
        const cn_peer_t *lower = cn_stream_peer(t->lower);

        t->peer.remote = lower->remote;
        t->peer.local = lower->local;
    }
    return &t->peer;
}

static const cn_stream_ops_t tls_ops = {
    .ready = tls_ready,
    .read = tls_read,
    .write = tls_write,
    .shutdown = tls_shutdown,
    .close = tls_close,
    .peer = tls_peer,
};

/* ---- creation ---- */

/* 0 is success here. */
static void offer(SSL *ssl, const unsigned char *list, unsigned n)
{
    if (SSL_set_alpn_protos(ssl, list, n) != 0)
        cn_pool_out_of_memory();
}

/* Names only: an address is never sent as one (RFC 6066 3). */
static void expect_web(tls_t *t, SSL *ssl)
{
    const cn_tls_expect_t *e = &t->expect;
    unsigned char list[32];
    cn_addr_t addr;

    SSL_set_connect_state(ssl);
    if (e->name.n && e->name.n <= TLSEXT_MAXLEN_host_name &&
        cn_inet_parse_ip(e->name, &addr) != CN_OK && SSL_set_tlsext_host_name(ssl, e->name.p) != 1)
        cn_pool_out_of_memory();
    if (e->alpn.n && e->alpn.n < sizeof(list)) {
        list[0] = (unsigned char)e->alpn.n;
        memcpy(list + 1, e->alpn.p, e->alpn.n);
        offer(ssl, list, (unsigned)e->alpn.n + 1);
    }
}

static SSL *ssl_new(tls_t *t)
{
    SSL *ssl = SSL_new(t->ctx->ssl);
    BIO *bio = BIO_new(bio_method(t->ctx));

    if (!ssl || !bio || SSL_set_app_data(ssl, (char *)t) != 1)
        cn_pool_out_of_memory();
    BIO_set_data(bio, t);
    SSL_set_bio(ssl, bio, bio);
    if (!t->ctx->insecure)
        SSL_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, on_verify);
    if (t->ctx->web) {
        expect_web(t, ssl);
    } else if (t->server) {
        SSL_set_accept_state(ssl);
    } else {
        SSL_set_connect_state(ssl);
        offer(ssl, (const unsigned char *)"\x02h2", 3);
    }
    return ssl;
}

static tls_t *create(cn_loop_t *loop, cn_stream_t *lower, cn_tls_ctx_t *ctx, uint64_t handshake_ms,
                     cn_task_t *owner)
{
    tls_t *t = cn_xzalloc(sizeof(*t));

    t->s.ops = &tls_ops;
    t->s.owner = owner;
    t->loop = loop;
    t->lower = lower;
    t->ctx = cn_tls_ctx_ref(ctx);
    t->handshake_ms = handshake_ms;
    t->pool = cn_pool_create(512);
    cn_list_init(&t->leaver.link);
    cn_task_init(&t->task, loop, on_wake);
    cn_timer_init(&t->timer, &t->task, CN_WAKE_TIMER);
    return t;
}

static cn_stream_t *begin_tls(tls_t *t)
{
    t->ssl = ssl_new(t);
    cn_stream_own(t->lower, &t->task);
    return &t->s;
}

cn_stream_t *cn_tls_server(cn_loop_t *loop, cn_stream_t *lower, cn_tls_ctx_t *ctx,
                           uint64_t handshake_ms, cn_task_t *owner)
{
    tls_t *t = create(loop, lower, ctx, handshake_ms, owner);

    t->server = true;
    return begin_tls(t);
}

cn_stream_t *cn_tls_client(cn_loop_t *loop, cn_stream_t *lower, cn_tls_ctx_t *ctx,
                           cn_str_t identity, uint64_t handshake_ms, cn_task_t *owner)
{
    tls_t *t = create(loop, lower, ctx, handshake_ms, owner);

    t->pin = cn_pool_dup(t->pool, identity);
    return begin_tls(t);
}

cn_stream_t *cn_tls_client_web(cn_loop_t *loop, cn_stream_t *lower, cn_tls_ctx_t *ctx,
                               const cn_tls_expect_t *expect, uint64_t handshake_ms,
                               cn_task_t *owner)
{
    tls_t *t = create(loop, lower, ctx, handshake_ms, owner);
    cn_str_t *sans = cn_pool_alloc(t->pool, (expect->nsans + 1) * sizeof(*sans));

    for (unsigned i = 0; i < expect->nsans; i++)
        sans[i] = cn_pool_dup(t->pool, expect->sans[i]);
    t->expect = (cn_tls_expect_t){cn_pool_dup(t->pool, expect->name), sans, expect->nsans,
                                  cn_pool_dup(t->pool, expect->alpn)};
    return begin_tls(t);
}
