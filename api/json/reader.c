#include "api/json/reader.h"

#include <stdio.h>

#include "relay/sys/base/limits.h"

/* Over-counts nothing and needs no valid JSON: brackets and commas outside
 * strings. jansson judges the rest. */
static const char *
check_shape(struct slice text)
{
    unsigned depth = 0, values = 1;
    bool in_string = false;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
            continue;
        }
        if (c == '"')
            in_string = true;
        else if (c == '{' || c == '[')
            depth++, values++;
        else if ((c == '}' || c == ']') && depth > 0)
            depth--;
        else if (c == ',')
            values++;
        if (depth > API_JSON_DEPTH_MAX)
            return "the JSON is nested too deeply";
        if (values > API_JSON_VALUES_MAX)
            return "the JSON has too many values";
    }
    return NULL;
}

json_t *
reader_parse_object(struct slice text, char *why, size_t why_bytes)
{
    const char *shape = check_shape(text);
    if (shape != NULL) {
        snprintf(why, why_bytes, "%s", shape);
        return NULL;
    }
    json_error_t e;
    json_t *root = json_loadb(text.p != NULL ? text.p : "", text.n,
                              JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &e);
    if (root == NULL) {
        snprintf(why, why_bytes, "not valid JSON, line %d column %d: %.120s", e.line, e.column,
                 e.text);
        return NULL;
    }
    if (!json_is_object(root)) {
        snprintf(why, why_bytes, "the JSON must be an object");
        json_decref(root);
        return NULL;
    }
    return root;
}

struct slice
reader_string(const json_t *v)
{
    return slice_from(json_string_value(v), json_string_length(v));
}
