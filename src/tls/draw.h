/* SPDX-License-Identifier: Apache-2.0
 *
 * Random numbers for a library context of ours, as an algorithm of its provider:
 * they come from the generators of OpenSSL's own context, which are seeded from
 * the system and again after a fork.  So a process has one set of generators, and
 * OpenSSL 3.5, whose generators look for their ciphers in the provider that they
 * were found in, has nothing to look for.
 */
#ifndef CN_TLS_DRAW_H
#define CN_TLS_DRAW_H

#include <openssl/core.h>

#define CN_TLS_DRAW_NAME "CTR-DRBG" /* what OpenSSL asks for where nothing else is configured */

/* For OSSL_OP_RAND. */
extern const OSSL_DISPATCH cn_tls_draw[];

#endif
