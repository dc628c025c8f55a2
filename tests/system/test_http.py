"""HTTP: what is refused, how, and that nothing was stored then."""
import base64
import email
import email.policy
import json

import pytest


def problem(answer, status, code=None):
    assert answer.status == status, (answer.status, answer.body)
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    p = answer.json
    assert p["status"] == status and p["title"] and p["code"]
    if code:
        assert p["code"] == code
    return p


def test_not_json(gw):
    problem(gw.http("POST", "/v1/messages", "{not json"), 400)
    problem(gw.http("POST", "/v1/messages", '{"from":"a@b.example","from":"c@d.example"}'), 400)


@pytest.mark.parametrize("change,pointer", [
    ({"form": "x"}, "/form"),
    ({"to": "no-address"}, "/to"),
    ({"to": ["anna@customer.example", "bad@"]}, "/to/1"),
    ({"subject": "a\r\nBcc: b@c.example"}, "/subject"),
    ({"fields_of_message": {"X-A": "a\nb"}}, "/headers/X-A"),
    ({"fields_of_message": {"Bcc": "x@y.example"}}, "/headers/Bcc"),
    ({"fields_of_message": {"X A": "x"}}, "/headers/X A"),
    ({"attachments": [{"filename": "a", "content": "!!"}]}, "/attachments/0/content"),
    ({"subject": 7}, "/subject"),
])
def test_a_field_is_wrong(gw, change, pointer):
    before = gw.metric('stagepost_accepted_messages_total{source="http"}')
    p = problem(gw.send(**change), 422)
    assert pointer in [e["pointer"] for e in p["errors"]]
    assert gw.metric('stagepost_accepted_messages_total{source="http"}') == before


def test_unknown_route_and_method(gw):
    problem(gw.http("GET", "/v1/nothing"), 404)
    answer = gw.http("DELETE", "/v1/messages")
    problem(answer, 405)
    assert "POST" in answer.headers["Allow"]


def test_unknown_id(gw):
    problem(gw.http("GET", "/v1/messages/01890000-0000-7000-8000-000000000000"), 404)
    problem(gw.http("GET", "/v1/messages/nonsense"), 404)


def test_a_message_with_everything(gw):
    answer = gw.send(
        to=[{"email": "anna@customer.example", "name": "Anna Ö"}], cc="bert@customer.example",
        bcc=["secret@customer.example"], reply_to="help@example.com", subject="Grüße ✓",
        text="plain", html="<p>rich <img src='cid:logo'></p>",
        fields_of_message={"X-Order": "17", "List-Unsubscribe": "<https://example.com/u?t=" + "a" * 90 + ">"},
        attachments=[
            {"filename": "Größe.pdf", "content": base64.b64encode(b"%PDF" * 1000).decode(),
             "content_type": "application/pdf"},
            {"filename": "logo.png", "content": base64.b64encode(b"\x89PNG").decode(),
             "content_type": "image/png", "content_id": "logo"}])
    assert answer.status == 202
    assert answer.headers["Location"] == f"/v1/messages/{answer.json['id']}"
    gw.wait_status(answer.json["id"], "delivered")
    capture = gw.wait_capture(answer.json["id"])
    assert set(capture["to"]) == {"anna@customer.example", "bert@customer.example",
                                  "secret@customer.example"}
    raw = gw.raw(capture["id"])
    assert gw.verify(raw) == 2
    assert b"secret@" not in raw
    assert all(len(line) <= 998 for line in raw.split(b"\r\n"))
    m = email.message_from_bytes(raw, policy=email.policy.default)
    assert m["Subject"] == "Grüße ✓" and m["X-Order"] == "17" and m["Reply-To"] == "help@example.com"
    assert "Anna Ö" in str(m["To"]) and m["List-Unsubscribe"].startswith("<https://")
    assert m.get_body(("plain",)).get_content().strip() == "plain"
    assert "cid:logo" in m.get_body(("html",)).get_content()
    names = [p.get_filename() for p in m.walk() if p.get_filename()]
    assert "Größe.pdf" in names
    inline = [p for p in m.walk() if p["Content-ID"] == "<logo>"]
    assert inline and inline[0].get_content() == b"\x89PNG"


def test_raw(gw):
    raw = b"From: shop@example.com\r\nSubject: raw\r\n\r\nas it is\r\n"
    answer = gw.http("POST", "/v1/messages/raw?from=shop@example.com&to=a@one.example&to=b@two.example",
                     raw, headers={"Content-Type": "message/rfc822"})
    assert answer.status == 202
    gw.wait_status(answer.json["id"], "delivered")
    capture = gw.wait_capture(answer.json["id"])
    assert gw.raw(capture["id"]).endswith(b"\r\n\r\nas it is\r\n")


def test_status_shape(gw):
    message_id = gw.accepted()
    m = gw.wait_status(message_id, "delivered")
    assert set(m) == {"id", "status", "from", "subject", "created_at", "size", "recipients"}
    assert set(m["recipients"][0]) == {"email", "status", "attempts", "next_attempt_at",
                                       "last_response", "uncertain", "ndr_id"}
    assert set(m["recipients"][0]["last_response"]) == {"code", "enhanced", "text", "mx"}
    assert m["from"] == "shop@example.com" and m["subject"] == "Order 1"
    assert m["created_at"].endswith("Z") and m["size"] > 100


def test_host_is_checked(gw):
    assert gw.http("GET", "/sandbox/messages", headers={"Host": "evil.example"}, key=None).status in (
        400, 403, 421)


def test_metrics_exist_from_the_start(gw):
    text = gw.http("GET", "/metrics", key=None).body.decode()
    for name in ("stagepost_uncertain_attempts_total", "stagepost_build_info",
                 "stagepost_queue_messages", "stagepost_time_to_delivery_seconds_bucket"):
        assert name in text


def test_sandbox_clock(gateway):
    g = gateway()
    from datetime import datetime
    a = datetime.fromisoformat(g.advance("1s").replace("Z", "+00:00"))
    b = datetime.fromisoformat(g.advance("4h").replace("Z", "+00:00"))
    assert 4 * 3600 <= (b - a).total_seconds() < 4 * 3600 + 60
    assert g.http("POST", "/sandbox/clock", {"advance": "-4h"}, key=None).status in (400, 422)
    created = g.message(g.accepted())["created_at"]
    assert datetime.fromisoformat(created.replace("Z", "+00:00")) >= b
    assert json.loads(g.http("POST", "/sandbox/clock", {"advance": "1s"}, key=None).body)["now"]
