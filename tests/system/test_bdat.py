"""CHUNKING (RFC 3030) at the running program: CMD-05 of tests/CASES.md."""
import contextlib
import email
import email.policy
import random
import socket
import struct

import pytest
from raw_smtp import Raw
from test_front_door import ACCEPTED, DOORS, Ledger, body_of

ENVELOPE = b"MAIL FROM:<shop@example.com>", b"RCPT TO:<anna@customer.example>"


def envelope(s, ledger):
    assert s.codes(b"MAIL FROM:<" + ledger.sender + b">", ENVELOPE[1]) == [250, 250]


def message(ledger, body):
    return b"From: " + ledger.sender + b"\r\nSubject: chunks\r\n\r\n" + body


def chunk(data, last=False):
    return b"BDAT %d%s\r\n" % (len(data), b" LAST" if last else b"") + data


def chunks(text, cuts):
    """The text as chunks cut at these places."""
    edges = [0] + sorted(cuts) + [len(text)]
    return [chunk(text[a:b], last=b == edges[-1] and i == len(edges) - 2)
            for i, (a, b) in enumerate(zip(edges, edges[1:]))]


@pytest.mark.parametrize("implicit", DOORS)
def test_it_is_offered(gw, implicit):
    with Raw(gw, implicit) as s:
        lines = s.command(b"EHLO c.example")[1].split("\n")
        assert "CHUNKING" in lines and "LIMITS RCPTMAX=1000" in lines
        assert "BINARYMIME" not in lines
        if not implicit:
            assert s.command(b"STARTTLS")[0] == 220
            s.start_tls()
            assert "CHUNKING" in s.command(b"EHLO c.example")[1].split("\n")
        s.login()
        code, text = s.command(ENVELOPE[0] + b" BODY=BINARYMIME")
        assert code == 501 and text.startswith("5.5.4")


# A message by DATA and by BDAT in any pieces is the same message, and its signatures verify.
@pytest.mark.parametrize("implicit", DOORS)
def test_any_split_is_the_same_message(gw, implicit):
    ledger, rng = Ledger(gw), random.Random(5)
    body = b".\r\n..\r\n.dots\r\n\r\nQUIT\r\nBDAT 5 LAST\r\n\r\n.\r\ncaf\xc3\xa9\r\n" + b"x" * 998 + b"\r\n"
    text = message(ledger, body)
    plans = [[], [1], [len(text) - 1], [len(text)], list(range(1, len(text), 7)), range(1, 40)]
    plans += [rng.sample(range(len(text)), rng.randint(1, 30)) for _ in range(10)]
    with Raw(gw, implicit) as s:
        s.login()
        s.begin_data(sender=ledger.sender)
        s.say(b"\r\n".join(b"." + x if x.startswith(b".") else x for x in text.split(b"\r\n"))
              + b".\r\n")
        assert s.reply()[0] == 250
        for i, cuts in enumerate(plans):
            pieces = chunks(text, cuts)
            envelope(s, ledger)
            if i % 2:  # all at once, as pipelining allows
                s.say(b"".join(pieces))
                assert [s.reply()[0] for _ in pieces] == [250] * len(pieces)
            else:
                for p in pieces:
                    s.say(p)
                    assert s.reply()[0] == 250
    arrived = ledger.expect(len(plans) + 1)
    raws = [gw.raw(c["id"]) for c in arrived]
    assert {body_of(r) for r in raws} == {body}
    for r in raws[:3]:
        assert gw.verify(r) > 0


@pytest.mark.parametrize("implicit", DOORS)
def test_every_boundary_of_a_pipelined_session(gw, implicit):
    ledger = Ledger(gw)
    text = message(ledger, b".\r\nx\r\n")
    script = (b"MAIL FROM:<" + ledger.sender + b">\r\n" + ENVELOPE[1] + b"\r\n"
              + chunk(text[:20]) + chunk(text[20:], last=True) + b"QUIT\r\n")
    for at in range(1, len(script)):
        with Raw(gw, implicit) as s:
            s.login().say_in_two(script, at)
            assert [c for c, _ in s.replies_until_gone()] == [250, 250, 250, 250, 221], at
    ledger.expect(len(script) - 1)


# Exactly the announced octets are taken, whatever is wrong; nothing of the transaction is left.
EVIL = b"RSET\r\nQUIT\r\n"


@pytest.mark.parametrize("implicit", DOORS)
@pytest.mark.parametrize("before,wrong,wanted", [
    ((), chunk(EVIL), 503),
    ((), chunk(EVIL, last=True), 503),
    (ENVELOPE[:1], chunk(EVIL, last=True), 503),
    ((ENVELOPE[0], b"RCPT TO:<x@[127.0.0.1]>"), chunk(EVIL, last=True), 554),
    (ENVELOPE, chunk(EVIL + b"\n", last=True), 550),
    (ENVELOPE, chunk(EVIL + b"\0", last=True), 550),
    (ENVELOPE, chunk(EVIL + b"\rx\r\n", last=True), 550),
    (ENVELOPE, chunk(EVIL + b"\r", last=True), 550),
    (ENVELOPE, chunk(EVIL + b"no end", last=True), 550),
    (ENVELOPE, chunk(EVIL + b"x" * 999 + b"\r\n", last=True), 550),
    (ENVELOPE, chunk(b"", last=True), 550),
], ids=range(11))
def test_errors_take_their_octets(gw, implicit, before, wrong, wanted):
    accepted = gw.metric(ACCEPTED)
    with Raw(gw, implicit) as s:
        s.login()
        for command in before:
            s.command(command)
        # a second chunk was on its way: refused, its octets taken; DATA finds no transaction
        s.say(wrong + chunk(EVIL) + b"DATA\r\nNOOP\r\n")
        assert [s.reply()[0] for _ in range(4)] == [wanted, 503, 503, 250]
    assert gw.metric(ACCEPTED) == accepted


@pytest.mark.parametrize("implicit", DOORS)
def test_counts_that_nobody_can_read(gw, implicit):
    ledger = Ledger(gw)
    for wrong, wanted in ((b"BDAT", 501), (b"BDAT -1", 501), (b"BDAT 5 LAST x", 501), (b"BDAT x", 501),
                          (b"BDAT 18446744073709551615 LAST", 552),
                          (b"BDAT 18446744073709551616", 552), (b"BDAT " + b"9" * 500, 552),
                          (b"BDAT 120000000", 552), (b"BDAT 5\tLAST", 500), (b"bdat\t5", 500),
                          (b"BDAT 5\0", 500), (b"BDAT 5\r", 500), (b"BDAT 5\nNOOP", 500),
                          (b"BDAT " + b" " * 3000 + b"5", 500), (b"BDAT " + b"5" * 60000, 500)):
        for started in (False, True):
            with Raw(gw, implicit) as s:
                s.login()
                envelope(s, ledger)
                if started:
                    s.say(chunk(message(ledger, b"x\r\n")))
                    assert s.reply()[0] == 250
                s.say(wrong + b"\r\nBDAT 0 LAST\r\nNOOP\r\n")
                assert [c for c, _ in s.replies_until_gone()] == [wanted], wrong
    ledger.expect(0)


@pytest.mark.parametrize("implicit", DOORS)
def test_data_and_bdat_do_not_mix(gw, implicit):
    ledger = Ledger(gw)
    text = message(ledger, b"x\r\n")
    with Raw(gw, implicit) as s:
        s.login()
        envelope(s, ledger)
        s.say(chunk(text) + b"DATA\r\n" + chunk(b"", last=True) + b"DATA\r\n")
        assert [s.reply()[0] for _ in range(4)] == [250, 503, 503, 503]
        envelope(s, ledger)
        assert s.command(b"DATA")[0] == 354
        s.say(text + chunk(b"y\r\n", last=True) + b".\r\n")  # text, and nothing but text
        assert s.reply()[0] == 250
        s.say(chunk(b"y\r\n", last=True))
        assert s.reply()[0] == 503
        envelope(s, ledger)
        s.say(chunk(text))
        assert s.reply()[0] == 250
        assert s.codes(b"RCPT TO:<late@customer.example>", b"RSET", b"DATA") == [503, 250, 503]
        s.say(chunk(text, last=True))
        assert s.reply()[0] == 503
    (only,) = ledger.expect(1)
    assert body_of(gw.raw(only["id"])) == b"x\r\nBDAT 3 LAST\r\ny\r\n"


# ACC-05, STL-04, STL-05: what is not complete does not exist, however the client leaves.
@pytest.mark.parametrize("implicit", DOORS)
@pytest.mark.parametrize("how", ["quit", "close_notify", "plaintext", "fin", "reset"])
def test_clients_that_leave(gw, implicit, how):
    ledger = Ledger(gw)
    text = message(ledger, b"x\r\n")
    for started in (chunk(text), chunk(text, last=True)[:-1], b"BDAT 5 LAST\r\n"):
        with Raw(gw, implicit) as s:
            s.login()
            envelope(s, ledger)
            s.say(started)
            if started.endswith(text):
                assert s.reply()[0] == 250
            if how == "quit":  # where octets are missing, QUIT is text
                s.say(b"QUIT\r\nQUIT\r\n")
            elif how in ("close_notify", "plaintext"):
                raw = s.sock.unwrap()
                if how == "plaintext":  # what would complete it, in clear
                    with contextlib.suppress(ConnectionError):
                        raw.sendall(text[-1:] + b"BDAT 0 LAST\r\nQUIT\r\n")
                raw.close()
                continue
            elif how == "fin":
                socket.socket.shutdown(s.sock, socket.SHUT_WR)
            else:
                s.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                s.close()
                continue
            if how == "fin":
                assert s.replies_until_gone() == []
    ledger.expect(0)


# Bounded work and memory: a million chunks of one octet, and of none.
def rss_kb(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return int(next(x for x in f if x.startswith("VmRSS")).split()[1])


def million_chunks(gw, count):
    ledger = Ledger(gw)
    head = message(ledger, b"")
    line = b"abcdefgh\r\n" * 50
    (worker,) = gw.children("worker")
    with Raw(gw, True) as s:
        s.login()
        envelope(s, ledger)
        s.say(chunk(head))
        assert s.reply()[0] == 250
        before = rss_kb(worker)
        single = b"".join(chunk(line[i:i + 1]) for i in range(len(line)))
        for _ in range(count // len(line)):
            s.say(single)
            assert all(s.reply()[0] == 250 for _ in range(len(line)))
        assert rss_kb(worker) - before < 8 * count // 1024 + 20000
        s.say(chunk(b"", last=True))
        assert s.reply()[0] == 250
    (only,) = ledger.expect(1)
    assert body_of(gw.raw(only["id"])) == line * (count // len(line))


def test_chunks_of_one_octet(gw):
    million_chunks(gw, 20000)


@pytest.mark.long
def test_a_million_chunks(gw):
    million_chunks(gw, 1000000)


def test_chunks_of_nothing_have_an_end(gw):
    ledger = Ledger(gw)
    with Raw(gw, True) as s:
        s.login()
        envelope(s, ledger)
        s.say(b"BDAT 0\r\n" * 1000)
        codes = [c for c, _ in s.replies_until_gone()]
        assert codes[-1] == 421 and set(codes[:-1]) == {250} and len(codes) < 200
    ledger.expect(0)


@pytest.mark.parametrize("implicit", DOORS)
def test_size_is_limited(gw, implicit):
    ledger = Ledger(gw)
    size = 52428800
    before = gw.metric(ACCEPTED)
    with Raw(gw, implicit) as s:
        s.login()
        envelope(s, ledger)
        s.say(chunk(message(ledger, b"")))
        assert s.reply()[0] == 250
        s.say(b"BDAT %d LAST\r\n" % size)  # the sum is too large: read to its end, and refused
        piece = b"x" * 998 + b"\r\n"
        for _ in range(size // len(piece)):
            s.say(piece)
        s.say(b"x" * (size % len(piece)))
        code, text = s.reply()
        assert code == 552 and text.startswith("5.3.4")
        assert s.codes(b"DATA", b"NOOP") == [503, 250]
    assert gw.metric(ACCEPTED) == before


def test_the_policy_is_email(gw):
    """A message by chunks is one that another parser reads."""
    ledger = Ledger(gw)
    with Raw(gw, True) as s:
        s.login()
        envelope(s, ledger)
        for p in chunks(message(ledger, b"text\r\n"), [3, 9, 27]):
            s.say(p)
            assert s.reply()[0] == 250
    (only,) = ledger.expect(1)
    m = email.message_from_bytes(gw.raw(only["id"]), policy=email.policy.SMTP)
    assert not m.defects and m["Subject"] == "chunks" and "ESMTPSA" in m["Received"]
