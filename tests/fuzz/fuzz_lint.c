/* Any bytes are judged, as bulk mail or not, within bounds. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "relay/accept/lint.h"
#include "relay/sys/base/bug.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct config_dkim_key KEYS[] = {{.domain = "b.example"}};
    static const struct config CONFIG = {
        .dkim_keys = KEYS, .dkim_key_count = 1, .message_bytes_max = 1 << 20};
    struct lint_report *report = calloc(1, sizeof *report);
    struct blob *message = blob_new_copy(slice_from(data, size));
    struct arena arena;
    struct slice domain;
    const struct lint_facts facts = {.bulk = size % 2 == 0, .config = &CONFIG};
    arena_init(&arena, 1 << 20);
    lint_message(message, &facts, report);
    BUG_ON(report->count > LINT_FINDINGS_MAX);
    lint_from_domain(slice_from(data, size), &arena, &domain);
    arena_fini(&arena);
    blob_unref(&message);
    free(report);
    return 0;
}
