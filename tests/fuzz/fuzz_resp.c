/* Any bytes as replies of Redis: the guard, then hiredis' reader, in pieces. */
#include <hiredis/hiredis.h>
#include <stddef.h>
#include <stdint.h>

#include "queue/resp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static bool
take_replies(redisReader *reader)
{
    for (;;) {
        void *r = NULL;
        if (redisReaderGetReply(reader, &r) != REDIS_OK)
            return false;
        if (r == NULL)
            return true;
        resp_int(r, 0);
        for (size_t i = 0; i < resp_count(r) && i < 8; i++)
            resp_text(resp_at(r, i));
        freeReplyObject(r);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 1)
        return 0;
    struct slice in = slice_from(data + 1, n - 1);
    size_t step = 1 + data[0] % 64;
    struct resp_guard g;
    redisReader *reader = redisReaderCreate();
    resp_guard_init(&g);
    while (in.n > 0) {
        struct slice piece = slice_cut(&in, step);
        if (!resp_guard_feed(&g, piece) || redisReaderFeed(reader, piece.p, piece.n) != REDIS_OK ||
            !take_replies(reader))
            break;
    }
    redisReaderFree(reader);
    return 0;
}
