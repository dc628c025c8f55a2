/*
 * The JSON of POST /v1/messages. What is accepted becomes a message that the
 * header parser reads to its end, with CRLF line ends, and is ASCII but for
 * addresses that need SMTPUTF8.
 */
#include <stdlib.h>
#include <string.h>

#include "api/message.h"
#include "relay/sys/base/bug.h"
#include "relay/wire/header.h"

enum { BYTES_MAX = 1 << 20 };

static void
check_mime(struct slice mime, bool smtputf8)
{
    size_t body_at;
    struct header_field field;
    struct slice section = header_section(mime, &body_at);
    BUG_ON(body_at == mime.n);
    while (header_cut(&section, &field) == PARSE_OK)
        BUG_ON(slice_eq_nocase(field.name, SLICE("Bcc")));
    BUG_ON(section.n > 0);
    for (size_t i = 0; i < mime.n; i++) {
        bool high = (unsigned char)mime.p[i] >= 0x80;
        BUG_ON(mime.p[i] == '\0' || (high && !(smtputf8 && i < body_at)));
        BUG_ON(mime.p[i] == '\n' && (i == 0 || mime.p[i - 1] != '\r'));
        BUG_ON(mime.p[i] == '\r' && (i + 1 == mime.n || mime.p[i + 1] != '\n'));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool ready;
    if (!ready)
        message_setup();
    ready = true;
    struct message m;
    message_init(&m, slice_from(data, size), BYTES_MAX);
    message_compile(&m);
    if (m.result == MESSAGE_OK) {
        BUG_ON(m.recipient_count == 0 || m.from.n == 0 || m.from_domain.n == 0);
        check_mime(buf_slice(&m.mime), m.smtputf8);
    } else {
        BUG_ON(m.mime.len > BYTES_MAX * 2u || (m.result == MESSAGE_INVALID && m.errors.total == 0));
        BUG_ON(m.detail[0] == '\0');
    }
    message_fini(&m);
    return 0;
}
