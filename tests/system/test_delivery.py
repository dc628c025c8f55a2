"""Delivery to other MX software (aiosmtpd) and by what DNS says."""
import socket

import pytest
import support
from aiosmtpd.controller import Controller
from support import queued_id, smtp_send, wait_until


class Keeper:
    """An aiosmtpd handler that keeps what it accepts."""

    def __init__(self):
        self.got, self.replies = [], {}

    async def handle_RCPT(self, server, session, envelope, address, options):
        reply = self.replies.get(address.split("@")[0])
        if reply:
            return reply
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        self.got.append((envelope.mail_from, list(envelope.rcpt_tos), envelope.content))
        return "250 2.0.0 kept"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture
def mx():
    keeper = Keeper()
    controller = Controller(keeper, hostname="127.0.0.1", port=free_port(), ready_timeout=60,
                            decode_data=False)
    controller.start()
    yield keeper, controller.port
    controller.stop()


BODY_LINES = [b".", b"..", b".a", b"...", b"", b"From here", b"x" * 998, b". ", b"end"]


def test_bytes_arrive_as_they_were(gateway, mx):
    keeper, port = mx
    g = gateway("--mx-port", str(port))
    body = b"\r\n".join(BODY_LINES) + b"\r\n"
    message = b"From: shop@example.com\r\nSubject: dots\r\n\r\n" + body
    stuffed = b"\r\n".join(b"." + x if x.startswith(b".") else x for x in message.split(b"\r\n"))
    with g.smtp() as s:
        s.mail("shop@example.com")
        s.rcpt("anna@customer.example")
        s.putcmd("data")
        assert s.getreply()[0] == 354
        s.send(stuffed + b".\r\n")
        code, text = s.getreply()
    assert code == 250
    g.wait_status(queued_id(text), "delivered")
    (mail_from, rcpt, content), = keeper.got
    assert mail_from == "shop@example.com" and rcpt == ["anna@customer.example"]
    assert content.split(b"\r\n\r\n", 1)[1] == body
    assert g.verify(content) == 2


def test_recipients_of_one_transaction(gateway, mx):
    keeper, port = mx
    keeper.replies = {"no": "550 5.1.1 unknown", "later": "451 4.7.0 later"}
    g = gateway("--mx-port", str(port))
    message_id = g.accepted(to=["yes@a.example", "no@a.example", "later@a.example"])
    wanted = {"yes@a.example": "delivered", "no@a.example": "bounced", "later@a.example": "deferred"}
    wait_until("an outcome each", lambda: {
        r["email"]: r["status"] for r in g.message(message_id)["recipients"]} == wanted)
    keeper.replies = {}
    g.advance("1h")
    wait_until("delivered later", lambda: {
        r["email"]: r["status"] for r in g.message(message_id)["recipients"]}["later@a.example"]
        == "delivered")
    to_a = [rcpt for _, rcpt, _ in keeper.got if rcpt[0].endswith("a.example")]
    assert to_a == [["yes@a.example"], ["later@a.example"]]


def test_a_connection_is_used_again(gateway, mx):
    keeper, port = mx
    g = gateway("--mx-port", str(port))
    for i in range(5):
        g.wait_status(g.accepted(subject=str(i)), "delivered")
    assert g.metric("stagepost_mx_connections_total") < 5
    assert g.metric("stagepost_mx_connection_reuses_total") >= 1
    assert len(keeper.got) == 5


@pytest.mark.parametrize("domain,status,code,enhanced", [
    ("null-mx.example", "bounced", 556, "5.1.10"),      # DNS-01
    ("no.nxdomain.example", "bounced", 550, "5.1.2"),   # DNS-04
    ("x.servfail.example", "deferred", 451, "4.4.3"),   # DNS-07
])
def test_what_dns_says(gw, domain, status, code, enhanced):
    message_id = gw.accepted(to=f"anna@{domain}")
    r = gw.wait_status(message_id, status)["recipients"][0]
    assert (r["last_response"]["code"], r["last_response"]["enhanced"]) == (code, enhanced)


def test_a_dead_mx_defers(gateway):
    g = gateway("--mx-port", str(free_port()))
    message_id = g.accepted()
    r = g.wait_status(message_id, "deferred")["recipients"][0]
    assert r["last_response"]["enhanced"].startswith("4.") and r["next_attempt_at"]


def test_starttls_with_the_sandbox(gw):
    def used():
        agreed = sum(gw.metric(f'stagepost_tls_sessions_total{{side="mx",version="{v}"}}') for v in ("1.2", "1.3"))
        return agreed + gw.metric("stagepost_mx_connection_reuses_total")

    before = used()
    with gw.smtp() as s:
        code, text = smtp_send(
            s, b"From: shop@example.com\r\nSubject: tls\r\n\r\nx\r\n", to=["anna@tls-test.example"])
    assert code == 250
    gw.wait_status(queued_id(text), "delivered")
    assert used() > before
