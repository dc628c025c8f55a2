"""Addresses beyond ASCII at every door (RFC 6531, RFC 6532): what is delivered, and what becomes of it
where SMTPUTF8 is not offered."""
import contextlib
import urllib.parse

import pytest
from hostile import Nice, World
from support import queued_id, wait_until

FROM = "j\u00fcrgen@b\u00fccher.example"
CANONICAL = "j\u00fcrgen@xn--bcher-kva.example"


def by_json(gw, to, **more):
    return gw.accepted(to=to, **more)


def by_batch(gw, to, **more):
    message = {"from": "shop@example.com", "to": to, "subject": "x", "text": "y"} | more
    answer = gw.http("POST", "/v1/messages/batch", {"messages": [message]})
    assert answer.status == 200, answer.body
    return answer.json["data"][0]["id"]


def eml(to, more):
    return f"From: {more.get('from', 'shop@example.com')}\r\nTo: {to}\r\nSubject: x\r\n\r\ny\r\n".encode()


def by_raw(gw, to, **more):
    query = urllib.parse.urlencode({"from": more.get("from", "shop@example.com"), "to": to})
    answer = gw.http("POST", f"/v1/messages/raw?{query}", eml(to, more), {"Content-Type": "message/rfc822"})
    assert answer.status == 202, answer.body
    return answer.json["id"]


def by_smtp(gw, to, **more):
    with gw.smtp() as s:
        s.command_encoding = "utf-8"
        assert s.mail(more.get("from", "shop@example.com"), ["SMTPUTF8", "BODY=8BITMIME"])[0] == 250
        assert s.rcpt(to)[0] == 250
        code, text = s.data(eml(to, more))
        assert code == 250, text
        return queued_id(text)


DOORS = [by_json, by_batch, by_raw, by_smtp]


@pytest.mark.parametrize("hand_in", DOORS)
def test_they_arrive(gw, hand_in):
    message_id = hand_in(gw, CANONICAL, **{"from": FROM})
    m = gw.wait_status(message_id, "delivered")
    assert m["from"] == CANONICAL and [r["email"] for r in m["recipients"]] == [CANONICAL]
    capture = gw.wait_capture(message_id)
    assert capture["from"] == CANONICAL and capture["to"] == [CANONICAL]
    raw = gw.raw(capture["id"])
    assert f"To: {CANONICAL}\r\n".encode() in raw and gw.verify(raw) == 2
    found = gw.http("GET", "/v1/messages?to=" + urllib.parse.quote(CANONICAL)).json["data"]
    assert message_id in [x["id"] for x in found]


@pytest.fixture(scope="module")
def world():
    from conftest_shared import clean_up, make_gateways
    started, make = make_gateways()
    with contextlib.closing(World(make)) as w:
        w.modern = w.host(Nice(ehlo=Nice.ehlo.replace(b"DSN", b"SMTPUTF8")))
        w.point("old.test", w.home)
        w.point("modern.test", w.modern)
        yield w
        clean_up(started)


@pytest.mark.parametrize("hand_in", DOORS)
def test_without_smtputf8_it_bounces(world, hand_in):
    message_id = hand_in(world.gw, "j\u00fcrgen@old.test", **{"from": "shop@home.test"})
    [recipient] = world.gw.wait_status(message_id, "bounced")["recipients"]
    assert recipient["last_response"]["enhanced"] == "5.6.7"
    assert not any("rgen@old.test" in line for line in world.home.commands() if line.startswith("RCPT"))
    ndr = wait_until("a report", lambda: world.gw.message(message_id)["recipients"][0]["ndr_id"])
    world.gw.wait_status(ndr, "delivered")


@pytest.mark.parametrize("hand_in", DOORS)
def test_it_is_asked_for_where_it_is_offered(world, hand_in):
    message_id = hand_in(world.gw, "j\u00fcrgen@modern.test", **{"from": "shop@home.test"})
    world.gw.wait_status(message_id, "delivered")
    mails = [line for line in world.modern.commands() if line.startswith("MAIL FROM:<shop@home.test>")]
    assert all(" SMTPUTF8" in line for line in mails) and mails
    assert "RCPT TO:<j\u00fcrgen@modern.test>" in world.modern.commands()


def test_an_international_domain_needs_nothing_of_anybody(world):
    world.point("xn--bcher-kva.test", world.home)
    message_id = by_json(world.gw, "anna@b\u00fccher.test", **{"from": "shop@home.test"})
    world.gw.wait_status(message_id, "delivered")
    assert any("anna@xn--bcher-kva.test" in d.recipients for d in world.home.dots)
