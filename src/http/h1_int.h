/* SPDX-License-Identifier: Apache-2.0
 *
 * What the reading and the writing half of the HTTP/1 codec share.  Private to
 * src/http.
 */
#ifndef CN_HTTP_H1_INT_H
#define CN_HTTP_H1_INT_H

#include "core/str.h"

/* Lower-case form of a token character (RFC 9110 5.6.2), else NUL. */
char cn_h1_token_char(char c);
/* No control characters but TAB. */
bool cn_h1_value_ok(cn_str_t value);
/* May a field of this (lower-case) name stand in a trailer section? */
bool cn_h1_trailer_ok(cn_str_t name);

#endif
