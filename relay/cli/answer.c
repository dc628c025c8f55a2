#include "relay/cli/answer.h"

enum { STATUS_LEAST = 100, STATUS_MOST = 599 };

/* "HTTP/1.1 200 OK" */
static bool
read_status(struct slice line, unsigned *status)
{
    uint64_t n;
    if (!slice_eq(slice_cut_at(&line, ' '), SLICE("HTTP/1.1")) ||
        !slice_to_u64(slice_cut_at(&line, ' '), &n) || n < STATUS_LEAST || n > STATUS_MOST)
        return false;
    *status = (unsigned)n;
    return true;
}

static bool
read_field(struct slice line, struct answer_head *head, bool *has_length)
{
    struct slice name = slice_cut_at(&line, ':'), value = slice_trim(line);
    if (slice_eq_nocase(name, SLICE("transfer-encoding")))
        return false;
    if (slice_eq_nocase(name, SLICE("retry-after")))
        return slice_to_u64(value, &head->retry_after_s);
    if (!slice_eq_nocase(name, SLICE("content-length")))
        return true;
    bool first = !*has_length;
    *has_length = true;
    return first && slice_to_u64(value, &head->body_bytes);
}

enum parse
answer_cut_head(struct slice *in, struct answer_head *out)
{
    size_t end = slice_find_slice(*in, SLICE("\r\n\r\n"));
    if (end == in->n)
        return PARSE_MORE;
    struct slice lines = slice_from(in->p, end);
    struct answer_head head = {0};
    bool has_length = false;
    if (!read_status(slice_trim(slice_cut_at(&lines, '\n')), &head.status))
        return PARSE_BAD;
    while (lines.n > 0)
        if (!read_field(slice_trim(slice_cut_at(&lines, '\n')), &head, &has_length))
            return PARSE_BAD;
    *out = head;
    *in = slice_skip(*in, end + 4);
    return PARSE_OK;
}
