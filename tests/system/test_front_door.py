"""What an SMTP client may say to the running program: sockets, TLS, real queue, real delivery.

The cases are those of tests/CASES.md. Messages are counted at both ends: how many were accepted (the
program's counter) and how many arrived in the sandbox.
"""
import contextlib
import random
import select
import socket
import uuid

import pytest
from raw_smtp import Raw
from support import auth_plain, queued_id, wait_until

DOORS = [pytest.param(False, id="starttls"), pytest.param(True, id="tls")]
ACCEPTED = 'stagepost_accepted_messages_total{source="smtp"}'
AUTH = b"AUTH PLAIN " + auth_plain().encode()
SMUGGLED = (b"MAIL FROM:<evil@example.com>\r\nRCPT TO:<victim@customer.example>\r\nDATA\r\n"
            b"From: evil@example.com\r\nSubject: smuggled\r\n\r\nsmuggled")
END = b"\r\n.\r\n"

# id: what stands behind a line of text and is no end of data; True: a bare CR, LF or NUL
BARE = {
    "SMG-01": b"\n.\n", "SMG-02": b"\r.\r", "SMG-03": b"\r.\n", "SMG-04": b"\n.\r",
    "SMG-05": b"\n.\r\n", "SMG-06": b"\r\n.\n", "SMG-07": b"\r.\r\n", "SMG-08": b"\r\n.\r",
    "SMG-09": b"\r\n\n.\r\n",
    "SMG-10-before": b"\r\n\0.\r\n", "SMG-10-after": b"\r\n.\0\r\n",
    "SMG-11-cr": b"\r\n.\r\r\n", "SMG-11-two-cr": b"\r\r\n.\r\r\n",
}
CLEAN = {
    "SMG-11-space": b"\r\n. \r\n", "SMG-11-tab": b"\r\n.\t\r\n", "SMG-11-two-dots": b"\r\n..\r\n",
    "SMG-11-vt": b"\r\n\x0b.\x0b\r\n", "SMG-11-ff": b"\r\n\x0c.\x0c\r\n",
    "SMG-11-nel": b"\r\n\xc2\x85.\xc2\x85\r\n", "SMG-11-ls": b"\r\n\xe2\x80\xa8.\xe2\x80\xa8\r\n",
}


class Ledger:
    """What was accepted and what arrived since it was made."""

    def __init__(self, gw):
        self.gw, self.accepted_before = gw, gw.metric(ACCEPTED)
        self.mark = uuid.uuid4().hex[:12]
        self.sender = f"{self.mark}@example.com".encode()

    def accepted(self):
        return int(self.gw.metric(ACCEPTED) - self.accepted_before)

    def arrived(self):
        """Captures of this ledger's sender, or of the smuggler."""
        return [c for c in self.gw.captures()
                if c["from"] in (self.sender.decode(), "evil@example.com")]

    def expect(self, count):
        """Exactly so many were accepted, and arrive. What could have been accepted besides is
        queued before a marker, to the same host, that is waited for."""
        assert self.accepted() == count
        wait_until(f"{count} messages arrive", lambda: len(self.arrived()) >= count)
        self.gw.wait_status(self.gw.accepted(subject="marker"), "delivered")
        arrived = self.arrived()
        assert len(arrived) == count
        assert not [c for c in arrived if c["from"] == "evil@example.com"]
        return arrived


def unstuffed(text):
    return b"\r\n".join(x[1:] if x.startswith(b".") else x for x in text.split(b"\r\n"))


def body_of(raw):
    return raw.split(b"\r\n\r\n", 1)[1]


def text_around(ledger, middle):
    return (b"From: " + ledger.sender + b"\r\nSubject: outer\r\n\r\nbefore" + middle + SMUGGLED + END)


def splits(text, middle):
    """Boundaries at and around the false end, and around the true one."""
    at = text.index(b"before") + len(b"before")
    near = range(at - 1, at + len(middle) + 2)
    return sorted(set(near) | set(range(len(text) - len(END) - 1, len(text))))


def play(gw, implicit, ledger, text, at=None, pipelined=False):
    """The replies to the text, up to the end; then QUIT is said."""
    with Raw(gw, implicit) as s:
        s.login().begin_data(sender=ledger.sender, pipelined=pipelined)
        if at is None:
            s.say(text)
        else:
            s.say_in_two(text, at)
        first = s.reply()
        if first[0] == 250:
            s.say(b"QUIT\r\n")
        return [first] + s.replies_until_gone()


def bare_is_refused(gw, implicit, middle, boundaries):
    ledger = Ledger(gw)
    text = text_around(ledger, middle)
    runs = [(None, False), (None, True)] + [(at, False) for at in boundaries(text, middle)]
    for at, pipelined in runs:
        got = play(gw, implicit, ledger, text, at, pipelined)
        assert [c for c, _ in got] == [550] and got[0][1].startswith("5.5.2 "), (at, got)
    ledger.expect(0)


def clean_is_one_message(gw, implicit, middle, boundaries):
    ledger = Ledger(gw)
    text = text_around(ledger, middle)
    runs = [(None, False), (None, True)] + [(at, False) for at in boundaries(text, middle)]
    for at, pipelined in runs:
        got = play(gw, implicit, ledger, text, at, pipelined)
        assert [c for c, _ in got] == [250, 221], (at, got)
    body = body_of(unstuffed(text[:-3]))
    for c in ledger.expect(len(runs)):
        assert c["to"] == ["anna@customer.example"]
        assert body_of(gw.raw(c["id"])) == body


@pytest.mark.parametrize("implicit", DOORS)
@pytest.mark.parametrize("case", BARE)
def test_false_ends_are_refused(gw, case, implicit):
    bare_is_refused(gw, implicit, BARE[case], splits)


@pytest.mark.parametrize("implicit", DOORS)
@pytest.mark.parametrize("case", CLEAN)
def test_near_ends_are_one_message(gw, case, implicit):
    clean_is_one_message(gw, implicit, CLEAN[case], splits)


def every_boundary(text, _):
    return range(1, len(text))


@pytest.mark.long
@pytest.mark.parametrize("implicit", DOORS)
@pytest.mark.parametrize("case", BARE)
def test_false_ends_at_every_boundary(gw, case, implicit):
    bare_is_refused(gw, implicit, BARE[case], every_boundary)


@pytest.mark.long
@pytest.mark.parametrize("implicit", DOORS)
@pytest.mark.parametrize("case", CLEAN)
def test_near_ends_at_every_boundary(gw, case, implicit):
    clean_is_one_message(gw, implicit, CLEAN[case], every_boundary)


# SMG-12
@pytest.mark.parametrize("implicit", DOORS)
@pytest.mark.parametrize("text,wanted", [
    (b".\r\n", "5.6.0"), (b"\r\n.\r\n", "5.6.0"), (b"\n.\r\n.\r\n", "5.5.2"),
    (b"\n.\r\nMAIL FROM:<evil@example.com>\r\n.\r\n", "5.5.2")])
def test_messages_that_hardly_exist(gw, text, wanted, implicit):
    ledger = Ledger(gw)
    for at in [None] + list(range(1, len(text))):
        with Raw(gw, implicit) as s:
            s.login().begin_data(sender=ledger.sender)
            s.say(text) if at is None else s.say_in_two(text, at)
            code, said = s.reply()
            assert code == 550 and said.startswith(wanted), (at, code, said)
            if wanted == "5.5.2":
                assert s.is_gone()
            else:  # nothing of the transaction is left, and the session goes on
                assert s.codes(b"DATA", b"NOOP", b"QUIT") == [503, 250, 221]
    ledger.expect(0)


# SMG-13: lines that begin with dots at every offset of every buffer on the way
@pytest.mark.parametrize("implicit", DOORS)
def test_dots_arrive_as_they_were(gw, implicit):
    ledger = Ledger(gw)
    lines = [b".", b"..", b".a", b"...", b"....", b"", b"a.", b".\x20"]
    bodies = [b"\r\n".join(lines) + b"\r\n"]
    bodies += [b"x" * shift + b"\r\n" + b".\r\n" * 50000 for shift in range(3)]
    bodies += [b"x" * shift + b"\r\n" + b"..\r\n" * 20000 for shift in (0, 1)]
    with Raw(gw, implicit) as s:
        s.login()
        sent = {}
        for body in bodies:
            s.begin_data(sender=ledger.sender)
            stuffed = b"\r\n".join(b"." + x if x.startswith(b".") else x for x in body.split(b"\r\n"))
            s.say(b"From: " + ledger.sender + b"\r\n\r\n" + stuffed + b".\r\n")
            code, text = s.reply()
            assert code == 250
            sent[queued_id(text)] = body
    arrived = ledger.expect(len(bodies))
    assert {c["message"]: body_of(gw.raw(c["id"])) for c in arrived} == sent


# SMG-15
@pytest.mark.parametrize("implicit", DOORS)
def test_commands_with_a_bare_lf_are_not_executed(gw, implicit):
    with Raw(gw, implicit) as s:
        s.say(b"EHLO c.example\n")
        assert s.reply()[0] == 500 and s.command(b"MAIL FROM:<a@example.com>")[0] in (503, 530)
        s.login()
        for wrong in (b"MAIL FROM:<a@example.com>\n", b"MAIL FROM:<a@example.com>\rRSET\r\n",
                      b"NOOP\r\r\n"):
            s.say(wrong)
            code, text = s.reply()
            assert code == 500 and text.startswith("5.5.2"), (wrong, code, text)
        assert s.codes(b"RCPT TO:<anna@customer.example>", b"QUIT") == [503, 221]


# SMG-16: an envelope and its text in one segment
@pytest.mark.parametrize("implicit", DOORS)
def test_text_before_354_is_nothing(gw, implicit):
    ledger = Ledger(gw)
    envelope = b"MAIL FROM:<" + ledger.sender + b">\r\nRCPT TO:<anna@customer.example>\r\n"
    batch = envelope + b"DATA\r\nFrom: " + ledger.sender + b"\r\n\r\nx\r\n.\r\n"
    waited = len(envelope) + len(b"DATA\r\n")  # there 354 is said before the text comes
    for at in [None] + [n for n in range(1, len(batch)) if n != waited]:
        with Raw(gw, implicit) as s:
            s.login()
            s.say(batch) if at is None else s.say_in_two(batch, at)
            got = s.replies_until_gone()
            if at is not None and at > waited:  # the text was behind DATA in one piece
                assert [c for c, _ in got] == [250, 250, 554], (at, got)
            assert [c for c, _ in got] == [250, 250, 554], (at, got)
            assert got[2][1].startswith("5.5.0")
    ledger.expect(0)


# SMG-16: a second transaction behind the dot is one of its own (RFC 2920 3.1)
@pytest.mark.parametrize("implicit", DOORS)
def test_commands_behind_the_dot(gw, implicit):
    ledger = Ledger(gw)
    text = b"From: " + ledger.sender + b"\r\n\r\nx\r\n.\r\n"
    behind = (b"MAIL FROM:<" + ledger.sender + b">\r\nRCPT TO:<bert@customer.example>\r\nDATA\r\n")
    count = 0
    for at in [None] + list(range(len(text) - 6, len(text) + 6)):
        with Raw(gw, implicit) as s:
            s.login().begin_data(sender=ledger.sender)
            s.say(text + behind) if at is None else s.say_in_two(text + behind, at)
            assert [s.reply()[0] for _ in range(4)] == [250, 250, 250, 354]
            s.say(text)
            assert s.reply()[0] == 250 and s.command(b"QUIT")[0] == 221
            count += 2
    ledger.expect(count)


# STL-01
def test_nothing_behind_starttls_is_executed(gw):
    injected = b"EHLO evil.example\r\nMAIL FROM:<evil@example.com>\r\nNOOP\r\n"
    batch = b"STARTTLS\r\n" + injected
    for at in [None] + list(range(1, len(batch))):
        with Raw(gw) as s:
            assert s.command(b"EHLO c.example")[0] == 250
            s.say(batch) if at is None else s.say_in_two(batch, at)
            # 220 where the whole of STARTTLS was read first: then what follows is no handshake.
            got = [c for c, _ in s.replies_until_gone()]
            assert got == ([220] if at == len(b"STARTTLS\r\n") else []), (at, got)


# STL-03
def test_the_session_begins_anew_under_tls(gw):
    with Raw(gw) as s:
        assert s.codes(b"STARTTLS", b"EHLO c.example", b"STARTTLS") == [503, 250, 220]
        s.start_tls()
        assert s.codes(AUTH, b"MAIL FROM:<a@example.com>", b"STARTTLS") == [503, 503, 503]
        assert s.codes(b"EHLO c.example", b"STARTTLS", AUTH, b"STARTTLS") == [250, 503, 235, 503]
        assert s.codes(b"MAIL FROM:<a@example.com>", b"STARTTLS",
                       b"RCPT TO:<anna@customer.example>", b"QUIT") == [250, 503, 250, 221]


# STL-05: the end of TCP without close_notify, at every place before the dot's end
@pytest.mark.parametrize("implicit", DOORS)
def test_truncated_text_is_not_accepted(gw, implicit):
    ledger = Ledger(gw)
    text = b"From: " + ledger.sender + b"\r\n\r\ncut off" + END
    for at in range(len(text) - 12, len(text)):
        with Raw(gw, implicit) as s:
            s.login().begin_data(sender=ledger.sender)
            s.say(text[:at])
            socket.socket.shutdown(s.sock, socket.SHUT_WR)  # FIN, and no close_notify
            assert s.replies_until_gone() == []
    ledger.expect(0)


# STL-04: the end of TLS within the text; what would complete it, in clear, is not read
@pytest.mark.parametrize("implicit", DOORS)
def test_clear_text_behind_tls_is_not_read(gw, implicit):
    ledger = Ledger(gw)
    text = b"From: " + ledger.sender + b"\r\n\r\ncut off" + END
    for at in (0, 1, len(text) - len(END), len(text) - 1):
        with Raw(gw, implicit) as s:
            s.login().begin_data(sender=ledger.sender)
            s.say(text[:at])
            clear = s.sock.unwrap()  # close_notify, and the server's
            with clear, contextlib.suppress(ConnectionError):
                clear.sendall(text[at:] + b"NOOP\r\nQUIT\r\n")
                assert clear.recv(4096) == b""
    ledger.expect(0)


# STL-07
def test_before_tls_there_is_no_auth(gw):
    with Raw(gw) as s:
        code, text = s.command(b"EHLO c.example")
        assert code == 250 and "AUTH" not in text.split() and "STARTTLS" in text.split()
        for command in (AUTH, b"AUTH LOGIN", b"MAIL FROM:<a@example.com>"):
            code, text = s.command(command)
            assert code == 530 and text.startswith("5.7.0"), (command, code, text)
        assert s.codes(b"RCPT TO:<anna@customer.example>", b"DATA") == [503, 503]
        assert s.command(b"STARTTLS")[0] == 220
        s.start_tls()
        code, text = s.command(b"EHLO c.example")
        assert any(line.startswith("AUTH ") for line in text.split("\n"))
        assert "STARTTLS" not in text.split()
        code, text = s.command(b"MAIL FROM:<a@example.com>")  # nobody relays without AUTH
        assert code == 530 and text.startswith("5.7.0")
        assert s.codes(b"RCPT TO:<anna@customer.example>", b"DATA") == [503, 503]


# CMD-01
@pytest.mark.parametrize("implicit", DOORS)
def test_command_lines_have_an_end(gw, implicit):
    with Raw(gw, implicit) as s:
        s.login()
        for size, wanted in ((512, 250), (2048, 250), (2049, 500), (12288, 500), (65536, 500)):
            code, text = s.command(b"NOOP " + b"x" * (size - len(b"NOOP \r\n")))
            assert code == wanted and (wanted == 250 or text.startswith("5.5.6")), (size, code, text)
        assert s.command(b"NOOP")[0] == 250
    with Raw(gw, implicit) as s:
        if not implicit:
            assert s.codes(b"EHLO c.example", b"STARTTLS") == [250, 220]
            s.start_tls()
        s.command(b"EHLO c.example")
        assert s.command(b"AUTH PLAIN " + b"A" * (12288 - 13))[0] in (501, 535)
        code, text = s.command(b"AUTH PLAIN " + b"A" * (12289 - 13))
        assert code == 500 and text.startswith("5.5.6")


# CMD-01: a line that never ends is not read for ever
@pytest.mark.parametrize("implicit", DOORS)
def test_a_line_without_end_is_cut_off(gw, implicit):
    with Raw(gw, implicit) as s:
        s.login()
        sent, piece = 0, b"x" * 1024
        while not select.select([s.sock], [], [], 0)[0]:
            s.say(piece)
            s.was_read()
            sent += len(piece)
            assert sent < 256 << 10
        assert s.reply() == (421, "4.7.0 Line too long") and s.is_gone()
        assert sent > 64 << 10


def resident_kib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return int([x for x in f if x.startswith("VmRSS:")][0].split()[1])


def flood_of_recipients(gw, count):
    ledger = Ledger(gw)
    worker, = gw.children("worker")
    before = resident_kib(worker)
    with Raw(gw) as s:
        s.login()
        assert s.command(b"MAIL FROM:<" + ledger.sender + b">")[0] == 250
        for start in range(0, count, 1000):
            s.say(b"".join(b"RCPT TO:<r%d@customer.example>\r\n" % i
                           for i in range(start, start + 1000)))
            for i in range(start, start + 1000):
                code, text = s.reply()
                wanted = 250 if i < 1000 else 452
                assert code == wanted and (code == 250 or text.startswith("4.5.3")), (i, code, text)
        assert resident_kib(worker) - before < 64 << 10
        assert s.command(b"DATA")[0] == 354
        s.say(b"From: " + ledger.sender + b"\r\n\r\nx\r\n.\r\n")
        code, text = s.reply()
        assert code == 250
    message_id = queued_id(text)
    gw.wait_status(message_id, "delivered")
    to = [r for c in gw.captures(message_id) for r in c["to"]]
    assert sorted(to) == sorted(f"r{i}@customer.example" for i in range(1000))
    assert ledger.accepted() == 1


# CMD-03
def test_recipients_have_an_end(gw):
    flood_of_recipients(gw, 3000)


@pytest.mark.long
def test_a_million_recipients(gw):
    flood_of_recipients(gw, 1000000)


# CMD-03: given twice, one copy; the domain's case does not matter, the local part's does
def test_recipients_given_twice(gw):
    ledger = Ledger(gw)
    with Raw(gw) as s:
        s.login().begin_data(sender=ledger.sender, to=(
            b"anna@customer.example", b"anna@customer.example", b"anna@CUSTOMER.example",
            b"Anna@customer.example"))
        s.say(b"From: " + ledger.sender + b"\r\n\r\nx\r\n.\r\n")
        assert s.reply()[0] == 250
    wait_until("it arrives", lambda: sum(len(c["to"]) for c in ledger.arrived()) >= 2)
    arrived = ledger.expect(len(ledger.arrived()) and 1)
    assert sorted(r for c in arrived for r in c["to"]) == [
        "Anna@customer.example", "anna@customer.example"]


# CMD-08, CMD-09, ADR-01, ADR-02: what is refused, in sessions of few enough errors
MAIL_ARGUMENTS = [
    (b"<a@b.example> SIZE=", 501), (b"<a@b.example> SIZE=abc", 501),
    (b"<a@b.example> SIZE=99999999999999999999", 552), (b"<a@b.example> SIZE=-1", 501),
    (b"<a@b.example> SIZE=999999999", 552), (b"<a@b.example> BODY=FOO", 501),
    (b"<a@b.example> SIZE=1 SIZE=1", 501), (b"<a@b.example> FOO=BAR", 555),
    (b"<a@b.example>SIZE=1", 501), (b"<a@b.example>\tSIZE=1", (500, 501)),
    (b"<a@b.example> AUTH=<>", 250), (b"<a@b.example> AUTH=a+0Ab", 501),
    (b"<a@b.example> SIZE=10 BODY=8BITMIME", 250), (b" <a@b.example>", 250),
    (b"<a@b.example>   ", 250), (b"<a@b.example", 501), (b"a@b.example>", 501), (b"", 501),
    (b"<a@b.example> ENVID=a+00b", 501), (b"<a@b.example> ENVID=a+0Ab", 501),
    (b"<a@b.example> ENVID=a+", 501), (b"<a@b.example> ENVID=a+G0", 501),
    (b"<a@b.example> ENVID=" + b"e" * 501, 501), (b"<a@b.example> RET=FOO", 501),
    (b"<a@b.example> ENVID=a+2Bb RET=HDRS", 250), (b"<>", 250),
]
RCPT_ARGUMENTS = [
    (b"<a@b.example> ORCPT=rfc822;a+00b@c", 501), (b"<a@b.example> ORCPT=rfc822;a+0Ab@c", 501),
    (b"<a@b.example> ORCPT=rfc822;a+", 501), (b"<a@b.example> ORCPT=rfc822;a+G0", 501),
    (b"<a@b.example> ORCPT=a@b", 501), (b"<a@b.example> ORCPT=rfc822;" + b"x" * 501, 501),
    (b"<a@b.example> NOTIFY=NEVER,FAILURE", 501), (b"<a@b.example> NOTIFY=", 501),
    (b"<a@b.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;a+2Bb@c.example", 250),
    (b"<a@b.example> FOO=1", 555), (b"<a@b.example> NOTIFY=NEVER NOTIFY=NEVER", 501),
    # ADR-01
    (b"<user@remote@ours.example>", 501), (b"<@a.example,@b.example:user@c.example>", 250),
    (b"<@ours.example:user@remote.example>", 250), (b"<user@[127.0.0.1]>", 550),
    (b"<user@[10.0.0.1]>", 550), (b"<user@[IPv6:::1]>", 550), (b"<user@>", 553), (b"<user>", 553),
    (b"<>", (501, 550)), (b"<user@remote.>", 553), (b"<postmaster>", 550),
    (b"<user@xn--bcher-kva.example>", 250), (b"<user@\xef\xbd\x85xample>", (501, 553)),
    # ADR-02
    (b"<\"a\"b@c.example>", 501), (b"<\"a\r\n\"@d.example>", (500, 501)), (b"<a b@d.example>", 501),
    (b"<\"a\x01b\"@d.example>", (500, 501)),
]


def refused_as_said(gw, arguments, verb, before):
    errors = 10
    s = None
    for argument, wanted in arguments:
        if errors >= 10:  # an eleventh would be answered late
            if s:
                s.close()
            s, errors = Raw(gw, implicit=True).login(), 0
        assert s.codes(b"RSET", *before) == [250] * (1 + len(before))
        s.say(verb + argument + b"\r\n")
        code, text = s.reply()
        if b"\r" in argument:  # two lines, two replies, none of which does anything
            assert s.reply()[0] >= 500
            errors += 1
        assert code in (wanted if isinstance(wanted, tuple) else (wanted,)), (argument, code, text)
        errors += code >= 500
        if verb == b"RCPT TO:" and code >= 400:
            assert s.command(b"DATA")[0] in (503, 554)
            errors += 1
    s.close()


def test_arguments_of_mail(gw):
    refused_as_said(gw, MAIL_ARGUMENTS, b"MAIL FROM:", [])


def test_arguments_of_rcpt(gw):
    refused_as_said(gw, RCPT_ARGUMENTS, b"RCPT TO:", [b"MAIL FROM:<a@b.example>"])


# ADR-01: what open relays have been found by, from a client that has not authenticated
RELAY = [b"user%remote.example@ours.example", b"user@remote.example@ours.example",
         b'"user@remote.example"@ours.example', b"remote.example!user@ours.example",
         b"@ours.example:user@remote.example", b"@a.example,@b.example:user@c.example",
         b"user@[127.0.0.1]", b"user@[10.0.0.1]", b"user@[IPv6:::1]", b"user@localhost", b"user@", b"user", b"",
         b"user@remote.example.", b"user@xn--bcher-kva.example", b"postmaster", b'"a b"@d.example',
         b'"a@evil.example x"@d.example', b'""@d.example', b"postmaster@localhost", b"abuse@remote.example"]


@pytest.mark.parametrize("implicit", DOORS)
@pytest.mark.parametrize("sender", [b"", b"user@localhost", b"spam@example.com", b"spam@[127.0.0.1]", b"postmaster"])
def test_nobody_relays_without_authentication(gw, sender, implicit):
    ledger = Ledger(gw)
    for at in range(0, len(RELAY), 5):
        with Raw(gw, implicit) as s:
            assert s.command(b"EHLO c.example")[0] == 250
            if not implicit:
                assert s.command(b"STARTTLS")[0] == 220
                s.start_tls()
                assert s.command(b"EHLO c.example")[0] == 250
            for to in RELAY[at:at + 5]:  # few enough errors to be answered at once
                assert s.codes(b"MAIL FROM:<" + sender + b">", b"RCPT TO:<" + to + b">") == [530, 503], to
    ledger.expect(0)


# ADR-01, ADR-02, ADR-05: what is accepted arrives as the same recipient, and means nothing else
ADDRESSES = {
    b"user%remote@ours.example": "user%remote@ours.example",
    b"remote!user@ours.example": "remote!user@ours.example",
    b"@ours.example:routed@customer.example": "routed@customer.example",
    b'"user@remote"@ours.example': '"user@remote"@ours.example',
    b'"a b"@d.example': '"a b"@d.example', b'"a\\"b"@d.example': '"a\\"b"@d.example',
    b'"a@evil.example x"@d.example': '"a@evil.example x"@d.example', b'"plain"@d.example':
    "plain@d.example", b"`id`@d.example": "`id`@d.example",
    b"${run{/bin/id}}@d.example": "${run{/bin/id}}@d.example",
    b'"${run{id}}"@d.example': "${run{id}}@d.example", b'";id|sh"@d.example': '";id|sh"@d.example',
    b"%s%n@d.example": "%s%n@d.example", b'"../../x"@d.example': '"../../x"@d.example',
    b"__proto__@d.example": "__proto__@d.example", b"'--@d.example": "'--@d.example",
    b"{17}*?@d.example": "{17}*?@d.example",
}


def test_addresses_arrive_as_they_were_meant(gw):
    ledger = Ledger(gw)
    wanted = []
    with Raw(gw, implicit=True) as s:
        s.login()
        for address, arrives in ADDRESSES.items():
            assert s.codes(b"RSET", b"MAIL FROM:<" + ledger.sender + b">") == [250, 250]
            code, text = s.command(b"RCPT TO:<" + address + b">")
            assert code == 250, (address, code, text)
            assert s.command(b"DATA")[0] == 354
            s.say(b"From: " + ledger.sender + b"\r\n\r\nx\r\n.\r\n")
            code, text = s.reply()
            assert code == 250, (address, text)
            wanted.append(arrives)
            status = gw.message(queued_id(text))["recipients"]
            assert [r["email"] for r in status] == [wanted[-1]]
    arrived = ledger.expect(len(wanted))
    assert sorted(r for c in arrived for r in c["to"]) == sorted(wanted)


# ADR-05 at the other door: the same addresses in a request
def test_addresses_over_http(gw):
    for address, arrives in ADDRESSES.items():
        if address.startswith(b"@"):
            continue  # a route is of SMTP's paths only
        assert gw.wait_capture(gw.accepted(to=address.decode()))["to"] == [arrives]


# CMD-11
@pytest.mark.parametrize("implicit", DOORS)
def test_the_order_of_commands(gw, implicit):
    mail, rcpt = b"MAIL FROM:<a@example.com>", b"RCPT TO:<anna@customer.example>"
    with Raw(gw, implicit) as s:
        s.login()
        assert s.codes(rcpt, b"DATA", mail, mail, b"DATA") == [503, 503, 250, 503, 503]
        assert s.codes(rcpt, b"RSET", rcpt, mail, rcpt) == [250, 250, 503, 250, 250]
        assert s.codes(b"NOOP", b"VRFY anna", b"EXPN list", b"HELP")[0] == 250
        assert s.command(b"DATA")[0] == 354  # the buffers were kept
        s.say(b"no header\r\n.\r\n")
        assert s.reply()[0] == 550
        assert s.codes(mail, rcpt, b"EHLO c.example", rcpt) == [250, 250, 250, 503]
        assert s.codes(b"NONSENSE", b"NOOP") == [500, 250]
    with Raw(gw, implicit) as s:
        s.login()
        code, text = s.command(b"HELO c.example")
        assert code == 250 and "\n" not in text
        assert s.command(b"QUIT")[0] == 221 and s.is_gone()


# CMD-12: one reply for each command, whatever they are and however they come
COMMANDS = [b"NOOP", b"RSET", b"MAIL FROM:<a@example.com>", b"MAIL FROM:<>", b"MAIL FROM:<a@b",
            b"RCPT TO:<anna@customer.example>", b"RCPT TO:<bert@[127.0.0.1]>", b"VRFY anna", b"HELP",
            b"EXPN x", b"EHLO c.example", b"HELO c.example", b"EHLO <script>", b"STARTTLS",
            b"AUTH PLAIN", b"AUTH NTLM", b"", b" ", b"\t", b"noop x", b"RCPT", b"MAIL", b"X" * 600,
            b"\xff\xfe", b"MAIL FROM:<\xc3\xbc@example.com>", b"NOOP \xe2\x80\xa8", b"RSET x",
            b"BLURB", b"MAIL FROM:<a@example.com> SIZE=1 BODY=8BITMIME", b"VRFY " + b"a" * 500]


def play_commands(gw, commands, one_by_one):
    """The codes, up to and with the tenth error."""
    with Raw(gw, implicit=True) as s:
        s.login()
        before = s.replies
        if not one_by_one:
            s.say(b"".join(c + b"\r\n" for c in commands))
        codes = [(s.command(c) if one_by_one else s.reply())[0] for c in commands]
        assert s.replies - before == len(commands)
        s.say(b"QUIT\r\n")
        assert [c for c, _ in s.replies_until_gone()] == [221]
        return codes


def few_errors(gw, commands):
    """Cut where errors would be answered late."""
    with Raw(gw, implicit=True) as s:
        s.login()
        errors = 0
        for i, c in enumerate(commands):
            errors += s.command(c)[0] >= 500
            if errors == 10:
                return commands[:i + 1]
    return commands


def fuzz_commands(gw, rounds):
    generator = random.Random(rounds)
    for _ in range(rounds):
        commands = few_errors(gw, generator.choices(COMMANDS[:10] + COMMANDS[16:], k=40))
        assert play_commands(gw, commands, True) == play_commands(gw, commands, False)


def test_one_reply_per_command(gw):
    fuzz_commands(gw, 25)


@pytest.mark.long
def test_one_reply_per_command_long(gw):
    fuzz_commands(gw, 3000)


# INJ-01, INJ-02: control characters in every text of a request
BAD = ["\r", "\n", "\r\n", "\0", "\u2028", "\u2029", "\x85", "\u202e", "\r\nBcc: victim@x.example"]


def fields_with(bad):
    text = f"a{bad}b"
    yield {"subject": text}
    yield {"from": {"email": "shop@example.com", "name": text}}
    yield {"from": f"shop{bad}@example.com"}
    yield {"to": {"email": "anna@customer.example", "name": text}}
    yield {"to": f"anna@customer{bad}.example"}
    yield {"cc": [{"email": "anna@customer.example", "name": text}]}
    yield {"bcc": f"anna{bad}@customer.example"}
    yield {"reply_to": {"email": "anna@customer.example", "name": text}}
    yield {"headers": {"X-Order": text}}
    yield {"headers": {f"X-{bad}Order": "x"}}
    yield {"headers": {"List-Unsubscribe": f"<https://example.com/{bad}>"}}
    for key, value in (("filename", text), ("content_type", f"text/plain{bad}"),
                       ("content_id", text)):
        yield {"attachments": [{"filename": "a", "content": "", key: value}]}


@pytest.mark.parametrize("bad", BAD, ids=[ascii(b) for b in BAD])
def test_nothing_is_injected_over_http(gw, bad):
    before = gw.metric('stagepost_accepted_messages_total{source="http"}')
    for change in fields_with(bad):
        answer = gw.send(**change)
        if answer.status == 400:  # NUL in a key is not JSON for us
            assert bad == "\0" and "headers" in change, (change, answer.body)
            continue
        assert answer.status == 422 and answer.json["errors"], (change, answer.status, answer.body)
        name = next(iter(change))
        assert all(e["pointer"].startswith("/" + name) for e in answer.json["errors"]), answer.json
    assert gw.metric('stagepost_accepted_messages_total{source="http"}') == before


DENIED = ["From", "To", "Cc", "Bcc", "Sender", "Received", "Return-Path", "DKIM-Signature", "ARC-Seal",
          "Authentication-Results", "MIME-Version", "Content-Type", "Content-Transfer-Encoding",
          "from", "X Y", "X:Y", "", "X\u00e4", "X" * 78]


def test_header_names_are_denied(gw):
    for name in DENIED:
        answer = gw.send(headers={name: "x"})
        assert answer.status == 422, (name, answer.status, answer.body)
    assert gw.send(headers={"X" * 77: "x"}).status == 202


def test_percent_and_escapes_are_text(gw):
    subject = "%0d%0aBcc: victim@x.example \\r\\n \\u000d"
    capture = gw.wait_capture(gw.accepted(subject=subject))
    head = gw.raw(capture["id"]).split(b"\r\n\r\n", 1)[0]
    assert capture["to"] == ["anna@customer.example"]
    assert not [x for x in head.split(b"\r\n") if x.lower().startswith(b"bcc:")]
