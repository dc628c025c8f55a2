#include "dkim/keyshim.h"

#include <openssl/pem.h>
#include <stdbool.h>
#include <string.h>

/* "-----" makes libopendkim take it for a PEM. */
#define SHIM_TEXT "-----STAGEPOST KEY ON LOAN-----\n"

/* The library's call carries nothing of ours, so the loan cannot live in a
 * struct. It is per thread and empty outside of keyshim_lend() and
 * keyshim_take_back(). */
static _Thread_local EVP_PKEY *lent;
static _Thread_local uint64_t reads;

const char *
keyshim_text(void)
{
    return SHIM_TEXT;
}

void
keyshim_lend(EVP_PKEY *pkey)
{
    lent = pkey;
}

void
keyshim_take_back(void)
{
    lent = NULL;
}

uint64_t
keyshim_reads(void)
{
    return reads;
}

static bool
is_shim_text(BIO *bp)
{
    char *p = NULL;
    long n = BIO_method_type(bp) == BIO_TYPE_MEM ? BIO_get_mem_data(bp, &p) : 0;
    return p != NULL && n >= (long)sizeof SHIM_TEXT - 1 &&
           memcmp(p, SHIM_TEXT, sizeof SHIM_TEXT - 1) == 0;
}

/* Takes the place of libcrypto's function for the whole process, so it must be
 * that function in every other case. The visibility is needed: hidden, it
 * would silently not be found by the dynamic linker. */
__attribute__((used, visibility("default"))) EVP_PKEY *
PEM_read_bio_PrivateKey(BIO *bp, EVP_PKEY **x, pem_password_cb *cb, void *u)
{
    if (lent != NULL && is_shim_text(bp)) {
        reads++;
        return EVP_PKEY_up_ref(lent) == 1 ? lent : NULL;
    }
    return PEM_read_bio_PrivateKey_ex(bp, x, cb, u, NULL, NULL);
}
