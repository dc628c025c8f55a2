#include "relay/cli/check_options.h"

#include <getopt.h>
#include <string.h>
#include <sysexits.h>

#include "dkim/spf_record.h"
#include "relay/cli/check_config.h"
#include "relay/cli/zone.h"
#include "relay/sys/net/stream.h"

static const char USAGE[] =
    "usage: stagepost check domain NAME [-c FILE] [--dns ADDR:PORT] [--from-ip IP]... [--json]\n"
    "Would receivers believe mail from NAME, sent from these addresses? Says what to publish.\n"
    "-c takes addresses, DKIM keys and our name from a configuration file, and checks them too.\n"
    "--dns asks this server only. Exit code: 0 good, 1 something to mend, 75 DNS trouble,\n"
    "78 the file has errors.\n";

enum option_id { O_DNS, O_IP, O_JSON, O_HELP };

static const struct option OPTIONS[] = {
    {"config", required_argument, NULL, 'c'},   {"dns", required_argument, NULL, O_DNS},
    {"from-ip", required_argument, NULL, O_IP}, {"json", no_argument, NULL, O_JSON},
    {"help", no_argument, NULL, O_HELP},        {NULL, 0, NULL, 0},
};

static int
complain(const char *option, const char *value, const char *wanted)
{
    fprintf(stderr, "stagepost check domain: %s %s: %s\n", option, value, wanted);
    return EX_USAGE;
}

static int
dns_option(struct check_options *o, const char *value)
{
    struct net_address a;
    char ip[64];
    if (!net_address_parse(slice_str(value), &a) || a.kind == NET_UNIX)
        return complain("--dns", value, "an ADDRESS:PORT is wanted");
    net_address_format_ip(&a, ip);
    snprintf(o->forward, sizeof o->forward, "%s@%u", ip, (unsigned)a.port);
    return 0;
}

static int
ip_option(struct check_options *o, const char *value)
{
    struct spf_mail m;
    if (!spf_mail_set(&m, slice_str(value), SLICE_NONE, SLICE("a.example"), SLICE_NONE))
        return complain("--from-ip", value, "an IPv4 or IPv6 address is wanted");
    if (o->ip_count == CHECK_DOMAIN_IPS_MAX)
        return complain("--from-ip", value, "too many addresses");
    o->ips[o->ip_count++] = value;
    return 0;
}

static int
domain_argument(struct check_options *o, const char *value)
{
    return zone_read_domain(value, o->domain) ? 0
                                              : complain("NAME", value, "a domain name is wanted");
}

static int
file_option(struct check_options *o, const char *path)
{
    config_file_free(o->file);
    o->file = config_file_read(path);
    check_config_materials(o->file);
    if (config_file_errors(o->file) == 0)
        return 0;
    config_file_print(o->file, stderr);
    return EX_CONFIG;
}

/* What the command line does not say, the file does. */
static void
take_file(struct check_options *o)
{
    const struct config *c = &config_file_draft(o->file)->config;
    if (o->forward[0] == '\0')
        snprintf(o->forward, sizeof o->forward, "%s", c->dns_forward);
    for (unsigned i = 0; o->ip_count == 0 && i < c->egress_count; i++)
        o->ips[i] = c->egress[i];
    if (o->ip_count == 0)
        o->ip_count = c->egress_count;
}

int
check_options_parse(struct check_options *o, int argc, char **argv)
{
    int id, code = 0;
    optind = 1;
    while ((id = getopt_long(argc, argv, "c:", OPTIONS, NULL)) != -1) {
        if (id == 'c')
            code = file_option(o, optarg);
        else if (id == O_DNS)
            code = dns_option(o, optarg);
        else if (id == O_IP)
            code = ip_option(o, optarg);
        else if (id == O_JSON)
            o->json = true;
        else {
            fputs(USAGE, id == O_HELP ? stdout : stderr);
            return id == O_HELP ? EX_OK + 1 : EX_USAGE + 1;
        }
        if (code != 0)
            return code + 1;
    }
    if (optind + 1 != argc) {
        fputs(USAGE, stderr);
        return EX_USAGE + 1;
    }
    code = domain_argument(o, argv[optind]);
    if (code == 0 && o->file != NULL)
        take_file(o);
    return code != 0 ? code + 1 : 0;
}
