/*
 * The header of a proxy: any bytes, and all prefixes of them. What is read once
 * is read the same with more behind it, and never later than
 * PROXY_HEADER_MAX octets.
 */
#include <string.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/net/proxy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_from(data, size < 2 * PROXY_HEADER_MAX ? size : 2 * PROXY_HEADER_MAX);
    struct proxy_header whole, cut;
    enum parse r = proxy_header_parse(in, &whole);
    BUG_ON(r == PARSE_MORE && in.n >= PROXY_HEADER_MAX);
    BUG_ON(r == PARSE_OK && (whole.bytes > in.n || whole.bytes > PROXY_HEADER_MAX));
    BUG_ON(r == PARSE_OK && whole.proxied && whole.client.kind == NET_UNIX);
    for (size_t n = 0; n < in.n; n++) {
        enum parse part = proxy_header_parse(slice_from(in.p, n), &cut);
        if (r == PARSE_OK)
            BUG_ON(part != (n < whole.bytes ? PARSE_MORE : PARSE_OK));
        BUG_ON(r == PARSE_MORE && part != PARSE_MORE);
        BUG_ON(part == PARSE_OK && cut.bytes != whole.bytes);
    }
    return 0;
}
