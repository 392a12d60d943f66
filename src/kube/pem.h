/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether certificates and keys of the input can be loaded: one that cannot
 * would keep the whole conf from loading.
 */
#ifndef CN_KUBE_PEM_H
#define CN_KUBE_PEM_H

#include "core/str.h"

/* At least one certificate, and nothing that looks like one and is none. */
bool cn_pem_is_certificates(cn_str_t);
/* At least one list of revoked certificates, likewise. */
bool cn_pem_is_crl(cn_str_t);
/* An unencrypted private key that belongs to the first certificate. */
bool cn_pem_is_key(cn_str_t key, cn_str_t certificates);

#endif
