/* Shared by lint.c and lint_body.c; nobody else includes it. */
#ifndef STAGEPOST_ACCEPT_LINT_INTERNAL_H
#define STAGEPOST_ACCEPT_LINT_INTERNAL_H

#include "relay/accept/lint.h"

void lint_add(struct lint_report *r, enum lint_severity severity, const char *id, const char *field,
              const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* Lines of the body, and of the headers of its parts. content_type: the value in
 * the header section; empty: none. */
void lint_body(struct slice body, struct slice content_type, struct lint_report *r);
/* An executable's name in a Content-Type or Content-Disposition. */
void lint_file_name(struct slice value, struct lint_report *r);

#endif
