/* SPDX-License-Identifier: Apache-2.0
 *
 * The base64 of gRPC-Web's text form, in whatever pieces it comes.  Private to
 * the module.
 */
#ifndef CN_GRPC_WEB_TEXT_H
#define CN_GRPC_WEB_TEXT_H

#include <cairn/module.h>

/* All zero at first. */
typedef struct {
    uint8_t v[4]; /* characters, or bytes, that wait for the rest of their group */
    uint8_t n;
} gw_group_t;

/* Takes all of in.  Groups may end with padding anywhere: clients join texts
 * that were padded each.  CN_ERR: a character that does not belong there. */
CN_MUST cn_rc gw_text_decode(gw_group_t *, cn_chain_t *in, cn_chain_t *out);
/* Takes all of in; flush: the last group is padded, nothing waits. */
void gw_text_encode(gw_group_t *, cn_chain_t *in, bool flush, cn_chain_t *out);

#endif
