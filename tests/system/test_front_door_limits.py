"""What clients may use up at the running program, and what they may not: CMD cases of tests/CASES.md."""
import contextlib
import email
import os
import resource
import select
import socket
import time

import pytest
from raw_smtp import Gone, Raw
from support import LIMIT_S, TEST_BIN, smtp_send, wait_until
from test_bdat import chunk, rss_kb
from test_control import control
from test_front_door import AUTH, Ledger

ENVELOPE = b"MAIL FROM:<shop@example.com>\r\nRCPT TO:<anna@customer.example>\r\n"


def in_state(gw, state):
    """A client that was brought so far, and the octet that it dribbles."""
    if state == "handshake":
        host, port = gw.ready["smtps"].rsplit(":", 1)
        s = Raw.__new__(Raw)
        s.gateway, s.buffer, s.replies = gw, b"", 0
        s.sock = socket.create_connection((host, int(port)), timeout=LIMIT_S)
        s.say(b"\x16\x03\x01\x02\x00")
        return s, b"\x01"
    s = Raw(gw, implicit=state != "clear")
    if state in ("clear", "tls"):
        return s, b"x"
    if state == "auth":
        assert s.codes(b"EHLO c.example", b"AUTH LOGIN") == [250, 334]
        return s, b"Z"
    s.login()
    s.say(ENVELOPE)
    assert [s.reply()[0] for _ in range(2)] == [250, 250]
    if state == "data":
        assert s.command(b"DATA")[0] == 354
        s.say(b"From: shop@example.com\r\n\r\n")
    elif state == "chunk":
        s.say(b"BDAT 100000\r\n")
    elif state == "between":
        s.say(chunk(b"From: shop@example.com\r\n\r\n"))
        assert s.reply()[0] == 250
    return s, {"transaction": b"R", "data": b"x", "chunk": b"x", "between": b"NOOP\r\n"}[state]


# CMD-02: a client that sends an octet now and then is closed in every state; others are served
@pytest.mark.parametrize("state", ["clear", "tls", "handshake", "auth", "transaction", "data", "chunk",
                                   "between"])
def test_dribbling_clients_are_closed(gateway, state):
    g = gateway(binary=TEST_BIN, env={"STAGEPOST_TIME_SCALE": "100"})
    accepted = g.metric('stagepost_accepted_messages_total{source="smtp"}')
    with in_state(g, state)[0] as silent, in_state(g, state)[0] as s:
        octet = in_state(g, state)[1]
        end, gone = time.monotonic() + LIMIT_S, False
        while not gone:
            assert time.monotonic() < end, "it may stay for ever"
            try:
                s.say(octet)
                s.sock.settimeout(0.1)
                gone = s.sock.recv(4096) == b"" if octet != b"NOOP\r\n" else b"421" in s.sock.recv(4096)
            except TimeoutError:
                continue
            except OSError:
                gone = True
        s.sock.settimeout(LIMIT_S)
        if state != "handshake":
            with contextlib.suppress(Gone):
                assert [c for c, _ in silent.replies_until_gone()] == [421]
    with g.smtp(implicit=True) as good:
        assert smtp_send(good, b"From: shop@example.com\r\n\r\nx\r\n")[0] == 250
    assert g.metric('stagepost_accepted_messages_total{source="smtp"}') == accepted + 1


@pytest.mark.parametrize("begun", [b"X-A: ", b"Content-Length: 100000\r\n\r\n{",
                                   b"Transfer-Encoding: chunked\r\n\r\nfffff\r\n{"], ids=["head", "body", "chunk"])
def test_dribbling_requests_are_closed(gateway, begun):
    """CMD-02 over HTTP: an octet now and then does not keep a request alive."""
    g = gateway(binary=TEST_BIN, env={"STAGEPOST_TIME_SCALE": "100"})
    host, port = g.ready["http"].rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=LIMIT_S) as s:
        s.sendall(b"POST /v1/messages HTTP/1.1\r\nHost: " + g.ready["http"].encode() + b"\r\n"
                  b"Authorization: Bearer dev\r\nContent-Type: application/json\r\n" + begun)
        end, got = time.monotonic() + LIMIT_S, b""
        while not select.select([s], [], [], 0.05)[0]:
            assert time.monotonic() < end, "it may stay for ever"
            with contextlib.suppress(ConnectionError):
                s.sendall(b"a")
        with contextlib.suppress(ConnectionError):
            got = s.recv(4096)
    assert got == b"" or got.startswith(b"HTTP/1.1 408 "), got
    assert g.send().status == 202
    assert g.metric('stagepost_accepted_messages_total{source="http"}') == 1


# CMD-04: nothing may be asked for ever
@pytest.mark.parametrize("what", [b"NOOP", b"RSET", b"VRFY a", b"HELP", b"BDAT 0",
                                  b"MAIL FROM:<shop@example.com>\r\nRSET"])
def test_commands_that_lead_nowhere_have_an_end(gw, what):
    with Raw(gw, implicit=True) as s:
        s.login()
        if what == b"BDAT 0":
            s.say(ENVELOPE)
            assert [s.reply()[0] for _ in range(2)] == [250, 250]
        with contextlib.suppress(ConnectionError):
            s.say((what + b"\r\n") * 5000)
        codes = [c for c, _ in s.replies_until_gone()]
        assert codes[-1] == 421 and len(codes) < 300, (codes[-1], len(codes))


def test_errors_have_an_end(gateway):
    g = gateway(binary=TEST_BIN, env={"STAGEPOST_TIME_SCALE": "50"})
    for wrong in (b"BLURB", b"MAIL FROM:<a@b", b"RCPT TO:<x@example.com>", b"EXPN x", b"\0", b"x" * 3000):
        with Raw(g, implicit=True) as s:
            s.login()
            with contextlib.suppress(ConnectionError):
                s.say((wrong + b"\r\n") * 1000)
            codes = [c for c, _ in s.replies_until_gone()]
            assert codes[-1] == 421 and len(codes) == 20, (wrong, codes)


# CMD-07
def test_utf8_without_smtputf8(gw):
    with Raw(gw, implicit=True) as s:
        s.login()
        assert s.command("VRFY ü@example.com".encode())[0] in (252, 501, 553)
        code, text = s.command("MAIL FROM:<ü@example.com>".encode())
        assert code == 553 and text.startswith("5.6.7")
        assert s.codes(b"RCPT TO:<anna@customer.example>", b"DATA") == [503, 503]
        assert s.command(b"MAIL FROM:<shop@example.com>")[0] == 250
        code, text = s.command("RCPT TO:<ü@customer.example>".encode())
        assert code == 553 and text.startswith("5.6.7")
        assert s.command(b"RCPT TO:<anna@customer.example>")[0] == 250  # the transaction is whole
        assert s.codes(b"DATA") == [354]
        s.say(b"From: shop@example.com\r\n\r\nx\r\n.\r\n")
        assert s.reply()[0] == 250


# CMD-10: the name of a client is text, and little of it
def test_names_of_clients(gw):
    ledger = Ledger(gw)
    bad = [b"", b"x" * 1000, b"a b", b"[999.1.1.1]", b"[IPv6:x]", b"-x", b"<script>", b"a\tb", b"a(b)", b"a;b",
           b"a\x7fb", b"a\0b", b"b\xc3\xbccher", b"\xff", b"${run}", b"a\\b", b'"x"', b"{1}", b"a\nb", b"x'--"]
    for name in bad:
        with Raw(gw, implicit=True) as s:
            code, text = s.command(b"EHLO " + name)
            assert code in (500, 501), (name, code)
    good = [b"c.example", b"my_laptop", b"[127.0.0.1]", b"[IPv6:::1]", b"10.0.0.1", b"localhost"]
    for name in good:
        with Raw(gw, implicit=True) as s:
            assert s.codes(b"EHLO " + name, AUTH) == [250, 235]
            s.begin_data(sender=ledger.sender)
            s.say(b"From: " + ledger.sender + b"\r\n\r\nx\r\n.\r\n")
            assert s.reply()[0] == 250
    received = {email.message_from_bytes(gw.raw(c["id"]))["Received"].split()[1].encode()
                for c in ledger.expect(len(good))}
    assert received == set(good)


# CMD-13: messages that never end share one budget
@pytest.mark.long
def test_memory_is_bounded(gw):
    (worker,) = gw.children("worker")
    before, piece = rss_kb(worker), (b"x" * 998 + b"\r\n") * 1000
    sessions = []
    for _ in range(80):
        s = Raw(gw, implicit=True).login()
        s.begin_data()
        s.say(b"From: shop@example.com\r\n\r\n")
        sessions.append(s)
    for s in sessions:
        for _ in range(10):
            s.say(piece)
    assert rss_kb(worker) - before < 900 << 10
    assert gw.http("GET", "/healthz", key=None).status == 200
    codes = []
    for s in sessions:
        s.say(b".\r\n")
        codes.append(s.reply()[0])
        s.close()
    assert set(codes) == {250, 452} and codes.count(250) >= 10, codes
    assert gw.accepted(to="later@customer.example")


# CMD-14: out of descriptors, connections wait; what is there goes on; then all is as before
def test_descriptors_run_out(gateway):
    g = gateway(start=False)
    g.before_exec = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
    g.start()
    (worker,) = g.children("worker")
    host, port = g.ready["smtp"].rsplit(":", 1)
    with Raw(g, implicit=True) as s:
        s.login()
        crowd = [socket.create_connection((host, int(port)), timeout=LIMIT_S) for _ in range(600)]
        wait_until("the listener is full", lambda: g.events("listener.full"))
        used = len(os.listdir(f"/proc/{worker}/fd"))
        assert used <= 256 - 40, used  # some are left for Redis, DNS and deliveries
        s.begin_data(to=(b"anna@customer.example",))
        s.say(b"From: shop@example.com\r\n\r\nx\r\n.\r\n")
        code, text = s.reply()
        assert code == 250, text
        message = text.rsplit(" ", 1)[1]  # and delivered, while the crowd is there
        wait_until("it is delivered",
                   lambda: [e for e in g.events("delivery.delivered") if e["msg"] == message])
        for c in crowd:
            c.close()
    with Raw(g, implicit=True) as s:
        s.login()
    assert g.stop() == 0


def test_operators_are_let_in_when_descriptors_run_out(gateway):
    """Half of what is left to ourselves is theirs: the control socket answers while a crowd of half
    requests holds all the others, and not only when those time out."""
    g = gateway(start=False)
    g.before_exec = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
    g.start()
    (worker,) = g.children("worker")
    host, port = g.ready["http"].rsplit(":", 1)
    crowd = []
    for _ in range(400):
        crowd.append(socket.create_connection((host, int(port)), timeout=LIMIT_S))
        crowd[-1].sendall(b"GET / HTTP/1.1\r\nHo")
    wait_until("the listener is full", lambda: g.events("listener.full"))
    for _ in range(5):
        assert control(g, "GET", "/v1/queues").status == 200
    assert select.select(crowd, [], [], 0)[0] == []  # none of them was answered or closed by then
    assert len(os.listdir(f"/proc/{worker}/fd")) <= 256 - 24
    for c in crowd:
        c.close()
    wait_until("it serves again", lambda: g.send().status == 202)
    assert g.stop() == 0


# CMD-15: connections spread over the workers
def test_connections_spread_over_workers(gateway):
    g = gateway("--workers", "2")
    workers = g.children("worker")
    assert len(workers) == 2
    before = [len(os.listdir(f"/proc/{w}/fd")) for w in workers]
    host, port = g.ready["smtp"].rsplit(":", 1)
    crowd = [socket.create_connection((host, int(port)), timeout=LIMIT_S) for _ in range(300)]
    for c in crowd:
        assert c.recv(4) == b"220 "
    counts = [len(os.listdir(f"/proc/{w}/fd")) - b for w, b in zip(workers, before)]
    assert min(counts) * 2 >= max(counts), counts
    for c in crowd:
        c.close()


# CMD-16: questions that nobody answers hold nothing up but their own mail
def test_stuck_lookups_do_not_block(gateway):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        g = gateway("--dns", f"127.0.0.1:{silent.getsockname()[1]}")
        ids = [g.accepted(to=f"anna@stuck-{i}.example") for i in range(64)]
        with g.smtp(implicit=True) as s:
            assert smtp_send(s, b"From: shop@example.com\r\n\r\nx\r\n")[0] == 250
        raw = g.message(ids[0])
        assert raw["status"] in ("queued", "deferred")
        assert g.http("GET", "/readyz", key=None).status == 200
