/* SPDX-License-Identifier: Apache-2.0
 *
 * The key schedule of TLS 1.3 (RFC 8446 7.1) as an algorithm of a provider, in
 * the place of OpenSSL's, which copies each of its six parameters to the heap
 * and looks its hash up by name: 19 times in a handshake, a tenth of its cost.
 *
 * It does what EVP_KDF-TLS13_KDF(7) says, for SHA-256 and SHA-384, with all
 * parameters given in the call that derives, as libssl does.  Anything else it
 * refuses, and then so does the handshake.
 */
#ifndef CN_TLS_KDF_H
#define CN_TLS_KDF_H

#include <openssl/core.h>

#define CN_TLS_KDF_NAME "TLS13-KDF"

/* For OSSL_OP_KDF.  Made by the first call, which ends the process where there
 * is no memory or no SHA-2; not for several threads. */
const OSSL_DISPATCH *cn_tls_kdf(void);

#endif
