/*
 * Gives libopendkim a parsed key where it wants PEM text: parsing a PEM costs
 * more than an RSA signature. libopendkim calls PEM_read_bio_PrivateKey()
 * through the dynamic linker, where a definition in the program comes first;
 * ours hands out the key that is lent at the moment when the "PEM" is
 * keyshim_text(), and goes on to libcrypto for anything else.
 * Whether that works depends on how the program is linked, so sign_engine_new()
 * tries it out and falls back to PEM texts (dkim/README.md).
 */
#ifndef STAGEPOST_DKIM_KEYSHIM_H
#define STAGEPOST_DKIM_KEYSHIM_H

#include <openssl/evp.h>
#include <stdint.h>

/* What to give to libopendkim as key; starts like a PEM, is none. */
const char *keyshim_text(void);

/* From now on, in this thread, keyshim_text() reads as `pkey` (not counted: it
 * must stay until keyshim_take_back()). */
void keyshim_lend(EVP_PKEY *pkey);
void keyshim_take_back(void);

/* How often a lent key was read in this thread. */
uint64_t keyshim_reads(void);

#endif
