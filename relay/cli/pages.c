#include "relay/cli/pages.h"

#include <stdio.h>

#include "relay/sys/base/limits.h"

enum { PAGE_MOST = 100 };

void
pages_begin(struct pages *p)
{
    p->rows = 0;
    p->more = p->failed = false;
    table_init(&p->table, p->align, p->heads);
}

static void
begin_data(void)
{
    fputs("{\"data\":[", stdout);
}

/* The heads stand above the first table only: the others are its continuation. */
static void
show(struct pages *p, const json_t *row)
{
    if (p->cli->json) {
        if (p->rows == 0)
            begin_data();
        else
            putchar(',');
        json_dumpf(row, stdout, JSON_COMPACT);
    } else {
        if (table_is_full(&p->table)) {
            cli_print_table(&p->table);
            table_init(&p->table, p->align, NULL);
        }
        p->add(&p->table, row);
    }
    p->rows++;
    p->left--;
}

/* With --json a refusal of the first page is printed as it is. */
static int
ask(const struct pages *p, struct buf *path, json_t **page)
{
    struct client_request q = {.method = "GET", .path = cli_path(path)};
    struct client_answer a;
    struct err err = {0};
    struct cli c = *p->cli;
    int rc = client_ask(&c.place.socket, &q, &a, &err);
    c.json &= p->rows == 0 && rc == 0 && client_exit_of_status(a.status) != EX_OK;
    return cli_judge(&c, rc, &a, &err, page);
}

/* `next` is where the following page begins, or no string. */
static int
read_page(struct pages *p, struct slice path, json_t **next)
{
    struct buf url;
    char limit[32];
    json_t *page, *row;
    size_t i;
    snprintf(limit, sizeof limit, "%u", (unsigned)(p->left < PAGE_MOST ? p->left : PAGE_MOST));
    buf_init(&url, HTTP_URL_MAX);
    buf_add(&url, path);
    cli_path_query(&url, "limit", limit);
    cli_path_query(&url, "after", json_string_value(*next));
    int code = ask(p, &url, &page);
    buf_fini(&url);
    json_decref(*next);
    *next = json_incref(json_object_get(page, "next"));
    json_array_foreach(json_object_get(page, "data"), i, row) if (p->left > 0) show(p, row);
    json_decref(page);
    return code;
}

int
pages_read(struct pages *p, struct slice path)
{
    json_t *next = NULL;
    int code;
    if (p->left == 0) {
        p->more = true; /* for all that is known */
        return EX_OK;
    }
    do
        code = read_page(p, path, &next);
    while (code == EX_OK && json_is_string(next) && p->left > 0);
    p->more |= json_is_string(next);
    p->failed |= code != EX_OK;
    json_decref(next);
    return code;
}

void
pages_end(struct pages *p)
{
    bool nothing = p->failed && p->rows == 0;
    if (nothing || p->cli->json)
        table_fini(&p->table);
    else
        cli_print_table(&p->table);
    if (nothing || !p->cli->json)
        return;
    if (p->rows == 0)
        begin_data();
    printf("],\"has_more\":%s}\n", p->more || p->failed ? "true" : "false");
}
