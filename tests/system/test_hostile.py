"""What strangers, accidents and small machines do to the whole program."""
import asyncio
import os
import resource
import socket

import pytest
from aiosmtpd.controller import Controller
from support import LIMIT_S, TEST_BIN, wait_until


def test_a_report_is_counted_and_logged_once(gw):
    sent = gw.accepted(to="bounce@customer.example")
    gw.wait_status(sent, "bounced")
    wait_until("the report is enqueued", lambda: gw.events("ndr.enqueued"))
    assert [e["to"] for e in gw.events("ndr.enqueued")] == ["shop@example.com"]
    assert gw.metric("stagepost_ndr_total") == 1


def test_a_usual_limit_on_descriptors_is_raised(gateway):
    def limits(pid):
        with open(f"/proc/{pid}/limits", encoding="ascii") as f:
            line = next(x for x in f if x.startswith("Max open files"))
        return [int(x) for x in line.split()[3:5]]

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    g = gateway(start=False)
    g.before_exec = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    g.start()
    for role in ("worker", "signer", "sandbox"):
        soft, _ = limits(g.children(role)[0])
        assert soft == min(hard, 16384), role


def test_few_descriptors_cost_time_and_no_mail(gateway):
    """More destinations than one process may open connections: tried again, not bounced."""
    g = gateway(start=False)
    g.before_exec = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
    g.start()
    sent = g.accepted(to=[f"u{i}@d{i}.example" for i in range(300)])
    seen = g.wait_status(sent, "delivered")
    assert len(g.captures(sent)) == 300
    assert not any(r["uncertain"] for r in seen["recipients"])
    assert g.stop() == 0


def test_a_key_that_cannot_be_read_is_said_at_the_start(gateway):
    g = gateway()
    assert g.stop() == 0
    path = os.path.join(g.state, "keys", "dev-rsa.pem")
    with open(path, "w", encoding="ascii") as f:
        f.write("no key")
    again = gateway(state=g.state, start=False).spawn()
    assert again.process.wait(LIMIT_S) == 78
    assert "dev-rsa.pem" in again.log()
    with open(path, encoding="ascii") as f:
        assert f.read() == "no key", "a key that was published is never replaced"


class Stalling:
    """An aiosmtpd handler that does not answer RCPT while it stalls."""

    def __init__(self):
        self.stalls, self.asked, self.got = True, 0, []

    async def handle_RCPT(self, server, session, envelope, address, options):
        self.asked += 1
        while self.stalls:
            await asyncio.sleep(0.02)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        self.got.append(envelope.rcpt_tos)
        return "250 2.0.0 kept"


@pytest.fixture
def stalling():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    handler = Stalling()
    controller = Controller(handler, hostname="127.0.0.1", port=port, ready_timeout=LIMIT_S)
    controller.start()
    yield handler, port
    handler.stalls = False
    controller.stop()


def test_a_drain_takes_back_what_stalls_before_its_dot(gateway, stalling):
    """The next start delivers it as if nothing had been tried: nothing is uncertain."""
    handler, port = stalling
    options = {"env": {"STAGEPOST_TIME_SCALE": "10"}, "binary": TEST_BIN}
    first = gateway("--mx-port", str(port), **options)
    sent = first.accepted(to="anna@customer.example")
    wait_until("the host stalls", lambda: handler.asked == 1)
    assert first.stop() == 0
    assert first.events("worker.drained")[-1]["complete"] is True
    handler.stalls = False
    again = gateway("--mx-port", str(port), state=first.state, **options)
    seen = again.wait_status(sent, "delivered")["recipients"][0]
    assert (seen["attempts"], seen["uncertain"]) == (1, False)
    assert handler.got == [["anna@customer.example"]]
    assert again.metric("stagepost_uncertain_attempts_total") == 0


def test_a_drain_does_not_wait_for_half_a_request(gateway):
    g = gateway(env={"STAGEPOST_TIME_SCALE": "10"}, binary=TEST_BIN)
    host, port = g.ready["http"].rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=LIMIT_S) as c:
        c.sendall(b"GET /healthz HTTP/1.1\r\nHost: " + g.ready["http"].encode() + b"\r\nX-")
        wait_until("it was read", lambda: g.http("GET", "/healthz", key=None).status == 200)
        assert g.stop() == 0
        assert c.recv(100).startswith(b"HTTP/1.1 503 ")
    assert g.events("worker.drained")[-1]["complete"] is True


def test_the_clock_stops_before_years_have_five_digits(gateway):
    g = gateway()
    while True:
        answer = g.http("POST", "/sandbox/clock", {"advance": "3650d"}, key=None)
        if answer.status != 200:
            break
    assert answer.status == 422
    sent = g.accepted()
    assert g.wait_status(sent, "delivered")["created_at"].startswith("99")


def test_all_captures_can_be_listed_at_once(gateway):
    g = gateway()
    sent = g.accepted(to=[f"u{i}@d{i}.example" for i in range(600)])
    again = g.accepted(to=[f"u{i}@d{i}.example" for i in range(600)])
    for message in (sent, again):
        g.wait_status(message, "delivered")
    assert len(g.captures(limit=10000)) == 1200
