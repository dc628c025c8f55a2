#include "relay/accept/policy/silence.h"

#include "relay/sys/base/clock.h"
#include "relay/sys/base/limits.h"

bool
silence_lasts(const struct silence *s, uint64_t now_ms)
{
    return now_ms < s->until_ms;
}

bool
silence_note_late(struct silence *s, uint64_t since_ms, uint64_t now_ms)
{
    bool was = silence_lasts(s, now_ms);
    if (s->last_answer_ms != 0 && s->last_answer_ms >= since_ms)
        return false;
    s->until_ms = now_ms + clock_scaled_ms(PREFLIGHT_SILENCE_MS);
    return !was;
}

bool
silence_note_answer(struct silence *s, uint64_t now_ms)
{
    bool was = silence_lasts(s, now_ms);
    s->last_answer_ms = now_ms;
    s->until_ms = 0;
    return was;
}
