/* The lists of a backup: names never point elsewhere, and what was read is written the same. */
#include <stdlib.h>
#include <string.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/proc/backup_list.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_names(const struct backup_list *l)
{
    for (unsigned i = 0; i < l->count; i++)
        BUG_ON(l->files[i].name[0] == '\0' || l->files[i].name[0] == '.' ||
               strchr(l->files[i].name, '/') != NULL);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct backup_list *l = calloc(2, sizeof *l);
    struct slice in = slice_from(data, size);
    struct err err = {0};
    struct buf text;
    BUG_ON(l == NULL);
    buf_init(&text, 1 << 20);
    if (backup_list_read(&l[0], in, &err) == 0) {
        backup_list_write(&l[0], &text);
        BUG_ON(backup_list_read(&l[1], buf_slice(&text), &err) != 0);
        BUG_ON(memcmp(&l[0], &l[1], sizeof *l) != 0);
    }
    check_names(&l[0]);
    buf_clear(&text);
    l[0].count = 0;
    if (backup_list_add_log(&l[0], in, &text, &err) == 0)
        BUG_ON(buf_slice(&text).n == 0);
    check_names(&l[0]);
    buf_fini(&text);
    free(l);
    return 0;
}
