"""Credentials: what a tenant owns and what it does not see."""
import smtplib

import pytest
from support import smtp_send

MESSAGE = b"From: a@example.org\r\nTo: b@customer.example\r\nSubject: x\r\n\r\nx\r\n"


def test_another_tenants_message_is_not_found(gw):
    message_id = gw.accepted()
    assert gw.http("GET", f"/v1/messages/{message_id}", key="dev2").status == 404
    assert gw.http("GET", f"/v1/messages/{message_id}", key="dev").status == 200


def test_http_keys(gw):
    assert gw.send(key=None).status == 401
    assert gw.send(key="wrong").status == 401
    assert gw.send(key="dev2").status == 403  # shop@example.com is not its own
    assert gw.send(key="dev2", **{"from": "shop@example.org"}).status == 202


def test_wrong_password(gw):
    with pytest.raises(smtplib.SMTPAuthenticationError) as e:
        gw.smtp(password="wrong")
    assert e.value.smtp_code == 535 and b"5.7.8" in e.value.smtp_error
    with pytest.raises(smtplib.SMTPAuthenticationError) as e:
        gw.smtp(user="nobody")
    assert e.value.smtp_code == 535


def test_envelope_sender_must_be_owned(gw):
    with gw.smtp(user="dev2", password="dev2") as s:
        code, text = s.mail("shop@example.com")
        assert code == 550 and b"5.7.1" in text
        s.rset()
        assert smtp_send(s, MESSAGE, "a@example.org")[0] == 250


def test_header_from_must_be_owned(gw):
    forged = MESSAGE.replace(b"a@example.org", b"ceo@bank.example")
    with gw.smtp(user="dev2", password="dev2") as s:
        code, text = smtp_send(s, forged, "a@example.org")
    assert code == 550 and b"5.7.1" in text


def test_the_suppression_list_is_asked(gw):
    import hashlib
    address = b"gone@customer.example"
    # The place that queue/README.md names: filled by hand until the API can.
    field = hashlib.sha256(b"dev\0" + address).digest()
    r = gw.redis()
    slot = field[0] % 16
    r.hset(f"sp:{{s{slot}}}:sup", field, b"1")
    answer = gw.send(to=["gone@customer.example", "anna@customer.example"])
    assert answer.status == 202
    states = {x["email"]: x["status"] for x in answer.json["recipients"]}
    assert states == {"gone@customer.example": "suppressed", "anna@customer.example": "queued"}
    m = gw.wait_status(answer.json["id"], ["delivered", "suppressed"])
    assert {x["email"]: x["status"] for x in m["recipients"]}["gone@customer.example"] == "suppressed"
    assert all("gone@customer.example" not in c["to"] for c in gw.captures(answer.json["id"]))
