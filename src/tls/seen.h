/* SPDX-License-Identifier: Apache-2.0
 *
 * A memory of peers whose certificates were verified.  In a mesh few peers
 * connect often: each ztunnel shows the same certificates again and again, all
 * at once after a restart.  What is saved is parsing them and checking the
 * signatures on them; that the peer has the key is proved in each handshake.
 *
 *  - Only what was accepted is kept, under the SHA-256 of our role and of all
 *    certificates that the peer sent, each behind its length: the same bytes get
 *    the same answer, others are verified for themselves.
 *  - An entry is valid while every certificate of the verified chain is, up to
 *    the anchor, and is checked for that each time.
 *  - A memory belongs to one context, so it goes with the trust bundle, the
 *    trust domains and whatever else decided.
 *  - At most CN_TLS_SEEN_MAX entries, of which the longest unused gives way.
 */
#ifndef CN_TLS_SEEN_H
#define CN_TLS_SEEN_H

#include <openssl/x509.h>

#include "tls/spiffe.h"

#define CN_TLS_SEEN_MAX 256u

typedef struct cn_tls_seen cn_tls_seen_t;

cn_tls_seen_t *cn_tls_seen_create(void);
void cn_tls_seen_destroy(cn_tls_seen_t *); /* NULL is allowed */

/* In place of X509_verify_cert(), whose result it returns.  The certificates of
 * the store's chain are replaced by equal ones that have their keys.  *known: the
 * identity when this peer was remembered, in which case the verify callback was
 * not called; it lives until the next call.  Else NULL, and the callback decided. */
int cn_tls_seen_verify(cn_tls_seen_t *, X509_STORE_CTX *, bool server, const cn_spiffe_t **known);

/* For tests. */
unsigned cn_tls_seen_count(const cn_tls_seen_t *);

#endif
