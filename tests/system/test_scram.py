"""SCRAM-SHA-256 and -PLUS with real clients (gsasl, msmtp) and with one that misbehaves: on the development
mode's credentials, on keys of the configuration file, and on those of the registry."""
import base64
import contextlib
import hashlib
import hmac
import os
import secrets
import shutil
import smtplib
import ssl
import subprocess

import pytest
import support
from support import LIMIT_S, wait_until
from test_control import control
from test_credentials_api import make
from test_serve import Served

OFFER = "SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN"


def b64(data):
    return base64.b64encode(data).decode()


def escaped(user):
    return user.replace("=", "=3D").replace(",", "=2C")


def scram_key(g, password, *options):
    """What `stagepost credential scram` prints."""
    done = subprocess.run([g.binary, "credential", "scram", *options], input=password + "\n", check=True,
                          capture_output=True, text=True)
    return done.stdout.strip()


class Wrong(Exception):
    """The reply that the exchange ended with."""


def say(s, text):
    """One line; the challenge of a 334, else (code, text)."""
    code, answer = s.docmd(text)
    if code != 334:
        raise Wrong(code, answer.decode())
    return base64.b64decode(answer)


def proof(password, answer, auth_message):
    fields = dict(f.split("=", 1) for f in answer.split(","))
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(fields["s"]), int(fields["i"]))
    client = hmac.digest(salted, b"Client Key", "sha256")
    signature = hmac.digest(hashlib.sha256(client).digest(), auth_message, "sha256")
    server = hmac.digest(salted, b"Server Key", "sha256")
    return (bytes(a ^ b for a, b in zip(client, signature)),
            b"v=" + base64.b64encode(hmac.digest(server, auth_message, "sha256")))


def scram(s, user, password, flag="n", binding=b"", plus=False, spoil=lambda final: final):
    """A client of our own; 235 or Wrong. Checks that the server has the keys too."""
    bare = f"n={escaped(user)},r={secrets.token_hex(12)}"
    mechanism = "SCRAM-SHA-256-PLUS" if plus else "SCRAM-SHA-256"
    answer = say(s, f"AUTH {mechanism} {b64(f'{flag},,{bare}'.encode())}").decode()
    nonce = answer.split(",")[0]
    assert nonce.startswith("r=" + bare.rsplit("r=", 1)[1])
    final = f"c={b64(f'{flag},,'.encode() + binding)},{nonce}"
    mine, theirs = proof(password, answer, f"{bare},{answer},{final}".encode())
    assert say(s, b64(spoil(f"{final},p={b64(mine)}").encode())) == theirs
    assert s.docmd("")[0] == 235
    return dict(f.split("=", 1) for f in answer.split(","))


def connect(g, version=None):
    host, port = g.ready["smtp"].rsplit(":", 1)
    tls = ssl.create_default_context(cafile=g.ready["ca"])
    if version is not None:
        tls.maximum_version = version
    s = smtplib.SMTP(host.strip("[]"), int(port), timeout=LIMIT_S)
    s.starttls(context=tls)
    s.ehlo()
    return s


def refused(g, *args, **kw):
    with connect(g) as s:
        with pytest.raises(Wrong) as e:
            scram(s, *args, **kw)
        return e.value.args


@pytest.fixture(scope="module")
def dev():
    g = support.Gateway(support.temporary_state(), ("--workers", "2")).start()
    yield g
    g.kill_all()
    shutil.rmtree(g.state, ignore_errors=True)


# ---- real clients ------------------------------------------------------------------


def gsasl(g, *options):
    host, port = g.ready["smtp"].rsplit(":", 1)
    done = subprocess.run(
        ["gsasl", "--smtp", f"--connect={host}:{port}", "--hostname=localhost", "-a", "dev", "-p", "dev",
         f"--x509-ca-file={g.ready['ca']}", "-d", "--verbose", *options],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT_S)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("gsasl") is None, reason="no gsasl")
@pytest.mark.parametrize("mechanism,options,flag", [
    ("SCRAM-SHA-256-PLUS", (), "p=tls-exporter"),
    ("SCRAM-SHA-256-PLUS", ("--priority=NORMAL:-VERS-TLS1.3",), "p=tls-unique"),
    ("SCRAM-SHA-256", ("--no-cb",), "n"),
])
def test_gsasl(dev, mechanism, options, flag):
    """GnuTLS has the same binding as our OpenSSL, with TLS 1.3 and 1.2."""
    code, said = gsasl(dev, "-m", mechanism, *options)
    assert "235 2.7.0" in said and "server trusted" in said, said
    assert code == 0
    first = f"{flag},,n=dev,r=".encode()
    assert any(line.startswith(b64(first)[:len(first) // 3 * 4]) for line in said.splitlines())
    wait_until("it is logged", lambda: any(
        e["mechanism"] == mechanism and e["user"] == "dev" for e in dev.events("smtp.auth")))


@pytest.mark.skipif(shutil.which("msmtp") is None, reason="no msmtp")
def test_msmtp(dev, tmp_path):
    host, port = dev.ready["smtp"].rsplit(":", 1)
    conf = tmp_path / "msmtprc"
    conf.write_text(f"account default\nhost {host}\nport {port}\ntls on\ntls_starttls on\n"
                    f"tls_trust_file {dev.ready['ca']}\nauth scram-sha-256\nuser dev\npassword dev\n"
                    "from shop@example.com\n", encoding="utf-8")
    os.chmod(conf, 0o600)
    done = subprocess.run(["msmtp", "-C", str(conf), "anna@customer.example"], capture_output=True, text=True,
                          input="From: shop@example.com\nSubject: x\n\nx\n", timeout=LIMIT_S)
    if "not supported" in done.stderr:
        pytest.skip("this msmtp is built without SCRAM")
    assert done.returncode == 0, done.stderr


# ---- a client of our own --------------------------------------------------------------


def test_offered_under_tls_only(dev):
    host, port = dev.ready["smtp"].rsplit(":", 1)
    with smtplib.SMTP(host, int(port), timeout=LIMIT_S) as s:
        s.ehlo()
        assert "auth" not in s.esmtp_features
        assert s.docmd("AUTH SCRAM-SHA-256")[0] == 530
        s.starttls(context=ssl.create_default_context(cafile=dev.ready["ca"]))
        s.ehlo()
        assert s.esmtp_features["auth"].split() == OFFER.split()
        assert s.docmd("AUTH SCRAM-SHA-1")[0] == 504


def test_mail_after_it(dev):
    with connect(dev) as s:
        scram(s, "dev", "dev")
        assert s.sendmail("shop@example.com", "anna@customer.example",
                          b"From: shop@example.com\r\nSubject: x\r\n\r\nx\r\n") == {}


def test_channel_binding(dev):
    with connect(dev, ssl.TLSVersion.TLSv1_2) as s:
        binding = s.sock.get_channel_binding("tls-unique")
        scram(s, "dev", "dev", "p=tls-unique", binding, plus=True)
    with connect(dev, ssl.TLSVersion.TLSv1_2) as s:  # of another connection: somebody in between
        with pytest.raises(Wrong) as e:
            scram(s, "dev", "dev", "p=tls-unique", binding, plus=True)
        assert e.value.args[0] == 535
    with connect(dev, ssl.TLSVersion.TLSv1_2) as s:  # the name of one that this connection does not have
        with pytest.raises(Wrong) as e:
            scram(s, "dev", "dev", "p=tls-exporter", binding, plus=True)
        assert e.value.args[0] == 535


def test_who_took_plus_from_the_offer_is_seen(dev):
    """RFC 5802 6: the client says that it would have used it."""
    assert refused(dev, "dev", "dev", flag="y")[0] == 535
    assert dev.events("smtp.auth-downgraded")


def test_wrong_and_unknown_look_the_same(dev):
    """AUT-02, in both workers: each name always has the same salt."""
    wrong = refused(dev, "dev", "wrong")
    assert wrong == (535, "5.7.8 Authentication credentials invalid")
    assert refused(dev, "nobody", "dev") == wrong
    assert refused(dev, "a,b=c", "dev") == wrong
    seen = {}
    for user in ("dev", "nobody", "somebody"):
        for _ in range(8):
            with connect(dev) as s:
                answer = say(s, f"AUTH SCRAM-SHA-256 {b64(f'n,,n={user},r=x'.encode())}").decode()
                seen.setdefault(user, set()).add(answer.split(",", 1)[1])
                assert s.docmd("*")[0] == 501
    assert all(len(told) == 1 for told in seen.values()), seen
    shapes = {(len(t.split(",")[0]), t.split(",")[1]) for told in seen.values() for t in told}
    assert len(shapes) == 1, shapes


@pytest.mark.parametrize("spoil", [
    lambda f: f.replace(",p=", "x,p="),             # another nonce
    lambda f: f[:f.index(",p=")] + ",p=" + b64(bytes(32)),
    lambda f: f[:f.index(",p=")],
    lambda f: "c=eSws" + f[f.index(","):],          # the header was another one
    lambda f: f + ",x=y",
    lambda f: "p=" * 800,
    lambda f: "\0",
])
def test_spoilt_proofs(dev, spoil):
    assert refused(dev, "dev", "dev", spoil=spoil)[0] == 535


# ---- keys of the file and of the registry -------------------------------------------------


class WithKeys(Served):
    """`both` has two passwords, `plain` none for SCRAM, `only` nothing else."""

    def config(self):
        first = scram_key(self, "pässword")
        second = scram_key(self, "second", "--like", first)
        text = super().config()
        at = text.index("queue = {")
        rows = [f'{{ user = "{user}"; {keys}; tenant = "t"; senders = [ "example.com" ]; }}' for user, keys in (
            ("plain", f'password_file = "{self.file("shop.hash")}"'),
            ("both", f'scram = [ "{first}", "{second}" ]'),
            ("only", f'scram = "{scram_key(self, "only")}"'))]
        return text[:text.index("credentials = (")] + f"credentials = ( {', '.join(rows)} );\n" + text[at:]


@pytest.fixture(scope="module")
def served(dev):
    folder = support.temporary_state()
    g = WithKeys(folder, dev.ready["dns"]).start()
    yield g
    g.kill_all()
    shutil.rmtree(folder, ignore_errors=True)


def test_keys_of_the_file(served):
    for user, password in (("both", "pässword"), ("both", "second"), ("only", "only")):
        with connect(served) as s:
            scram(s, user, password)
    assert refused(served, "plain", "secret")[0] == 535
    with connect(served) as s:  # it is no password for anything else
        assert s.docmd("AUTH PLAIN " + b64(b"\0only\0only"))[0] == 535


def test_failures_are_counted_as_for_plain(served):
    """AUT-04, with a network of its own: from a number on nobody learns whether it was right."""
    def attempt(password):
        s = smtplib.SMTP("127.0.0.1", served.smtp_port, timeout=LIMIT_S, source_address=("127.0.0.77", 0))
        with contextlib.closing(s):
            s.starttls(context=ssl.create_default_context(cafile=served.ready["ca"]))
            s.ehlo()
            try:
                scram(s, "only", password)
                return 235
            except Wrong as e:
                return e.args[0]
    codes = [attempt("wrong") for _ in range(30)]
    assert codes[0] == 535 and 454 in codes, codes
    assert 235 not in codes


def test_keys_of_the_registry(dev):
    made = make(dev, "robot@example.org")

    def works(password):
        try:
            for _ in range(6):  # in both workers
                with connect(dev) as s:
                    scram(s, "robot@example.org", password)
            return True
        except Wrong as e:
            assert e.args[0] == 535
            return False
    wait_until("both workers know it", lambda: works(made["password"]))
    new = control(dev, "POST", "/v1/credentials/robot@example.org/rotate")
    assert new.status == 200
    wait_until("the new one works", lambda: works(new.json["password"]))
    assert works(made["password"])  # and the first is still live
    wait_until("both workers know the last change",
               lambda: control(dev, "POST", "/v1/credentials/robot@example.org/freeze").status == 200)
    wait_until("a frozen one is refused", lambda: not works(new.json["password"]))
    assert not works(made["password"])


def test_the_command(served):
    key = scram_key(served, "pencil")
    name, count, keys = key.split("$")
    assert name == "SCRAM-SHA-256" and count.split(":")[0] == "65536" and ":" in keys
    assert key != scram_key(served, "pencil")  # a salt of its own
    assert key == scram_key(served, "pencil", "--like", key)
    for text, options in (("", ()), ("x\a\n", ()), ("x\n", ("--like", "pencil"))):
        done = subprocess.run([served.binary, "credential", "scram", *options], input=text, check=False,
                              capture_output=True, text=True)
        assert done.returncode == 65 and not done.stdout and "pencil" not in done.stderr
