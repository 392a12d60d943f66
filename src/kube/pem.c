/* SPDX-License-Identifier: Apache-2.0
 *
 * PEM texts, as OpenSSL reads them.
 */
#include "kube/pem.h"

#include <openssl/err.h>
#include <openssl/pem.h>

#include "core/pool.h"

#define MAX_CERTIFICATES 1000

/* What could not be read for want of memory is not malformed. */
static bool judged(bool ok)
{
    unsigned long error;

    while ((error = ERR_get_error()) != 0) {
        if (ERR_GET_REASON(error) == ERR_R_MALLOC_FAILURE)
            cn_pool_out_of_memory();
    }
    return ok;
}

static BIO *open_text(cn_str_t text)
{
    return text.n && text.n < INT32_MAX ? BIO_new_mem_buf(text.p, (int)text.n) : NULL;
}

bool cn_pem_is_certificates(cn_str_t text)
{
    BIO *bio = open_text(text);
    unsigned n = 0;
    bool end = false;
    X509 *cert;

    while (bio && n < MAX_CERTIFICATES && (cert = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
        X509_free(cert);
        n++;
    }
    end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    BIO_free(bio);
    return judged(n > 0 && end);
}

bool cn_pem_is_crl(cn_str_t text)
{
    BIO *bio = open_text(text);
    unsigned n = 0;
    bool end = false;
    X509_CRL *crl;

    while (bio && n < MAX_CERTIFICATES && (crl = PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL))) {
        X509_CRL_free(crl);
        n++;
    }
    end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    BIO_free(bio);
    return judged(n > 0 && end);
}

/* Asks nobody for a passphrase. */
static int no_passphrase(char *buf, int size, int writing, void *arg)
{
    (void)buf;
    (void)size;
    (void)writing;
    (void)arg;
    return -1;
}

bool cn_pem_is_key(cn_str_t text, cn_str_t certificates)
{
    BIO *bio = open_text(text), *of = open_text(certificates);
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : NULL;
    X509 *cert = of ? PEM_read_bio_X509(of, NULL, NULL, NULL) : NULL;
    bool ok = key && cert && X509_check_private_key(cert, key) == 1;

    X509_free(cert);
    EVP_PKEY_free(key);
    BIO_free(of);
    BIO_free(bio);
    return judged(ok);
}
