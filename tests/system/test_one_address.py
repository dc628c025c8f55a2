"""ADR-03 at the doors that are not SMTP or messages: the suppression list knows an address under every
writing that delivery, reports and requests have for it."""
import urllib.parse

import pytest
from support import smtp_send, wait_until

# as listed, as asked for, whether they are one recipient. The local part's case is the receiver's
# business everywhere but here: whoever is not to be written to is not written to in capitals.
WRITINGS = [
    ("one@customer.example", "one@customer.example", True),
    ("two@customer.example", "two@CUSTOMER.Example", True),
    ('"three"@customer.example', "three@customer.example", True),
    ("four@customer.example", '"four"@customer.example', True),
    ('"fi ve"@customer.example', '"fi\\ ve"@customer.example', True),
    ("six@b\u00fccher.example", "six@xn--bcher-kva.example", True),
    ("seven@xn--bcher-kva.example", "seven@B\u00dcCHER.example", True),
    ("eight@customer.example", "eight+tag@customer.example", False),
    ("nine@customer.example", "nine@sub.customer.example", False),
    ("ten%customer.example@a.example", "ten@customer.example", False),
]


def put(gw, address):
    answer = gw.http("PUT", "/v1/suppressions/" + urllib.parse.quote(address, safe=""), {"reason": "manual"})
    assert answer.status in (200, 201), (address, answer.body)
    return answer.json["email"]


@pytest.mark.parametrize("listed,asked,same", WRITINGS)
def test_the_list_knows_every_writing(gw, listed, asked, same):
    name = put(gw, listed)
    found = gw.http("GET", "/v1/suppressions/" + urllib.parse.quote(asked, safe=""))
    assert (found.status == 200) == same, found.body
    if same:
        assert found.json["email"] == name
    sent = gw.send(to=[asked, "anna@customer.example"])
    assert sent.status == 202, sent.body
    states = [r["status"] for r in sent.json["recipients"]]
    assert states == ["suppressed" if same else "queued", "queued"]
    with gw.smtp() as s:
        asked_ascii = asked if asked.isascii() else "seven@xn--bcher-kva.example"
        smtp_send(s, b"From: shop@example.com\r\nSubject: x\r\n\r\nx\r\n", to=(asked_ascii, "anna@customer.example"))
    wait_until("both are delivered", lambda: len([c for c in gw.captures() if "anna@customer.example" in str(c["to"])]) >= 2)
    gw.wait_status(sent.json["id"], ["delivered", "suppressed"])
    reached = {str(c["to"]) for c in gw.captures()}
    local = asked.rpartition("@")[0].strip('"').replace("\\", "")
    assert any(local in r for r in reached) != same, reached
    removed = gw.http("DELETE", "/v1/suppressions/" + urllib.parse.quote(asked, safe=""))
    assert (removed.status in (200, 204)) == same
    gw.http("DELETE", "/v1/suppressions/" + urllib.parse.quote(listed, safe=""))


@pytest.mark.parametrize("asked,canonical", [
    ('"bounce"@customer.example', "bounce@customer.example"),
    ('"b\\ounce+1"@CUSTOMER.example', "bounce+1@customer.example"),
    ('"bounce+a b"@customer.example', '"bounce+a b"@customer.example'),
    ('"bounce+\\"x@y"@customer.example', '"bounce+\\"x@y"@customer.example'),
    ("bounce+2@b\u00fccher.example", "bounce+2@xn--bcher-kva.example"),
])
def test_reports_name_the_canonical_address(gw, asked, canonical):
    """By the request, in the answer, at the MX and in the report: one recipient, one writing."""
    before = len(gw.events("ndr.enqueued"))
    sent = gw.send(to=asked)
    assert [r["email"] for r in sent.json["recipients"]] == [canonical]
    assert gw.wait_status(sent.json["id"], "bounced")["recipients"][0]["email"] == canonical
    wait_until("the report is there", lambda: len(gw.events("ndr.enqueued")) > before)
    report = wait_until("it arrives", lambda: [c for c in gw.captures() if "shop@example.com" in str(c["to"])
                                               and f"rfc822; {canonical}\r\n".encode() in gw.raw(c["id"])])
    text = gw.raw(report[0]["id"])
    assert text.count(b"\r\nFinal-Recipient:") == 1
    assert f"\r\nFinal-Recipient: rfc822; {canonical}\r\n".encode() in text
