/* Any packet, read as the answer to an MX or TXT question; each MX record read
 * from it must parse as one that has a name without compression. */
#include "relay/sys/base/bug.h"
#include "relay/sys/net/dns_wire.h"
#include "relay/sys/net/resolver.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_records(struct slice rest, uint16_t type, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        uint16_t n, preference;
        char host[ADDRESS_DOMAIN_MAX + 1];
        BUG_ON(!dns_cut_u16(&rest, &n) || rest.n < n);
        struct slice record = slice_cut(&rest, n);
        if (type != DNS_MX)
            continue;
        struct dns_name name;
        size_t at = 2;
        BUG_ON(!dns_name_read(record, &at, &name) || at != record.n);
        dns_mx_parse(record, &preference, host);
    }
    BUG_ON(rest.n != 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint16_t types[] = {DNS_MX, DNS_TXT};
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        struct buf rdata;
        struct dns_answer a;
        buf_init(&rdata, DNS_RDATA_BYTES_MAX);
        if (dns_answer_read(slice_from(data, size), types[i], &rdata, &a) == PARSE_OK)
            check_records(buf_slice(&rdata), types[i], a.count);
        else
            BUG_ON(rdata.len != 0);
        buf_fini(&rdata);
    }
    return 0;
}
