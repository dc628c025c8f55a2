/*
 * The guards and libopendkim behind them: whatever the guards let through, the
 * library signs without an error, and with everything in h= that should be.
 */
#include "dkim/sign.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "relay/sys/base/bug.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct sign_engine *
new_engine(void)
{
    char dir[] = "/tmp/stagepost-fuzz-XXXXXX", path[64];
    struct err err = {0};
    BUG_ON(mkdtemp(dir) == NULL);
    snprintf(path, sizeof path, "%s/key.pem", dir);
    BUG_ON(key_create(KEY_ED25519, path, &err) != 0);
    struct key_spec spec = {"*", "s", path, NULL};
    struct keyset *keys = keyset_load(&spec, 1, &err);
    BUG_ON(keys == NULL);
    unlink(path);
    rmdir(dir);
    return sign_engine_new(keys, &err);
}

/* The first byte says how the message is cut into pieces. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct sign_engine *engine;
    if (engine == NULL)
        engine = new_engine();
    if (size == 0)
        return 0;
    struct slice rest = slice_from(data + 1, size - 1);
    size_t piece = data[0] > 0 ? data[0] : SIGN_PIECE_BYTES;
    struct sign_job *j = NULL;
    struct buf fields;
    struct err err = {0};
    buf_init(&fields, SIGN_FIELDS_BYTES_MAX);
    enum sign_status status = sign_job_new(engine, SLICE("example.org"), &j, &err);
    while (status == SIGN_OK && rest.n > 0)
        status = sign_job_feed(j, slice_cut(&rest, piece), &err);
    if (status == SIGN_OK)
        status = sign_job_finish(j, &fields, &err);
    BUG_ON(status != SIGN_OK && status != SIGN_REFUSED);
    BUG_ON((buf_slice(&fields).n > 0) != (status == SIGN_OK));
    sign_job_free(j);
    buf_fini(&fields);
    return 0;
}
