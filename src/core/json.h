/* SPDX-License-Identifier: Apache-2.0
 * JSON output: the escaper only; reading JSON is jansson's work.
 */
#ifndef CN_CORE_JSON_H
#define CN_CORE_JSON_H

#include "core/str.h"

/* Writes s without quotes, escaped (RFC 8259 7); bytes that are not UTF-8
 * become U+FFFD.  Returns the length that the whole result needs; at most cap
 * bytes are written, never half an escape. */
size_t cn_json_escape(char *out, size_t cap, cn_str_t s);

#endif
