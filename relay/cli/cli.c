#include "relay/cli/cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "relay/sys/base/limits.h"
#include "relay/wire/text.h"

/* ---- options ---------------------------------------------------------------- */

bool
cli_option(struct cli *c, int id, const char *value, int *code)
{
    switch (id) {
    case CLI_O_STATE:
        c->state = value;
        return true;
    case 'c':
    case CLI_O_CONFIG:
        c->config = value;
        return true;
    case CLI_O_TENANT:
        c->tenant = value;
        return true;
    case CLI_O_JSON:
        c->json = true;
        return true;
    case CLI_O_HELP:
        fputs(c->usage, stdout);
        *code = EX_OK;
        return false;
    default:
        fputs(c->usage, stderr);
        *code = EX_USAGE;
        return false;
    }
}

__attribute__((format(printf, 2, 0))) static void
complain(const struct cli *c, const char *fmt, va_list args)
{
    fprintf(stderr, "stagepost %s: ", c->name);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
}

int
cli_usage(const struct cli *c, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    complain(c, fmt, args);
    va_end(args);
    fputs(c->usage, stderr);
    return EX_USAGE;
}

int
cli_fail(const struct cli *c, int code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    complain(c, fmt, args);
    va_end(args);
    return code;
}

/* ---- asking ----------------------------------------------------------------- */

int
cli_open(struct cli *c)
{
    struct err err = {0};
    if (client_find(&c->place, c->state, c->config, &err) == 0)
        return EX_OK;
    return cli_fail(c, client_exit_of_err(&err), "%s", err.text);
}

static void
print_safe(FILE *out, struct slice text)
{
    struct buf safe;
    buf_init(&safe, text.n);
    text_add_safe(&safe, text);
    fwrite(buf_slice(&safe).p, 1, buf_slice(&safe).n, out);
    buf_fini(&safe);
}

/* RFC 9457: detail, then each wrong field. */
static void
print_problem(const struct cli *c, const json_t *p, unsigned status)
{
    size_t i;
    json_t *e;
    struct slice detail = cli_text(p, "detail");
    fprintf(stderr, "stagepost %s: ", c->name);
    if (detail.n > 0)
        print_safe(stderr, detail);
    else
        fprintf(stderr, "the gateway answered %u", status);
    fputc('\n', stderr);
    json_array_foreach(json_object_get(p, "errors"), i, e)
    {
        fputs("  ", stderr);
        print_safe(stderr, cli_text(e, "pointer"));
        fputs(": ", stderr);
        print_safe(stderr, cli_text(e, "detail"));
        fputc('\n', stderr);
    }
}

int
cli_judge(const struct cli *c, int rc, struct client_answer *a, const struct err *err,
          json_t **answer)
{
    struct slice body = buf_slice(&a->body);
    int code = rc != 0 ? client_exit_of_err(err) : client_exit_of_status(a->status);
    *answer = NULL;
    if (rc != 0) {
        cli_fail(c, code, "%s", err->text);
    } else if (c->json) {
        fwrite(body.p, 1, body.n, stdout);
    } else {
        json_t *j = json_loadb(body.n > 0 ? body.p : "", body.n, 0, NULL);
        if (code != EX_OK)
            print_problem(c, j, a->status);
        else
            *answer = json_incref(j);
        json_decref(j);
    }
    buf_fini(&a->body);
    return code;
}

int
cli_call(const struct cli *c, const struct client_request *q, json_t **answer)
{
    struct client_answer a;
    struct err err = {0};
    int rc = client_ask(&c->place.socket, q, &a, &err);
    return cli_judge(c, rc, &a, &err, answer);
}

/* ---- paths ------------------------------------------------------------------ */

/* RFC 3986 2.3: what stands for itself. '@' may (3.3) and is easier to read. */
void
cli_path_segment(struct buf *path, struct slice text)
{
    for (size_t i = 0; i < text.n; i++) {
        char ch = text.p[i];
        if (ascii_is_alnum(ch) || (ch != '\0' && strchr("-._~@", ch) != NULL))
            buf_add_char(path, ch);
        else
            buf_addf(path, "%%%02X", (unsigned char)ch);
    }
}

void
cli_path_query(struct buf *path, const char *name, const char *value)
{
    if (value == NULL)
        return;
    struct slice so_far = buf_slice(path);
    buf_addf(path, "%c%s=", slice_find(so_far, '?') < so_far.n ? '&' : '?', name);
    cli_path_segment(path, slice_str(value));
}

void
cli_path_tenant(struct buf *path, const struct cli *c)
{
    cli_path_query(path, "tenant", c->tenant);
}

const char *
cli_path(struct buf *path)
{
    buf_add_char(path, '\0');
    return path->overflowed ? NULL : buf_slice(path).p;
}

/* ---- showing ---------------------------------------------------------------- */

struct slice
cli_text(const json_t *object, const char *name)
{
    const json_t *v = json_object_get(object, name);
    return json_is_string(v) ? slice_from(json_string_value(v), json_string_length(v)) : SLICE("");
}

long long
cli_number(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

struct slice
cli_time(const json_t *object, const char *name, char out[32])
{
    struct slice t = cli_text(object, name);
    struct slice day = slice_cut_at(&t, 'T'), time = slice_cut_at(&t, '.');
    if (day.n == 0 || time.n == 0)
        return SLICE("-");
    snprintf(out, 32, "%.10sT%.8sZ", day.p, time.p);
    return slice_str(out);
}

void
cli_add_reply(struct buf *out, const json_t *reply)
{
    struct slice mx = cli_text(reply, "mx"), enhanced = cli_text(reply, "enhanced");
    if (!json_is_object(reply))
        return;
    if (mx.n > 0)
        buf_addf(out, "%.*s: ", SLICE_FMT(mx));
    if (cli_number(reply, "code") > 0)
        buf_addf(out, "%lld ", cli_number(reply, "code"));
    if (enhanced.n > 0)
        buf_addf(out, "%.*s ", SLICE_FMT(enhanced));
    buf_add(out, cli_text(reply, "text"));
}

void
cli_print(struct slice text)
{
    print_safe(stdout, text);
    putchar('\n');
}

void
cli_print_table(struct table *t)
{
    struct buf out;
    buf_init(&out, (size_t)CLI_TABLE_CELLS_MAX * CLI_CELL_MAX * 2);
    table_write(t, &out);
    fwrite(buf_slice(&out).p, 1, buf_slice(&out).n, stdout);
    buf_fini(&out);
    table_fini(t);
}
