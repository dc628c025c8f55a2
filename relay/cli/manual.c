#include "relay/cli/manual.h"

#include <string.h>

#include "relay/cli/check_config.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/version.h"
#include "relay/sys/config/keys.h"

enum { RANGE_MAX = 1024 };

static const char HEAD[] =
    ".TH STAGEPOST.CONF 5 \"2026-11-23\" \"stagepost " STAGEPOST_VERSION "\"\n"
    ".SH NAME\n"
    "stagepost.conf \\- configuration of the outbound mail gateway\n"
    ".SH DESCRIPTION\n"
    "Read by\n.B stagepost serve\nfrom " CONFIG_DEFAULT_PATH ", or from the file that\n"
    ".B \\-c\nnames. The syntax is that of libconfig:\n"
    ".PP\n.RS 4\n.nf\n"
    "name = value;\n"
    "section = { name = value; };\n"
    "list = ( { name = value; }, { name = value; } );\n"
    "array = [ \"one\", \"two\" ];\n"
    "# a comment\n"
    ".fi\n.RE\n.PP\n"
    ".B stagepost check config \\-c\n.I FILE\nnames all errors of a file at once, and\n"
    ".B stagepost check config \\-\\-example\nprints an example with every key.\n"
    "SIGHUP reloads; a key marked [restart] takes effect at the next start only.\n"
    "The file holds no secrets: passwords and API keys are there as hashes, private keys\n"
    "are files of their own.\n";

static const char TAIL[] =
    ".SH FILES\n.TP\n" CONFIG_DEFAULT_PATH "\nthe default\n.SH SEE ALSO\n.BR stagepost (1)\n";

/* How a value is written. */
static const char *
type_name(enum config_type type)
{
    static const char *const NAMES[] = {
        [VALUE_NUMBER] = "number",
        [VALUE_PORT] = "number",
        [VALUE_DURATION] = "duration: \"500ms\", \"10s\", \"5m\", \"4h\", \"5d\" or \"2w\"",
        [VALUE_SIZE] = "size: \"64KB\", \"10MB\" or \"1GB\", of 1024 each",
        [VALUE_SWITCH] = "true or false",
        [VALUE_RATE] = "\"number/s\", \"/m\" or \"/h\"",
        [VALUE_DATE] = "date",
        [VALUE_CHOICE] = "one of these words",
        [VALUE_TEXT] = "text",
        [VALUE_NAME] = "domain name",
        [VALUE_NAMES] = "array of domain names",
        [VALUE_PARTIES] = "array of domains and addresses",
        [VALUE_NETWORKS] = "array of IP addresses and networks",
        [VALUE_IP] = "IP address",
        [VALUE_IPS] = "array of IP addresses",
        [VALUE_SERVER] = "\"IP:PORT\"",
        [VALUE_REDIS] = "\"embedded\", \"IP:PORT\" or \"unix:PATH\"",
        [VALUE_HASH] = "hash, or array of two",
        [VALUE_SHA256] = "64 hexadecimal digits, or array of two",
        [VALUE_FILE] = "absolute path of a file",
        [VALUE_PATH] = "absolute path",
    };
    return (size_t)type < ARRAY_LEN(NAMES) && NAMES[type] != NULL ? NAMES[type] : "value";
}

/* Text as roff reads it: no escapes or requests of its own; minus signs that can
 * be copied. */
static void
add_text(struct buf *out, struct slice text)
{
    bool at_start = true;
    for (size_t i = 0; i < text.n; i++) {
        char ch = text.p[i];
        if (at_start && (ch == '.' || ch == '\''))
            buf_add_str(out, "\\&");
        if (ch == '\\')
            buf_add_str(out, "\\e");
        else if (ch == '-')
            buf_add_str(out, "\\-");
        else
            buf_add_char(out, ch);
        at_start = ch == '\n';
    }
    buf_add_char(out, '\n');
}

static void
add_facts(struct buf *out, const struct config_key *k)
{
    struct buf facts;
    buf_init(&facts, RANGE_MAX);
    buf_addf(&facts, "%s", type_name(k->type));
    size_t named = buf_slice(&facts).n;
    buf_add_str(&facts, ": ");
    size_t before = buf_slice(&facts).n;
    config_key_range(k, &facts);
    struct slice all = buf_slice(&facts);
    if (all.n == before)
        all = slice_cut(&all, named);
    struct buf line;
    buf_init(&line, RANGE_MAX);
    buf_addf(&line, "(%.*s", SLICE_FMT(all));
    if (k->fallback == NULL)
        buf_add_str(&line, "; must be given");
    else if (k->fallback[0] != '\0')
        buf_addf(&line, "; default: %s", k->fallback);
    buf_addf(&line, ")%s", (k->flags & KEY_RELOADABLE) == 0 ? " [restart]" : "");
    add_text(out, buf_slice(&line));
    buf_fini(&line);
    buf_fini(&facts);
}

static void
add_keys(struct buf *out, const char *section)
{
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        const struct config_key *k = &CONFIG_KEYS[i];
        if (strcmp(k->section, section) != 0)
            continue;
        buf_addf(out, ".TP\n.B %s\n", k->name);
        add_text(out, slice_str(k->help));
        buf_add_str(out, ".br\n");
        add_facts(out, k);
    }
}

static void
add_section(struct buf *out, const struct config_section *s)
{
    bool is_list = s->element_bytes > 0;
    buf_addf(out, ".SS %s = %s\n", s->path, is_list ? "( { ... }, ... )" : "{ ... }");
    add_text(out, slice_str(s->help));
    if (is_list && s->least > 0)
        buf_addf(out, "At least %u.\n", s->least);
    if (is_list)
        buf_addf(out, "At most %u.\n", s->most);
    add_keys(out, s->path);
}

void
manual_write(struct buf *out)
{
    struct buf example;
    buf_add_str(out, HEAD);
    buf_add_str(out, ".SH KEYS\n.SS At the top\n");
    add_keys(out, "");
    for (size_t i = 0; i < CONFIG_SECTION_COUNT; i++)
        add_section(out, &CONFIG_SECTIONS[i]);
    buf_add_str(out, ".SH EXAMPLE\n.nf\n");
    buf_init(&example, out->max);
    config_write_example(&example);
    add_text(out, buf_slice(&example));
    buf_fini(&example);
    buf_add_str(out, ".fi\n");
    buf_add_str(out, TAIL);
}
