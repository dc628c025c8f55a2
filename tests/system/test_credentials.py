"""What a credential may do, on the running program: `serve` from a generated file."""
import base64
import hashlib
import itertools
import secrets
import shutil
import smtplib
import ssl

import pytest
import support
from support import auth_plain, smtp_send, wait_until
from test_serve import PASSWORD, Served

MESSAGE = b"From: a@example.com\r\nTo: b@customer.example\r\nSubject: x\r\n\r\nx\r\n"


def sha256(key):
    return hashlib.sha256(key.encode()).hexdigest()


class Policies(Served):
    """A credential for every rule; each has the password PASSWORD."""

    KEYS = [secrets.token_hex(32), secrets.token_hex(32)]

    def credentials(self):
        def row(user, rest="", senders='"example.com"'):
            return (f'{{ user = "{user}"; password_file = "{self.file("shop.hash")}"; tenant = "t"; '
                    f"senders = [ {senders} ]; {rest} }}")
        keys = ", ".join(f'"{sha256(k)}"' for k in self.KEYS)
        return ", ".join([
            row("app@example.com"),
            row("keys", f"key_hash = [ {keys} ];"),
            row("elsewhere", f'networks = [ "192.0.2.0/24" ]; key_hash = "{sha256("e" * 32)}";'),
            row("here", 'networks = [ "127.0.0.0/8", "::1" ];'),
            row("over", f'expires = "2020-01-01"; key_hash = "{sha256("o" * 32)}";'),
            row("later", 'expires = "2099-12-31T23:59:59Z";'),
            row("staging", f'recipients = [ "test.example", "boss@customer.example" ]; '
                           f'key_hash = "{sha256("s" * 32)}";'),
            row("rate", f'rate = "3/h"; key_hash = "{sha256("r" * 32)}";'),
            row("daily", f'daily = 3; key_hash = "{sha256("d" * 32)}";'),
            row("fresh", f'new_recipients = 2; key_hash = "{sha256("n" * 32)}";'),
            row("single", f'key_hash = "{sha256("1" * 32)}";', '"one@example.com"'),
        ])

    def config(self):
        text = super().config()
        at, end = text.index("credentials = ("), text.index("queue = {")
        return f"{text[:at]}credentials = ( {self.credentials()} );\n{text[end:]}"

    def connect(self, source):
        s = smtplib.SMTP("127.0.0.1", self.smtp_port, timeout=support.LIMIT_S,
                         source_address=(source, 0))
        tls = ssl.create_default_context(cafile=self.file("tls.pem"))
        tls.check_hostname = False
        s.starttls(context=tls)
        s.ehlo()
        return s

    def login(self, user, password=PASSWORD, source="127.0.0.1"):
        s = self.connect(source)
        s.login(user, password)
        return s


@pytest.fixture(scope="module")
def gate():
    dev = support.Gateway(support.temporary_state()).start()
    folder = support.temporary_state()
    g = Policies(folder, dev.ready["dns"]).start()
    yield g
    for each in (g, dev):
        each.kill_all()
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(dev.state, ignore_errors=True)


NETWORKS = itertools.count(20)


def refused(gate, user, password=PASSWORD):
    """Each time from another network: failures of one are counted."""
    with pytest.raises(smtplib.SMTPAuthenticationError) as e:
        gate.login(user, password, f"127.0.0.{next(NETWORKS)}")
    return e.value.smtp_code, e.value.smtp_error


def test_an_address_is_a_user_name(gate):
    gate.login("app@example.com").quit()


def test_a_key_is_a_password_under_any_name(gate):
    for user in ("keys", "apikey", "someone@example.org"):
        for key in gate.KEYS:
            gate.login(user, key).quit()
    assert refused(gate, "app@example.com", gate.KEYS[0])[0] == 535  # somebody else's key
    for key in gate.KEYS:
        assert gate.send(key=key).status == 202


def test_networks_and_expiry(gate):
    """Nobody learns why: the answer is that to a wrong password."""
    wrong = refused(gate, "here", "wrong")
    assert wrong[0] == 535
    assert refused(gate, "elsewhere") == wrong
    assert refused(gate, "over") == wrong
    gate.login("here").quit()
    gate.login("later").quit()
    assert gate.send(key="e" * 32).status == 401
    assert gate.send(key="o" * 32).status == 401


def test_recipients(gate):
    with gate.login("staging") as s:
        s.mail("a@example.com")
        assert s.rcpt("x@test.example")[0] == 250
        code, text = s.rcpt("x@customer.example")
        assert code == 550 and b"5.7.1" in text
        assert s.rcpt("boss@customer.example")[0] == 250
        assert s.data(MESSAGE)[0] == 250
    answer = gate.send(key="s" * 32, to=["x@test.example", "anna@customer.example"])
    assert answer.status == 403 and answer.json["code"] == "recipient_not_allowed"
    assert gate.send(key="s" * 32, to="x@test.example").status == 202


def test_a_rate_is_shared_by_both_doors_and_all_workers(gate):
    answer = gate.send(key="r" * 32)
    assert answer.status == 202
    assert answer.headers["RateLimit-Policy"] == '"rate";q=3;w=3600'
    assert answer.headers["RateLimit"].startswith('"rate";r=2;t=')
    with gate.login("rate") as s:
        assert smtp_send(s, MESSAGE, "a@example.com", ["a@x.example", "b@x.example"])[0] == 250
    with gate.login("rate") as s:
        code, text = smtp_send(s, MESSAGE, "a@example.com")
        assert code == 452 and b"4.7.1" in text and b"try again in" in text
    for _ in range(4):  # whichever worker answers
        answer = gate.send(key="r" * 32)
        assert answer.status == 429 and answer.json["code"] == "rate_limited"
        assert answer.json["type"].endswith("#quota-exceeded") and answer.json["violated-policies"] == ["rate"]
        assert 0 < int(answer.headers["Retry-After"]) <= 1200
        assert answer.headers["RateLimit"].startswith('"rate";r=0;t=')


def test_what_one_message_may_have(gate):
    """The client sends the rest in another transaction; over HTTP it has to split itself."""
    with gate.login("daily") as s:
        s.mail("a@example.com")
        for i in range(3):
            assert s.rcpt(f"r{i}@x.example")[0] == 250
        code, text = s.rcpt("r3@x.example")
        assert code == 452 and b"4.5.3" in text
    answer = gate.send(key="d" * 32, to=[f"r{i}@x.example" for i in range(4)])
    assert answer.status == 422


def test_a_message_counts_once(gate):
    """Neither a refusal nor a replay costs anything; what is over stays over."""
    assert gate.send(key="d" * 32, **{"from": "x@other.example"}).status == 403
    key = {"Idempotency-Key": "once"}
    for _ in range(3):
        assert gate.send(key="d" * 32, http_headers=key).status == 202
    other = gate.send(key="d" * 32, http_headers=key, subject="another")
    assert other.status == 422
    wait_until("what was given back is there",
               lambda: gate.send(key="d" * 32, to=["1@x.example", "2@x.example"]).status == 202)
    assert gate.send(key="d" * 32).status == 429


def test_new_recipients(gate):
    assert gate.send(key="n" * 32, to=["1@x.example", "2@x.example"]).status == 202
    assert gate.send(key="n" * 32, to="2@x.example").status == 202
    answer = gate.send(key="n" * 32, to="3@x.example")
    assert answer.status == 429 and "new recipients" in answer.json["detail"]
    assert gate.send(key="n" * 32, to="1@x.example").status == 202


def test_failures_are_limited_for_their_network_only(gate):
    """AUT-04, with a gateway of its own counters: 127.0.0.9 is another network."""
    def attempt(password, source):
        try:
            gate.login("here", password, source).quit()
        except smtplib.SMTPAuthenticationError as e:
            return e.smtp_code, e.smtp_error
        return 235, b""
    wait_until("failures are limited", lambda: attempt("wrong", "127.0.0.9")[0] == 454)
    code, text = attempt(PASSWORD, "127.0.0.9")
    assert code == 454 and b"try again in" in text
    assert attempt(PASSWORD, "127.0.0.10")[0] == 235
    wait_until("and let in again", lambda: attempt(PASSWORD, "127.0.0.9")[0] == 235)


@pytest.mark.parametrize("user", ["here", "nobody"])
def test_a_name_under_attack_is_answered_alike(gate, user):
    """AUT-02, AUT-04: from many networks, and once more from one that has failed. Who is told to wait
    does not learn from it whether there is such a name."""
    def attempt(source):
        with gate.connect(source) as s:
            return s.docmd("AUTH PLAIN " + auth_plain(user, "wrong"))[0]
    sources = [f"127.{len(user)}.1.{i}" for i in range(1, 31)]
    assert {attempt(s) for s in sources} == {535}
    assert attempt(sources[-1]) == 454


def test_no_secret_is_logged(gate):
    """AUT-07: neither passwords, nor AUTH lines, nor keys, nor their hashes."""
    gate.login("here").quit()
    refused(gate, "here", "a wrong password of mine")
    gate.send(key="s" * 32, to="x@test.example")
    gate.send(key="an unknown key")
    with open(gate.log_path, "rb") as f:
        log = f.read()
    assert b"smtp.auth-failed" in log and b"http.accepted" in log
    secret = [PASSWORD, "a wrong password of mine", "s" * 32, "an unknown key", sha256("s" * 32),
              *gate.KEYS, "$6$", "PRIVATE KEY"]
    for text in secret:
        assert text.encode() not in log, text
        if len(text) > 8:
            assert base64.b64encode(text.encode())[:-4] not in log, text
    plain = base64.b64encode(b"\0here\0" + PASSWORD.encode())
    assert plain[:16] not in log


def test_a_single_address_is_owned(gate):
    mine = MESSAGE.replace(b"a@example.com", b"one@example.com")
    with gate.login("single") as s:
        assert smtp_send(s, mine, "one@example.com")[0] == 250
        code, text = s.mail("two@example.com")
        assert code == 550 and b"5.7.1" in text
        s.rset()
        assert smtp_send(s, MESSAGE, "one@example.com")[0] == 550  # From: a@
    assert gate.send(key="1" * 32, **{"from": "two@example.com"}).status == 403
    assert gate.send(key="1" * 32, **{"from": "one@example.com"}).status == 202
