"""A thousand messages of every shape, signed on their way through the program, judged by two verifiers that
others wrote: dkimpy (RSA and Ed25519) and Mail::DKIM (RSA)."""
import os
import random
import subprocess

import pytest
from support import queued_id, wait_until

MESSAGES, SESSIONS = 1000, 10
HERE = os.path.dirname(os.path.abspath(__file__))
WORDS = ["order", "invoice", "Größe", "価格", "thank", "you", "a", ".", "..", "=20", "From ", "--", "x" * 60]


def some_text(rng, least, most, ascii_only=False):
    words = [w for w in WORDS if w.isascii() or not ascii_only]
    return " ".join(rng.choice(words) for _ in range(rng.randint(least, most)))


def folded(rng, value):
    """The value with line breaks where white space is, in the ways that RFC 5322 2.2.3 allows."""
    return "".join(rng.choice(["\r\n ", "\r\n\t", "\r\n   ", " \r\n ", "  ", " "]) if c == " " else c
                   for c in " ".join(value.split()))  # never a line of white space only: refused


def fields(rng, n, international):
    to = "anna@customer.example"
    name = rng.choice(["Shop", '"Shop, Inc. \\"x\\""', "=?utf-8?q?Gr=C3=B6=C3=9Fe?=", "Shop (a comment)"])
    lines = [f"From: {name} <shop@example.com>", f"To: {folded(rng, 'Anna Customer')} <{to}>",
             f"Subject:{rng.choice(['', ' ', '  ', chr(9)])}{folded(rng, some_text(rng, 1, 12, not international))}"]
    if rng.random() < 0.5:
        lines.append(f"Message-ID:{rng.choice([' ', chr(13) + chr(10) + ' '])}<judged-{n}@example.com>")
    if rng.random() < 0.5:
        lines.append("Date: Mon, 23 Nov 2026 10:00:00 +0000")
    for _ in range(rng.choice([0, 1, 3, 40])):
        lines.append(f"X-{rng.choice(['Tag', 'tAG', 'a', 'Long-' + 'n' * 50])}:"
                     f"{folded(rng, some_text(rng, 0, 20, True))}{rng.choice(['', ' ', chr(9)])}")
    rng.shuffle(lines)
    return lines


def body(rng):
    kind = rng.randrange(8)
    if kind == 0:
        return ""
    if kind == 1:
        return "\r\n" * rng.randint(1, 5)
    if kind == 2:
        return "\r\n".join(some_text(rng, 1, 9) for _ in range(9)) + "\r\n" * rng.randint(1, 6)
    if kind == 3:
        return "z" * 998 + "\r\n" + "y" * rng.randint(900, 998) + "\r\n"
    if kind == 4:
        return "".join(rng.choice([" ", "\t", "  \t", ""]) + some_text(rng, 0, 3)
                       + rng.choice(["", " ", "\t ", "   "]) + "\r\n" for _ in range(30))
    if kind == 5:
        return "".join("." * rng.randint(0, 3) + rng.choice(["", "a"]) + "\r\n" for _ in range(20))
    if kind == 6:
        return "".join(chr(rng.choice([*range(32, 127), 0xe4, 0x4fa1])) for _ in range(300)) + "\r\n"
    return ("0123456789abcdef" * 4 + "\r\n") * rng.randint(1, 2000)


def message(rng, n):
    """(bytes, whether it needs SMTPUTF8)"""
    international = rng.random() < 0.2
    header = "\r\n".join(fields(rng, n, international)) + "\r\n"
    if rng.random() < 0.3:
        header += "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n" \
                  "Content-Transfer-Encoding: 8bit\r\n"
    return (header + "\r\n" + body(rng)).encode(), international


def send_by_smtp(session, raw, international):
    options = ["BODY=8BITMIME"] + (["SMTPUTF8"] if international else [])
    assert session.mail("shop@example.com", options)[0] == 250
    assert session.rcpt("anna@customer.example")[0] == 250
    session.putcmd("data")
    assert session.getreply()[0] == 354
    session.send(b"".join(b"." + x if x.startswith(b".") else x
                          for x in raw.splitlines(keepends=True)) + b".\r\n")
    code, text = session.getreply()
    assert code == 250, (code, text, raw[:2000])
    return queued_id(text)


def send_by_http(gateway, raw):
    answer = gateway.http("POST", "/v1/messages/raw?from=shop@example.com&to=anna@customer.example", raw,
                          {"Content-Type": "message/rfc822"})
    assert answer.status == 202, (answer.body, raw[:2000])
    return answer.json["id"]


@pytest.fixture(scope="module")
def judged(gw, tmp_path_factory):
    """(gateway, files): what arrived of MESSAGES messages."""
    rng, ids = random.Random(6376), []
    sessions = [gw.smtp() for _ in range(SESSIONS)]
    for n in range(MESSAGES):
        raw, international = message(rng, n)
        if n % 2 == 0:
            ids.append(send_by_smtp(sessions[n % SESSIONS], raw, international))
        else:
            ids.append(send_by_http(gw, raw))
    for s in sessions:
        s.quit()
    wait_until("all are delivered", lambda: len({c["message"] for c in gw.captures()}) >= len(ids))
    files, where = [], tmp_path_factory.mktemp("judged")
    for capture in gw.captures():
        path = str(where / f"{len(files)}.eml")
        with open(path, "wb") as f:
            f.write(gw.raw(capture["id"]))
        files.append(path)
    return gw, files


def test_dkimpy_finds_them_good(judged):
    gw, files = judged
    assert len(files) == MESSAGES
    records = {}

    def txt(name):
        if name not in records:
            records[name] = type(gw).dns_txt(gw, name)
        return records[name]

    gw.dns_txt = txt
    for path in files:
        with open(path, "rb") as f:
            assert gw.verify(f.read()) == 2, path
    del gw.dns_txt


def test_mail_dkim_finds_them_good(judged):
    gw, files = judged
    port = gw.ready["dns"].rsplit(":", 1)[1]
    found = subprocess.run(["perl", os.path.join(HERE, "dkim_judge.pl"), port, *files],
                           stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    assert [line.split() for line in found] == [[path, "1"] for path in files]
