"""What an MX host or a name server may do to the running program, and what becomes of the mail.

The cases are those of tests/CASES.md. A message that a case defers stays in the queue; the last test
makes all hosts good and looks that everything arrives once.
"""
import email
import email.policy
import json
import random
import ssl
import subprocess
import warnings
from datetime import datetime, timedelta

import pytest
from hostile import CLOSE, RESET, SILENT, TRUNCATED, Nice, World, server_context
from raw_smtp import Raw, bytes_unread
from support import queued_id, wait_until

LARGE = "line of text\n" * 400000  # more than the buffers on the way hold: the kernel keeps up to 4 MB


@pytest.fixture(scope="module")
def world():
    from conftest_shared import clean_up, make_gateways
    started, make = make_gateways()
    w = World(make)
    yield w
    clean_up(started)
    w.close()


class Case:
    """A domain with a host of its own, and a message to it."""

    def __init__(self, world, behaviour, to=("a",), second=None, **fields):
        self.world, self.host = world, world.host(behaviour)
        self.domain = f"d{len(world.hosts)}.test"
        world.point(self.domain, *([self.host] + ([second] if second else [])))
        self.local_parts, self.fields = to, fields
        self.id = self.send()

    def send(self):
        return self.world.send(*[f"{x}@{self.domain}" for x in self.local_parts], **self.fields)

    def recipients(self, message_id=None):
        m = self.world.gw.message(message_id or self.id)
        return {r["email"].split("@")[0]: r for r in m["recipients"]}

    def expect(self, message_id=None, **statuses):
        """Waits until each recipient has an outcome; it is the one that is said."""
        def settled():
            r = self.recipients(message_id)
            ready = all(x["status"] not in ("queued", "scheduled") for x in r.values())
            return r if ready else None
        found = wait_until("outcomes", settled)
        assert {k: v["status"] for k, v in found.items()} == statuses, found
        return found

    def response(self, local_part="a"):
        return self.recipients()[local_part]["last_response"]

    def report(self, local_part="a"):
        """The delivery-status part for the sender."""
        gw = self.world.gw
        ndr = wait_until("a report", lambda: self.recipients()[local_part]["ndr_id"])
        gw.wait_status(ndr, "delivered")
        texts = [d.text for d in self.world.home.dots
                 if d.sender == "" and self.domain.encode() in d.text]
        m = email.message_from_bytes(texts[-1], policy=email.policy.default)
        assert m.get_content_type() == "multipart/report"
        return m.get_payload()[1]


def copies(host):
    return [rcpt for d in host.dots for rcpt in d.recipients]


# ---- MXR-02: replies without text, without end ------------------------------------

@pytest.mark.parametrize("behaviour", [
    Nice(greeting=b"220\r\n"), Nice(ehlo=b"250-mx\r\n250-\r\n250\r\n"), Nice(final=b"250\r\n"),
    Nice(mail=b"250\r\n", rcpt=b"250\r\n", data=b"354\r\n"), Nice(final=b"250-one\r\n250-\r\n250\r\n"),
], ids=["greeting", "ehlo", "final", "all", "last-line"])
def test_replies_without_text_are_replies(world, behaviour):
    case = Case(world, behaviour)
    case.expect(a="delivered")
    assert len(case.host.dots) == 1


@pytest.mark.parametrize("said,code,text", [
    (b"550\r\n", 550, ""), (b"550 \r\n", 550, ""), (b"550-5.1.1 who?\r\n550\r\n", 550, "who?"),
    (b"550-\r\n550-\r\n550\r\n", 550, "")], ids=["bare", "space", "last-line", "empty-lines"])
def test_refusals_without_text(world, said, code, text):
    # what the recipients before said must not come up again
    case = Case(world, Nice(rcpt={"first": b"550 5.7.1 something secret of before\r\n", "a": said}),
                to=("first", "a"))
    case.expect(first="bounced", a="bounced")
    assert case.response()["code"] == code and case.response()["text"].strip() == text
    assert case.response()["enhanced"] != "5.7.1"
    report = case.report().as_string()
    assert report.count("something secret of before") == 1
    assert report.count("Final-Recipient:") == 2 and f"a@{case.domain}" in report
    assert case.host.dots == []


@pytest.mark.parametrize("behaviour", [
    Nice(greeting=lambda c: c.flood(b"220-\r\n")), Nice(ehlo=lambda c: c.flood(b"250-\r\n")),
    Nice(mail=lambda c: c.flood(b"250-x\r\n")), Nice(rcpt=[lambda c: c.flood(b"550-no\r\n")]),
    Nice(final=[lambda c: c.flood(b"250-almost\r\n")]),
], ids=["greeting", "ehlo", "mail", "rcpt", "final"])
def test_replies_without_end(world, behaviour):
    case = Case(world, behaviour)
    uncertain = behaviour.final is not Nice.final
    r = case.expect(a="deferred")["a"]
    assert r["uncertain"] == uncertain and r["last_response"]["enhanced"].startswith("4.")
    assert bool(case.host.dots) == uncertain


def test_a_greeting_of_421_only(world):
    case = Case(world, Nice(greeting=[b"421\r\n", CLOSE]))
    assert case.expect(a="deferred")["a"]["last_response"]["code"] == 421
    assert case.response()["text"].strip() == ""


# ---- MXR-04: as many replies as commands --------------------------------------------

PLAIN = b"250 mx.test\r\n"  # no PIPELINING: one command, one reply


@pytest.mark.parametrize("behaviour", [
    Nice(greeting=b"220 mx\r\n250 mx\r\n"),
    Nice(ehlo=PLAIN + b"250 ok\r\n"),
    Nice(ehlo=PLAIN, mail=b"250 ok\r\n250 ok\r\n"),
    Nice(ehlo=PLAIN, rcpt=b"250 ok\r\n354 go\r\n"),
    Nice(ehlo=PLAIN, rcpt=b"354 go\r\n"),
    Nice(ehlo=PLAIN, mail=b"354 go\r\n"),
    Nice(ehlo=PLAIN, data=b"250 ok\r\n"),
    Nice(data=b"250 ok\r\n"),
    Nice(data=b"354 go\r\n250 kept\r\n"),
    Nice(data=b"354 go\r\n354 go\r\n"),
    Nice(mail=b"250 ok\r\n250 ok\r\n354 go\r\n250 kept\r\n250 kept\r\n"),
    Nice(rcpt=b"250 ok\r\n354 go\r\n250 kept\r\n"),
    Nice(rcpt=b"354 go\r\n", data=b"250 ok\r\n"),
], ids=["greeting", "ehlo", "mail", "early-354", "354-to-rcpt", "354-to-mail", "250-to-data",
        "250-to-data-pipelined", "354-then-250", "354-twice", "all-at-once", "one-ahead",
        "out-of-order"])
def test_a_host_out_of_step_has_no_message(world, behaviour):
    case = Case(world, behaviour)
    r = case.expect(a="deferred")["a"]
    assert not r["uncertain"] and r["last_response"]["enhanced"].startswith("4."), r
    assert case.host.dots == []


@pytest.mark.parametrize("said", [b"250 kept\r\n", b"250 kept\r\n250 kept\r\n", b"354 go\r\n",
                                  b"nonsense\r\n"])
def test_replies_in_the_middle_of_the_text(world, said):
    case = Case(world, Nice(text=said), text=LARGE)
    assert not case.expect(a="deferred")["a"]["uncertain"]
    assert case.host.dots == []


@pytest.mark.parametrize("said", [b"250 kept\r\n250 kept\r\n", b"250 kept\r\n550 no\r\n",
                                  b"354 go\r\n", b"garbage\r\n"])
def test_nobody_knows_what_two_replies_to_the_dot_mean(world, said):
    case = Case(world, Nice(final=said))
    assert case.expect(a="deferred")["a"]["uncertain"]


def test_a_reply_while_idle(world):
    case = Case(world, Nice(final=[b"250 kept\r\n", lambda c: c.host.idle.append(c)]))
    case.host.idle = []
    case.expect(a="delivered")
    case.host.behaviour = Nice()
    wait_until("the connection is idle", lambda: case.host.idle)
    c, = case.host.idle
    ends = c.sock.getpeername(), c.sock.getsockname()  # the answer may be that both are closed at once
    c.sock.sendall(b"250 kept\r\n250 kept\r\n354 go\r\n")
    wait_until("it was read", lambda: not bytes_unread(*ends))
    case.expect(case.send(), a="delivered")
    assert len(case.host.dots) == 2
    assert not any(x.startswith("MAIL") for x in case.host.connections[0].commands[4:])


# ---- MXR-05 to MXR-08 -----------------------------------------------------------------

@pytest.mark.parametrize("said,status", [(b"550 5.1.1 no\r\n", "bounced"),
                                         (b"450 4.2.1 later\r\n", "deferred")])
def test_354_for_nobody(world, said, status):
    case = Case(world, Nice(rcpt=said), to=("a", "b"))
    r = case.expect(a=status, b=status)
    assert {x["last_response"]["code"] for x in r.values()} == {int(said[:3])}
    assert case.host.dots == []


RCPT_MIX = {"b": b"550 5.1.1 no\r\n", "c": b"451 4.3.0 later\r\n", "d": b"452 4.5.3 too many\r\n"}


def test_each_recipient_has_its_own_answer(world):
    case = Case(world, Nice(rcpt=RCPT_MIX), to=("a", "b", "c"))
    case.expect(a="delivered", b="bounced", c="deferred")
    assert copies(case.host) == [f"a@{case.domain}"]


def test_too_many_goes_at_once_in_another_transaction(world):
    def once(c):
        c.sock.sendall(b"452 4.5.3 too many\r\n")
        c.behaviour.rcpt = {}

    case = Case(world, Nice(rcpt={"d": [once]}), to=("a", "d"))
    case.expect(a="delivered", d="delivered")
    assert [d.recipients for d in case.host.dots] == [[f"a@{case.domain}"], [f"d@{case.domain}"]]
    assert {r["attempts"] for r in case.recipients().values()} == {1}


@pytest.mark.parametrize("with_another", [False, True], ids=["alone", "two-hosts"])
def test_421_in_the_middle_of_recipients(world, with_another):
    second = world.host() if with_another else None
    case = Case(world, Nice(rcpt=dict(RCPT_MIX, e=[b"421 4.3.2 closing\r\n", CLOSE])),
                to=("a", "b", "c", "d", "e", "f"), second=second)
    rest = "delivered" if with_another else "deferred"
    r = case.expect(a=rest, b="bounced", c="deferred", d=rest, e=rest, f=rest)
    assert r["b"]["last_response"]["code"] == 550 and r["c"]["last_response"]["code"] == 451
    assert case.host.dots == []
    if with_another:
        assert sorted(x[0] for x in copies(second)) == ["a", "d", "e", "f"]


@pytest.mark.parametrize("behaviour,code", [
    (Nice(mail=[b"550 5.7.1 blocked\r\n", CLOSE]), 550),
    (Nice(rcpt=[b"554 5.7.1 blocked\r\n", CLOSE]), 554),
    (Nice(ehlo=PLAIN, mail=[b"550 5.7.1 blocked\r\n", CLOSE]), 550),
    (Nice(ehlo=PLAIN, rcpt=[b"550 5.7.1 blocked\r\n", CLOSE]), 550),
], ids=["mail", "rcpt", "mail-plain", "rcpt-plain"])
def test_a_refusal_before_the_close_counts(world, behaviour, code):
    case = Case(world, behaviour)
    r = case.expect(a="bounced")["a"]
    assert (r["last_response"]["code"], r["last_response"]["enhanced"]) == (code, "5.7.1")
    assert case.host.dots == []


@pytest.mark.parametrize("behaviour", [
    Nice(text=b"451 4.3.0 stop\r\n"), Nice(text=[b"421 4.3.2 stop\r\n", CLOSE]), Nice(text=CLOSE),
    Nice(text=RESET), Nice(text=[b"554 5.0.0 stop\r\n", CLOSE])],
    ids=["451", "421", "close", "reset", "554"])
def test_the_text_is_broken_off(world, behaviour):
    case = Case(world, behaviour, text=LARGE)
    assert not case.expect(a="deferred")["a"]["uncertain"]
    assert case.host.dots == []


@pytest.mark.parametrize("final,status,uncertain", [
    (CLOSE, "deferred", True), (RESET, "deferred", True), ([b"25", CLOSE], "deferred", True),
    ([b"250-kept\r\n", CLOSE], "deferred", True), (b"451 4.3.0 later\r\n", "deferred", False),
    ([b"421 4.3.2 closing\r\n", CLOSE], "deferred", False), (b"554 5.6.0 spam\r\n", "bounced", False),
    ([b"250 kept\r\n", CLOSE], "delivered", False), ([b"250 kept\r\n", RESET], None, None),
], ids=["close", "reset", "half", "half-reply", "451", "421", "554", "250-close", "250-reset"])
def test_after_the_dot(world, final, status, uncertain):
    before = world.gw.metric("stagepost_uncertain_attempts_total")
    case = Case(world, Nice(final=final))
    if status is None:  # a reset may overtake the reply that was written before it
        wait_until("an outcome", lambda: case.recipients()["a"]["status"] in ("delivered", "deferred"))
        r = case.recipients()["a"]
        assert r["uncertain"] == (r["status"] == "deferred")
        return
    assert case.expect(a=status)["a"]["uncertain"] == uncertain
    if uncertain:  # otherwise a later attempt of another case's mail may be counted meanwhile
        assert world.gw.metric("stagepost_uncertain_attempts_total") > before


# ---- MXR-11: STARTTLS -------------------------------------------------------------------

OFFER = b"250-mx.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 STARTTLS\r\n"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """{kind: ssl.SSLContext}; the host's name is in none of them."""
    folder = tmp_path_factory.mktemp("certificates")

    def run(*command):
        subprocess.run(["openssl", *command], cwd=folder, check=True, capture_output=True)

    for name, days in (("valid", "10"), ("expired", "-1")):
        run("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
            "/CN=elsewhere.test", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        run("x509", "-req", "-in", f"{name}.csr", "-signkey", f"{name}.key", "-days", days,
            "-out", f"{name}.crt")
    old = server_context(folder / "valid.crt", folder / "valid.key")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that is what the case is about
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1
    old.set_ciphers("ALL:@SECLEVEL=0")
    return {"self-signed": server_context(folder / "valid.crt", folder / "valid.key"),
            "expired": server_context(folder / "expired.crt", folder / "expired.key"), "tls1.0": old}


def go(c):
    c.sock.sendall(b"220 go\r\n")
    c.start_tls()


def hello_then_garbage(c):
    c.sock.sendall(b"220 go\r\n")
    c.read()  # the ClientHello
    c.sock.sendall(b"this is no TLS record at all\r\n")
    c.read()


@pytest.mark.parametrize("kind", ["self-signed", "expired"])
def test_certificates_are_not_asked_for(world, certificates, kind):
    case = Case(world, Nice(ehlo=OFFER, starttls=go, tls=certificates[kind]))
    case.expect(a="delivered")
    dot, = case.host.dots
    assert dot.tls and len(case.host.connections) == 1
    assert case.host.commands().count("EHLO localhost") == 2


@pytest.mark.parametrize("starttls,connections", [
    (b"454 4.7.0 not now\r\n", 1), (b"502 5.5.1 no\r\n", 1), (CLOSE, 2), ([b"220 go\r\n", CLOSE], 2),
    ([b"220 go\r\n", RESET], 2), (hello_then_garbage, 2), (go, 2),
], ids=["454", "502", "close", "220-close", "220-reset", "garbage", "tls1.0"])
def test_broken_tls_goes_on_in_clear(world, certificates, starttls, connections):
    case = Case(world, Nice(ehlo=OFFER, starttls=starttls, tls=certificates["tls1.0"]))
    case.expect(a="delivered")
    dot, = case.host.dots
    assert not dot.tls and len(case.host.connections) == connections
    if connections == 2:  # remembered: the next one does not ask for TLS
        case.host.behaviour = Nice(ehlo=OFFER, starttls=starttls, final=[b"250 kept\r\n", CLOSE])
        for _ in range(2):
            case.expect(case.send(), a="delivered")
        assert case.host.commands().count("STARTTLS") == 1


@pytest.mark.parametrize("starttls", [
    b"220 go\r\n250-evil\r\n250 AUTH PLAIN\r\n", b"220 go\r\n2", b"220 go\r\n\x16\x03\x01", b"250 go\r\n",
], ids=["replies", "one-byte", "tls-bytes", "250"])
def test_bytes_behind_220_end_it(world, certificates, starttls):
    case = Case(world, Nice(ehlo=OFFER, starttls=starttls, tls=certificates["self-signed"]))
    case.expect(a="deferred")
    assert case.host.dots == []
    assert not [x for x in case.host.commands() if x.startswith(("MAIL", "AUTH"))]


# ---- CMD-09: what a client gave is encoded again ------------------------------------------

def test_dsn_parameters_are_passed_on(world):
    host = world.host()
    world.point("dsn.test", host)
    with Raw(world.gw) as s:
        s.login()
        assert s.command(b"MAIL FROM:<shop@home.test> RET=HDRS ENVID=a+2Bb+3Dc+20d")[0] == 250
        assert s.command(b"RCPT TO:<a@dsn.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;o+2Bx+3D@y.test")[0] == 250
        assert s.command(b"DATA")[0] == 354
        s.say(b"From: shop@home.test\r\n\r\nx\r\n.\r\n")
        code, text = s.reply()
    assert code == 250
    world.gw.wait_status(queued_id(text), "delivered")
    mail, = [x for x in host.commands() if x.startswith("MAIL")]
    rcpt, = [x for x in host.commands() if x.startswith("RCPT")]
    assert set(mail.split()[2:]) >= {"RET=HDRS", "ENVID=a+2Bb+3Dc+20d"}
    assert rcpt.split()[2:] == ["NOTIFY=SUCCESS,DELAY", "ORCPT=rfc822;o+2Bx+3D@y.test"]


# ---- DNS-01, DNS-04 to DNS-08 ----------------------------------------------------------------

# domain: (its records, status, code, enhanced); ME is the address of a host that would take it
ME = object()
ROUTES = {
    "null": ({"MX": ["0 ."], "A": ME}, "bounced", 556, "5.1.10"),                     # DNS-01
    "missing": ({}, "bounced", 550, "5.1.2"),                                         # DNS-04
    "nodata": ({"TXT": ['"here"']}, "bounced", 550, "5.4.4"),                         # DNS-06
    "servfail": ({"MX": "SERVFAIL", "A": ME}, "deferred", 451, "4.4.3"),              # DNS-07
    "refused": ({"MX": "REFUSED", "A": ME}, "deferred", 451, "4.4.3"),
    "formerr": ({"MX": "FORMERR", "A": ME}, "deferred", 451, "4.4.3"),
    "truncated": ({"MX": TRUNCATED, "A": ME}, "deferred", 451, "4.4.3"),
    "silent": ({"MX": SILENT, "A": ME}, "deferred", 451, "4.4.3"),
    "gone": ({"MX": ["10 no.such.test."], "A": ME}, "bounced", 550, "5.4.4"),         # DNS-08
    "empty": ({"MX": ["10 nodata.test."], "A": ME}, "bounced", 550, "5.4.4"),
    "broken": ({"MX": ["10 x.broken.test."], "A": ME, "x.A": "SERVFAIL", "x.AAAA": "SERVFAIL"},
               "deferred", 451, "4.4.3"),
    "mixed": ({"MX": ["10 no.such.test.", "20 x.mixed.test."], "A": ME, "x.A": "SERVFAIL",
               "x.AAAA": "SERVFAIL"}, "deferred", 451, "4.4.3"),
    "private": ({"MX": ["10 x.private.test."], "A": ME, "x.A": ["10.0.0.1"]}, "bounced", 550, "5.4.4"),
}


@pytest.fixture(scope="module")
def routes(world):
    """All questions at once: one of them is never answered."""
    host = world.host()
    for name, (records, *_) in ROUTES.items():
        for kind, data in records.items():
            owner, kind = kind.rsplit(".", 1) if "." in kind else ("", kind)
            owner = f"{owner}.{name}.test".lstrip(".")
            world.dns.answers[owner, kind] = [host.ip] if data is ME else data
    return host, {name: world.send(f"a@{name}.test") for name in ROUTES}


@pytest.mark.parametrize("name", ROUTES)
def test_what_dns_says(world, routes, name):
    host, messages = routes
    _, status, code, enhanced = ROUTES[name]
    r = world.gw.wait_status(messages[name], status)["recipients"][0]
    assert (r["last_response"]["code"], r["last_response"]["enhanced"]) == (code, enhanced)
    assert host.connections == []
    asked = {kind for n, kind in world.dns.asked if n == f"{name}.test"}
    assert asked == ({"MX", "A", "AAAA"} if name == "nodata" else {"MX"})


# DNS-05
def test_a_domain_without_mx_is_its_own_host(world):
    host = world.host()
    world.dns.answers["implicit.test", "A"] = [host.ip]
    world.gw.wait_status(world.send("a@implicit.test"), "delivered")
    assert copies(host) == ["a@implicit.test"]


# ---- SMG-14: what leaves us --------------------------------------------------------------------

PARTS = [b"\r\n", b"\r\n", b"\r\n\r\n", b"\r\n.", b".", b"..", b"\r\n..\r\n", b"a", b"From ", b"xyz" * 50,
         b"\xc3\xa9", b"\t", b"=", b"MAIL FROM:<evil@x.test>", b"x" * 900]
DIRT = [b"\n", b"\r", b"\0", b"\r\r\n", b"\n.\n", b"\r\n.\n"]
VERBS = {"EHLO", "HELO", "STARTTLS", "MAIL", "RCPT", "DATA", "RSET", "QUIT"}


def random_body(generator):
    parts = generator.choices(PARTS, k=generator.randrange(30))
    if generator.random() < 0.2:
        parts.insert(generator.randrange(len(parts) + 1), generator.choice(DIRT))
    return b"".join(parts)


def give_by_smtp(session, to, body):
    """True when it was accepted; a dirty one ends the session."""
    session.begin_data(sender=b"shop@home.test", to=(to,))
    text = b"From: shop@home.test\r\n\r\n" + body + b"\r\n"
    session.say(b"\r\n".join(b"." + x if x.startswith(b".") else x for x in text.split(b"\r\n")) + b".\r\n")
    return session.reply()[0] == 250


def give_by_http(gw, to, body, raw):
    if raw:
        return gw.http("POST", f"/v1/messages/raw?from=shop@home.test&to={to}",
                       b"From: shop@home.test\r\n\r\n" + body + b"\r\n",
                       headers={"Content-Type": "message/rfc822"}).status == 202
    return gw.send(to=to, **{"from": "shop@home.test"}, text=body.decode("latin-1"),
                   html=body.decode("latin-1")).status == 202


def expect_clean(text):
    """As it was on the wire, without the dot that ended it."""
    assert text.endswith(b"\r\n") and b"\0" not in text
    for line in text[:-2].split(b"\r\n"):
        assert b"\r" not in line and b"\n" not in line and len(line) <= 999
        assert not line.startswith(b".") or line.startswith(b".."), line


def what_leaves_is_clean(world, count):
    gw, host, generator = world.gw, world.host(), random.Random(count)
    domain = f"d{len(world.hosts)}.test"
    world.point(domain, host)
    host.behaviour = Nice(rcpt={"no": b"550 5.1.1 no \xff\r\n"})
    home, session, accepted = len(world.home.dots), None, {"a": 0, "no": 0}
    for i in range(count):
        local_part = "no" if i % 10 == 0 else "a"
        to, body = f"{local_part}@{domain}", random_body(generator)
        if i % 2 == 0:
            session = session or Raw(gw, implicit=True).login()
            taken = give_by_smtp(session, to.encode(), body)
            session = session if taken else session.close()
        else:
            taken = give_by_http(gw, to, body, raw=i % 4 == 1)
        accepted[local_part] += taken
    assert accepted["a"] > count / 3 and accepted["no"] > count / 30
    wait_until("all arrive", lambda: len(host.dots) >= accepted["a"]
               and len(world.home.dots) - home >= accepted["no"])
    assert (len(host.dots), len(world.home.dots) - home) == (accepted["a"], accepted["no"])
    for dot in host.dots + world.home.dots[home:]:
        expect_clean(dot.text)
    assert {x.split(" ")[0] for x in host.commands() + world.home.commands()} <= VERBS


def test_what_leaves_is_clean(world):
    what_leaves_is_clean(world, 200)


@pytest.mark.long
def test_what_leaves_is_clean_long(world):
    what_leaves_is_clean(world, 20000)


def test_what_a_host_says_stays_in_its_string(world):
    """INJ-08, INJ-10: answers, events, the log and a terminal show it without being changed by it."""
    case = Case(world, Nice(rcpt={"a": b'550-5.1.1 "},{"event":"bug"}\xff\xc3(\xed\xa0\x80\r\n'
                                       b"550 5.1.1 \x1b[2J\x1b]0;x\x07 \xe2\x80\xae \x00 </script>" + b"z" * 300 + b"\r\n"}))
    case.expect(a="bounced")
    texts = [case.response()["text"]]
    events = world.gw.http("GET", f"/v1/messages/{case.id}/events")
    assert events.status == 200
    texts += [e["response"]["text"] for e in events.json["data"] if e["response"]]
    assert len(texts) > 1
    for text in texts:
        assert '"},{"event":"bug"}' in text and text.isprintable(), text
    for line in world.gw.log().splitlines():
        assert line.isprintable() and isinstance(json.loads(line), dict), line
    assert not world.gw.events("bug")
    for view in [], ["explain"]:
        done = subprocess.run([world.gw.binary, "msg", case.id, *view, "--state", world.gw.state],
                              capture_output=True, check=True)
        assert b'"event":"bug"' in done.stdout
        assert all(c.isprintable() or c == "\n" for c in done.stdout.decode()), done.stdout


# ---- in the end ---------------------------------------------------------------------------------

def test_in_the_end_everything_arrives_once(world):
    """What was deferred is delivered when the hosts are good; twice only where it was uncertain."""
    for h in world.hosts:
        h.behaviour = Nice()

    elsewhere = {f"{x}.test" for x in ROUTES}

    def finished():
        now = datetime.fromisoformat(world.gw.advance("1s").replace("Z", "+00:00"))
        due = [datetime.fromisoformat(r["next_attempt_at"].replace("Z", "+00:00"))
               for m in map(world.gw.message, world.messages) for r in m["recipients"]
               if r["next_attempt_at"] and r["email"].split("@")[1] not in elsewhere]
        if due and min(due) > now + timedelta(minutes=1):  # not what only waits for its host
            world.gw.advance("1h")
        return not due

    wait_until("all are finished", finished)
    for message_id in world.messages:
        for r in world.gw.message(message_id)["recipients"]:
            if r["email"].split("@")[1] in elsewhere:
                continue
            copies = world.copies(message_id, r["email"])
            assert r["status"] in ("delivered", "bounced"), (message_id, r)
            if r["status"] == "bounced":
                assert copies == 0, r
            else:
                assert copies == 1 or (copies > 1 and r["uncertain"]), (copies, r)
    wait_until("each report arrived once and was counted once", lambda: world.gw.metric(
        "stagepost_ndr_total") == len([d for d in world.home.dots if d.sender == ""]))
