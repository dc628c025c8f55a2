"""The real program under test: start it, talk to it, look at what arrived."""
import base64
import contextlib
import http.client
import json
import os
import pwd
import select
import signal
import smtplib
import ssl
import subprocess
import tempfile
import time

import dkim
import dns.message
import dns.query
import dns.rdatatype

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.environ.get("STAGEPOST_BIN", os.path.join(ROOT, "stagepost"))
TEST_BIN = os.environ.get("STAGEPOST_TEST_BIN", os.path.join(ROOT, "build/test/stagepost"))
# A limit that is only reached when something is broken: machines are slow.
LIMIT_S = 120


def wait_until(what, condition, limit_s=LIMIT_S):
    """Polls until condition() is true; its value. Fails by name after limit_s."""
    end, pause_s = time.monotonic() + limit_s, 0.02
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {limit_s} s: {what}")
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.1, 0.1)  # what takes long is asked for less often


def _stat(pid):
    with contextlib.suppress(OSError, ValueError):
        with open(f"/proc/{pid}/stat", encoding="latin-1") as f:
            text = f.read()
        fields = text[text.rindex(")") + 2:].split()
        return int(fields[1]), fields[0]  # parent, state
    return None


def processes_below(pid):
    """All living descendants of pid."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            stat = _stat(name)
            if stat and stat[1] not in "ZX":
                parents[int(name)] = stat[0]
    found, front = [], [pid]
    while front:
        front = [p for p, parent in parents.items() if parent in front]
        found += front
    return found


def command_of(pid):
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            return f.read().replace(b"\0", b" ").decode("latin-1").strip()
    return ""


def is_alive(pid):
    stat = _stat(pid)
    return stat is not None and stat[1] not in "ZX"


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)


class Gateway:
    """`stagepost dev` on free ports. `start` waits for the ready line."""

    def __init__(self, state, args=(), env=None, binary=None):
        self.state, self.args, self.env = str(state), list(args), dict(env or {})
        self.binary = binary or BIN
        self.process, self.ready, self.log_path = None, None, None
        self.before_exec = None  # called in the new process

    def spawn(self):
        """Starts the program without waiting."""
        os.makedirs(self.state, exist_ok=True)
        self.log_path = os.path.join(self.state, "test.log")
        command = [self.binary, "dev", "--smtp-port", "0", "--smtps-port", "0", "--http-port", "0",
                   "--dns-port", "0", "--state", self.state] + self.args
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                env=dict(os.environ, **self.env), start_new_session=True,
                preexec_fn=self.before_exec)
        return self

    def start(self):
        self.spawn()
        out, end = b"", time.monotonic() + LIMIT_S
        while b"\n" not in out:
            assert time.monotonic() < end, f"no ready line; log:\n{self.log()[-4000:]}"
            if select.select([self.process.stdout], [], [], 0.1)[0]:
                piece = os.read(self.process.stdout.fileno(), 65536)
                assert piece, f"ended before it was ready: {self.log()[-4000:]}"
                out += piece
        self.ready = json.loads(out.split(b"\n")[0])
        assert self.ready["event"] == "ready"
        return self

    def stop(self, signo=signal.SIGTERM):
        """Drains; the exit code. The output pipe is read to its end."""
        if self.process is None:
            return None
        self.process.send_signal(signo)
        try:
            self.process.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            self.kill_all()
            raise AssertionError(f"does not end; log:\n{self.log()[-4000:]}") from None
        code, self.process = self.process.returncode, None
        return code

    def kill_all(self):
        """For clean-up: SIGKILL for the program and its children, by id."""
        victims = self.redis_servers()
        if self.process is not None:
            victims += [self.process.pid] + processes_below(self.process.pid)
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.process is not None:
            self.process.communicate()
        self.process = None

    def children(self, role):
        """Process ids by role: worker, signer, sandbox, redis (the keeper), redis-server."""
        if role == "redis-server":
            return self.redis_servers()
        return [p for p in processes_below(self.process.pid)
                if f"child {role} " in command_of(p)]

    def redis_servers(self):
        """By the socket in its title: it may outlive its keeper."""
        return [int(p) for p in os.listdir("/proc") if p.isdigit() and is_alive(p)
                and command_of(p).startswith("redis-server")
                and os.path.realpath(self.state) + "/run/" in command_of(p)]

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def sanitizer_report(self):
        """The first report of AddressSanitizer, UBSan or BUG_ON in the log, or ''."""
        for mark in ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "runtime error:",
                     '"event":"bug"'):
            if self.log_path and mark in self.log():
                at = self.log().index(mark)
                return self.log()[max(0, at - 500):at + 6000]
        return ""

    def events(self, name=None):
        """Log lines as objects, in order."""
        out = []
        for line in self.log().splitlines():
            with contextlib.suppress(ValueError):
                e = json.loads(line)
                if name is None or e.get("event") == name:
                    out.append(e)
        return out

    # -- HTTP ------------------------------------------------------------------

    def http(self, method, path, body=None, headers=None, key="dev", timeout=LIMIT_S):
        h = dict(headers or {})
        if key is not None:
            h.setdefault("Authorization", f"Bearer {key}")
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
            h.setdefault("Content-Type", "application/json")
        host, port = self.ready["http"].rsplit(":", 1)
        c = http.client.HTTPConnection(host, int(port), timeout=timeout)
        try:
            c.request(method, path, body=body, headers=h)
            r = c.getresponse()
            return Answer(r.status, r.headers, r.read())
        finally:
            c.close()

    def send(self, to="anna@customer.example", key="dev", http_headers=None, **fields):
        body = {"from": "shop@example.com", "to": to, "subject": "Order 1", "text": "Thank you"}
        body.update(fields)
        return self.http("POST", "/v1/messages", body, key=key, headers=http_headers)

    def accepted(self, *args, **kw):
        """send(), asserting 202; the message's id."""
        answer = self.send(*args, **kw)
        assert answer.status == 202, (answer.status, answer.body)
        return answer.json["id"]

    def message(self, message_id, key="dev"):
        """Its status; waits while Redis is coming back."""
        def answered():
            a = self.http("GET", f"/v1/messages/{message_id}", key=key)
            return a if a.status != 503 else None

        answer = wait_until("an answer", answered)
        assert answer.status == 200, (answer.status, answer.body)
        return answer.json

    def wait_status(self, message_id, status, limit_s=LIMIT_S):
        wanted = [status] if isinstance(status, str) else status

        def there():
            answer = self.http("GET", f"/v1/messages/{message_id}")
            if answer.status == 503:  # Redis is coming back
                return None
            assert answer.status == 200, (answer.status, answer.body)
            return answer.json if answer.json["status"] in wanted else None

        try:
            return wait_until(f"{message_id} is {status}", there, limit_s)
        except AssertionError as e:
            raise AssertionError(f"{e}; it is {self.message(message_id)}") from None

    def advance(self, how_far):
        answer = self.http("POST", "/sandbox/clock", {"advance": how_far}, key=None)
        assert answer.status == 200, answer.body
        return answer.json["now"]

    def captures(self, message_id=None, limit=10000):
        answer = self.http("GET", f"/sandbox/messages?limit={limit}", key=None)
        assert answer.status == 200, answer.body
        return [c for c in answer.json["data"]
                if message_id is None or c["message"] == message_id]

    def wait_capture(self, message_id):
        return wait_until(f"{message_id} is captured", lambda: self.captures(message_id))[0]

    def raw(self, capture_id):
        answer = self.http("GET", f"/sandbox/messages/{capture_id}/raw", key=None)
        assert answer.status == 200, answer.body
        return answer.body

    def metric(self, name):
        answer = self.http("GET", "/metrics", key=None)
        assert answer.status == 200
        for line in answer.body.decode().splitlines():
            if line.rsplit(" ", 1)[0] == name:
                return float(line.rsplit(" ", 1)[1])
        raise AssertionError(f"no metric {name}")

    # -- SMTP ------------------------------------------------------------------

    def tls(self):
        return ssl.create_default_context(cafile=self.ready["ca"])

    def smtp(self, implicit=False, user="dev", password="dev", timeout=LIMIT_S):
        """A session, authenticated unless user is None."""
        host, port = self.ready["smtps" if implicit else "smtp"].rsplit(":", 1)
        if implicit:
            s = smtplib.SMTP_SSL(host, int(port), context=self.tls(), timeout=timeout)
        else:
            s = smtplib.SMTP(host, int(port), timeout=timeout)
            s.ehlo()
            s.starttls(context=self.tls())
        s.ehlo()
        if user is not None:
            s.login(user, password)
        return s

    # -- DNS and DKIM ------------------------------------------------------------

    def dns_txt(self, name):
        name = name.decode() if isinstance(name, bytes) else name
        host, port = self.ready["dns"].rsplit(":", 1)
        q = dns.message.make_query(name, dns.rdatatype.TXT)
        r = dns.query.tcp(q, host, port=int(port), timeout=LIMIT_S)
        for rrset in r.answer:
            if rrset.rdtype == dns.rdatatype.TXT:
                return b"".join(rrset[0].strings)
        return None

    def verify(self, raw):
        """Verifies every DKIM signature with dkimpy; their number."""
        d = dkim.DKIM(raw)
        count = len([h for h in d.headers if h[0].lower() == b"dkim-signature"])
        for i in range(count):
            assert d.verify(idx=i, dnsfunc=lambda n, timeout=5: self.dns_txt(n)), f"signature {i}"
        return count

    def redis(self):
        import redis
        return redis.Redis(unix_socket_path=os.path.join(self.state, "run", "redis.sock"))


def queued_id(reply):
    """The id out of `2.0.0 Ok: queued as <id>`."""
    text = reply.decode() if isinstance(reply, bytes) else reply
    assert "queued as " in text, text
    return text.rsplit("queued as ", 1)[1].strip()


def smtp_send(session, message, sender="shop@example.com", to=("anna@customer.example",)):
    """MAIL, RCPT, DATA by hand, so that the final reply is seen; its (code, text)."""
    code, text = session.mail(sender)
    assert code == 250, (code, text)
    for rcpt in to:
        code, text = session.rcpt(rcpt)
        assert code == 250, (code, text)
    return session.data(message)


def auth_plain(user="dev", password="dev"):
    return base64.b64encode(f"\0{user}\0{password}".encode()).decode()


def temporary_state():
    """A short path: unix sockets have room for 107 characters."""
    path = tempfile.mkdtemp(prefix="sp-")
    os.chmod(path, 0o711)  # users that the program becomes pass through
    return path


def make_users():
    """The users that `serve` becomes when root starts it; they stay."""
    for name in ("stagepost", "stagepost-sign"):
        while os.geteuid() == 0 and not _has_user(name):
            # Another test process may be at it: then it fails and is asked again.
            subprocess.run(["useradd", "--system", "--no-create-home", "--user-group", "--shell",
                            "/usr/sbin/nologin", name], capture_output=True, check=False)
            time.sleep(0.1)


def _has_user(name):
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
