/*
 * A DNS server for tests: a thread with a UDP socket on a free loopback port,
 * answering from a table. Text forms: A and AAAA addresses, MX "10 host." (or
 * "0 ."), TXT text, CNAME "host."; several records are separated by ';', but TXT is one.
 * Names that the table does not have do not exist.
 */
#ifndef STAGEPOST_TEST_FAKE_DNS_H
#define STAGEPOST_TEST_FAKE_DNS_H

#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/net/dns_wire.h"

enum fake_dns_manner {
    FAKE_DNS_ANSWER,    /* the records; NODATA without any */
    FAKE_DNS_RCODE,     /* the rcode in `records`: "2" */
    FAKE_DNS_SILENT,    /* no reply at all */
    FAKE_DNS_TRUNCATED, /* TC, and there is no TCP to go to */
    FAKE_DNS_GARBAGE,   /* a header that promises records, and none */
};

struct fake_dns_row {
    const char *name; /* lower case, no trailing dot */
    unsigned type;
    enum fake_dns_manner manner;
    const char *records;
};

struct fake_dns {
    const struct fake_dns_row *rows;
    size_t row_count;
    int fd;
    char forward[64]; /* for resolver_config.forward */
    pthread_t thread;
    atomic_uint queries;
    atomic_bool ending;
};

struct fake_packet {
    uint8_t b[4096];
    size_t n;
};

static void
fake_put(struct fake_packet *p, const void *bytes, size_t n)
{
    BUG_ON(p->n + n > sizeof(p->b));
    memcpy(p->b + p->n, bytes, n);
    p->n += n;
}

static void
fake_put_u16(struct fake_packet *p, unsigned v)
{
    uint8_t b[2] = {(uint8_t)(v >> 8), (uint8_t)v};
    fake_put(p, b, 2);
}

static void
fake_put_name(struct fake_packet *p, const char *name)
{
    while (*name != '\0' && *name != '.') {
        uint8_t n = (uint8_t)strcspn(name, ".");
        fake_put(p, &n, 1);
        fake_put(p, name, n);
        name += n + (name[n] == '.');
    }
    fake_put(p, "", 1);
}

static void
fake_put_rdata(struct fake_packet *p, unsigned type, const char *text)
{
    uint8_t ip[16];
    unsigned preference;
    int at = 0;
    if (type == 1 || type == 28) {
        BUG_ON(inet_pton(type == 1 ? AF_INET : AF_INET6, text, ip) != 1);
        fake_put(p, ip, type == 1 ? 4 : 16);
    } else if (type == 15) {
        BUG_ON(sscanf(text, "%u %n", &preference, &at) != 1);
        fake_put_u16(p, preference);
        fake_put_name(p, text + at);
    } else if (type == 16) {
        uint8_t n = (uint8_t)strlen(text);
        fake_put(p, &n, 1);
        fake_put(p, text, n);
    } else {
        fake_put_name(p, text);
    }
}

/* Owner: the question's name, by compression. */
static unsigned
fake_put_records(struct fake_packet *p, unsigned type, const char *records)
{
    char copy[2048], *rest = copy, *one;
    unsigned count = 0;
    snprintf(copy, sizeof(copy), "%s", records);
    while ((one = strsep(&rest, type == 16 ? "" : ";")) != NULL) {
        unsigned actual = strncmp(one, "CNAME ", 6) == 0 ? 5 : type;
        fake_put_u16(p, 0xc00c);
        fake_put_u16(p, actual);
        fake_put_u16(p, 1);
        fake_put(p, "\0\0\1\0", 4);
        size_t length_at = p->n;
        fake_put_u16(p, 0);
        fake_put_rdata(p, actual, actual == 5 ? one + 6 : one);
        p->b[length_at] = (uint8_t)((p->n - length_at - 2) >> 8);
        p->b[length_at + 1] = (uint8_t)(p->n - length_at - 2);
        count++;
    }
    return count;
}

static const struct fake_dns_row *
fake_find(const struct fake_dns *d, const char *name, unsigned type, bool *exists)
{
    *exists = false;
    for (size_t i = 0; i < d->row_count; i++) {
        if (strcmp(d->rows[i].name, name) != 0)
            continue;
        *exists = true;
        if (d->rows[i].type == type)
            return &d->rows[i];
        if (d->rows[i].records != NULL && strncmp(d->rows[i].records, "CNAME ", 6) == 0)
            return &d->rows[i];
    }
    return NULL;
}

/* false: stay silent */
static bool
fake_respond(const struct fake_dns *d, struct slice query, struct fake_packet *out)
{
    struct dns_name name;
    char host[ADDRESS_DOMAIN_MAX + 1];
    size_t at = DNS_HEADER_BYTES;
    bool exists;
    if (!dns_name_read(query, &at, &name) || query.n < at + 4)
        return false;
    unsigned type = (unsigned)(uint8_t)query.p[at] << 8 | (uint8_t)query.p[at + 1];
    dns_name_to_host(&name, host);
    const struct fake_dns_row *row = fake_find(d, host, type, &exists);
    enum fake_dns_manner manner = row != NULL ? row->manner : FAKE_DNS_ANSWER;
    if (manner == FAKE_DNS_SILENT)
        return false;
    fake_put(out, query.p, at + 4);
    unsigned rcode = exists ? 0 : 3, answers = 0;
    if (manner == FAKE_DNS_RCODE)
        rcode = (unsigned)atoi(row->records);
    else if (manner == FAKE_DNS_ANSWER && row != NULL && row->records != NULL)
        answers = fake_put_records(out, type, row->records);
    else if (manner == FAKE_DNS_GARBAGE)
        answers = 3;
    out->b[2] = (uint8_t)(0x85 | (manner == FAKE_DNS_TRUNCATED ? 2 : 0));
    out->b[3] = (uint8_t)(0x80 | rcode);
    memcpy(out->b + 6, (uint8_t[]){(uint8_t)(answers >> 8), (uint8_t)answers, 0, 0, 0, 0}, 6);
    return true;
}

static void *
fake_dns_run(void *arg)
{
    struct fake_dns *d = arg;
    char in[4096];
    struct sockaddr_in from;
    for (;;) {
        socklen_t from_bytes = sizeof(from);
        ssize_t n = recvfrom(d->fd, in, sizeof(in), 0, (struct sockaddr *)&from, &from_bytes);
        if (atomic_load(&d->ending))
            return NULL;
        if (n < DNS_HEADER_BYTES)
            continue;
        struct fake_packet out = {.n = 0};
        atomic_fetch_add(&d->queries, 1);
        if (fake_respond(d, slice_from(in, (size_t)n), &out))
            sendto(d->fd, out.b, out.n, 0, (struct sockaddr *)&from, from_bytes);
    }
}

static void
fake_dns_open(struct fake_dns *d, const struct fake_dns_row *rows, size_t count)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t at_bytes = sizeof(at);
    memset(d, 0, sizeof(*d));
    d->rows = rows;
    d->row_count = count;
    d->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    BUG_ON(d->fd < 0 || bind(d->fd, (struct sockaddr *)&at, sizeof(at)) != 0);
    BUG_ON(getsockname(d->fd, (struct sockaddr *)&at, &at_bytes) != 0);
    snprintf(d->forward, sizeof(d->forward), "127.0.0.1@%u", ntohs(at.sin_port));
    BUG_ON(pthread_create(&d->thread, NULL, fake_dns_run, d) != 0);
}

/* A datagram to itself wakes the thread. */
static void
fake_dns_close(struct fake_dns *d)
{
    struct sockaddr_in at;
    socklen_t at_bytes = sizeof(at);
    atomic_store(&d->ending, true);
    BUG_ON(getsockname(d->fd, (struct sockaddr *)&at, &at_bytes) != 0);
    BUG_ON(sendto(d->fd, "x", 1, 0, (struct sockaddr *)&at, at_bytes) != 1);
    pthread_join(d->thread, NULL);
    close(d->fd);
}

#endif
