/*
 * For relay/sys/net/ only: the inside of a stream, shared by
 *   stream.c         life, input, callbacks, closing
 *   stream_output.c  what is to be sent, and its way into the socket
 *   stream_tls.c     the TLS layer between the socket and both
 *   connect.c, listener.c  which make streams
 * Functions marked (loop) may call the user back: they run from the loop only,
 * never inside a call that the user made, and the stream may be closed, though
 * not freed, when they return.
 */
#ifndef STAGEPOST_NET_STREAM_INTERNAL_H
#define STAGEPOST_NET_STREAM_INTERNAL_H

#include <uv.h>

#include "relay/sys/base/buf.h"
#include "relay/sys/base/sm.h"
#include "relay/sys/net/loop_linger.h"
#include "relay/sys/net/stream.h"

enum stream_state {
    STREAM_OPEN,      /* has, or is about to get, a user */
    STREAM_FLUSHING,  /* closed by its user: pending output goes out */
    STREAM_LINGERING, /* FIN sent, waiting for the peer's */
    STREAM_DEAD,      /* uv_close() called; freed when libuv is done with it */
};

struct stream_tls;

struct stream {
    struct loop *loop;
    union {
        uv_handle_t any;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } uv;
    struct net_address peer;
    struct stream_user *user;
    struct sm sm;
    struct stream_tls *tls; /* NULL: plain */
    const char *protocols;  /* stream_offer_protocols() */

    struct buf input;
    size_t read_bytes; /* size of the next plain read */
    size_t discarded_bytes;
    bool reading;    /* uv_read_start() is in force */
    bool paused;     /* by the user */
    bool at_eof;     /* the socket has no more to give */
    bool input_news; /* the user has not been told of what is in `input` */

    struct err end;    /* why it ended; ERR_NONE: it did not */
    struct err broken; /* a write failed; what the peer said before is still read */
    bool end_told;

    struct list out;  /* of send_op.node, in order */
    size_t head_sent; /* bytes of the first one that are sent */
    size_t unsent;    /* bytes of all of them that are not */
    size_t write_bytes;
    uv_write_t write;
    bool writing;     /* `write` is with libuv, for write_bytes bytes */
    bool output_dead; /* nothing can be sent any more */
    bool above_high, drained;

    struct deferred event; /* next turn: pump TLS, call the user */
    struct deferred flush; /* end of turn: write */
    struct timer close_timer;
    struct lingerer lingerer;
};

/* stream.c */
struct stream *stream_new(struct loop *l, const struct net_address *peer, size_t input_max);
/* Gives a new stream its connected socket; -1: the socket is still the caller's. */
int stream_adopt(struct stream *s, int fd);
void stream_set_nodelay(struct stream *s);
void stream_set_end(struct stream *s, enum err_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Starts or stops reading as the stream's state wants it. */
void stream_update_reading(struct stream *s);
void stream_kill(struct stream *s);
/* "what: reason" of a negative libuv status. */
int net_err_uv(struct err *e, const char *what, int status);

/* stream_output.c */
void stream_output_init(struct stream *s);
void stream_output_drop(struct stream *s); /* (loop) */

/* stream_tls.c. All are for streams with tls != NULL. */
enum tls_phase {
    TLS_SHAKING,
    TLS_UP,
    TLS_FAILED, /* the handshake: only tls_op.done tells */
    TLS_BROKEN, /* later: on_end tells */
};
enum tls_phase stream_tls_phase(const struct stream *s);
void stream_tls_feed(struct stream *s, struct slice ciphertext);
/* (loop) Goes on with the handshake, or decrypts into the input. */
void stream_tls_pump(struct stream *s);
/* (loop) Ends the handshake with a failure of the socket. */
void stream_tls_abandon(struct stream *s, const struct err *why);
/* Whether ciphertext should be read: none is waiting for room, and the peer
 * reads what it makes us write. */
bool stream_tls_wants_bytes(const struct stream *s);
bool stream_tls_stalled(const struct stream *s);
/* How much of the output precedes the handshake and is sent as it is. */
size_t stream_tls_plain_left(const struct stream *s);
/* Ciphertext to write, stays in place until stream_tls_sent(). */
struct slice stream_tls_output(struct stream *s);
/* n bytes left for the kernel, of plain_left or of the ciphertext. Returns how
 * many bytes of output are sent by that. */
size_t stream_tls_sent(struct stream *s, size_t n);
/* The output is empty now, though not sent. */
void stream_tls_output_dropped(struct stream *s);
/* Queues close_notify; false when there is nothing (more) to say. */
bool stream_tls_say_goodbye(struct stream *s);
void stream_tls_forget_user(struct stream *s);
void stream_tls_free(struct stream *s);

#endif
