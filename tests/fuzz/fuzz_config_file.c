/* The configuration file: any text ends in a draft or in named errors. */
#include <string.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/config/file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
const char *__lsan_default_suppressions(void);

/* libconfig loses names when it meets a syntax error. */
const char *
__lsan_default_suppressions(void)
{
    return "leak:libconfig\n";
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config_file *f =
        config_file_parse("fuzz", slice_from((const char *)data, size), CONFIG_LOOK_AT_TEXT);
    const struct config *c = &config_file_draft(f)->config;
    if (config_file_errors(f) == 0) {
        BUG_ON(c->hostname[0] == '\0' || c->listener_count == 0 || c->credential_count == 0);
        for (unsigned i = 0; i < c->credential_count; i++)
            BUG_ON(c->credentials[i].sender_count == 0 || c->credentials[i].tenant[0] == '\0');
        for (unsigned i = 0; i < c->dkim_key_count; i++)
            BUG_ON(strcmp(c->dkim_keys[i].domain, "*") == 0 || c->dkim_keys[i].path[0] != '/');
    }
    config_file_free(f);
    return 0;
}
