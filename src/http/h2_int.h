/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP/2 inside: the session (h2mux.c), its streams (h2stream.c) and heads
 * between nghttp2 and cn_msg (h2head.c).  Private to src/http.
 *
 * A stream object has two holders: nghttp2 (`open`) and the exchange's user
 * (`held`).  It ends when both have let go.  A held one keeps the session's
 * memory, not the session: once that has ended (`h->ended`) only bytes that
 * were received before can still be taken.
 */
#ifndef CN_HTTP_H2_INT_H
#define CN_HTTP_H2_INT_H

#include <nghttp2/nghttp2.h>

#include "http/h2mux.h"

#define CN_H2_OUT_MAX 131072u /* bytes of frames made but not yet taken below */

typedef struct {
    nghttp2_rcbuf *name, *value; /* one reference each */
} cn_h2_field_t;

/* A field section as received. */
typedef struct {
    cn_list_t link; /* stream->heads */
    cn_h2_field_t *v;
    uint32_t n, cap;
    size_t bytes; /* as RFC 9113 10.5.1 counts */
} cn_h2_head_t;

/* Fields to send: points into a message, plus room for numbers as text. */
typedef struct {
    nghttp2_nv *v;
    size_t n;
    char digits[2][20];
} cn_h2_nva_t;

typedef struct {
    cn_exch_t x;
    cn_stream_t s;     /* the other face: after cn_h2_stream() */
    cn_h2_t *h;        /* a reference of its memory while held */
    cn_list_t link;    /* h->streams */
    cn_list_t arrived; /* h->arrived: request not yet handed out */
    int32_t id;        /* 0: not submitted yet */
    cn_list_t heads;   /* complete, not yet taken */
    unsigned nheads;
    cn_h2_head_t *part; /* being received */
    cn_h2_head_t *trailer;
    cn_msg_t *msg; /* of recv_head(): trailers go there */
    cn_chain_t recv, send;
    cn_pool_t *trailer_pool; /* trailers to send, until they are */
    cn_h2_nva_t trailers;
    cn_pool_t *websocket_pool; /* client: of a CONNECT that waits for SETTINGS */
    cn_h2_nva_t websocket_head;
    uint64_t given_back_ms;
    uint32_t code; /* with `reset` */
    bool is_stream;
    bool websocket; /* client: extended CONNECT (RFC 8441) */
    bool held, open;
    bool counted;   /* in h->nstreams */
    bool head_done; /* the request, or the final response, has arrived */
    bool head_taken;
    bool answered;  /* server: a final head was submitted */
    bool connected; /* client's byte stream: answered with 2xx */
    bool recv_eos, send_eos, sent_eos;
    bool deferred; /* nghttp2 asked for data when there was none */
    bool blocked;  /* the user waits for room to write */
    bool reset;    /* ended otherwise than by the end of both directions */
    bool by_peer;  /* ... by RST_STREAM or GOAWAY of the peer */
    bool cut;      /* server: given back within the response; reset once `send` is out */
    bool ending;   /* RST_STREAM is on its way out */
    bool used;     /* payload went either way */
} cn_h2_stream_t;

struct cn_h2 {
    uint32_t refs; /* the owner's, and one of each held stream */
    cn_loop_t *loop;
    cn_task_t task;
    cn_timer_t ping, idle, step, head;
    cn_stream_t *lower;
    cn_peer_t peer; /* copy: lower may go first */
    cn_pool_t *pool;
    nghttp2_session *ng;
    cn_h2_conf_t conf;
    cn_h2_cbs_t cbs;
    void *ctx;
    cn_list_t streams;
    cn_list_t arrived;
    uint32_t nstreams;
    cn_chain_t in, out;
    cn_buf_t feeding;  /* the input slice that nghttp2 is looking at */
    uint64_t abuse_ms; /* bucket of cheap resets, see h2mux.c */
    uint32_t abuse;
    uint64_t rx_at_ping;
    bool server;
    bool running; /* inside run() */
    bool readable, lower_ended;
    bool blocked;   /* lower takes no more */
    bool tx_failed; /* ... for good: only reading is left */
    bool put_off;   /* run() left sending to its next turn */
    bool pinging;
    bool in_head;        /* a field section has begun and is not complete */
    bool draining, told; /* no new streams; the owner knows */
    bool served;         /* a stream was opened before */
    bool settings_seen;  /* the peer's */
    bool room;           /* capacity grew: tell the owner */
    bool drain_late;     /* it begins with the first request, or by the step timer */
    bool last_said;      /* the final GOAWAY went out */
    bool lingers;        /* all is said, and lower was told so */
    bool doomed;         /* cn_h2_destroy() from inside run() */
    bool ended;
    bool unsent; /* without a byte having been sent */
    cn_serr err; /* why it ended */
    char err_text[160];
};

/* ---- h2mux.c ---- */
/* There is something to send. */
void cn_h2_wake(cn_h2_t *);
void cn_h2_ref(cn_h2_t *);
void cn_h2_unref(cn_h2_t *);
/* Why the session is about to end; the first cause counts. */
void cn_h2_set_error(cn_h2_t *, cn_serr, const char *text);

/* ---- h2frame.c ---- */
extern const uint8_t cn_h2_ping_alive[8], cn_h2_ping_drain[8], cn_h2_ping_last[8];
void cn_h2_session_create(cn_h2_t *);
/* The final GOAWAY, once. */
void cn_h2_say_last(cn_h2_t *);
/* Counts something that costs the peer nothing; too much of it ends the session. */
void cn_h2_abuse(cn_h2_t *);

/* ---- h2stream.c ---- */
cn_h2_stream_t *cn_h2_stream_create(cn_h2_t *);
/* The session has ended, or nghttp2 closed the stream. */
void cn_h2_stream_closed(cn_h2_stream_t *, uint32_t code);
/* A request is handed to the server's user, or an exchange to the client's. */
void cn_h2_stream_hold(cn_h2_stream_t *);
void cn_h2_stream_wake(cn_h2_stream_t *, uint32_t why);
/* The last DATA or HEADERS of our side went out. */
void cn_h2_stream_sent_all(cn_h2_stream_t *);
void cn_h2_stream_reset(cn_h2_stream_t *, uint32_t code);
/* The server's SETTINGS have come: what waited for them may go. */
void cn_h2_stream_settings(cn_h2_stream_t *);
/* nghttp2: moves the payload of a DATA frame behind its frame header. */
int cn_h2_stream_put(cn_h2_stream_t *, const uint8_t *framehd, size_t n, cn_chain_t *out);

/* ---- h2head.c ---- */
cn_h2_head_t *cn_h2_head_create(void);
void cn_h2_head_destroy(cn_h2_head_t *); /* NULL is allowed */
/* False: beyond the session's limits. */
bool cn_h2_head_add(cn_h2_head_t *, const cn_h2_conf_t *, nghttp2_rcbuf *name,
                    nghttp2_rcbuf *value);
/* The status; 0: none. */
unsigned cn_h2_head_status(const cn_h2_head_t *);
/* The first value of a field; it lives as long as the head. */
cn_str_t cn_h2_head_value(const cn_h2_head_t *, cn_str_t name);
/* Copies into msg's pool.  eos: nothing follows the head. */
void cn_h2_head_read(const cn_h2_head_t *, cn_msg_t *, bool request, bool eos);
void cn_h2_head_read_trailers(const cn_h2_head_t *, cn_msg_t *);
/* Memory of the list is in pool; strings are not copied. */
void cn_h2_head_request(cn_pool_t *, const cn_msg_t *, cn_h2_nva_t *);
void cn_h2_head_response(cn_pool_t *, const cn_msg_t *, cn_h2_nva_t *);
/* The same list with strings of its own. */
void cn_h2_head_copy(cn_pool_t *, const cn_h2_nva_t *, cn_h2_nva_t *);
/* Strings are copied too. */
void cn_h2_head_trailers(cn_pool_t *, const cn_headers_t *, cn_h2_nva_t *);

#endif
