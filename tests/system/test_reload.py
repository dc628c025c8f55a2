"""SIGHUP: what changes without a restart, what is refused, and that nothing is lost."""
import hashlib
import json
import os
import re
import shutil
import signal
import smtplib
import socket
import ssl
import threading

import dkim
import pytest
import support
import test_serve
from support import LIMIT_S, queued_id, smtp_send, wait_until
from test_control import control
from test_serve import KEY, MAIL, PASSWORD, openssl, session

NEW_KEY = "fedcba9876543210fedcba9876543210"


class Reloading(test_serve.Served):
    def __init__(self, *args, binary=None, env=None, **kw):
        super().__init__(*args, **kw)
        self.binary, self.env = binary or self.binary, dict(env or {})

    def reloads(self):
        return self.events("reload.done") + self.events("reload.refused")

    def hup(self):
        """Asks for a reload; the event of its end."""
        before = len(self.reloads())
        self.process.send_signal(signal.SIGHUP)
        wait_until("a reload ends", lambda: len(self.reloads()) > before)
        ended = sorted(self.reloads(), key=lambda e: e["ts"])
        assert len(ended) == before + 1, ended
        return ended[-1]

    def problems(self):
        return [e["text"] for e in self.events("reload.problem")]

    def new_certificate(self, name):
        """Over the files that are there, as a renewal does."""
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-days", "2", "-subj", f"/CN={name}", "-addext",
                f"subjectAltName=DNS:{name},DNS:localhost,IP:127.0.0.1",
                "-keyout", self.file("tls.key"), "-out", self.file("tls.pem"))
        os.chmod(self.file("tls.key"), 0o600)

    def names_served(self, port):
        """Of the certificate on an SMTPS port, from each of many connections."""
        found = set()
        for _ in range(8):
            context = ssl.create_default_context(cafile=self.file("tls.pem"))
            with socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S) as raw:
                with context.wrap_socket(raw, server_hostname="localhost") as s:
                    found.add(dict(s.getpeercert()["subjectAltName"][0:1])["DNS"])
        return found


@pytest.fixture
def gateway():
    made = []

    def make(**kw):
        silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)  # DNS that says nothing
        silent.bind(("127.0.0.1", 0))
        g = Reloading(support.temporary_state(), f"127.0.0.1:{silent.getsockname()[1]}", **kw)
        made.append((g, silent))
        return g

    yield make
    for g, silent in made:
        g.kill_all()
        silent.close()
        shutil.rmtree(g.folder, ignore_errors=True)


def accepted(g, s):
    code, text = smtp_send(s, MAIL, to=("anna@customer.com",))
    assert code == 250, (code, text)
    return queued_id(text)


def test_a_new_certificate_is_served_and_old_sessions_live_on(gateway):
    g = gateway().start()
    old = session(g.smtp_port, g.tls())
    accepted(g, old)
    g.new_certificate("renewed.example")
    assert g.hup()["generation"] == 2
    assert g.names_served(g.smtps_port) == {"renewed.example"}
    accepted(g, session(g.smtp_port, g.tls()))
    accepted(g, old)  # on the TLS that it has
    assert len(g.events("worker.reloaded")) == 2


def test_a_certificate_without_its_key_is_refused_everywhere(gateway):
    g = gateway().start()
    shutil.copy(g.file("tls.pem"), g.file("ca.pem"))
    openssl("genpkey", "-algorithm", "ed25519", "-out", g.file("tls.key"))
    assert g.hup()["event"] == "reload.refused"
    assert any(":8: tls: " in p for p in g.problems()), g.problems()
    context = ssl.create_default_context(cafile=g.file("ca.pem"))
    accepted(g, session(g.smtp_port, context))
    assert not g.events("worker.reloaded")


OTHER = ('{ user = "other"; key_hash = "%s"; tenant = "other"; senders = [ "example.com" ]; }' %
         hashlib.sha256(NEW_KEY.encode()).hexdigest())


def with_other(text):
    return text.replace("credentials = (", f"credentials = ( {OTHER},")


def with_other_only(text):
    return re.sub(r"credentials = \(.*?\);\n", lambda _: f"credentials = ( {OTHER} );\n", text,
                  count=1, flags=re.S)


def test_credentials_come_and_go(gateway):
    g = gateway().start()
    kept = session(g.smtp_port, g.tls())
    assert g.send(key=NEW_KEY).status == 401
    g.write(with_other(g.config()))
    g.hup()
    assert g.send(key=NEW_KEY).status == 202
    accepted(g, kept)
    # The session's own goes: it may end what it has begun, and no more.
    assert kept.mail("shop@example.com")[0] == 250
    g.write(with_other_only(g.config()))
    assert g.hup()["event"] == "reload.done"
    assert kept.rcpt("anna@customer.com")[0] == 250
    assert kept.data(MAIL)[0] == 250
    assert kept.mail("shop@example.com")[0] == 421
    with pytest.raises(smtplib.SMTPAuthenticationError) as e:
        session(g.smtp_port, g.tls())
    assert e.value.smtp_code == 535
    assert g.send(key=KEY).status == 401
    assert g.send(key=NEW_KEY).status == 202


def test_a_frozen_one_stays_frozen(gateway):
    """What an operator froze is not let go because the file is read again."""
    g = gateway().start()
    g.write(with_other(g.config()))
    g.hup()
    assert control(g, "POST", "/v1/credentials/other/freeze").status == 200
    g.hup()
    assert g.send(key=NEW_KEY).json["code"] == "credential_frozen"
    accepted(g, session(g.smtp_port, g.tls()))
    assert control(g, "POST", "/v1/credentials/other/unfreeze").status == 200
    wait_until("all workers know", lambda: all(g.send(key=NEW_KEY).status == 202 for _ in range(4)))


def signatures(g, message_id):
    d = dkim.DKIM(test_serve.stored_message(g, message_id))
    return {re.search(rb"\ss=([^;]+);", h[1]).group(1).decode()
            for h in d.headers if h[0].lower() == b"dkim-signature"}


def test_a_new_selector_signs(gateway):
    g = gateway().start()
    assert signatures(g, accepted(g, session(g.smtp_port, g.tls()))) == {"r1", "e1"}
    openssl("genpkey", "-algorithm", "ed25519", "-out", g.file("e2.pem"))
    os.chmod(g.file("e2.pem"), 0o600)
    g.write(g.config().replace('"e1"', '"e2"').replace(g.file("ed.pem"), g.file("e2.pem")))
    g.hup()
    assert signatures(g, accepted(g, session(g.smtp_port, g.tls()))) == {"r1", "e2"}


def test_errors_keep_the_old_and_are_all_named(gateway):
    g = gateway().start()
    g.write(g.config().replace('retry = { first = "1h"; }', 'retry = { frist = "1h"; }')
            .replace("workers = 2", "workers = 99"))
    assert g.hup()["errors"] == 2
    assert f'{g.path}:2: workers: "99": a whole number is wanted (1 to 32)' in g.problems()
    g.write(g.config().replace("workers = 2", "workers = 3").replace(
        f'state = "{g.state}"', 'state = "/tmp/elsewhere"').replace(
        f"port = {g.smtps_port}", "port = 1").replace("hostname = \"localhost\"",
                                                       "hostname = \"other.example\""))
    assert g.hup()["errors"] == 4
    for said in (":2: workers: changed: this needs a restart",
                 ":2: state: changed: this needs a restart",
                 ":2: hostname: changed: this needs a restart",
                 ":6: listeners[2].port: changed: this needs a restart"):
        assert g.path + said in g.problems(), g.problems()
    os.unlink(g.path)
    assert g.hup()["event"] == "reload.refused"
    accepted(g, session(g.smtp_port, g.tls()))
    g.write(g.config())
    assert g.hup()["event"] == "reload.done"


def test_limits_and_retry_follow(gateway):
    g = gateway().start()
    s = session(g.smtp_port, g.tls())
    g.write(g.config() + 'limits = { message_size = "64KB"; };\n')
    g.hup()
    s.ehlo()
    assert s.esmtp_features["size"] == "65536"
    assert smtp_send(s, MAIL + b"x" * 70 + b"\r\n" + b"y" * 80 * 1000)[0] in (552, 500)


def test_reloads_under_load_lose_nothing(gateway):
    g = gateway().start()
    sent, failed, stop = [], [], threading.Event()

    def client():
        try:
            s = session(g.smtp_port, g.tls())
            while not stop.is_set():
                sent.append(accepted(g, s))
        except Exception as e:  # noqa: BLE001
            failed.append(e)

    threads = [threading.Thread(target=client) for _ in range(4)]
    for t in threads:
        t.start()
    g.tls()  # read before the file changes
    for i in range(6):
        wait_until("mail flows", lambda n=len(sent): len(sent) > n + 5 or failed)
        if i % 2:
            openssl("genpkey", "-algorithm", "ed25519", "-out", g.file("ed.pem"))
        assert g.hup()["event"] == "reload.done"
    stop.set()
    for t in threads:
        t.join()
    assert not failed, failed
    for message_id in sent:
        assert g.message(message_id, key=KEY)["status"] in ("queued", "deferred")
    assert len(sent) == len(set(sent)) and not g.events("child.ended")


@pytest.mark.parametrize("point", ["reload.prepare", "reload.commit"])
def test_children_that_die_during_a_reload_converge(gateway, point):
    g = gateway(binary=support.TEST_BIN, env={"FAILPOINT": f"{point}:kill"}).start()
    g.write(with_other(g.config()))
    g.new_certificate("renewed.example")
    assert g.hup()["event"] == "reload.done"
    wait_until("one has died", lambda: g.events("child.ended"))
    wait_until("all run again", lambda: len(g.children("worker")) == 2 and g.children("signer"))
    wait_until("all accept", lambda: len(g.events("worker.ready")) >= 4)
    assert g.names_served(g.smtps_port) == {"renewed.example"}
    for _ in range(8):
        assert g.send(key=NEW_KEY).status == 202


def test_a_child_without_an_answer_is_not_waited_for_ever(gateway):
    g = gateway(binary=support.TEST_BIN, env={"STAGEPOST_TIME_SCALE": "10"}).start()
    [signer] = g.children("signer")
    os.kill(signer, signal.SIGSTOP)
    g.write(with_other(g.config()))
    refused = g.hup()
    os.kill(signer, signal.SIGCONT)
    assert refused["event"] == "reload.refused" and refused["why"].startswith("signer 0: no answer")
    assert g.send(key=NEW_KEY).status == 401
    assert g.hup()["event"] == "reload.done"
    assert g.send(key=NEW_KEY).status == 202


def test_the_service_manager_is_told(gateway):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        g = gateway()
        path = os.path.join(g.folder, "notify")
        s.bind(path)
        s.settimeout(LIMIT_S)
        g.env = {"NOTIFY_SOCKET": path}
        g.start()
        assert s.recv(200) == b"READY=1"
        g.hup()
        assert re.fullmatch(rb"RELOADING=1\nMONOTONIC_USEC=\d+", s.recv(200))
        assert s.recv(200) == b"READY=1"
        assert g.stop() == 0
        assert s.recv(200) == b"STOPPING=1"


def test_development_mode_ignores_it():
    g = support.Gateway(support.temporary_state()).start()
    try:
        g.process.send_signal(signal.SIGHUP)
        wait_until("it says so", lambda: g.events("reload.ignored"))
        assert g.send().status == 202
        assert g.stop() == 0
    finally:
        g.kill_all()
        shutil.rmtree(g.state, ignore_errors=True)


def test_what_the_log_says_is_json(gateway):
    g = gateway().start()
    g.write(g.config().replace("workers = 2", 'workers = "\\"x"'))
    g.hup()
    for line in g.log().splitlines():
        json.loads(line)
