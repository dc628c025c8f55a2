#include "relay/deliver/hosts.h"

#include <stdlib.h>
#include <string.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/limits.h"

#define uthash_fatal(msg) bug_abort(__FILE__, __LINE__, msg)
#include <uthash.h>

struct host_key {
    uint8_t kind;
    uint8_t ip[16];
    uint16_t port;
};

struct host {
    struct host_key key;
    uint64_t down_until_ms, no_tls_until_ms; /* clock_mono_ms() */
    UT_hash_handle hh;
};

struct hosts {
    struct host *table; /* in the order of first mention */
};

static struct host_key
key_of(const struct net_address *a)
{
    struct host_key k;
    memset(&k, 0, sizeof k); /* padding is hashed too */
    k.kind = (uint8_t)a->kind;
    k.port = a->port;
    memcpy(k.ip, a->ip, a->kind == NET_IPV4 ? 4 : sizeof k.ip);
    return k;
}

static struct host *
find(const struct hosts *h, const struct net_address *a)
{
    struct host_key key = key_of(a);
    struct host *host;
    HASH_FIND(hh, h->table, &key, sizeof key, host);
    return host;
}

static void
forget(struct hosts *h, struct host *host)
{
    HASH_DELETE(hh, h->table, host);
    free(host);
}

static struct host *
find_or_add(struct hosts *h, const struct net_address *a)
{
    struct host *host = find(h, a);
    if (host != NULL)
        return host;
    if (HASH_COUNT(h->table) >= HOSTS_REMEMBERED_MAX)
        forget(h, h->table);
    host = calloc(1, sizeof *host);
    BUG_ON(host == NULL);
    host->key = key_of(a);
    /* The analyzer takes the entry forgotten above for the table's head, which
     * HASH_DELETE has moved on. NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
    HASH_ADD(hh, h->table, key, sizeof host->key, host);
    return host;
}

struct hosts *
hosts_new(void)
{
    struct hosts *h = calloc(1, sizeof *h);
    BUG_ON(h == NULL);
    return h;
}

void
hosts_free(struct hosts *h)
{
    if (h == NULL)
        return;
    struct host *all = h->table;
    HASH_CLEAR(hh, h->table);
    while (all != NULL) { /* the links of the order outlive the table */
        struct host *next = all->hh.next;
        free(all);
        all = next;
    }
    free(h);
}

void
hosts_note_down(struct hosts *h, const struct net_address *a)
{
    find_or_add(h, a)->down_until_ms = clock_mono_ms() + clock_scaled_ms(SITE_BACKOFF_MS);
}

void
hosts_note_up(struct hosts *h, const struct net_address *a)
{
    struct host *host = find(h, a);
    if (host == NULL)
        return;
    host->down_until_ms = 0;
    if (host->no_tls_until_ms <= clock_mono_ms())
        forget(h, host);
}

uint64_t
hosts_down_for_ms(const struct hosts *h, const struct net_address *a)
{
    const struct host *host = find(h, a);
    uint64_t now = clock_mono_ms();
    return host == NULL || host->down_until_ms <= now ? 0 : host->down_until_ms - now;
}

void
hosts_note_tls_broken(struct hosts *h, const struct net_address *a)
{
    find_or_add(h, a)->no_tls_until_ms = clock_mono_ms() + HOST_TLS_BROKEN_MS;
}

bool
hosts_tls_broken(const struct hosts *h, const struct net_address *a)
{
    const struct host *host = find(h, a);
    return host != NULL && host->no_tls_until_ms > clock_mono_ms();
}

unsigned
hosts_count(const struct hosts *h)
{
    return HASH_COUNT(h->table);
}
