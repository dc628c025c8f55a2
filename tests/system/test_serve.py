"""`stagepost serve` from a generated file, and what it refuses."""
import base64
import ctypes
import hashlib
import os
import re
import shutil
import smtplib
import socket
import ssl
import subprocess

import dkim
import pytest
import support
from support import BIN, LIMIT_S, queued_id, smtp_send, wait_until

PASSWORD, KEY = "correct horse", "0123456789abcdef0123456789abcdef"


def free_ports(families):
    """One free port for each family, held until all are found."""
    sockets = []
    for family in families:
        s = socket.socket(family, socket.SOCK_STREAM)
        s.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        sockets.append(s)
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def openssl(*args):
    subprocess.run(["openssl", *args], check=True, capture_output=True)


class Served(support.Gateway):
    """`stagepost serve -c FILE` in a folder of its own."""

    def __init__(self, folder, dns, redis="embedded"):  # dns: IP:PORT
        super().__init__(os.path.join(folder, "state"))
        self.folder, self.dns, self.redis_at = folder, dns, redis
        self.path = os.path.join(folder, "stagepost.conf")
        self.smtp_port, self.smtps_port, self.http_port, self.smtp6_port = free_ports(
            [socket.AF_INET] * 3 + [socket.AF_INET6])
        self.make_files()
        self.write(self.config())

    def file(self, name):
        return os.path.join(self.folder, name)

    def make_files(self):
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-days", "2", "-subj", "/CN=localhost", "-addext",
                "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1",
                "-keyout", self.file("tls.key"), "-out", self.file("tls.pem"))
        openssl("genpkey", "-algorithm", "ed25519", "-out", self.file("ed.pem"))
        openssl("genpkey", "-algorithm", "rsa", "-pkeyopt", "rsa_keygen_bits:2048",
                "-out", self.file("rsa.pem"))
        done = subprocess.run(["openssl", "passwd", "-6", PASSWORD], check=True,
                              capture_output=True, text=True)
        with open(self.file("shop.hash"), "w", encoding="ascii") as f:
            f.write(done.stdout)
        for name in ("tls.key", "ed.pem", "rsa.pem", "shop.hash"):
            os.chmod(self.file(name), 0o600)

    def config(self):
        key_hash = hashlib.sha256(KEY.encode()).hexdigest()
        return f"""
hostname = "localhost"; state = "{self.state}"; workers = 2; egress = [ "192.0.2.1" ];
listeners = (
    {{ kind = "smtp"; port = {self.smtp_port}; }},
    {{ kind = "smtp"; address = "::1"; port = {self.smtp6_port}; }},
    {{ kind = "smtps"; port = {self.smtps_port}; }},
    {{ kind = "http"; port = {self.http_port}; }} );
tls = {{ cert = "{self.file('tls.pem')}"; key = "{self.file('tls.key')}"; }};
domains = ( {{ name = "example.com"; dkim = (
    {{ selector = "r1"; file = "{self.file('rsa.pem')}"; }},
    {{ selector = "e1"; file = "{self.file('ed.pem')}"; }} ); }} );
credentials = ( {{ user = "shop"; password_file = "{self.file('shop.hash')}";
    key_hash = "{key_hash}"; tenant = "shop"; senders = [ "example.com" ]; }} );
queue = {{ redis = "{self.redis_at}"; }};
dns = {{ forward = "{self.dns}"; }};
retry = {{ first = "1h"; }};
"""

    def write(self, text):
        self.text = text
        with open(self.path, "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(self.path, 0o600)

    def spawn(self):
        self.log_path = self.file("test.log")
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [self.binary, "serve", "-c", self.path], stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=log, start_new_session=True,
                env=dict(os.environ, **self.env))
        return self

    def start(self):
        super().start()
        by_kind = {e["kind"]: e["address"] for e in self.ready["listeners"]}
        self.ready.update(by_kind, ca=self.file("tls.pem"))
        return self

    def refusal(self):
        """Runs it to its end; (exit code, what it said)."""
        done = subprocess.run([self.binary, "serve", "-c", self.path], capture_output=True,
                              text=True, timeout=LIMIT_S)
        assert done.stdout == ""
        return done.returncode, done.stderr

    def check(self):
        done = subprocess.run([self.binary, "check", "config", "-c", self.path],
                              capture_output=True, text=True, timeout=LIMIT_S)
        return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def dev():
    g = support.Gateway(support.temporary_state()).start()
    yield g
    g.kill_all()
    shutil.rmtree(g.state, ignore_errors=True)


@pytest.fixture
def served(dev):
    made = []

    def make(dns=dev.ready["dns"], **kw):
        made.append(Served(support.temporary_state(), dns, **kw))
        return made[-1]

    yield make
    for g in made:
        g.kill_all()
        shutil.rmtree(g.folder, ignore_errors=True)


def session(port, context, host="127.0.0.1"):
    s = smtplib.SMTP(host, port, timeout=LIMIT_S)
    s.starttls(context=context)
    s.login("shop", PASSWORD)
    return s


MAIL = (b"From: shop@example.com\r\nTo: anna@customer.com\r\nSubject: Order 1\r\n\r\nThank you\r\n")


def sent(g, s):
    code, text = smtp_send(s, MAIL, to=("anna@customer.com",))
    assert code == 250, (code, text)
    s.quit()
    return queued_id(text)


def test_every_door_accepts_and_loopback_mx_hosts_are_refused(served):
    g = served()
    assert g.check() == (0, f"{g.path}: ok\n")
    g.start()
    assert g.ready["state"] == os.path.realpath(g.state) and g.ready["pid"] == g.process.pid
    assert g.ready["version"].startswith("0.")
    assert [e["kind"] for e in g.ready["listeners"]] == ["smtp", "smtp", "smtps", "http"]
    ids = [sent(g, session(g.smtp_port, g.tls())),
           sent(g, session(g.smtp6_port, g.tls(), "::1"))]
    with smtplib.SMTP_SSL("127.0.0.1", g.smtps_port, context=g.tls(), timeout=LIMIT_S) as s:
        s.login("shop", PASSWORD)
        code, text = smtp_send(s, MAIL, to=("anna@customer.com",))
        assert code == 250
        ids.append(queued_id(text))
    answer = g.send(key=KEY, to="anna@customer.com")
    assert answer.status == 202, answer.body
    ids.append(answer.json["id"])
    for message_id in ids:
        m = wait_until("it is given up", lambda message_id=message_id:
                       of_status(g, message_id, "bounced"))
        last = m["recipients"][0]["last_response"]
        assert last["enhanced"] == "5.4.4" and "addresses that mail is not sent to" in last["text"]


def of_status(g, message_id, status):
    m = g.message(message_id, key=KEY)
    return m if m["status"] == status else None


def stored_message(g, message_id):
    """The one body in Redis, as it was committed: compressed when that pays."""
    r = g.redis()
    keys = [k for k in r.keys() if f":b:{message_id}:".encode() in k]
    assert len(keys) == 1, r.keys()
    data = r.get(keys[0])
    if not data.startswith(b"\x28\xb5\x2f\xfd"):
        return data
    zstd = ctypes.CDLL("libzstd.so.1")
    zstd.ZSTD_decompress.restype = ctypes.c_size_t
    out = ctypes.create_string_buffer(1 << 20)
    n = zstd.ZSTD_decompress(out, ctypes.c_size_t(len(out)), data, ctypes.c_size_t(len(data)))
    assert n <= len(out)
    return out.raw[:n]


def dkim_records(g):
    """What the operator would publish for the two keys."""
    records = {}
    for selector, name, kind, skip in (("r1", "rsa.pem", "rsa", 0), ("e1", "ed.pem", "ed25519", -32)):
        der = subprocess.run(["openssl", "pkey", "-in", g.file(name), "-pubout", "-outform", "DER"],
                             check=True, capture_output=True).stdout
        value = base64.b64encode(der[skip:]).decode()
        records[f"{selector}._domainkey.example.com."] = f"v=DKIM1; k={kind}; p={value}".encode()
    return records


def test_signed_by_both_keys_deferred_and_kept_over_a_restart(served):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:  # DNS that says nothing
        silent.bind(("127.0.0.1", 0))
        g = served(dns=f"127.0.0.1:{silent.getsockname()[1]}").start()
        message_id = sent(g, session(g.smtp_port, g.tls()))
        records = dkim_records(g)
        d = dkim.DKIM(stored_message(g, message_id))
        assert len([h for h in d.headers if h[0].lower() == b"dkim-signature"]) == 2
        for i in range(2):
            assert d.verify(idx=i, dnsfunc=lambda name, timeout=5: records[
                name.decode() if isinstance(name, bytes) else name])
        m = wait_until("it is deferred", lambda: of_status(g, message_id, "deferred"))
        assert m["recipients"][0]["last_response"]["enhanced"] == "4.4.3"
        assert g.stop() == 0
        g.start()
        assert g.message(message_id, key=KEY)["status"] == "deferred"


def test_nobody_else_gets_in_and_no_sandbox(served):
    g = served().start()
    s = smtplib.SMTP("127.0.0.1", g.smtp_port, timeout=LIMIT_S)
    s.starttls(context=g.tls())
    with pytest.raises(smtplib.SMTPAuthenticationError):
        s.login("dev", "dev")
    s.close()
    assert g.send(key="dev").status == 401
    for path in ("/sandbox/messages", "/sandbox/clock"):
        assert g.http("GET", path, key=KEY).status == 404
    answer = g.send(key=KEY, **{"from": "a@example.org"})
    assert answer.status == 403, answer.body


def test_an_external_redis_that_is_not_there_is_named(served):
    g = served(redis="unix:/proc/none/redis.sock").spawn()
    wait_until("each link of each worker says it", lambda: len(g.events("queue.link.failed")) == 2 * 5)
    assert all("/proc/none/redis.sock" in e["why"] for e in g.events("queue.link.failed"))
    assert g.stop() == 0


def test_an_external_redis_is_used_and_left_running(served):
    folder = support.temporary_state()
    path = os.path.join(folder, "r.sock")
    redis = subprocess.Popen(
        ["redis-server", "--port", "0", "--unixsocket", path, "--unixsocketperm", "777",
         "--dir", folder, "--save", "",
         "--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction",
         "--logfile", "r.log"], executable="/usr/bin/redis-check-rdb")
    try:
        wait_until("Redis listens", lambda: os.path.exists(path))
        g = served(redis=f"unix:{path}").start()
        assert not g.children("redis") and not g.redis_servers()
        sent(g, session(g.smtp_port, g.tls()))
        assert g.stop() == 0
        assert redis.poll() is None
    finally:
        redis.kill()
        redis.wait()
        shutil.rmtree(folder, ignore_errors=True)


def test_sigterm_ends_all_processes(served):
    g = served().start()
    pids = support.processes_below(g.process.pid)
    assert len(g.children("worker")) == 2 and not g.children("sandbox")
    assert g.stop() == 0
    assert not [p for p in pids if support.is_alive(p)]


def test_a_file_with_errors_is_not_served(served):
    g = served()
    g.write(g.config().replace('retry = { first = "1h"; }', 'retry = { frist = "1h"; }')
            .replace("workers = 2", "workers = 99"))
    for code, said in (g.refusal(), g.check()):
        assert code == 78
        assert f'{g.path}:2: workers: "99": a whole number is wanted (1 to 32)\n' in said
        assert 'retry.frist: unknown key; is "first" meant?' in said
    assert not os.path.exists(g.state)


def test_keys_that_cannot_be_used_are_named(served):
    g = served()
    with open(g.file("ed.pem"), "w", encoding="ascii") as f:
        f.write("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    openssl("genpkey", "-algorithm", "ed25519", "-out", g.file("tls.key"))
    code, said = g.check()
    assert code == 78
    assert ":11: domains[0].dkim[1].file: " in said and ":8: tls: " in said
    assert said.endswith("2 errors, 0 warnings\n")


def test_a_certificate_that_has_ended_is_a_warning(served):
    """No error: what waits is still delivered."""
    g = served()
    with open(g.file("tls.pem"), encoding="ascii") as f:
        der = ssl.PEM_cert_to_DER_cert(f.read())
    end = re.findall(rb"\d{12}Z", der)[1]  # a UTCTime, behind that of its beginning
    with open(g.file("tls.pem"), "w", encoding="ascii") as f:
        f.write(ssl.DER_cert_to_PEM_cert(der.replace(end, b"210101000000Z")))
    code, said = g.check()
    assert code == 0 and "warning: tls.cert: " in said and "has ended" in said, said


def test_a_certificate_for_another_name_is_a_warning(served):
    g = served()
    g.write(g.config().replace('hostname = "localhost"', 'hostname = "mail.example.org"'))
    code, said = g.check()
    assert code == 0 and "warning: tls.cert: " in said and "is not for mail.example.org" in said, said


def test_what_development_made_is_refused(served, dev):
    g = served()
    g.write(g.config().replace(f'state = "{g.state}"', f'state = "{dev.state}"'))
    code, said = g.refusal()
    assert code == 75 and "another stagepost is running" in said
    stopped = support.Gateway(support.temporary_state()).start()
    assert stopped.stop() == 0
    g.write(g.config().replace(f'state = "{g.state}"', f'state = "{stopped.state}"'))
    code, said = g.refusal()
    assert code == 78 and "development" in said
    g.write(g.config().replace(g.file("rsa.pem"), f"{dev.state}/keys/dev-rsa.pem")
            .replace(g.file("tls.key"), f"{dev.state}/tls/server.key"))
    code, said = g.refusal()
    assert code == 78 and said.count("is a file of development mode") == 2, said
    dev_hash = hashlib.sha256(b"dev").hexdigest()
    g.write(g.config().replace(hashlib.sha256(KEY.encode()).hexdigest(), dev_hash))
    code, said = g.refusal()
    assert code == 78 and "credentials[0]: a credential of development mode" in said
    shutil.rmtree(stopped.state, ignore_errors=True)


def test_development_mode_refuses_a_production_state(served):
    g = served().start()
    assert g.stop() == 0
    done = subprocess.run([BIN, "dev", "--smtp-port", "0", "--smtps-port", "0", "--http-port", "0",
                           "--dns-port", "0", "--state", g.state], capture_output=True,
                          text=True, timeout=LIMIT_S)
    assert done.returncode == 78 and "production" in done.stderr


def test_taken_port_and_usage(served):
    g = served()
    with socket.socket() as s:
        s.bind(("127.0.0.1", g.http_port))
        s.listen()
        code, said = g.refusal()
    assert code == 75 and str(g.http_port) in said
    for args in (["serve", "--bogus"], ["serve", "extra"], ["check", "config", "extra"]):
        done = subprocess.run([BIN] + args, capture_output=True)
        assert done.returncode == 64 and b"usage" in done.stderr
    done = subprocess.run([BIN, "serve", "-c", "/proc/none"], capture_output=True)
    assert done.returncode == 78 and b"/proc/none: No such file" in done.stderr


def test_the_example_is_printed():
    done = subprocess.run([BIN, "check", "config", "--example"], capture_output=True)
    assert done.returncode == 0
    with open(os.path.join(support.ROOT, "config.example"), "rb") as f:
        assert done.stdout == f.read()
