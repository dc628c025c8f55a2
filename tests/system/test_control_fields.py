"""Header fields that say what JSON has members for, at each door where a message comes finished. The
table is that of relay/accept/README.md, field by field."""
import datetime
import email.utils
import os
import re
import urllib.parse

import pytest
from support import ROOT, queued_id, smtp_send
from test_http import problem
from test_wishes import in_hours

README = open(os.path.join(ROOT, "relay/accept/README.md"), encoding="utf-8").read()
SOURCE = open(os.path.join(ROOT, "relay/accept/control.c"), encoding="utf-8").read()
EXAMPLES = {"order": "17", "part": "2"}


def table():
    """(field, example, member of JSON) for each name in the README's table."""
    section = README.split("## Control fields\n")[1].split("\n## ")[0]
    for line in re.findall(r"^\| `.*", section, flags=re.M):
        ours, others, says = [cell.strip() for cell in line.strip("|").split("|")]
        member = re.match(r"`(\w+)`", says)
        for text in re.findall(r"`([^`]+)`", f"{ours} {others}"):
            name, _, value = text.partition(": ")
            yield name, value, member[1] if member else "key"


def message(*fields):
    return "".join(f"{f}\r\n" for f in ("From: shop@example.com", "Subject: x") + fields).encode() + b"\r\ny\r\n"


def by_smtp(gw, raw, to="anna@customer.example"):
    with gw.smtp() as s:
        code, text = smtp_send(s, raw, to=(to,))
        return queued_id(text) if code == 250 else (code, text.decode())


def by_raw(gw, raw):
    query = urllib.parse.urlencode({"from": "shop@example.com", "to": "anna@customer.example"})
    answer = gw.http("POST", f"/v1/messages/raw?{query}", raw, {"Content-Type": "message/rfc822"})
    if answer.status == 202:
        return answer.json["id"]
    p = problem(answer, 422, "message_refused")
    return 550, "5.6.0 " + p["detail"]


DOORS = [by_smtp, by_raw]


def tags(m):
    assert m["tags"] == ["invoice"]


def metadata(m):
    assert m["metadata"] and m["metadata"].items() <= EXAMPLES.items()


def send_at(m):
    assert m["status"] == "scheduled" and m["send_at"].startswith("20")


EFFECTS = {"tags": tags, "metadata": metadata, "send_at": send_at}


def test_the_table_has_every_name_and_no_other():
    in_code = re.findall(r'^    \{"([\w-]+)", SUBJECT_\w+, (\w+), \w+\},', SOURCE, flags=re.M)
    without = {name for name, read in in_code if read.startswith(("refuse", "NULL"))}
    in_table = {re.sub("(?<=^x-pm-metadata-).*", "", name.lower()) for name, _, _ in table()}
    assert in_table == {name.lower() for name, _ in in_code if name not in without}
    assert len(in_table) > 10 and len(without) == 10
    assert all(f"`{name}`" in README for name in without)


def example(gw, name, value):
    """The README's, at a time that has not passed."""
    if name in ("X-PM-Tag", "X-Mailgun-Tag", "X-Postal-Tag"):
        return "invoice"
    tomorrow = in_hours(gw, 24)
    if name == "X-Mailgun-Deliver-By":
        return email.utils.format_datetime(datetime.datetime.fromisoformat(tomorrow.replace("Z", "+00:00")))
    return re.sub(r"^2026-.*", tomorrow, value)


@pytest.mark.parametrize("hand_in", DOORS)
def test_each_does_what_the_table_says(gw, hand_in):
    for name, value, member in table():
        if member == "key":
            continue  # test_a_key_means_the_same_at_both_doors
        message_id = hand_in(gw, message(f"{name}: {example(gw, name, value)}"))
        assert isinstance(message_id, str), (name, value, message_id)
        EFFECTS.get(member, lambda m: None)(gw.message(message_id))
        if member == "send_at":
            gw.http("POST", f"/v1/messages/{message_id}/cancel")
            continue
        gw.wait_status(message_id, "delivered")
        raw = gw.raw(gw.wait_capture(message_id)["id"])
        assert name.encode().lower() not in raw.lower() and gw.verify(raw) == 2


def test_a_message_ends_when_its_field_says(gateway):
    gw = gateway()
    fields = ["X-Stagepost-TTL: 600", "X-Stagepost-Expires-At: " + in_hours(gw, 1), "X-Stagepost-Class: bulk"]
    soon, later, never = [by_smtp(gw, message(f), to="defer@customer.example") for f in fields]
    for message_id in (soon, later, never):
        gw.wait_status(message_id, "deferred")
    rows = gw.http("GET", "/v1/queues").json["data"]
    assert {r["class"]: r["deferred"] for r in rows} == {"transactional": 2, "bulk": 1}, rows
    gw.advance("11m")
    gw.wait_status(soon, "expired")
    gw.advance("1h")
    gw.wait_status(later, "expired")
    assert gw.message(never)["status"] == "deferred"


@pytest.mark.parametrize("name", ["X-Stagepost-Idempotency-Key", "Resend-Idempotency-Key"])
def test_a_key_means_the_same_at_both_doors(gw, name):
    raw = message(f"{name}: both-{name}")
    first = by_smtp(gw, raw)
    assert by_raw(gw, raw) == first and by_smtp(gw, raw) == first
    gw.wait_status(first, "delivered")
    assert len(gw.captures(first)) == 1


@pytest.mark.parametrize("hand_in", DOORS)
@pytest.mark.parametrize("field,said", [
    ("X-Stagepost-Tga: invoice", "X-Stagepost-Tga: there is no such control field"),
    ("X-Stagepost-Send-At: tomorrow", "X-Stagepost-Send-At: must be a time"),
    ("X-Stagepost-TTL: 0", "X-Stagepost-TTL: must be a number of seconds"),
    ("X-Stagepost-Class: urgent", "X-Stagepost-Class: must be transactional or bulk"),
    ("X-Stagepost-TTL: 60\r\nx-stagepost-ttl: 60", "x-stagepost-ttl: was said before"),
    ("X-PM-Tag: " + "x" * 65, "X-PM-Tag: the text is too long"),
    ("X-PM-Tag: =?utf-8?q?a=0D=0AX-Evil=3A_b?=", "X-PM-Tag: line breaks"),
    ("X-Mailgun-Drop-Message: yes", "X-Mailgun-Drop-Message: is not possible here"),
])
def test_what_is_wrong_is_refused_by_name(gw, hand_in, field, said):
    before = [gw.metric(f'stagepost_accepted_messages_total{{source="{s}"}}') for s in ("smtp", "http")]
    code, text = hand_in(gw, message(field))
    assert code == 550 and text.startswith("5.6.0 " + said)
    after = [gw.metric(f'stagepost_accepted_messages_total{{source="{s}"}}') for s in ("smtp", "http")]
    assert after == before


def test_texts_come_back_however_they_are_written(gw):
    message_id = by_smtp(gw, message("X-Stagepost-Tag: =?utf-8?q?gr=C3=B6=C3=9F?=\r\n =?utf-8?B?ZQ==?=",
                                     "x-stagepost-metadata: a = two\r\n words",
                                     "X-Stagepost-Metadata: sql='; DROP=1"))
    m = gw.message(message_id)
    assert m["tags"] == ["gr\u00f6\u00dfe"] and m["metadata"] == {"a": "two words", "sql": "'; DROP=1"}


def test_fields_of_others_without_effect_are_left_out_and_told(gw):
    raw = message("X-PM-TrackOpens: true", "X-SES-Configuration-Set: a", "X-Mailer: b",
                  "Resend-Idempotency-Key: told")  # which decides about the id
    message_id = by_smtp(gw, raw)
    gw.wait_status(message_id, "delivered")
    sent = gw.raw(gw.wait_capture(message_id)["id"])
    assert b"X-PM" not in sent and b"X-SES" not in sent and b"X-Mailer: b\r\n" in sent
    event, = [e for e in gw.events("control.ignored") if e["msg"] == message_id]
    assert event["field"] == "X-PM-TrackOpens" and event["fields"] == 2
    answer = gw.http("POST", "/v1/messages/validate", raw, {"Content-Type": "message/rfc822"})
    found, = [f for f in answer.json["findings"] if f["id"] == "control-ignored"]
    assert found["severity"] == "info" and "X-PM-TrackOpens" in found["detail"]


@pytest.mark.parametrize("name", ["X-Stagepost-Tag", "x-pm-tag", "X-Mailgun-Anything", "X-SES-Message-Tags",
                                  "Resend-Idempotency-Key"])
def test_json_has_members_instead(gw, name):
    p = problem(gw.send(headers={name: "x"}), 422)
    assert p["errors"][0]["code"] == "header_not_allowed"
