"""Delivery status notifications as senders see them (RFC 3461, 3464): the real program,
mail by SMTP with every option, and the sandbox's clock."""
import email
import email.policy

import pytest
from support import queued_id, smtp_send, wait_until
from test_control import control
from test_delivery import mx  # noqa: F401
from test_serve import MAIL, dev, served, session  # noqa: F401

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


# ---- what is returned, and to whom -----------------------------------------------------------

REFUSED = "bounce@customer.example"


@pytest.mark.parametrize("notify", [None, "NEVER", "FAILURE", "SUCCESS", "DELAY", "SUCCESS,DELAY",
                                    "SUCCESS,FAILURE,DELAY"])
def test_failure_by_notify(gw, notify):
    message_id = submit(gw, [(REFUSED, [f"NOTIFY={notify}"] if notify else [])])
    gw.wait_status(message_id, "bounced")
    wanted = notify is None or "FAILURE" in notify
    if wanted:
        report, = wait_reports(gw, message_id, 1)
        assert report.actions() == {REFUSED: "failed"}
    no_more_reports(gw, message_id, int(wanted))


@pytest.mark.parametrize("ret,whole", [(None, False), ("HDRS", False), ("FULL", True)])
def test_what_is_returned(gw, ret, whole):
    """LOP-07; ENVID and ORCPT are echoed"""
    options = ["ENVID=order+2B17"] + ([f"RET={ret}"] if ret else [])
    message_id = submit(gw, [(REFUSED, ["ORCPT=rfc822;Anna+2Bx@old.example"])], options)
    report, = wait_reports(gw, message_id, 1)
    assert report.message["Original-Envelope-Id"] == "order+17"
    assert report.recipients[REFUSED]["Original-Recipient"] == "rfc822; Anna+x@old.example"
    assert report.recipients[REFUSED]["Status"] == "5.1.1"
    assert b"Subject: Order 17" in report.raw
    assert (BODY.encode() in report.raw) is whole
    assert report.original.get_content_type() == (
        "message/rfc822" if whole else "text/rfc822-headers")
    assert report.m["In-Reply-To"] == "<order-17@example.com>"
    assert gw.verify(report.raw) == 2


def test_8bit_mail_is_returned_whole(gw):
    """LOP-08: the report passes any relay"""
    text = MESSAGE.replace(b"\r\n\r\n", b"\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; "
                           b"charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
                           + "k\u00fchl\r\n--=_report_\r\n".encode())
    message_id = submit(gw, [(REFUSED, ())], ["RET=FULL", "BODY=8BITMIME"], message=text)
    report, = wait_reports(gw, message_id, 1)
    assert report.raw.isascii() and len(report.m.get_payload()) == 3
    assert report.original.get_content_type() in ("message/global", "message/rfc822")
    assert BODY.encode() in report.raw and not report.m.defects


def raw_reports(g, sender):
    return [g.raw(c["id"]) for c in g.captures() if c["from"] == "" and c["to"] == [sender]]


def test_a_utf8_sender_is_told_in_utf8(gw):
    """RFC 6533"""
    sender = "j\u00fcrgen@example.com"
    with gw.smtp() as s:
        s.command_encoding = "utf-8"
        assert s.mail(sender, ["SMTPUTF8", "BODY=8BITMIME"])[0] == 250
        assert s.rcpt("bounce+\u00fc@customer.example")[0] == 250
        assert s.data("From: j\u00fcrgen@example.com\r\nSubject: Gr\u00fc\u00dfe\r\n\r\nx\r\n"
                      .encode())[0] == 250
    raw, = wait_until("a report", lambda: raw_reports(gw, sender))
    assert b"report-type=global-delivery-status" in raw
    assert "\r\nFinal-Recipient: utf-8; bounce+\u00fc@customer.example\r\n".encode() in raw
    assert "Subject: Gr\u00fc\u00dfe\r\n".encode() in raw


def test_an_ascii_sender_is_told_in_ascii(gw):
    """RFC 6533 3: of a UTF-8 recipient too"""
    with gw.smtp() as s:
        s.command_encoding = "utf-8"
        assert s.mail("jurgen@example.com", ["SMTPUTF8", "BODY=8BITMIME"])[0] == 250
        assert s.rcpt("bounce+\u00fc@customer.example")[0] == 250
        assert s.data("From: jurgen@example.com\r\nSubject: Gr\u00fc\u00dfe\r\n\r\nx\r\n"
                      .encode())[0] == 250
    raw, = wait_until("a report", lambda: raw_reports(gw, "jurgen@example.com"))
    assert raw.isascii() and gw.verify(raw) == 2
    assert Report(raw).actions() == {r"bounce\x{2B}\x{FC}@customer.example": "failed"}
    assert b"Content-Type: message/global-headers" in raw


# ---- a next hop without DSN ------------------------------------------------------------------


@pytest.mark.parametrize("notify,told", [(None, 0), ("SUCCESS", 1), ("SUCCESS,FAILURE", 1),
                                         ("FAILURE", 0), ("NEVER", 0)])
def test_relayed(gateway, mx, notify, told):  # noqa: F811
    """RFC 3461 5.2.2: its host will not report the delivery, so we tell that it was handed on"""
    keeper, port = mx
    g = gateway("--mx-port", str(port))
    message_id = submit(g, [("anna@customer.example", [f"NOTIFY={notify}"] if notify else [])],
                        ["RET=FULL"])
    g.wait_status(message_id, "delivered")
    last = submit(g, [("anna@last.example", ["NOTIFY=SUCCESS"])])
    ours = wait_until("the last report", lambda: (lambda found: found if any(
        r.of == last for r in found) else None)(
            [Report(content) for sender, _, content in list(keeper.got) if sender == "<>"]))
    found = [r for r in ours if r.of == message_id]
    assert len(found) == told
    for r in found:
        assert r.actions() == {"anna@customer.example": "relayed"}
        assert r.recipients["anna@customer.example"]["Status"].startswith("2.")
        assert BODY.encode() not in r.raw


def test_a_host_with_dsn_reports_itself(gw):
    """The sandbox's MX offers DSN: NOTIFY=SUCCESS is its business."""
    message_id = submit(gw, [("anna@customer.example", ["NOTIFY=SUCCESS"])])
    gw.wait_status(message_id, "delivered")
    no_more_reports(gw, message_id, 0)


# ---- many failures, one message --------------------------------------------------------------


def test_300_dead_domains_make_few_reports(gateway):
    """LOP-09: each recipient is told of once"""
    g = gateway()
    rcpts = [f"bounce@d{i}.example" for i in range(300)]
    message_id = submit(g, [(r, ()) for r in rcpts])
    g.wait_status(message_id, "bounced")

    def all_told():
        found = reports(g, message_id)
        return found if sum(len(r.recipients) for r in found) >= 300 else None

    found = wait_until("300 recipients in reports", all_told)
    told = sorted(a for r in found for a in r.recipients)
    assert told == sorted(rcpts)
    assert len(found) <= 8  # one for each doubling of the message's age
    ids = {r["ndr_id"] for r in g.message(message_id)["recipients"]}
    assert len(ids) == len(found) and None not in ids


def test_some_of_many_fail_later(gateway):
    """RTY-18: who is told of failed, and only once, whatever else the message does"""
    g = gateway()
    rcpts = ["bounce@a.example", "anna@b.example", "defer@c.example", "bounce@d.example"]
    message_id = submit(g, [(r, ()) for r in rcpts])
    wait_until("reports of both", lambda: len(
        {a for r in reports(g, message_id) for a in r.recipients}) == 2)
    g.advance("6d")
    wait_until("the last", lambda: "defer@c.example" in
               {a for r in reports(g, message_id) for a in r.recipients})
    told = [a for r in reports(g, message_id) for a in r.recipients]
    assert sorted(told) == ["bounce@a.example", "bounce@d.example", "defer@c.example"]


# ---- whom a report may reach -----------------------------------------------------------------


def test_reports_are_never_answered(gateway):
    """LOP-02, LOP-05: mail without a sender and reports that fail are counted, not answered"""
    g = gateway()
    null_sender = submit(g, [(REFUSED, ["NOTIFY=FAILURE"])], sender="")
    message_id = submit(g, [("bounce@a.example", ())], sender="bounce@example.com")
    ndr = wait_until("a report", lambda: g.message(message_id)["recipients"][0]["ndr_id"])
    for failed in (null_sender, ndr):
        assert g.wait_status(failed, "bounced")["recipients"][0]["ndr_id"] is None
    assert g.message(ndr)["from"] == ""
    no_more_reports(g, message_id, 0)
    assert g.metric("stagepost_double_bounces_total") == 2
    told = {(e["msg"], e["to"]) for e in g.events("delivery.double-bounce")}
    assert told == {(null_sender, REFUSED), (ndr, "bounce@example.com")}


SECRET = "what-only-this-tenant-may-read"


def everybody_reached(g, wanted):
    """Recipients of all messages there are, of any tenant, once there are so many; as operators see them."""
    found = wait_until(f"{wanted} messages", lambda: (lambda m: m if len(m) >= wanted else None)(
        control(g, "GET", "/v1/messages?limit=100").json["data"]))
    assert len(found) == wanted
    return sorted(control(g, "GET", f"/v1/messages/{m['id']}").json["recipients"][0]["email"] for m in found)


def test_content_returns_to_its_sender_only(gateway):
    """LOP-12: a report that nobody takes is seen in events; no postmaster and no other tenant has a copy"""
    g = gateway()
    message = MESSAGE.replace(BODY.encode(), SECRET.encode())
    told = submit(g, [(REFUSED, ())], ["RET=FULL"], message=message)
    untold = submit(g, [(REFUSED, ())], ["RET=FULL"], message=message, sender="bounce@example.com")
    nobody = submit(g, [(REFUSED, ())], ["RET=FULL"], message=message, sender="")
    ndr = wait_until("a report", lambda: g.message(untold)["recipients"][0]["ndr_id"])
    g.wait_status(ndr, "bounced")
    g.wait_status(nobody, "bounced")
    wait_reports(g, told, 1)
    no_more_reports(g, untold, 0)  # and its marker with the report: two more messages
    assert {(e["msg"], e["to"]) for e in g.events("delivery.double-bounce")} == {
        (ndr, "bounce@example.com"), (nobody, REFUSED)}
    assert {tuple(c["to"]) for c in g.captures() if SECRET.encode() in g.raw(c["id"])} == {
        ("shop@example.com",)}
    assert everybody_reached(g, 7) == sorted(
        [REFUSED] * 3 + ["bounce@example.com", "bounce@marker.example"] + ["shop@example.com"] * 2)
    assert g.http("GET", "/v1/messages?limit=100", key="dev2").json["data"] == []
    for message_id in (told, untold, nobody, ndr):
        for path in ("", "/raw", "/events"):
            assert g.http("GET", f"/v1/messages/{message_id}{path}", key="dev2").status == 404
    assert SECRET not in g.log()


def test_the_domain_of_reports_has_no_copy(dev, served):  # noqa: F811
    """LOP-12: `ndr.from` names who writes, not who is written to"""
    g = served()
    g.write(g.config() + 'ndr = { from = "reports.example"; };\n')
    g.start()
    with session(g.smtp_port, g.tls()) as s:  # hosts on loopback are not sent to: all of it bounces
        assert smtp_send(s, MAIL, to=("anna@customer.com",))[0] == 250
    wait_until("a double bounce", lambda: g.events("delivery.double-bounce"))
    assert everybody_reached(g, 2) == ["anna@customer.com", "shop@example.com"]
    assert [e["to"] for e in g.events("delivery.double-bounce")] == ["shop@example.com"]


def test_only_the_envelope_sender_is_told(gw):
    """LOP-10: no address of the header is answered; LOP-06: nor a source route's host"""
    sender = "list-owner@example.com"
    message = (b"From: shop@example.com\r\nSender: desk@example.com\r\nReply-To: help@example.com\r\n"
               b"Errors-To: errors@example.com\r\nReturn-Receipt-To: receipt@example.com\r\n"
               b"Disposition-Notification-To: read@example.com\r\nSubject: x\r\n\r\nx\r\n")
    submit(gw, [(REFUSED, ())], message=message, sender=f"@a.example,@b.example:{sender}")
    raw, = wait_until("a report", lambda: raw_reports(gw, sender))
    assert Report(raw).m["To"].addresses[0].addr_spec == sender
    asked = {"shop", "desk", "help", "errors", "receipt", "read"}
    assert not [c for c in gw.captures() if c["from"] == "" and c["subject"] != ""
                and c["to"][0].split("@")[0] in asked
                and b"list-owner" in gw.raw(c["id"])]


def test_no_report_for_a_sender_that_is_not_owned(gw):
    """LOP-04: there is nothing to report on"""
    before = gw.metric("stagepost_ndr_total")
    with gw.smtp(user="dev2", password="dev2") as s:
        assert s.mail("victim@example.com")[0] == 550
    answer = gw.send(key="dev2", to=REFUSED, **{"from": "victim@example.com"})
    assert answer.status == 403
    answer = gw.http("POST", f"/v1/messages/raw?from=victim@example.com&to={REFUSED}",
                     MESSAGE, {"Content-Type": "message/rfc822"}, key="dev2")
    assert answer.status == 403
    assert raw_reports(gw, "victim@example.com") == []
    assert gw.metric("stagepost_ndr_total") == before


def test_the_reverse_path_is_the_senders_own(gw):
    """LOP-11: none of ours that bounces would come back to, so no token that could be guessed"""
    for sender in ("shop+order=17@example.com", "bounces@example.com", '"a b"@example.com'):
        message_id = submit(gw, [("anna@customer.example", ()), ("bert@other.example", ())], sender=sender)
        gw.wait_status(message_id, "delivered")
        assert [c["from"] for c in gw.captures(message_id)] == [sender] * 2


def test_a_loop_is_refused(gw):
    """LOP-01"""
    for count, code in ((100, 250), (101, 554)):
        text = b"Received: by x.example; Mon, 23 Nov 2026 12:00:00 +0000\r\n" * count + MESSAGE
        with gw.smtp() as s:
            s.mail("shop@example.com")
            s.rcpt("anna@customer.example")
            got, reply = s.data(text)
        assert got == code, reply
        assert code == 250 or b"5.4.6" in reply
