"""What a message may ask for besides its content: when, until when, under which
words, and how to unsubscribe."""
import datetime
import email
import email.policy

import pytest
from test_http import problem


def in_hours(gw, hours):
    now = gw.http("POST", "/sandbox/clock", '{"advance":"0s"}').json["now"]
    at = datetime.datetime.fromisoformat(now.replace("Z", "+00:00"))
    return (at + datetime.timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_one_click_is_written_and_signed(gw):
    answer = gw.send(list_unsubscribe={"url": "https://example.com/u?t=" + "a" * 120,
                                       "mailto": "stop@example.com", "one_click": True})
    assert answer.status == 202, answer.body
    raw = gw.raw(gw.wait_capture(answer.json["id"])["id"])
    assert gw.verify(raw) == 2
    m = email.message_from_bytes(raw, policy=email.policy.default)
    assert m["List-Unsubscribe"].replace(" ", "") == (
        "<https://example.com/u?t=" + "a" * 120 + ">,<mailto:stop@example.com>")
    assert m["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    for signature in m.get_all("DKIM-Signature"):
        tags = dict(t.strip().split("=", 1) for t in signature.split(";") if "=" in t)
        signed = [h.strip().lower() for h in tags["h"].split(":")]
        # once as it stands, once more so that nobody can add another
        assert signed.count("list-unsubscribe") == 2
        assert signed.count("list-unsubscribe-post") == 2


def test_a_message_waits_for_its_time(gateway):
    gw = gateway()
    at = in_hours(gw, 48)
    answer = gw.send(to=["anna@customer.example", "defer@other.example"], send_at=at)
    assert answer.status == 202 and answer.json["status"] == "scheduled"
    assert {r["status"] for r in answer.json["recipients"]} == {"scheduled"}
    m = gw.message(answer.json["id"])
    assert m["status"] == "scheduled" and m["send_at"].startswith(at[:-1])
    assert all(r["next_attempt_at"].startswith(at[:-1]) for r in m["recipients"])
    other = gw.accepted(to="defer@other.example")
    gw.wait_status(other, "deferred")
    of_status = {s: [d["id"] for d in gw.http("GET", f"/v1/messages?status={s}").json["data"]]
                 for s in ("scheduled", "queued", "deferred")}
    assert of_status == {"scheduled": [answer.json["id"]], "queued": [], "deferred": [other]}
    gw.advance("47h")
    gw.wait_status(gw.send().json["id"], "delivered")
    assert gw.message(answer.json["id"])["status"] == "scheduled"
    assert gw.captures(answer.json["id"]) == []
    gw.advance("2h")
    capture = gw.wait_capture(answer.json["id"])
    parsed = email.message_from_bytes(gw.raw(capture["id"]), policy=email.policy.default)
    assert parsed["Date"].datetime.strftime("%Y-%m-%dT%H:%M:%SZ") == at
    m = gw.wait_status(answer.json["id"], "deferred")
    # it is deferred, not late: the delay counts from when it was to be sent
    assert {r["email"]: r["ndr_id"] for r in m["recipients"]}["defer@other.example"] is None


def test_a_scheduled_message_can_be_cancelled(gw):
    answer = gw.send(send_at=in_hours(gw, 24))
    done = gw.http("POST", f"/v1/messages/{answer.json['id']}/cancel")
    assert done.status == 200 and done.json["affected"] == 1
    assert gw.message(answer.json["id"])["status"] == "cancelled"


def test_a_message_expires_when_its_sender_says(gateway):
    gw = gateway()
    soon = gw.send(to="defer@customer.example", ttl=600).json["id"]
    later = gw.send(to="defer@customer.example").json["id"]
    gw.wait_status(soon, "deferred")
    gw.wait_status(later, "deferred")
    gw.advance("11m")
    gw.wait_status(soon, "expired")
    assert gw.message(later)["status"] == "deferred"


def test_tags_and_metadata_come_back_and_are_in_no_field(gw):
    tags, metadata = ["invoice", "größe \"q\""], {"order": "17", "note": "a\\b"}
    answer = gw.send(tags=tags, metadata=metadata)
    m = gw.wait_status(answer.json["id"], "delivered")
    assert m["tags"] == tags and m["metadata"] == metadata
    raw = gw.raw(gw.wait_capture(answer.json["id"])["id"])
    assert b"invoice" not in raw and b"order" not in raw
    plain = gw.message(gw.send().json["id"])
    assert "tags" not in plain and "metadata" not in plain


def test_class_only_goes_down(gw):
    assert gw.send(**{"class": "bulk"}).status == 202
    assert gw.send(**{"class": "transactional"}).status == 202
    problem(gw.send(**{"class": "urgent"}), 422)


@pytest.mark.parametrize("fields,pointer", [
    ({"ttl": 0}, "/ttl"),
    ({"send_at": "soon"}, "/send_at"),
    ({"list_unsubscribe": {"url": "http://x.example", "one_click": True}}, "/list_unsubscribe/url"),
    ({"tags": [1]}, "/tags/0"),
    ({"metadata": {"a": 1}}, "/metadata/a"),
])
def test_what_is_wrong(gw, fields, pointer):
    assert [e["pointer"] for e in problem(gw.send(**fields), 422)["errors"]] == [pointer]
