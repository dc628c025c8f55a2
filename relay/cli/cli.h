/*
 * What the commands that ask a running gateway have in common: their options,
 * the request, and how an answer or a refusal is shown.
 *
 *   struct cli c = {.name = "queue", .usage = USAGE};
 *   options with CLI_OPTIONS at the end of the table, cli_option() for those
 *   cli_call(&c, &request, &json)      exit code; json is NULL when all is said
 */
#ifndef STAGEPOST_CLI_CLI_H
#define STAGEPOST_CLI_CLI_H

#include <getopt.h>
#include <jansson.h>
#include <stdbool.h>
#include <sysexits.h>

#include "relay/cli/client.h"
#include "relay/cli/table.h"
#include "relay/sys/base/buf.h"

struct cli {
    const char *name;  /* "queue", as people typed it */
    const char *usage; /* whole lines */
    /* Options. */
    const char *state, *config, *tenant; /* NULL: not given */
    bool json;
    /* By cli_open(). */
    struct client_place place;
};

/* For the end of a command's table of long options; its own ids are below. */
enum { CLI_O_STATE = 1000, CLI_O_CONFIG, CLI_O_TENANT, CLI_O_JSON, CLI_O_HELP };
#define CLI_OPTIONS                                                                                \
    {"state", required_argument, NULL, CLI_O_STATE},                                               \
        {"config", required_argument, NULL, CLI_O_CONFIG},                                         \
        {"tenant", required_argument, NULL, CLI_O_TENANT},                                         \
        {"json", no_argument, NULL, CLI_O_JSON}, {"help", no_argument, NULL, CLI_O_HELP},          \
    {                                                                                              \
        NULL, 0, NULL, 0                                                                           \
    }
#define CLI_SHORT "c:"
/* For usage texts. */
#define CLI_OPTIONS_HELP                                                                           \
    "  --state DIR    the gateway's state directory, or -c FILE its configuration;\n"              \
    "                 else $STAGEPOST_STATE, " CONFIG_DEFAULT_PATH ",\n"                           \
    "                 or development mode's\n"                                                     \
    "  --json         the answer as it is\n"

/* One of the options above. False: *code is the exit code; also for '?'. */
bool cli_option(struct cli *c, int id, const char *value, int *code);
/* Says what is wrong, and how it is used; EX_USAGE. */
int cli_usage(const struct cli *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* "stagepost queue: what"; `code`. */
int cli_fail(const struct cli *c, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Finds the gateway; an exit code. To be called once, before the two below. */
int cli_open(struct cli *c);
/* Asks. On success *answer is the JSON to show (json_decref it), or NULL when
 * there is none, or it was printed for --json. Refusals are said. Returns an
 * exit code. */
int cli_call(const struct cli *c, const struct client_request *q, json_t **answer);
/* The same with what came: `rc` and `err` of client_ask(); `a` is freed. */
int cli_judge(const struct cli *c, int rc, struct client_answer *a, const struct err *err,
              json_t **answer);

/* Appends to a path: a segment, percent-encoded; "?name=value" or "&name=value"
 * (nothing when value is NULL); the tenant asked for. */
void cli_path_segment(struct buf *path, struct slice text);
void cli_path_query(struct buf *path, const char *name, const char *value);
void cli_path_tenant(struct buf *path, const struct cli *c);
/* The path with its NUL; NULL when it is too long, which client_ask() says. */
const char *cli_path(struct buf *path);

/* Members of a JSON object: the text, or "" when it is not a string; the number. */
struct slice cli_text(const json_t *object, const char *name);
long long cli_number(const json_t *object, const char *name);
/* "2026-11-23T05:57:36.123Z" to the second, which --since takes; "-" for none. */
struct slice cli_time(const json_t *object, const char *name, char out[32]);

/* Appends what a server said, or what we found: "mx.example: 451 4.3.0 try later";
 * nothing when `reply` is no object. */
void cli_add_reply(struct buf *out, const json_t *reply);

/* Prints to standard output; texts of strangers made safe; adds the line end. */
void cli_print(struct slice text);
void cli_print_table(struct table *t); /* and frees it */

#endif
