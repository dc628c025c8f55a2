/* Query strings: what is decoded is never longer than what came, without NUL. */
#include <string.h>

#include "api/http/query.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct query q;
    arena_init(&arena, HTTP_REQUEST_ARENA_MAX);
    if (query_parse(slice_from(data, size), &arena, &q) == PARSE_OK) {
        size_t total = 0;
        for (unsigned i = 0; i < q.count; i++) {
            struct slice name = q.pairs[i].name, value = q.pairs[i].value, found;
            total += name.n + value.n;
            BUG_ON(memchr(name.p, '\0', name.n) != NULL || memchr(value.p, '\0', value.n) != NULL);
            BUG_ON(!query_find(&q, name, &found));
        }
        BUG_ON(total > size || q.count > HTTP_QUERY_PAIRS_MAX);
    }
    arena_fini(&arena);
    return 0;
}
