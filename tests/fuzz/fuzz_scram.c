/* One SCRAM exchange with a client that says anything: the first byte says what the
 * connection offers, the first line is the first message, the rest the last one, with
 * the server's nonce where it has "\n", so that what follows it is looked at. Nobody
 * has the password: nothing may be right, and nothing said at the end. */
#include <string.h>

#include "relay/accept/scram.h"
#include "relay/sys/base/bug.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct stream_binding BINDING = {.name = "tls-exporter", .n = 4, .bytes = "abcd"};

/* "r=NONCE" of the server's first message. */
static struct slice
nonce_of(struct slice answer)
{
    struct slice first = slice_cut_at(&answer, ',');
    BUG_ON(!slice_starts(first, SLICE("r=")) || !slice_starts(answer, SLICE("s=")));
    return slice_skip(first, 2);
}

static void
finish(struct scram *x, struct slice text, struct slice answer)
{
    static const struct scram_key KEYS[SCRAM_KEYS_MAX] = {{.stored = "a"}, {.stored = "b"}};
    struct buf message, said;
    unsigned which = 0;
    buf_init(&message, (size_t)4 * SCRAM_MESSAGE_MAX);
    buf_init(&said, SCRAM_MESSAGE_MAX);
    bool has_nonce = slice_find(text, '\n') < text.n;
    bool fits = buf_add(&message, slice_cut_at(&text, '\n'));
    if (has_nonce && fits)
        fits = buf_add(&message, nonce_of(answer)) && buf_add(&message, text);
    enum scram_outcome o =
        scram_take_final(x, buf_slice(&message), KEYS, SCRAM_KEYS_MAX, &which, &said);
    BUG_ON(o != SCRAM_WRONG && o != SCRAM_MALFORMED);
    BUG_ON(said.len > 0 || which >= SCRAM_KEYS_MAX);
    buf_fini(&message);
    buf_fini(&said);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct scram_key KEY = {
        .iterations = SCRAM_ITERATIONS_MIN, .salt = "0123456789", .salt_bytes = 10};
    struct slice text = slice_from(data, size);
    struct scram_key read;
    struct buf answer;
    char again[SCRAM_KEY_TEXT_MAX];
    if (size == 0)
        return 0;
    if (scram_key_parse(text, &read))
        scram_key_format(&read, again);
    char offers = slice_cut(&text, 1).p[0];
    struct scram *x = scram_new((offers & 1) != 0 ? &BINDING : NULL, (offers & 3) == 3);
    buf_init(&answer, (size_t)2 * SCRAM_MESSAGE_MAX);
    if (scram_take_first(x, slice_cut_at(&text, '\n')) == SCRAM_GO_ON) {
        struct slice user = scram_user(x);
        BUG_ON(user.n == 0 || user.n > SCRAM_USER_MAX);
        if (scram_answer(x, &KEY, &answer) == SCRAM_GO_ON)
            finish(x, text, buf_slice(&answer));
    }
    buf_fini(&answer);
    scram_free(x);
    return 0;
}
