/* SPDX-License-Identifier: Apache-2.0
 *
 * Request fields by name as routes and policies see them: header lines one by
 * one, and the parts of the request line under their HTTP/2 names.
 */
#ifndef CN_HTTP_FIELD_H
#define CN_HTTP_FIELD_H

#include "http/msg.h"

/* The next line of the field `name` (lower case): start with *iter = 0; false
 * when there is none left.  `:authority` (also as `host`), `:method`, `:path`
 * (with its query) and `:scheme` are single lines. */
bool cn_field_next(const cn_msg_t *request, cn_str_t name, uint32_t *iter, cn_str_t *value);

#endif
