/* Any datagram to the sandbox's DNS: a response, if there is one, fits and can
 * be read. */
#include "relay/sandbox/dns_packet.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/net/dns_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct sandbox_dkim key = {.selector = "s", .txt = "v=DKIM1; p=abc"};
    for (int i = 0; i < 2; i++) {
        enum dns_transport transport = i == 0 ? DNS_OVER_UDP : DNS_OVER_TCP;
        struct buf out, rdata;
        struct dns_answer answer;
        buf_init(&out, DNS_RESPONSE_MAX);
        buf_init(&rdata, DNS_RDATA_BYTES_MAX);
        if (dns_respond(slice_from(data, size), transport, &key, 1, &out)) {
            BUG_ON(dns_answer_read(buf_slice(&out), 15, &rdata, &answer) != PARSE_OK);
            BUG_ON(i == 0 && out.len > SANDBOX_UDP_PAYLOAD_MAX);
        }
        buf_fini(&rdata);
        buf_fini(&out);
    }
    return 0;
}
