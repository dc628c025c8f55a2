/*
 * Text that strangers wrote, made safe to keep, show and send. Everything here
 * is pure; nothing allocates but the given buffer.
 */
#ifndef STAGEPOST_WIRE_TEXT_H
#define STAGEPOST_WIRE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/sys/base/buf.h"
#include "relay/sys/base/slice.h"
#include "relay/sys/base/utf8.h"

bool text_is_ascii(struct slice s);
/* Code points that nobody may put into an address or a kept text: C0, DEL, C1,
 * line and paragraph separators, bidirectional overrides, noncharacters. */
bool text_is_unsafe(uint32_t code);
/* Valid UTF-8 of one line, without such code points. */
bool text_is_line(struct slice s);

/* Appends `s` with TAB as space, and each byte of an unsafe or invalid
 * sequence as '?'; never longer than `s`, always valid UTF-8 without CR, LF,
 * NUL or ESC. False (nothing appended) when it does not fit. */
bool text_add_safe(struct buf *out, struct slice s);
/* As text_add_safe(), and every other byte above 126 as '?'. */
bool text_add_ascii(struct buf *out, struct slice s);
/* The longest prefix of at most n bytes that does not split a UTF-8 sequence. */
struct slice text_clip(struct slice s, size_t n);

#endif
