/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP/1.1 codec, sans I/O: bytes in, heads and body slices out, and back.
 * Strict (RFC 9112): whatever two parsers could read differently is refused.
 * Knows nothing of streams or tasks; safe on any input at any split.
 */
#ifndef CN_HTTP_H1_H
#define CN_HTTP_H1_H

#include "core/chain.h"
#include "http/exch.h"
#include "http/msg.h"

typedef struct {
    uint32_t max_line;    /* request or status line and any header line, bytes */
    uint32_t max_head;    /* all of the head */
    uint32_t max_headers; /* lines */
} cn_h1_limits_t;
extern const cn_h1_limits_t cn_h1_limits_default;  /* requests: 60 KiB, 60 KiB, 100 */
extern const cn_h1_limits_t cn_h1_limits_response; /* 256 KiB, 256 KiB, 100 */

typedef enum { CN_H1_REQUEST, CN_H1_RESPONSE } cn_h1_kind;

typedef enum {
    CN_H1_FRAME_NONE,
    CN_H1_FRAME_LENGTH,
    CN_H1_FRAME_CHUNKED,
    CN_H1_FRAME_EOF
} cn_h1_framing;

/* Reading side of one connection. */
typedef struct {
    cn_h1_kind kind;
    cn_h1_limits_t limits;
    int state; /* private */
    cn_xerr err;
    const char *err_text;
    /* of the current message, valid once its head is complete */
    cn_h1_framing framing;
    bool keep_alive;     /* the sender will keep the connection */
    uint64_t left;       /* private: bytes left in the body or chunk */
    cn_str_t req_method; /* responses: set before parsing (HEAD, CONNECT matter) */
    uint32_t scan;       /* private: bytes of the head, chunk line or trailer section looked at */
    uint32_t line;       /* private: where in them the current line begins */
    char last;           /* private: last byte looked at */
    uint8_t blank;       /* private: empty lines skipped, digits of a chunk size */
    uint32_t head_bytes; /* size of the head last parsed */
} cn_h1_parser_t;

void cn_h1_parser_init(cn_h1_parser_t *, cn_h1_kind, const cn_h1_limits_t *);
/* Ready for the next message on the same connection. */
void cn_h1_parser_next(cn_h1_parser_t *);
/* A 101 has been sent or received: what follows is raw bytes until the end. */
void cn_h1_parser_upgrade(cn_h1_parser_t *);
/* Drops a few empty lines in front of a request (RFC 9112 2.2); true when a
 * first byte of a message is there. */
bool cn_h1_parser_begun(cn_h1_parser_t *, cn_chain_t *in);

/* Takes a complete head from the front of in.  CN_AGAIN: not complete yet
 * (nothing but empty lines is taken; no byte is scanned twice).  CN_ERR: err is
 * set; msg has method and target when they could be read.
 * Host and framing fields are not in msg->headers but in authority and
 * content_length.  path is the raw path: normalising it is the caller's choice.
 * A websocket request has has_body set: bytes may follow once it is accepted;
 * a 101 response that accepts one has upgrade_websocket set. */
CN_MUST cn_rc cn_h1_parse_head(cn_h1_parser_t *, cn_chain_t *in, cn_msg_t *msg);
/* Moves body bytes (at most max) from in to out.  CN_OK: moved some; CN_AGAIN:
 * needs more input; CN_DONE: body complete (trailers went to msg->trailers);
 * CN_ERR. */
CN_MUST cn_rc cn_h1_parse_body(cn_h1_parser_t *, cn_chain_t *in, cn_chain_t *out, size_t max,
                               cn_msg_t *msg);
/* The stream ended here.  CN_DONE: orderly (between messages, or ends an
 * EOF-framed body); CN_ERR: in the middle of a message. */
CN_MUST cn_rc cn_h1_parse_eof(cn_h1_parser_t *);
/* Head and body of the current message have been taken. */
bool cn_h1_parser_complete(const cn_h1_parser_t *);

/* Writing.  Heads: lower-case names in the order of msg; framing headers are
 * made here.  Fields of the connection in msg, and fields that could not be
 * read back as what they are (control bytes), are left out.  Requests: host is
 * the authority; framing from has_body/content_length (known length, else
 * chunked; a bodyless POST, PUT or PATCH says content-length: 0). */
cn_h1_framing cn_h1_put_request(cn_chain_t *out, const cn_msg_t *, bool eos);
/* close: says `connection: close`.  The reason phrase is the standard one. */
cn_h1_framing cn_h1_put_response(cn_chain_t *out, const cn_msg_t *, cn_str_t req_method, bool eos,
                                 bool close);
/* Wraps the bytes of body as one chunk (or passes them with LENGTH framing). */
void cn_h1_put_body(cn_chain_t *out, cn_chain_t *body, cn_h1_framing);
void cn_h1_put_end(cn_chain_t *out, cn_h1_framing, const cn_headers_t *trailers);

#endif
