"""Delivery reports are read back by other people's parsers: Python's email, Sisimai (Perl) and
flufl.bounce (Mailman's).

The files are those that the unit test of relay/wire/dsn compares byte for byte.
"""
import email
import email.policy
import email.utils
import glob
import json
import os
import re
import subprocess

import pytest
from flufl.bounce import all_failures

GOLDEN = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
                      "unit/relay/wire/golden")
FILES = sorted(glob.glob(os.path.join(GOLDEN, "*.eml")))
CLASS_OF_ACTION = {"failed": "5", "delayed": "4", "delivered": "2", "relayed": "2"}
# The parsers from outside know RFC 3464, not RFC 6533.
TO_UTF8 = [p for p in FILES if "utf8-sender" in p]
TO_ASCII = [p for p in FILES if "utf8-sender" not in p]
SISIMAI = r"""
use strict; use Sisimai; use JSON::PP; local $/;
my $make = Sisimai->can('rise') || Sisimai->can('make');
my %all;
for my $f (@ARGV) {
    open(my $fh, '<:raw', $f) or die; my $t = <$fh>; $t =~ s/\r\n/\n/g;
    my $found = $make->('Sisimai', \$t, delivered => 1) || [];
    $all{$f} = [map { {to => $_->recipient->address, action => $_->action,
                       status => $_->deliverystatus, code => $_->replycode,
                       text => $_->diagnosticcode, from => $_->addresser->address} } @$found];
}
print encode_json(\%all);
"""


def ids(path):
    return os.path.basename(path)


def read(path):
    with open(path, "rb") as f:
        return email.message_from_bytes(f.read(), policy=email.policy.default)


def status_blocks(path):
    """The fields as they stand in the file: (name, value), block by block."""
    with open(path, "rb") as f:
        part = re.search(rb"delivery-status\r\n(?:Content-Transfer[^\r]*\r\n)?\r\n(.*?)\r\n--=_golden",
                         f.read().split(b"--=_golden\r\n", 2)[2], re.S).group(1).decode()
    unfolded = re.sub(r"\r\n[ \t]", " ", part).rstrip("\r\n")
    return [[tuple(line.split(": ", 1)) for line in block.split("\r\n")]
            for block in unfolded.split("\r\n\r\n")]


def test_there_are_files():
    assert len(TO_ASCII) >= 16 and len(TO_UTF8) >= 3


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_report_is_well_formed(path):
    """DSN-02, DSN-03, DSN-06, LOP-03"""
    m = read(path)
    assert not m.defects
    assert m.get_content_type() == "multipart/report"
    assert m.get_param("report-type") == m.get_payload()[1].get_content_subtype()
    assert m["Auto-Submitted"] == "auto-replied"
    assert m["Message-ID"] == "<report-1@gate.example.com>"
    assert email.utils.parsedate_to_datetime(m["Date"]).isoformat() == "2026-11-23T12:00:00+00:00"
    text, status, original = m.get_payload()
    assert not (text.defects or status.defects or original.defects)
    assert text.get_content_type() == "text/plain"
    blocks = status_blocks(path)
    assert ("Reporting-MTA", "dns; gate.example.com") in blocks[0]
    assert len(blocks) >= 2
    for r in map(dict, blocks[1:]):
        assert "Reporting-MTA" not in r
        assert r["Final-Recipient"]
        assert r["Status"][0] == CLASS_OF_ACTION[r["Action"]]
        assert "X-Evil" not in r


@pytest.mark.parametrize("path", TO_ASCII, ids=ids)
def test_a_report_to_an_ascii_address_is_7bit(path):
    m = read(path)
    assert m["To"].addresses[0].addr_spec == "shop@example.com"
    _, status, original = m.get_payload()
    assert status.get_content_type() == "message/delivery-status"
    assert original.get_content_type() in ("message/rfc822", "text/rfc822-headers",
                                           "message/global", "message/global-headers")
    if original.get_content_type().startswith("message/global"):
        assert original["Content-Transfer-Encoding"] == "quoted-printable"
    assert [dict(b) for b in status_blocks(path)] == [
        {k: re.sub(r"\r\n ", " ", v) for k, v in b.items()} for b in status.get_payload()]


@pytest.mark.parametrize("path", TO_UTF8, ids=ids)
def test_a_report_to_a_utf8_address(path):
    """RFC 6533: it needs SMTPUTF8 anyway, so nothing is spelled in ASCII."""
    with open(path, "rb") as f:
        raw = f.read()
    assert "To: <jürgen@example.com>\r\n".encode() in raw
    m = read(path)
    assert m.get_param("report-type") == "global-delivery-status"
    assert m["Content-Transfer-Encoding"] == "8bit"
    _, status, original = m.get_payload()
    assert status.get_content_type() == "message/global-delivery-status"
    fields = dict(status_blocks(path)[1])
    if "7bit" in path:
        assert fields["Final-Recipient"] == "rfc822; user@example.org"
        assert original.get_content_type() == "text/rfc822-headers"
    else:
        assert fields["Final-Recipient"] == fields["Original-Recipient"] == \
            "utf-8; jürgen@example.org"
        assert fields["Diagnostic-Code"].endswith("unbekannter Empfänger")
        assert original.get_content_type() == (
            "message/global" if "full" in path else "message/global-headers")
        assert original["Content-Transfer-Encoding"] == "8bit"
        assert "Subject: Grüße".encode() in raw


def test_international_recipient_survives():
    m = read(os.path.join(GOLDEN, "utf8.eml"))
    text, status, original = m.get_payload()
    assert "jürgen@example.org" in text.get_content()
    assert "unbekannter Empfänger" in text.get_content()
    assert status.get_payload()[1]["Final-Recipient"] == r"utf-8; j\x{FC}rgen@example.org"
    assert original.get_content_type() == "message/global"


def test_full_original_is_returned():
    m = read(os.path.join(GOLDEN, "failed-full.eml"))
    original = m.get_payload()[2].get_payload()[0]
    assert original["Subject"] == "Order 17"
    assert original.get_content().strip() == "Thank you."


@pytest.fixture(scope="module")
def sisimai():
    out = subprocess.run(["perl", "-e", SISIMAI, *TO_ASCII], check=True, capture_output=True)
    return json.loads(out.stdout)


@pytest.mark.parametrize("path", TO_ASCII, ids=ids)
def test_sisimai_reads_the_same(path, sisimai):
    """DSN-02"""
    blocks = [dict(b) for b in status_blocks(path)[1:]]
    found = sisimai[path]
    assert [f["to"] for f in found] == [b["Final-Recipient"].split("; ")[1] for b in blocks]
    assert [f["action"] for f in found] == [b["Action"] for b in blocks]
    for f, b in zip(found, blocks):
        if "expired" not in path:  # it prefers the remote's code to ours
            assert f["status"] == b["Status"]
        diagnostic = b.get("Diagnostic-Code", "")
        if diagnostic.startswith("smtp; "):
            assert f["code"] == diagnostic[6:9]
            assert f["text"].split()[:3] == diagnostic[6:].split()[:3]


# It knows neither UTF-8 addresses nor literals.
@pytest.mark.parametrize("path", [p for p in TO_ASCII if not re.search("utf8|literal", p)],
                         ids=ids)
def test_mailman_knows_who_failed(path):
    """DSN-02; it prefers the address that the sender had written"""
    blocks = [dict(b) for b in status_blocks(path)[1:]]

    def of(action):
        return {b.get("Original-Recipient", b["Final-Recipient"]).split("; ")[1].encode()
                for b in blocks if b["Action"] == action}

    with open(path, "rb") as f:
        temporary, permanent = all_failures(email.message_from_bytes(f.read()))
    assert (temporary, permanent) == (of("delayed"), of("failed"))
