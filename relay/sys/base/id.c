#include "relay/sys/base/id.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "relay/sys/base/bug.h"

void
random_bytes(void *out, size_t n)
{
    char *p = out;
    while (n > 0) {
        ssize_t got = getrandom(p, n, 0);
        BUG_ON(got <= 0);
        p += got;
        n -= (size_t)got;
    }
}

uint32_t
random_below(uint32_t bound)
{
    BUG_ON(bound == 0);
    uint32_t limit = UINT32_MAX - UINT32_MAX % bound;
    uint32_t v;
    do
        random_bytes(&v, sizeof v);
    while (v >= limit);
    return v % bound;
}

struct msg_id
id_new(unsigned partition)
{
    BUG_ON(partition > 255);
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts); /* an id, not a time: uniqueness is the random part's */
    uint64_t ms = (uint64_t)ts.tv_sec * 1000u + (uint64_t)ts.tv_nsec / 1000000u;
    struct msg_id id;
    random_bytes(id.b, sizeof id.b);
    for (int i = 0; i < 6; i++)
        id.b[i] = (uint8_t)(ms >> (40 - 8 * i));
    id.b[6] = (uint8_t)(0x70 | (id.b[6] & 0x0f));
    id.b[8] = (uint8_t)(0x80 | (id.b[8] & 0x3f));
    id.b[15] = (uint8_t)partition;
    return id;
}

unsigned
id_partition(struct msg_id id)
{
    return id.b[15];
}

bool
id_eq(struct msg_id a, struct msg_id b)
{
    return memcmp(a.b, b.b, sizeof a.b) == 0;
}

static bool
is_hyphen_place(int i)
{
    return i == 8 || i == 13 || i == 18 || i == 23;
}

void
id_format(struct msg_id id, char out[ID_TEXT_BYTES + 1])
{
    static const char HEX[] = "0123456789abcdef";
    int byte = 0;
    for (int i = 0; i < ID_TEXT_BYTES;) {
        if (is_hyphen_place(i)) {
            out[i++] = '-';
            continue;
        }
        out[i++] = HEX[id.b[byte] >> 4];
        out[i++] = HEX[id.b[byte++] & 15];
    }
    out[ID_TEXT_BYTES] = '\0';
}

static int
hex_value(char c)
{
    char l = ascii_lower(c);
    if (l >= '0' && l <= '9')
        return l - '0';
    return l >= 'a' && l <= 'f' ? l - 'a' + 10 : -1;
}

bool
id_parse(struct slice text, struct msg_id *out)
{
    struct msg_id id = {{0}};
    int digit = 0;
    if (text.n != ID_TEXT_BYTES)
        return false;
    for (int i = 0; i < ID_TEXT_BYTES; i++) {
        int v = hex_value(text.p[i]);
        if (is_hyphen_place(i) ? text.p[i] != '-' : v < 0)
            return false;
        if (is_hyphen_place(i))
            continue;
        id.b[digit / 2] = (uint8_t)(id.b[digit / 2] << 4 | v);
        digit++;
    }
    if (id.b[6] >> 4 != 7)
        return false;
    *out = id;
    return true;
}
