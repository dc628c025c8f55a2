"""Delivery status notifications as senders see them (RFC 3461, 3464): the real program,
mail by SMTP with every option, and the sandbox's clock."""
import email
import email.policy

import pytest
from support import queued_id, wait_until
from test_delivery import mx  # noqa: F401

BODY = "only-in-the-body"
MESSAGE = (f"From: shop@example.com\r\nTo: anna@customer.example\r\nSubject: Order 17\r\n"
           f"Message-ID: <order-17@example.com>\r\n\r\n{BODY}\r\n").encode()


def submit(g, rcpts, mail_options=(), message=MESSAGE, sender="shop@example.com"):
    """rcpts: (address, RCPT options); the message's id."""
    with g.smtp() as s:
        assert s.mail(sender, list(mail_options))[0] == 250
        for address, options in rcpts:
            code, text = s.rcpt(address, list(options))
            assert code == 250, text
        code, text = s.data(message)
    assert code == 250, text
    return queued_id(text)


class Report:
    def __init__(self, raw):
        self.raw = raw
        self.m = email.message_from_bytes(raw, policy=email.policy.default)
        text, status, self.original = self.m.get_payload()
        self.text = text.get_content()
        blocks = status.get_payload()
        self.message, self.recipients = blocks[0], {
            str(b["Final-Recipient"]).split("; ")[1]: b for b in blocks[1:]}

    @property
    def of(self):
        return str(self.message["X-Stagepost-Id"])

    def actions(self):
        return {a: str(b["Action"]) for a, b in self.recipients.items()}


def reports(g, message_id):
    """Those about the message that the sandbox took, oldest first."""
    found = []
    for c in reversed(g.captures()):
        if c["from"] == "":
            r = Report(g.raw(c["id"]))
            if r.of == message_id:
                found.append(r)
    return found


def wait_reports(g, message_id, count):
    return wait_until(f"{count} reports about {message_id}",
                      lambda: (lambda r: r if len(r) >= count else None)(reports(g, message_id)))


def no_more_reports(g, message_id, count):
    """A later message's report is there: what was owed before has been sent too."""
    marker = submit(g, [("bounce@marker.example", [])])
    wait_reports(g, marker, 1)
    assert len(reports(g, message_id)) == count


# ---- delays ---------------------------------------------------------------------------------


def test_a_delay_is_told_once(gateway):
    """RTY-15"""
    g = gateway()
    message_id = submit(g, [("defer@customer.example", ())], ["RET=FULL", "ENVID=late+2Bone"])
    g.wait_status(message_id, "deferred")
    assert reports(g, message_id) == []
    g.advance("4h")
    report, = wait_reports(g, message_id, 1)
    assert report.actions() == {"defer@customer.example": "delayed"}
    block = report.recipients["defer@customer.example"]
    assert str(block["Status"]).startswith("4.3.0") and block["Will-Retry-Until"]
    assert report.message["Original-Envelope-Id"] == "late+one"
    assert str(report.m["Subject"]) == "Your message is delayed"
    assert "it again" in report.text and BODY.encode() not in report.raw  # RET: failures only
    assert g.verify(report.raw) == 2  # DSN-04
    g.advance("5h")
    wait_until("another attempt", lambda: g.message(message_id)["recipients"][0]["attempts"] >= 3)
    no_more_reports(g, message_id, 1)
    g.advance("6d")
    g.wait_status(message_id, "expired")
    final = wait_reports(g, message_id, 2)[1]
    assert final.actions() == {"defer@customer.example": "failed"}
    assert final.recipients["defer@customer.example"]["Status"] == "5.4.7"
    assert BODY.encode() in final.raw


@pytest.mark.parametrize("notify,told", [
    ("NEVER", False), ("FAILURE", False), ("SUCCESS,FAILURE", False), ("DELAY", True),
    ("FAILURE,DELAY", True),
])
def test_delay_by_notify(gateway, notify, told):
    g = gateway()
    message_id = submit(g, [("defer@customer.example", [f"NOTIFY={notify}"])])
    g.wait_status(message_id, "deferred")
    g.advance("4h")
    wait_until("an attempt", lambda: g.message(message_id)["recipients"][0]["attempts"] >= 2)
    if told:
        wait_reports(g, message_id, 1)
    no_more_reports(g, message_id, 1 if told else 0)
    g.advance("6d")
    g.wait_status(message_id, "expired")
    failure = "FAILURE" in notify
    if failure:
        wait_reports(g, message_id, int(told) + 1)
    no_more_reports(g, message_id, int(told) + int(failure))


def test_the_delay_notice_outlives_a_restart(gateway):
    """Told by whoever finds it, and not again by the next."""
    g = gateway()
    message_id = submit(g, [("defer@customer.example", ())])
    g.wait_status(message_id, "deferred")
    g.advance("4h")
    wait_reports(g, message_id, 1)
    assert g.stop() == 0
    g.start()
    g.advance("5h")
    wait_until("an attempt", lambda: g.message(message_id)["recipients"][0]["attempts"] >= 3)
    no_more_reports(g, message_id, 1)
