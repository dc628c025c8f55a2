"""A kill at each step of accept, attempt, finish, notice and takeover.

FAILPOINT=name:kill ends the process there, once (the supervisor starts its
successor without it). Every point is listed in README.md.
"""
import contextlib
import http.client
import os
import signal
import smtplib

import pytest
import support
from support import wait_until
from test_takeover import wait_balanced

# In an accepting, delivering or finishing worker; one message, one recipient.
ONE_COPY = ["accept.before-commit", "accept.after-commit", "api.before-reply",
            "commit.before", "commit.sent", "commit.done", "intend.done",
            "deliver.connected", "deliver.after-mail", "deliver.after-rcpt",
            "deliver.half-data", "deliver.before-dot"]
MAYBE_TWO = ["deliver.dot-sent", "deliver.reply-read", "finish.before", "finish.sent", "finish.done"]
NOTICE = ["bounce.before-commit", "notice.before-commit", "notice.done"]


def accept_with_key(g, key, **fields):
    """As a client that repeats what was not answered."""
    def once():
        with contextlib.suppress(OSError, http.client.HTTPException):
            answer = g.send(subject=key, http_headers={"Idempotency-Key": key}, **fields)
            return answer.json["id"] if answer.status == 202 else None
    return wait_until("it is accepted", once)


def settle(g, message_id, status):
    """Waits for a status, with the clock helping what was deferred."""
    def there():
        with contextlib.suppress(OSError, http.client.HTTPException):
            m = g.message(message_id)
            if m["status"] == status:
                return m
            if m["status"] == "deferred":
                g.advance("1h")
    return wait_until(f"{status}", there)


def hit(g, name):
    return [e for e in g.events("failpoint") if e["name"] == name]


@pytest.mark.parametrize("name", ONE_COPY + MAYBE_TWO)
def test_kill_at(gateway, name):
    g = gateway(binary=support.TEST_BIN, env={"FAILPOINT": f"{name}:kill"})
    message_id = accept_with_key(g, name)
    m = settle(g, message_id, "delivered")
    wait_until("the point was passed", lambda: hit(g, name))
    copies = len([c for c in g.captures() if c["subject"] == name])
    if copies > 1 or name in MAYBE_TWO[:3]:
        assert m["recipients"][0]["uncertain"], f"{copies} copies and not flagged"
    assert 1 <= copies <= (2 if name in MAYBE_TWO else 1)
    g.wait_status(g.accepted(), "delivered")


@pytest.mark.parametrize("name", NOTICE)
def test_kill_at_a_notice_makes_exactly_one(gateway, name):
    g = gateway(binary=support.TEST_BIN, env={"FAILPOINT": f"{name}:kill"})
    message_id = accept_with_key(g, name, to="bounce@customer.example")
    settle(g, message_id, "bounced")
    wait_until("the point was passed", lambda: hit(g, name))
    ndr = wait_until("an NDR", lambda: settle(g, message_id, "bounced")["recipients"][0]["ndr_id"])
    g.wait_capture(ndr)
    later = g.accepted()
    g.wait_status(later, "delivered")
    assert len([c for c in g.captures() if c["from"] == ""]) == 1


@pytest.mark.parametrize("name", ["act.sent", "act.done"])
def test_kill_in_an_action(gateway, name):
    """The change is made or not; asking again makes it, and nothing is sent twice."""
    g = gateway(binary=support.TEST_BIN, env={"FAILPOINT": f"{name}:kill"})
    message_id = g.accepted(to="greylist@customer.example")
    g.wait_status(message_id, "deferred")

    def act(action):
        def once():
            with contextlib.suppress(OSError, http.client.HTTPException):
                answer = g.http("POST", f"/v1/messages/{message_id}/{action}")
                return answer.status if answer.status in (200, 409) else None
        return wait_until(f"an answer to {action}", once)

    act("hold")
    wait_until("the point was passed", lambda: hit(g, name))
    assert g.message(message_id)["status"] == "held"
    assert act("release") == 200
    settle(g, message_id, "delivered")
    assert len(g.captures(message_id)) == 1


def test_kill_before_the_250(gateway):
    """The message is kept; the client never saw its 250 and asks again."""
    g = gateway(binary=support.TEST_BIN, env={"FAILPOINT": "accept.before-reply:kill"})
    message = (b"From: shop@example.com\r\nTo: anna@customer.example\r\nSubject: once\r\n"
               b"X-Stagepost-Idempotency-Key: once\r\n\r\nx\r\n")

    def once():
        with contextlib.suppress(OSError, smtplib.SMTPException):
            with contextlib.closing(g.smtp()) as s:
                code, text = support.smtp_send(s, message)
                return support.queued_id(text) if code == 250 else None

    message_id = wait_until("it is accepted", once)
    assert hit(g, "accept.before-reply")
    settle(g, message_id, "delivered")
    assert len([c for c in g.captures() if c["subject"] == "once"]) == 1


@pytest.mark.parametrize("name", ["takeover.lease", "takeover.recovered"])
def test_kill_at_takeover(gateway, name):
    """A worker dies with attempts under way; the one that takes them over is
    killed while it does so."""
    g = gateway("--workers", "2", binary=support.TEST_BIN, env={"FAILPOINT": f"{name}:kill"})
    wait_balanced(g)
    ids = [g.accepted(to=f"slow+{i}@d{i}.example") for i in range(20)]
    wait_until("attempts are under way", lambda: inflight(g) >= 10)
    os.kill(g.children("worker")[0], signal.SIGKILL)
    wait_until("the point was passed", lambda: hit(g, name))
    for message_id in ids:
        settle(g, message_id, "delivered")
    g.wait_status(g.accepted(), "delivered")


def inflight(g):
    r = g.redis()
    return sum(max(0, r.hlen(f"sp:{{{p}}}:inflight") - 1) for p in range(256))


def test_kill_in_the_signer_costs_one_retry(gateway):
    g = gateway(binary=support.TEST_BIN, env={"FAILPOINT": "sign.in-signer:kill"})
    message_id = g.accepted(subject="signed")
    g.wait_status(message_id, "delivered")
    capture = g.wait_capture(message_id)
    assert g.verify(g.raw(capture["id"])) == 2
    assert hit(g, "sign.in-signer")
    assert g.metric("stagepost_dkim_sign_retries_total") == 1
