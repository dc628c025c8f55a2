"""What a credential may do, on the running program: `serve` from a generated file."""
import hashlib
import secrets
import shutil
import smtplib
import ssl

import pytest
import support
from support import smtp_send
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
            row("single", f'key_hash = "{sha256("1" * 32)}";', '"one@example.com"'),
        ])

    def config(self):
        text = super().config()
        at, end = text.index("credentials = ("), text.index("queue = {")
        return f"{text[:at]}credentials = ( {self.credentials()} );\n{text[end:]}"

    def login(self, user, password=PASSWORD):
        s = smtplib.SMTP("127.0.0.1", self.smtp_port, timeout=support.LIMIT_S)
        tls = ssl.create_default_context(cafile=self.file("tls.pem"))
        tls.check_hostname = False
        s.starttls(context=tls)
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


def refused(gate, user, password=PASSWORD):
    with pytest.raises(smtplib.SMTPAuthenticationError) as e:
        gate.login(user, password)
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
