/*
 * Lists of the API, which come in pages: all rows as one table, or with --json as
 * one object {"data":[...],"has_more":BOOL}, printed while they come.
 *
 *   struct pages p = {.cli = c, .align = "ll", .heads = HEADS, .add = add_row, .left = 100};
 *   pages_begin(&p);
 *   code = pages_read(&p, path)      any number of times
 *   pages_end(&p)                    always
 */
#ifndef STAGEPOST_CLI_PAGES_H
#define STAGEPOST_CLI_PAGES_H

#include <stdint.h>

#include "relay/cli/cli.h"

struct pages {
    const struct cli *cli;
    const char *align; /* as of a table */
    const char *const *heads;
    void (*add)(struct table *t, const json_t *row);
    uint64_t left; /* rows that are still wanted */

    struct table table; /* what is not printed yet */
    uint64_t rows;      /* so far */
    bool more;          /* not all rows were wanted */
    bool failed;
};

void pages_begin(struct pages *p);
/* What is at `path` (without "limit" and "after"), page by page. An exit code; refusals
 * are said. */
int pages_read(struct pages *p, struct slice path);
/* Prints what is left, and nothing when the first page was refused. */
void pages_end(struct pages *p);

#endif
