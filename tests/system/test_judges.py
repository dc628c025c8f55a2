"""A thousand messages of every shape, signed on their way through the program, judged by two verifiers that
others wrote: dkimpy (RSA and Ed25519) and Mail::DKIM (RSA)."""
import base64
import os
import random
import subprocess

import dkim
import pytest
import support
from support import queued_id, smtp_send, wait_until

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
    for _ in range(rng.choice([0, 1, 3, 40, 300])):
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


@pytest.mark.release_only(reason="the judge is at work, not the gateway, and test_mail_dkim is a judge too")
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


# RFC 8463 A.1, A.2 and A.3: the key, its record, the message and the hash of its body.
SEED = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="
RECORD = b"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
JOE = b"""From: Joe SixPack <joe@football.example.com>\r
To: Suzie Q <suzie@shopping.example.net>\r
Subject: Is dinner ready?\r
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r
Message-ID: <20030712040037.46341.5F8J@football.example.com>\r
\r
Hi.\r
\r
We lost the game.  Are you hungry yet?\r
\r
Joe.\r
"""


def test_the_key_of_rfc_8463(gateway):
    """Signed with it, mail verifies by the record that the RFC prints, which is also the one that we publish."""
    state = support.temporary_state()
    os.mkdir(os.path.join(state, "keys"), 0o700)
    der = bytes.fromhex("302e020100300506032b657004220420") + base64.b64decode(SEED)  # RFC 8410 7
    path = os.path.join(state, "keys", "dev-ed25519.pem")
    with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="ascii") as f:
        f.write(f"-----BEGIN PRIVATE KEY-----\n{base64.b64encode(der).decode()}\n-----END PRIVATE KEY-----\n")
    g = gateway(state=state)
    assert g.dns_txt("dev-ed25519._domainkey.football.example.com") == RECORD
    with g.smtp() as s:
        code, text = smtp_send(s, JOE, "joe@football.example.com", ["suzie@shopping.example.net"])
    assert code == 250, text
    raw = g.raw(g.wait_capture(queued_id(text))["id"])
    assert raw.count(b"bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=") == 2
    fields = dkim.DKIM(raw)
    signatures = [v for n, v in fields.headers if n.lower() == b"dkim-signature"]
    ours, = [i for i, v in enumerate(signatures) if b"a=ed25519-sha256" in v]
    assert fields.verify(idx=ours, dnsfunc=lambda name, timeout=5: RECORD)
