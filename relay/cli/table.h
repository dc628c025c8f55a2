/*
 * Text in aligned columns, for people. Texts of strangers (replies, addresses)
 * are made safe for a terminal and cut to CLI_CELL_MAX bytes.
 */
#ifndef STAGEPOST_CLI_TABLE_H
#define STAGEPOST_CLI_TABLE_H

#include <stdbool.h>

#include "relay/sys/base/buf.h"
#include "relay/sys/base/slice.h"

enum { TABLE_COLUMNS_MAX = 16 };

struct table {
    const char *align; /* one letter for each column: 'l' or 'r' */
    unsigned columns;
    struct buf text;  /* all cells */
    struct buf sizes; /* of size_t */
    unsigned cells;
    bool has_heads;
};

/* heads: one for each letter of `align`; they are the first row. NULL: none. */
void table_init(struct table *t, const char *align, const char *const *heads);
void table_fini(struct table *t);
/* Row by row, from left to right; a row must be whole before the next begins.
 * Beyond CLI_TABLE_CELLS_MAX they are dropped. */
void table_add(struct table *t, struct slice cell);
void table_addf(struct table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
unsigned table_rows(const struct table *t); /* without the heads */
bool table_is_full(const struct table *t);  /* another row would be dropped */
/* Appends the table: two spaces between columns, none at the end of a line. */
void table_write(const struct table *t, struct buf *out);

/* Columns that valid UTF-8 text takes: code points. */
size_t table_width(struct slice text);

#endif
