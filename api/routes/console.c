/*
 * The web console: files that were built into the program, and one answer that
 * says which mode it runs in. None of them holds anything of anybody's, so
 * that they need no key; the page asks for one and sends it with its calls.
 */
#include "api/api_internal.h"
#include "api/routes/routes.h"
#include "api/console/files.inc"
#include "relay/sys/base/bug.h"

/* Everything that the page needs comes from here, no string becomes markup, and
 * nobody may put it into a frame (CSP Level 3, Trusted Types). */
#define CONSOLE_CSP                                                                                \
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "                    \
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; "            \
    "require-trusted-types-for 'script'; trusted-types 'none'"

#define FILE_ROW(name, type, text)                                                                 \
    {                                                                                              \
        SLICE(name), type,                                                                         \
        {                                                                                          \
            (text), sizeof(text) - 1                                                               \
        }                                                                                          \
    }

static const struct {
    struct slice name; /* below /console/ */
    const char *type;
    struct slice text;
} FILES[] = {
    FILE_ROW("app.js", "text/javascript; charset=utf-8", CONSOLE_APP_JS),
    FILE_ROW("api.js", "text/javascript; charset=utf-8", CONSOLE_API_JS),
    FILE_ROW("dom.js", "text/javascript; charset=utf-8", CONSOLE_DOM_JS),
    FILE_ROW("lists.js", "text/javascript; charset=utf-8", CONSOLE_LISTS_JS),
    FILE_ROW("messages.js", "text/javascript; charset=utf-8", CONSOLE_MESSAGES_JS),
    FILE_ROW("metrics.js", "text/javascript; charset=utf-8", CONSOLE_METRICS_JS),
    FILE_ROW("traffic.js", "text/javascript; charset=utf-8", CONSOLE_TRAFFIC_JS),
    FILE_ROW("style.css", "text/css; charset=utf-8", CONSOLE_STYLE_CSS),
    FILE_ROW("icon.svg", "image/svg+xml", CONSOLE_ICON_SVG),
};

static void
respond_file(struct http_request *r, const char *type, struct slice text)
{
    http_respond(r, &(struct http_reply){
                        .status = 200,
                        .content_type = type,
                        .extra = {{SLICE("Content-Security-Policy"), SLICE(CONSOLE_CSP)},
                                  {SLICE("Referrer-Policy"), SLICE("no-referrer")},
                                  {SLICE("Cross-Origin-Opener-Policy"), SLICE("same-origin")},
                                  {SLICE("Cross-Origin-Resource-Policy"), SLICE("same-origin")}},
                        .extra_count = 4,
                        .body = text});
}

void
console_page(struct http_request *r)
{
    respond_file(r, "text/html; charset=utf-8", SLICE(CONSOLE_INDEX_HTML));
}

void
console_file(struct http_request *r)
{
    for (size_t i = 0; i < ARRAY_LEN(FILES); i++)
        if (slice_eq(r->path_arg, FILES[i].name)) {
            respond_file(r, FILES[i].type, FILES[i].text);
            return;
        }
    problem_say(r, 404, "not_found", "the console has no such file");
}

void
console_about(struct http_request *r)
{
    const struct api *a = r->app;
    struct buf body;
    struct writer w;
    buf_init(&body, 64);
    writer_init(&w, &body);
    writer_open(&w, NULL, '{');
    writer_bool(&w, "development", a->parts.config->development);
    writer_close(&w, '}');
    api_respond_json(r, 200, &body);
}
