"""Delivery to the mail servers that the world runs: Postfix, Exim, OpenSMTPD.

One domain is both sender and recipient, so that reports arrive at the same server. What arrives is judged
by its DKIM signatures and by what was sent.
"""
import email
import email.policy
import os
import shutil

import mta
import pytest
import support
from support import queued_id, wait_until

DOMAIN = "dest.test"
SERVERS = [mta.Postfix, mta.Exim, mta.OpenSmtpd]


@pytest.fixture(scope="module", params=SERVERS, ids=lambda s: s.name)
def pair(request):
    """(gateway, server): the server is the gateway's only MX."""
    if not mta.is_there(request.param.name):
        assert not os.environ.get("CI"), f"{request.param.name} must be below build/"
        pytest.skip("needs root and the servers that install-packages.sh test unpacks")
    from conftest_shared import clean_up, make_gateways
    started, make = make_gateways()
    kept = support.temporary_state()
    cert, key = mta.certificate(kept, f"mx.{DOMAIN}")
    server = request.param(DOMAIN, cert, key)
    gateway = make("--mx-port", str(server.port))
    yield gateway, server
    server.close()
    clean_up(started)
    shutil.rmtree(kept, ignore_errors=True)


def arrived(server, subject):
    """The one message with this subject, with CRLF line ends."""
    def there():
        found = [m for m in server.messages()
                 if email.message_from_bytes(m, policy=email.policy.default)["Subject"] == subject]
        assert len(found) <= 1, f"{len(found)} copies"
        return found
    raw = wait_until(f"{subject} at {server.name}", there)[0]
    return raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def body_of(raw):
    return raw.split(b"\r\n\r\n", 1)[1]


BODIES = {
    "dots": b".\r\n..\r\n.a\r\nend\r\n",
    "empty": b"",
    "blank lines at the end": b"text\r\n\r\n\r\n\r\n",
    "white space": b" a \t\r\n\t\r\nb  \r\n",
    "longest line": b"x" * 998 + b"\r\n" + b"y" * 998 + b"\r\n",
    "From at a line's begin": b"From here to there\r\n>From\r\n",
    "eight bit": "Größe: 5 µm, 価格\r\n".encode(),
    "large": b"0123456789 abcdefghijklmnopqrstuvwxyz\r\n" * 5000,
}


@pytest.mark.parametrize("shape", BODIES)
def test_bodies_arrive_as_they_were(pair, shape):
    gateway, server = pair
    sent = BODIES[shape]
    header = (f"From: Shop <shop@{DOMAIN}>\r\nTo: anna@{DOMAIN}\r\nSubject: {shape}\r\n"
              "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
              "Content-Transfer-Encoding: 8bit\r\n\r\n").encode()
    with gateway.smtp() as s:
        s.mail(f"shop@{DOMAIN}", ["BODY=8BITMIME"])
        assert s.rcpt(f"anna@{DOMAIN}")[0] == 250
        s.putcmd("data")
        assert s.getreply()[0] == 354
        s.send(b"".join(b"." + x if x.startswith(b".") else x
                        for x in (header + sent).splitlines(keepends=True)) + b".\r\n")
        code, text = s.getreply()
        assert code == 250, text
    gateway.wait_status(queued_id(text), "delivered")
    raw = arrived(server, shape)
    assert gateway.verify(raw) == 2
    got = body_of(raw)
    # Exim and OpenSMTPD may end a maildir file with one line end more.
    assert got in (sent, sent + b"\r\n")


def test_mail_from_the_api(pair):
    gateway, server = pair
    subject = "Größe und 価格"
    message_id = gateway.accepted(**{"from": f"shop@{DOMAIN}"}, to=f"bob@{DOMAIN}", subject=subject,
                                  text="Danke\n", html="<p>Danke</p>",
                                  attachments=[{"filename": "Rechnung März.pdf", "content": "JVBERi0="}])
    gateway.wait_status(message_id, "delivered")
    raw = arrived(server, subject)
    assert gateway.verify(raw) == 2
    parsed = email.message_from_bytes(raw, policy=email.policy.default)
    part, = parsed.iter_attachments()
    assert part.get_filename() == "Rechnung März.pdf" and part.get_content() == b"%PDF-"
    assert "Danke" in parsed.get_body(("plain",)).get_content()


def test_the_way_there_is_encrypted(pair):
    gateway, server = pair
    message_id = gateway.accepted(**{"from": f"shop@{DOMAIN}"}, to=f"eve@{DOMAIN}", subject="tls")
    gateway.wait_status(message_id, "delivered")
    received = str(email.message_from_bytes(arrived(server, "tls"))["Received"])
    if server.name == "opensmtpd":
        return  # Debian 12's cannot shake hands with its OpenSSL ("EVP lib"); then mail goes in clear
    assert "ESMTPS" in received.upper() or "TLS" in received.upper(), received


def test_several_recipients_and_messages_on_a_connection(pair):
    gateway, server = pair
    to = [f"p{i}@{DOMAIN}" for i in range(40)]
    ids = [gateway.accepted(**{"from": f"shop@{DOMAIN}"}, to=to, subject=f"many {i}") for i in range(5)]
    for message_id in ids:
        answer = gateway.wait_status(message_id, "delivered")
        assert len(answer["recipients"]) == 40

    def copies():
        return sum(b"Subject: many" in m for m in server.messages())
    wait_until("all copies", lambda: copies() >= 5)


def test_unknown_users_are_reported(pair):
    gateway, server = pair
    message_id = gateway.accepted(**{"from": f"shop@{DOMAIN}"}, to=[f"nobody@{DOMAIN}", f"carl@{DOMAIN}"],
                                  subject="half of it")
    answer = gateway.wait_status(message_id, "bounced")
    states = {r["email"]: r["status"] for r in answer["recipients"]}
    assert states == {f"nobody@{DOMAIN}": "bounced", f"carl@{DOMAIN}": "delivered"}

    def report():
        for raw in server.messages():
            m = email.message_from_bytes(raw, policy=email.policy.default)
            if m.get_content_type() == "multipart/report" and "nobody@" in raw.decode("latin-1"):
                return raw
        return None
    raw = wait_until("the report", report)
    status = [p for p in email.message_from_bytes(raw).walk()
              if p.get_content_type() == "message/delivery-status"][0]
    fields = {k.lower(): v for block in status.get_payload() for k, v in block.items()}
    assert fields["action"] == "failed" and fields["status"].startswith("5.")
    assert fields["final-recipient"] == f"rfc822; nobody@{DOMAIN}"
    assert fields["diagnostic-code"].startswith("smtp; 550")


def test_a_message_over_their_size_is_not_sent(pair):
    gateway, _ = pair
    message_id = gateway.accepted(**{"from": f"shop@{DOMAIN}"}, to=f"dora@{DOMAIN}", subject="too large",
                                  text="0123456789\n" * 60000)
    answer = gateway.wait_status(message_id, "bounced")
    assert answer["recipients"][0]["last_response"]["enhanced"] == "5.3.4"


def test_temporary_refusals_are_tried_again(pair):
    gateway, server = pair
    if server.name == "opensmtpd":
        return  # its configuration cannot refuse for a while
    message_id = gateway.accepted(**{"from": f"shop@{DOMAIN}"}, to=f"later@{DOMAIN}", subject="later")
    answer = gateway.wait_status(message_id, "deferred")
    recipient, = answer["recipients"]
    assert recipient["last_response"]["code"] in (450, 451) and recipient["next_attempt_at"]
    gateway.http("POST", f"/v1/messages/{message_id}/cancel", {})


def test_international_addresses(pair):
    gateway, server = pair
    message = (f"From: shop@{DOMAIN}\r\nTo: jürgen@{DOMAIN}\r\nSubject: international\r\n\r\nHallo\r\n")
    with gateway.smtp() as s:
        assert s.mail(f"shop@{DOMAIN}", ["SMTPUTF8", "BODY=8BITMIME"])[0] == 250
        s.command_encoding = "utf-8"
        assert s.rcpt(f"jürgen@{DOMAIN}")[0] == 250
        code, text = s.data(message.encode())
        assert code == 250, text
    message_id = queued_id(text)
    if server.name == "opensmtpd":  # offers no SMTPUTF8
        answer = gateway.wait_status(message_id, "bounced")
        assert answer["recipients"][0]["last_response"]["enhanced"] == "5.6.7"
    else:
        gateway.wait_status(message_id, "delivered")
        assert gateway.verify(arrived(server, "international")) == 2


def test_requests_for_reports_reach_them(pair):
    """RFC 3461: what the client asked for is passed on; a server that offers DSN reports success itself."""
    gateway, server = pair
    with gateway.smtp() as s:
        s.mail(f"shop@{DOMAIN}", ["RET=HDRS", "ENVID=order+2B1"])
        s.rcpt(f"fred@{DOMAIN}", ["NOTIFY=SUCCESS,FAILURE", f"ORCPT=rfc822;fred@{DOMAIN}"])
        code, text = s.data(f"From: shop@{DOMAIN}\r\nSubject: tell me\r\n\r\nx\r\n".encode())
        assert code == 250, text
    gateway.wait_status(queued_id(text), "delivered")
    if server.name != "postfix":
        return  # reports success only when its configuration relays

    def report():
        for raw in server.messages():
            m = email.message_from_bytes(raw)
            if m.get_content_type() == "multipart/report" and b"order+1" in raw:
                return raw
        return None
    assert b"fred@" in wait_until("a report of success", report)
