"""Header sections and addresses at the running program: SMG-17 to SMG-22 and ADR-03, ADR-04 of
tests/CASES.md, by DATA, by BDAT and, for addresses, by HTTP."""
import email
import email.policy
import os
import random

import pytest
from raw_smtp import Raw
from support import ROOT, queued_id
from test_bdat import chunks
from test_front_door import ACCEPTED, Ledger, body_of

WAYS = ["data", "bdat"]


def hand_in(s, ledger, text, way, to=b"anna@customer.example", parameters=b""):
    """MAIL, RCPT and the text in one of the ways; the reply that decides."""
    assert s.codes(b"MAIL FROM:<" + ledger.sender + b">" + parameters, b"RCPT TO:<" + to + b">") == [250, 250]
    if way == "data":
        assert s.command(b"DATA")[0] == 354
        s.say(b"\r\n".join(b"." + x if x.startswith(b".") else x for x in text.split(b"\r\n")) + b".\r\n")
        return s.reply()
    pieces = chunks(text, [len(text) // 2])
    s.say(b"".join(pieces))
    replies = [s.reply() for _ in pieces]
    return next((r for r in replies if r[0] != 250), replies[-1])


class Session:
    """A new one for each case, so that no case pays for the errors of another."""

    def __init__(self, gw, ledger, way):
        self.gw, self.ledger, self.way = gw, ledger, way

    def __call__(self, text, **kw):
        with Raw(self.gw, implicit=True) as s:
            return hand_in(s.login(), self.ledger, text, self.way, **kw)


def field(name, size):
    """A folded field of so many octets, CRLF included."""
    text, line = name + b":", b" " + b"x" * 76 + b"\r\n"
    text += b"\r\n" + line * ((size - len(text) - 2) // len(line))
    rest = size - len(text)
    return text if rest == 0 else text[:-2] + b"\r\n " + b"y" * (rest - 3) + b"\r\n" if rest > 3 \
        else text[:-2] + b"y" * rest + b"\r\n"


FROM = b"From: shop@example.com\r\n"
REFUSED = {
    # SMG-17: what two readers could split differently
    "bare-lf-blank": (FROM + b"\n\r\nbody\r\n", 550, "5.5.2"),
    "blank-inside-fold": (FROM + b"Subject: a\r\n \r\n b\r\n\r\nbody\r\n", 550, "5.6.0"),
    "tab-only-line": (FROM + b"Subject: a\r\n\t\r\n\r\nbody\r\n", 550, "5.6.0"),
    "spaces-only": (b"   \r\n" + FROM + b"\r\nbody\r\n", 550, "5.6.0"),
    "space-first": (b" Subject: a\r\n" + FROM + b"\r\nbody\r\n", 550, "5.6.0"),
    "no-header": (b"body\r\n", 550, "5.6.0"),
    # SMG-21: limits
    "field-66k": (FROM + field(b"X-Long", 66000) + b"\r\nbody\r\n", 552, "5.3.4"),
    "field-1m": (FROM + field(b"X-Long", 1 << 20) + b"\r\nbody\r\n", 552, "5.3.4"),
    "fields-20000": (FROM + b"X-A: b\r\n" * 20000 + b"\r\nbody\r\n", 552, "5.3.4"),
    "fields-1001": (FROM + b"X-A: b\r\n" * 1001 + b"\r\nbody\r\n", 552, "5.3.4"),
    "section-300k": (FROM + field(b"X-Long", 60000) * 5 + b"\r\nbody\r\n", 552, "5.3.4"),
    "name-78": (FROM + b"X" * 78 + b": a\r\n\r\nbody\r\n", 550, "5.6.0"),
    "no-colon": (FROM + b"Subject\r\n\r\nbody\r\n", 550, "5.6.0"),
    "space-before-colon": (b"From : shop@example.com\r\n\r\nbody\r\n", 550, "5.6.0"),
    "line-999": (FROM + b"Subject: " + b"x" * 990 + b"\r\n\r\nbody\r\n", 550, "5.6.0"),
    "no-from": (b"Subject: a\r\n\r\nbody\r\n", 550, "5.6.0"),
    "empty-from": (b"From:\r\n\r\nbody\r\n", 550, "5.6.0"),
    "sender-list": (FROM + b"Sender: a@example.com, b@example.com\r\n\r\nbody\r\n", 550, "5.6.0"),
    "resent-900": (FROM + b"Resent-From: shop@example.com\r\n" * 900 + b"\r\nbody\r\n", 550, "5.6.0"),
    "authors-and-nobody": (b"From: a@example.com, b@example.com\r\nSender: x:;\r\n\r\nbody\r\n", 550, "5.6.0"),
    # SMG-18: lines of the body
    "body-line-999": (FROM + b"\r\n" + b"x" * 999 + b"\r\n", 550, "5.6.0"),
    "body-line-1000": (FROM + b"\r\n" + b"x" * 1000 + b"\r\n", 550, "5.6.0"),
    "body-line-64k": (FROM + b"\r\n" + b"x" * 65536 + b"\r\n", 550, "5.6.0"),
    "body-line-10m": (FROM + b"\r\n" + b"x" * (10 << 20) + b"\r\n", 550, "5.6.0"),
    "loop": (FROM + b"Received: from a by b; Mon, 23 Nov 2026 06:00:00 +0000\r\n" * 101 + b"\r\nx\r\n",
             554, "5.4.6"),
    # SMG-19: octets
    "8bit": (FROM + b"Subject: caf\xc3\xa9\r\n\r\nbody\r\n", 550, "5.6.0"),
    "latin1": (FROM + b"Subject: caf\xe9\r\n\r\nbody\r\n", 550, "5.6.0"),
    "nul": (FROM + b"Subject: a\0b\r\n\r\nbody\r\n", 550, "5.5.2"),
    "control": (FROM + b"Subject: a\x1b[2Jb\r\n\r\nbody\r\n", 550, "5.6.0"),
    # SMG-22
    "mbox": (b"From shop@example.com Mon Nov 23 06:00:00 2026\r\n" + FROM + b"\r\nbody\r\n", 550, "5.6.0"),
    "mbox-huge": (b"From " + b"x" * 900000 + b"\r\n" + FROM + b"\r\nbody\r\n", 550, "5.6.0"),
}
for name in (b"From", b"Sender", b"Reply-To", b"To", b"Cc", b"Bcc", b"Date", b"Message-ID", b"In-Reply-To",
             b"References", b"Subject", b"MIME-Version", b"Content-Type", b"Content-Transfer-Encoding"):
    value = {b"Date": b"Mon, 23 Nov 2026 06:00:00 +0000", b"Message-ID": b"<a@b>", b"In-Reply-To": b"<a@b>",
             b"References": b"<a@b>", b"Subject": b"x", b"MIME-Version": b"1.0",
             b"Content-Type": b"text/plain", b"Content-Transfer-Encoding": b"7bit"}.get(
                 name, b"shop@example.com")
    line = name + b": " + value + b"\r\n"
    REFUSED["twice-" + name.decode()] = (
        (b"" if name == b"From" else FROM) + line + b"X-Between: x\r\n" + line.upper()[:len(name)]
        + line[len(name):] + b"\r\nbody\r\n", 550, "5.6.0")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", REFUSED)
def test_refused_headers(gw, case, way):
    text, wanted, enhanced = REFUSED[case]
    accepted = gw.metric(ACCEPTED)
    with Raw(gw, implicit=True) as s:
        code, said = hand_in(s.login(), Ledger(gw), text, way)
        assert code == wanted and said.startswith(enhanced), (code, said)
        if enhanced != "5.5.2":
            assert s.codes(b"DATA", b"NOOP") == [503, 250]
    assert gw.metric(ACCEPTED) == accepted


# SMG-17, SMG-20, SMG-21: what is accepted is one message in one reading; its signatures verify where it
# arrives, and what was missing is there
TAKEN = {
    "crlf-crlf-in-body": FROM + b"\r\n\r\n\r\nX-No: header\r\n\r\nbody\r\n",
    "header-only": FROM,
    "header-and-blank": FROM + b"\r\n",
    "folded": FROM + b"Subject: a\r\n\tb\r\n  c\r\n\r\nbody\r\n",
    "field-63k": FROM + field(b"X-Long", 63999) + b"\r\nbody\r\n",
    "fields-900": FROM + b"".join(b"X-A%d: b\r\n" % i for i in range(900)) + b"\r\nbody\r\n",
    "name-77": FROM + b"X" * 77 + b": a\r\n\r\nbody\r\n",
    "empty-fields": FROM + b"Subject:\r\nTo: \r\nX-A:\r\n\r\nbody\r\n",
    "trailing-space": FROM + b"Subject: a \t \r\n\r\nbody \t\r\n \r\n\r\n\r\n",
    "odd-case": b"fRoM: shop@example.com\r\nSUBJECT: a\r\n\r\nbody\r\n",
    "line-998": FROM + b"Subject: " + b"x" * 989 + b"\r\n\r\n" + b"y" * 998 + b"\r\n",
    "8bit-body": FROM + b"\r\ncaf\xe9 \xff\x80\r\n",
    "dots": FROM + b"\r\n.\r\n..\r\n...\r\n",
    "empty-date": FROM + b"Date:\r\nMessage-ID:\r\n\r\nbody\r\n",
    "own-date": FROM + b"Date: Mon, 23 Nov 2026 06:00:00 +0000\r\nMessage-ID: <mine@example.com>\r\n\r\nx\r\n",
}


@pytest.mark.parametrize("way", WAYS)
def test_accepted_headers(gw, way):
    ledger, ids = Ledger(gw), {}
    hand = Session(gw, ledger, way)
    for name, text in TAKEN.items():
        code, said = hand(text)
        assert code == 250, (name, said)
        ids[queued_id(said)] = name
    for c in ledger.expect(len(TAKEN)):
        name, raw = ids[c["message"]], gw.raw(c["id"])
        assert gw.verify(raw) > 0, name
        m = email.message_from_bytes(raw, policy=email.policy.SMTP)
        for wanted in ("From", "Date", "Message-ID"):
            assert len(m.get_all(wanted)) == 1 and m[wanted], (name, wanted)
        body = TAKEN[name].split(b"\r\n\r\n", 1)[1] if b"\r\n\r\n" in TAKEN[name] else b""
        assert body_of(raw) == body, name
        if name == "own-date":
            assert "mine@example.com" in m["Message-ID"]
        assert b"X-No" not in raw.split(b"\r\n\r\n")[0]


# SMG-20: line ends of any kind; whatever is accepted verifies, everything else is refused
def mixed_line_ends(gw, rounds):
    ledger, rng, taken = Ledger(gw), random.Random(20), []
    ends = [b"\r\n"] * 12 + [b"\n", b"\r", b"\r\r\n", b"\n\r", b"\0"]
    with_dirt = 0
    for i in range(rounds):
        head = [b"From: shop@example.com", b"Subject: x", b" folded", b"X-A: b"]
        lines = [head, head[:1]][i % 2] + [b""] + rng.choices([b"", b"a", b" b ", b"\tc\t", b".", b"..", b"d  e"], k=6)
        used = [rng.choice(ends) if rng.random() < 0.3 else b"\r\n" for _ in lines]
        used[-1] = b"\r\n"
        text = b"".join(x + e for x, e in zip(lines, used))
        clean = set(used) == {b"\r\n"}
        with_dirt += not clean
        with Raw(gw, implicit=True) as s:
            code, said = hand_in(s.login(), ledger, text, "data" if i % 3 else "bdat") if clean else \
                refused(s.login(), ledger, text, i % 3 == 0)
        assert code == (250 if clean else 550), (text, code, said)
        if clean:
            taken.append(text)
    assert with_dirt > rounds // 4 and taken
    for c in ledger.expect(len(taken)):
        assert gw.verify(gw.raw(c["id"])) > 0


def refused(s, ledger, text, by_chunks):
    """Dirt may be found in the first chunk: then the second is 503."""
    assert s.codes(b"MAIL FROM:<" + ledger.sender + b">", b"RCPT TO:<anna@customer.example>") == [250, 250]
    if by_chunks:
        s.say(b"".join(chunks(text, [])))
        return s.reply()
    assert s.command(b"DATA")[0] == 354
    s.say(b"\r\n".join(b"." + x if x.startswith(b".") else x for x in text.split(b"\r\n")) + b".\r\n")
    return s.reply()


def test_mixed_line_ends(gw):
    mixed_line_ends(gw, 60)


@pytest.mark.long
def test_mixed_line_ends_long(gw):
    mixed_line_ends(gw, 3000)


# ADR-03, ADR-04: the same verdict from every entry point
def corpus():
    path = os.path.join(ROOT, "tests/unit/relay/wire/golden/addresses.txt")
    with open(path, encoding="ascii") as f:
        for line in f:
            if not line.startswith("#"):
                verdict, address = line.rstrip("\n").split("\t")[:2]
                yield verdict, address.encode("ascii").decode("unicode_escape").encode("latin-1")


def over_smtp(gw, commands):
    """Codes of commands in sessions of few enough errors, each behind RSET and MAIL where it needs them."""
    codes, s, errors = [], None, 99
    for before, command in commands:
        if errors >= 9:
            if s is not None:
                s.close()
            s, errors = Raw(gw, implicit=True).login(), 0
        for b in before:
            assert s.command(b)[0] == 250
        codes.append(s.command(command)[0])
        errors += codes[-1] >= 500
    s.close()
    return codes


def test_one_verdict_from_every_entry_point(gw):
    # what cannot stand in a command line or a request at all is refused by both before it is an address
    rows = [(v, a) for v, a in corpus() if len(a) < 1000]
    assert len(rows) > 150
    mail = over_smtp(gw, [([b"RSET"], b"MAIL FROM:<" + a + b"> SMTPUTF8") for _, a in rows if b"\n" not in a])
    rcpt = over_smtp(gw, [([b"RSET", b"MAIL FROM:<shop@example.com> SMTPUTF8"], b"RCPT TO:<" + a + b">")
                          for _, a in rows if b"\n" not in a])
    by_line = iter(zip(mail, rcpt))
    for verdict, a in rows:
        if b"\n" not in a:
            m, r = next(by_line)
            null = a == b""  # <> is a reverse-path
            route = a.startswith(b"@a:")  # recognised in a path, and dropped (ADR-01)
            assert (m == 250) == (verdict in ("ok", "literal") or null or route), (a, m)
            assert (r == 250) == (verdict == "ok" or route), (a, r)
        try:
            text = a.decode()
        except UnicodeDecodeError:
            continue  # no JSON
        answer = gw.send(to=text)
        if verdict == "ok":
            assert answer.status == 202, (a, answer.body)
        elif verdict == "no":
            assert answer.status in (400, 422), (a, answer.status, answer.body)


def test_from_field_is_the_same_parser(gw):
    ledger = Ledger(gw)
    for verdict, a in corpus():
        if len(a) > 900 or b"\n" in a or b"\r" in a or b"\0" in a or b"," in a:
            continue
        utf8 = b"" if a.isascii() else b" SMTPUTF8"
        with Raw(gw, implicit=True) as s:
            code, said = hand_in(s.login(), ledger, b"From: " + a + b"\r\n\r\nx\r\n", "data", parameters=utf8)
        assert (code == 250) == (verdict in ("ok", "header")), (verdict, a, code, said)


def test_a_sender_whose_domain_is_only_mapped_is_told_so(gw):
    """What a reader sees is no domain of ours, though UTS 46 would make example.com of it."""
    mapped = "shop@exam\u200bple.com"
    said = "characters that stand for others"
    with Raw(gw, implicit=True) as s:
        code, text = s.login().command(b"MAIL FROM:<" + mapped.encode() + b"> SMTPUTF8")
        assert code == 553 and text.startswith("5.1.7") and said in text
        code, text = hand_in(s, Ledger(gw), b"From: " + mapped.encode() + b"\r\n\r\nx\r\n", "data",
                             parameters=b" SMTPUTF8")
        assert code == 550 and text.startswith("5.6.0") and said in text
        s.command(b"RSET")
        s.command(b"MAIL FROM:<shop@example.com> SMTPUTF8")
        code, text = s.command(b"RCPT TO:<" + mapped.encode() + b">")
        assert code == 553 and text.startswith("5.1.3") and said in text
    answer = gw.send(**{"from": mapped})
    assert answer.status == 422 and said in str(answer.json)
