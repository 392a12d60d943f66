/* SPDX-License-Identifier: Apache-2.0
 *
 * What the parts of the HTTP/1 codec share: boundaries (h1.c), heads
 * (h1_head.c), writing (h1_put.c).  Private to src/http.
 */
#ifndef CN_HTTP_H1_INT_H
#define CN_HTTP_H1_INT_H

#include "http/h1.h"

/* Of a parser; the table is in h1.c. */
enum {
    CN_H1_ST_HEAD,
    CN_H1_ST_LENGTH,
    CN_H1_ST_UNTIL_EOF,
    CN_H1_ST_SIZE,
    CN_H1_ST_SIZE_BLANK,
    CN_H1_ST_EXTENSION,
    CN_H1_ST_SIZE_LF,
    CN_H1_ST_DATA,
    CN_H1_ST_DATA_CR,
    CN_H1_ST_DATA_LF,
    CN_H1_ST_TRAILERS,
    CN_H1_ST_COMPLETE,
    CN_H1_ST_FAILED
};

/* Lower-case form of a token character (RFC 9110 5.6.2), else NUL. */
char cn_h1_token_char(char c);
/* No control characters but TAB. */
bool cn_h1_value_ok(cn_str_t value);
/* May a field of this (lower-case) name stand in a trailer section? */
bool cn_h1_trailer_ok(cn_str_t name);

static inline bool cn_h1_is_control(unsigned char c)
{
    return c < 0x20 || c == 0x7f;
}

static inline bool cn_h1_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Records the error, which is final; returns CN_ERR. */
CN_MUST cn_rc cn_h1_fail(cn_h1_parser_t *, cn_xerr, const char *text);

/* block: n bytes in which every line ends in CRLF, the last one empty, in the
 * pool of msg and for msg alone.  Sets framing and the state behind the head. */
CN_MUST cn_rc cn_h1_head_read(cn_h1_parser_t *, cn_msg_t *, char *block, size_t n);
/* The request line only, as far as it can be read. */
void cn_h1_head_read_opening(cn_h1_parser_t *, cn_msg_t *, char *block, size_t n);
/* Adds to msg->trailers, or leaves it empty with CN_ERR. */
CN_MUST cn_rc cn_h1_head_read_trailers(cn_h1_parser_t *, cn_msg_t *, char *block, size_t n);

#endif
