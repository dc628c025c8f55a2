/* Any message: its describing line is one line of valid JSON. */
#include <gmime/gmime.h>
#include <jansson.h>

#include "relay/sandbox/capture.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    g_mime_init();
    return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice message = slice_from(data, size), from = message;
    struct slice to = slice_cut_at(&from, '\n');
    struct capture_name name;
    struct buf line;
    capture_name_parse(message, &name);
    buf_init(&line, SANDBOX_META_LINE_MAX);
    BUG_ON(!capture_add_line(
        &(struct capture){
            .id = id_new(0), .from = from, .to = &to, .to_count = 1, .message = message},
        &line));
    struct slice s = buf_slice(&line);
    BUG_ON(slice_find(s, '\n') != s.n - 1);
    json_t *j = json_loadb(s.p, s.n, JSON_ALLOW_NUL, NULL);
    BUG_ON(j == NULL);
    json_decref(j);
    buf_fini(&line);
    return 0;
}
