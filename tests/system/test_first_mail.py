"""The first mail, as the README shows it: both doors, signed, delivered, seen."""
import email
import email.policy
import subprocess

import pytest
import support
from support import queued_id, smtp_send

MESSAGE = b"From: shop@example.com\r\nTo: anna@customer.example\r\nSubject: Order 1\r\n\r\nThank you\r\n"


def delivered_and_signed(gw, message_id):
    m = gw.wait_status(message_id, "delivered")
    capture = gw.wait_capture(message_id)
    raw = gw.raw(capture["id"])
    assert gw.verify(raw) == 2
    return m, raw


def test_curl_as_in_the_readme(gw):
    out = subprocess.run(
        ["curl", "-sS", "-H", "Authorization: Bearer dev", "-H", "Content-Type: application/json",
         "-d", '{"from":"shop@example.com","to":"anna@customer.example","subject":"Order 1","text":"Thank you"}',
         "-w", "\n%{http_code}", f"http://{gw.ready['http']}/v1/messages"],
        capture_output=True, text=True, check=True).stdout
    body, code = out.rsplit("\n", 1)
    assert code == "202"
    import json
    answer = json.loads(body)
    assert answer["status"] == "queued" and answer["durability"] == "local"
    assert answer["recipients"] == [{"email": "anna@customer.example", "status": "queued"}]
    m, raw = delivered_and_signed(gw, answer["id"])
    r = m["recipients"][0]
    assert r["attempts"] == 1 and r["last_response"]["code"] == 250 and r["uncertain"] is False
    parsed = email.message_from_bytes(raw, policy=email.policy.default)
    assert parsed["Subject"] == "Order 1"
    assert parsed.get_content().strip() == "Thank you"
    assert parsed["Date"] and parsed["Message-ID"]


@pytest.mark.parametrize("implicit", [False, True])
def test_smtplib_on_both_ports(gw, implicit):
    with gw.smtp(implicit) as s:
        code, text = smtp_send(s, MESSAGE)
    assert code == 250 and text.startswith(b"2.0.0 Ok: queued as ")
    delivered_and_signed(gw, queued_id(text))


@pytest.mark.parametrize("port,tls", [("smtp", "--tls"), ("smtps", "--tls-on-connect")])
def test_swaks_on_both_ports(gw, port, tls):
    out = subprocess.run(
        ["swaks", "--server", gw.ready[port], tls, "--auth", "PLAIN", "--auth-user", "dev",
         "--auth-password", "dev", "--from", "shop@example.com", "--to", "anna@customer.example",
         "--header", "Subject: by swaks"],
        capture_output=True, text=True)
    assert out.returncode == 0, out.stdout + out.stderr
    line = [x for x in out.stdout.splitlines() if "queued as" in x][0]
    delivered_and_signed(gw, queued_id(line))


def test_two_recipients_of_two_domains(gw):
    message_id = gw.accepted(to=["anna@one.example", "bert@two.example"], cc="cleo@one.example")
    m = gw.wait_status(message_id, "delivered")
    assert {r["email"] for r in m["recipients"]} == {
        "anna@one.example", "bert@two.example", "cleo@one.example"}
    support.wait_until("two captures", lambda: len(gw.captures(message_id)) == 2)
    assert sorted(len(c["to"]) for c in gw.captures(message_id)) == [1, 2]


def test_bounce_ends_in_an_ndr_at_the_sender(gw):
    message_id = gw.accepted(to="bounce@customer.example")
    m = gw.wait_status(message_id, "bounced")
    r = m["recipients"][0]
    assert r["last_response"]["code"] == 550 and r["last_response"]["enhanced"] == "5.1.1"
    ndr_id = support.wait_until("an NDR", lambda: gw.message(message_id)["recipients"][0]["ndr_id"])
    capture = gw.wait_capture(ndr_id)
    assert capture["from"] == "" and capture["to"] == ["shop@example.com"]
    raw = gw.raw(capture["id"])
    assert gw.verify(raw) == 2
    ndr = email.message_from_bytes(raw, policy=email.policy.default)
    assert ndr.get_content_type() == "multipart/report"
    assert ndr.get_param("report-type") == "delivery-status"
    assert ndr["Auto-Submitted"] and "mailer-daemon@example.com" in ndr["From"]
    fields = ndr.get_payload()[1].get_payload()[1]
    assert fields["Final-Recipient"].split(";")[1].strip() == "bounce@customer.example"
    assert fields["Action"] == "failed" and fields["Status"] == "5.1.1"
    assert "550 5.1.1" in fields["Diagnostic-Code"]


def test_no_ndr_for_a_null_sender(gw):
    with gw.smtp() as s:
        code, text = smtp_send(s, MESSAGE, sender="", to=["bounce@customer.example"])
    assert code == 250
    gw.wait_status(queued_id(text), "bounced")
    # A later message's NDR arrives; none for the null sender came before it.
    later = gw.accepted(to="bounce@marker.example", **{"from": "marker@example.com"})
    ndr = support.wait_until("its NDR", lambda: gw.message(later)["recipients"][0]["ndr_id"])
    gw.wait_capture(ndr)
    assert gw.message(queued_id(text))["recipients"][0]["ndr_id"] is None


def test_greylisting_is_delivered_at_the_second_attempt(gw):
    message_id = gw.accepted(to="greylist@customer.example")
    m = gw.wait_status(message_id, ["deferred", "delivered"])
    m = gw.wait_status(message_id, "delivered")
    assert m["recipients"][0]["attempts"] == 2


def test_defer_shows_the_next_attempt_and_the_clock_brings_it(gateway):
    g = gateway()
    message_id = g.accepted(to="defer@customer.example")
    m = g.wait_status(message_id, "deferred")
    r = m["recipients"][0]
    assert r["attempts"] >= 1 and r["next_attempt_at"] and r["last_response"]["code"] == 451
    before = r["attempts"]
    g.advance("4h")
    support.wait_until("another attempt",
                       lambda: g.message(message_id)["recipients"][0]["attempts"] > before)
    g.advance("144h")  # beyond the retry period of five days
    m = g.wait_status(message_id, "expired")
    support.wait_until("an NDR", lambda: g.message(message_id)["recipients"][0]["ndr_id"])


def test_drop_after_dot_is_flagged_as_uncertain(gw):
    before = gw.metric("stagepost_uncertain_attempts_total")
    message_id = gw.accepted(to="drop-after-dot@customer.example")
    support.wait_until("uncertain",
                       lambda: gw.message(message_id)["recipients"][0]["uncertain"])
    assert gw.metric("stagepost_uncertain_attempts_total") > before
    gw.wait_capture(message_id)


def test_mixed_recipients_have_an_outcome_each(gw):
    message_id = gw.accepted(to=["anna@customer.example", "bounce@customer.example",
                                 "full@customer.example"])
    wanted = {"anna@customer.example": "delivered", "bounce@customer.example": "bounced",
              "full@customer.example": "deferred"}
    support.wait_until("an outcome each", lambda: {
        r["email"]: r["status"] for r in gw.message(message_id)["recipients"]} == wanted)
    assert gw.message(message_id)["status"] == "deferred"
