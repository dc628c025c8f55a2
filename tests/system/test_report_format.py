"""Delivery reports are read back by somebody else's parser: Python's email.

The files are those that the unit test of relay/wire/dsn compares byte for byte.
"""
import email
import email.policy
import glob
import os

import pytest

GOLDEN = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
                      "unit/relay/wire/golden")
FILES = sorted(glob.glob(os.path.join(GOLDEN, "*.eml")))
CLASS_OF_ACTION = {"failed": "5", "delayed": "4", "delivered": "2", "relayed": "2"}


def read(path):
    with open(path, "rb") as f:
        return email.message_from_bytes(f.read(), policy=email.policy.default)


def test_there_are_files():
    assert len(FILES) >= 14


@pytest.mark.parametrize("path", FILES, ids=[os.path.basename(p) for p in FILES])
def test_report_is_well_formed(path):
    """DSN-02, DSN-03, DSN-06, LOP-03"""
    m = read(path)
    assert not m.defects
    assert m.get_content_type() == "multipart/report"
    assert m.get_param("report-type") == "delivery-status"
    assert m["Auto-Submitted"] == "auto-replied"
    assert m["Message-ID"] == "<report-1@gate.example.com>"
    assert m["To"].addresses[0].addr_spec == "shop@example.com"
    text, status, original = m.get_payload()
    assert not (text.defects or status.defects or original.defects)
    assert text.get_content_type() == "text/plain"
    assert status.get_content_type() == "message/delivery-status"
    assert original.get_content_type() in ("message/rfc822", "text/rfc822-headers",
                                           "message/global-headers")
    blocks = status.get_payload()
    assert blocks[0]["Reporting-MTA"] == "dns; gate.example.com"
    assert len(blocks) >= 2
    for r in blocks[1:]:
        assert "Reporting-MTA" not in r
        assert r["Final-Recipient"]
        assert r["Status"][0] == CLASS_OF_ACTION[r["Action"]]
        assert "X-Evil" not in r


def test_international_recipient_survives():
    m = read(os.path.join(GOLDEN, "utf8.eml"))
    text, status, original = m.get_payload()
    assert "jürgen@example.org" in text.get_content()
    assert "unbekannter Empfänger" in text.get_content()
    assert status.get_payload()[1]["Final-Recipient"] == r"utf-8; j\x{FC}rgen@example.org"
    header = original.get_payload()
    if isinstance(header, list):  # parsed as a message
        header = header[0].as_bytes()
    assert header


def test_full_original_is_returned():
    m = read(os.path.join(GOLDEN, "failed-full.eml"))
    original = m.get_payload()[2].get_payload()[0]
    assert original["Subject"] == "Order 17"
    assert original.get_content().strip() == "Thank you."
