/*
 * A connection: TCP or unix socket, with or without TLS (OpenSSL over memory
 * BIOs, so that a stream is one type for everybody). SMTP in and out, HTTP,
 * Redis links and the signer channel all stand on it.
 *
 * Input collects in the stream's buffer; the user looks at it, consumes what it
 * understood and leaves the rest. When the buffer is full reading stops until
 * something is consumed: a flooding peer costs `input_max` bytes, no more.
 * Output is collected during a turn of the loop and written once at its end.
 *
 * Callbacks never run inside a call that the user made. After stream_close()
 * or stream_abort() no callback comes, and the pointer is dead.
 */
#ifndef STAGEPOST_NET_STREAM_H
#define STAGEPOST_NET_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/sys/base/err.h"
#include "relay/sys/base/list.h"
#include "relay/sys/base/slice.h"
#include "relay/sys/net/loop.h"

struct stream;
struct tls_context;

/* Embedded by the owner, found back with container_of(). */
struct stream_user {
    /* New bytes in stream_input(). Comes again only when more bytes arrive, or
     * once after stream_resume_input(). */
    void (*on_input)(struct stream_user *u);
    /* Exactly once: ERR_CLOSED (orderly end: FIN, and under TLS a close_notify
     * before it), ERR_IO, ERR_TLS, ERR_TIMEOUT. All input received before was
     * delivered first. The user still owns the stream and must close it; after
     * ERR_CLOSED it may still send (the peer may have closed its side only). A
     * user that takes over an ended stream is told too. */
    void (*on_end)(struct stream_user *u, const struct err *why);
    /* Unsent output fell to a quarter of the high-water mark after being above
     * it. May be NULL. */
    void (*on_drain)(struct stream_user *u);
};

/* An address to connect to: IPv4/IPv6 with port, or a unix socket path. */
struct net_address {
    enum { NET_IPV4, NET_IPV6, NET_UNIX } kind;
    uint8_t ip[16]; /* network order; the first 4 for IPv4 */
    uint16_t port;
    char path[108];
};

/* "127.0.0.1", "::1" (no brackets, no name); false when not an address. */
bool net_address_from_ip(struct slice text, uint16_t port, struct net_address *out);
/* "127.0.0.1:25", "[::1]:25", "unix:/path" */
bool net_address_parse(struct slice text, struct net_address *out);
void net_address_format(const struct net_address *a, char out[160]);   /* with port */
void net_address_format_ip(const struct net_address *a, char out[64]); /* "127.0.0.1" */
bool net_address_is_loopback(const struct net_address *a);
/* Development mode: from now on this process connects to loopback and unix
 * sockets only; connect_start() refuses anything else with ERR_REFUSED. */
void net_only_loopback(void);

/* Connecting. start cannot fail; done comes exactly once, on a later turn.
 * Fails with ERR_IO (refused, unreachable: the text says which), ERR_TIMEOUT,
 * ERR_CANCELLED, or ERR_REFUSED after net_only_loopback(). */
struct connect_op {
    void (*done)(struct connect_op *op);
    struct stream *stream; /* out: the connection, owned by the caller; NULL on failure */
    struct err err;        /* out */
    struct connect_state *state;
};

/* input_max: size of the stream's input buffer. */
void connect_start(struct connect_op *op, struct loop *l, const struct net_address *to,
                   uint64_t timeout_ms, size_t input_max);
void connect_cancel(struct connect_op *op); /* done comes soon with ERR_CANCELLED */

/* Must be called before the next turn after the stream was obtained; input that
 * arrived before is reported on the next turn. May be called again to hand the
 * stream to another user. */
void stream_set_user(struct stream *s, struct stream_user *u);

struct slice stream_input(const struct stream *s);
void stream_consume(struct stream *s, size_t n);
/* While paused no bytes are read from the socket. */
void stream_pause_input(struct stream *s);
void stream_resume_input(struct stream *s);

/* Copies. Never blocks and never fails: an error comes by on_end(). */
void stream_send(struct stream *s, struct slice bytes);

/* Sends without copying (without TLS): the bytes must stay until done, which
 * comes exactly once, also when the stream ends or is closed. */
struct send_op {
    void (*done)(struct send_op *op);
    struct slice bytes;
    struct list_node node;
};
void stream_send_ref(struct stream *s, struct send_op *op, struct slice bytes,
                     void (*done)(struct send_op *op));

size_t stream_unsent_bytes(const struct stream *s);
size_t stream_output_high_water(void); /* 256 KB: users stop producing above it */

/* TLS. At the call the input buffer must be empty: bytes that came before the
 * handshake are an attack (RFC 3207 4.2), and the caller checks that first. */
struct tls_op {
    void (*done)(struct tls_op *op);
    struct err err; /* out: ERR_NONE, ERR_TLS, ERR_TIMEOUT, ERR_CLOSED ... */
    struct list_node node;
};
/* Server side, before stream_start_tls(): names of the protocols that are spoken
 * here (RFC 7301), separated by spaces, a constant. A client that asks for others
 * only is refused: it was led to us by somebody else. One that asks for none is
 * welcome. Without this call nobody is asked. */
void stream_offer_protocols(struct stream *s, const char *names);
/* Until done the user gets no callbacks but done; a failure is reported there
 * and the stream is then good for closing only. done does not come when the
 * stream is closed first. Output asked for before the call goes out in clear,
 * what is asked for after it is encrypted. server_name: SNI and the name that a
 * verifying context checks (client side); an IP address is checked and not
 * sent; SLICE_NONE for none. */
void stream_start_tls(struct stream *s, struct tls_op *op, struct tls_context *ctx,
                      struct slice server_name, uint64_t timeout_ms,
                      void (*done)(struct tls_op *op));
bool stream_is_tls(const struct stream *s);
const char *stream_tls_version(const struct stream *s); /* "TLSv1.3"; "" without TLS */
const char *stream_tls_cipher(const struct stream *s);
/* What only the two ends of this TLS connection can know, for an authentication
 * that is to be worth nothing in another one (RFC 5056): tls-exporter (RFC 9266)
 * with TLS 1.3; tls-unique (RFC 5929 3) with TLS 1.2 and its extended master secret
 * (RFC 7627), without which two connections can be made to have the same one.
 * False: this connection has none. */
enum { STREAM_BINDING_MAX = 64 };
struct stream_binding {
    const char *name; /* as registered with IANA */
    size_t n;
    uint8_t bytes[STREAM_BINDING_MAX];
};
bool stream_channel_binding(const struct stream *s, struct stream_binding *out);
/* Whether the peer's certificate was verified for the name asked for. */
bool stream_tls_verified(const struct stream *s);

const struct net_address *stream_peer(const struct stream *s);
/* The user of the process at the other end of a unix socket when it connected
 * (SO_PEERCRED); false: another kind of socket. */
bool stream_peer_user(const struct stream *s, uint32_t *uid);

/* Sends what is pending (at most 5 s), then close_notify and FIN, and waits for
 * the peer's FIN within the same 5 s, so that late bytes of the peer do not make
 * the kernel destroy our last output. None of this is the caller's concern. */
void stream_close(struct stream *s);
/* Drops pending output and closes at once. */
void stream_abort(struct stream *s);

#endif
