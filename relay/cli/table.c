#include "relay/cli/table.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"
#include "relay/wire/text.h"

static const char SPACES[CLI_CELL_MAX + 2] = {[0 ... CLI_CELL_MAX + 1] = ' '};

void
table_init(struct table *t, const char *align, const char *const *heads)
{
    *t = (struct table){
        .align = align, .columns = (unsigned)strlen(align), .has_heads = heads != NULL};
    BUG_ON(t->columns == 0 || t->columns > TABLE_COLUMNS_MAX);
    buf_init(&t->text, (size_t)CLI_TABLE_CELLS_MAX * CLI_CELL_MAX);
    buf_init(&t->sizes, (size_t)CLI_TABLE_CELLS_MAX * sizeof(size_t));
    for (unsigned i = 0; heads != NULL && i < t->columns; i++)
        table_add(t, slice_str(heads[i]));
}

void
table_fini(struct table *t)
{
    buf_fini(&t->text);
    buf_fini(&t->sizes);
}

void
table_add(struct table *t, struct slice cell)
{
    if (t->cells % t->columns == 0 && table_is_full(t))
        return;
    size_t before = t->text.len;
    BUG_ON(!text_add_safe(&t->text, text_clip(cell, CLI_CELL_MAX)));
    size_t n = t->text.len - before;
    BUG_ON(!buf_add(&t->sizes, slice_from(&n, sizeof n)));
    t->cells++;
}

void
table_addf(struct table *t, const char *fmt, ...)
{
    char text[CLI_CELL_MAX + 1];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    table_add(t, slice_str(text));
}

unsigned
table_rows(const struct table *t)
{
    return t->cells / t->columns - t->has_heads;
}

bool
table_is_full(const struct table *t)
{
    return t->cells + t->columns > CLI_TABLE_CELLS_MAX;
}

size_t
table_width(struct slice text)
{
    size_t n = 0;
    for (size_t i = 0; i < text.n; i++)
        n += ((unsigned char)text.p[i] & 0xc0) != 0x80; /* not a continuation byte */
    return n;
}

static size_t
size_of(const struct table *t, unsigned cell)
{
    size_t n;
    memcpy(&n, buf_slice(&t->sizes).p + cell * sizeof n, sizeof n);
    return n;
}

static void
find_widths(const struct table *t, size_t widths[TABLE_COLUMNS_MAX])
{
    struct slice text = buf_slice(&t->text);
    memset(widths, 0, TABLE_COLUMNS_MAX * sizeof *widths);
    for (unsigned i = 0; i < t->cells; i++) {
        size_t w = table_width(slice_cut(&text, size_of(t, i)));
        if (w > widths[i % t->columns])
            widths[i % t->columns] = w;
    }
}

static void
write_cell(const struct table *t, unsigned column, size_t width, struct slice cell, struct buf *out)
{
    struct slice pad = slice_from(SPACES, width - table_width(cell));
    bool last = column + 1 == t->columns;
    if (t->align[column] == 'r')
        buf_add(out, pad);
    buf_add(out, cell);
    if (t->align[column] == 'l' && !last)
        buf_add(out, pad);
    if (!last)
        buf_add_str(out, "  ");
}

static void
end_line(struct buf *out)
{
    struct slice so_far = buf_slice(out);
    while (so_far.n > 0 && so_far.p[so_far.n - 1] == ' ')
        so_far.n--;
    buf_truncate(out, so_far.n);
    buf_add_char(out, '\n');
}

void
table_write(const struct table *t, struct buf *out)
{
    size_t widths[TABLE_COLUMNS_MAX];
    struct slice text = buf_slice(&t->text);
    find_widths(t, widths);
    for (unsigned i = 0; i < t->cells; i++) {
        unsigned column = i % t->columns;
        write_cell(t, column, widths[column], slice_cut(&text, size_of(t, i)), out);
        if (column + 1 == t->columns)
            end_line(out);
    }
}
