/* SPDX-License-Identifier: Apache-2.0
 *
 * The part of OpenSSL that handshakes of the mesh can reach: what TLS 1.3 with
 * our suites, groups and kinds of keys needs, and no decoder of any format.
 */
#ifndef CN_TLS_LIB_H
#define CN_TLS_LIB_H

#include <stdbool.h>

#include <openssl/types.h>

/* One in a process, made by the first call and never freed.  NULL, which is
 * OpenSSL's own: an operator has put something else in the place of its default
 * provider, or FIPS beside it, and that is what must be used. */
OSSL_LIB_CTX *cn_tls_lib(void);

/* From now on OpenSSL's memory is counted (core/mem.h), and a process in which it finds none ends,
 * as with ours: it would go on for ever without what it could not load then.  Before anything else
 * of OpenSSL; false: too late. */
bool cn_tls_lib_memory(void);

#endif
