"""HTTP beyond loopback: TLS, the admin key, and what is open to whom."""
import contextlib
import hashlib
import http.client
import json
import os
import shutil
import socket
import ssl

import pytest
import support
import test_serve
from support import LIMIT_S
from test_serve import KEY

ADMIN, OLDER = "a" * 64, "b" * 64


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


class Secured(test_serve.Served):
    def config(self):
        [self.https_port] = test_serve.free_ports([socket.AF_INET])
        more = (f'{{ kind = "https"; port = {self.https_port}; }},\n'
                f'{{ kind = "http"; port = {self.http_port}; proxy_from = [ "127.0.0.2" ]; }} );')
        text = super().config().replace(f'{{ kind = "http"; port = {self.http_port}; }} );', more)
        return text + (f'http = {{ admin_key_hash = [ "{sha256(ADMIN)}", "{sha256(OLDER)}" ]; }};\n')

    def https(self, method, path, key, body=None, host=None):
        context = ssl.create_default_context(cafile=self.file("tls.pem"))
        c = http.client.HTTPSConnection("localhost", self.https_port, context=context,
                                        timeout=LIMIT_S)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        if host:
            headers["Host"] = host
        if body is not None:
            body, headers["Content-Type"] = json.dumps(body), "application/json"
        try:
            c.request(method, path, body=body, headers=headers)
            r = c.getresponse()
            return support.Answer(r.status, r.headers, r.read())
        finally:
            c.close()

    def from_afar(self, path, key=None):
        """As a client with another address than loopback, by a proxy's word."""
        with socket.create_connection(("127.0.0.1", self.http_port), timeout=LIMIT_S,
                                      source_address=("127.0.0.2", 0)) as s:
            auth = f"Authorization: Bearer {key}\r\n" if key else ""
            s.sendall(f"PROXY TCP4 192.0.2.1 127.0.0.1 4000 {self.http_port}\r\n"
                      f"GET {path} HTTP/1.1\r\nHost: localhost:{self.http_port}\r\n{auth}"
                      "Connection: close\r\n\r\n".encode())
            text = b""
            while piece := s.recv(65536):
                text += piece
        return int(text.split(b" ", 2)[1])


@pytest.fixture(scope="module")
def g():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        gateway = Secured(support.temporary_state(), f"127.0.0.1:{silent.getsockname()[1]}")
        yield gateway.start()
        gateway.kill_all()
        shutil.rmtree(gateway.folder, ignore_errors=True)


MAIL = {"from": "shop@example.com", "to": "a@customer.example", "subject": "x", "text": "y"}


def test_mail_is_taken_over_tls(g):
    assert [e["kind"] for e in g.ready["listeners"]] == ["smtp", "smtp", "smtps", "https", "http"]
    answer = g.https("POST", "/v1/messages", KEY, MAIL)
    assert answer.status == 202, answer.body
    path = f"/v1/messages/{answer.json['id']}"
    assert g.https("GET", path, KEY, host="by.another.name:1").status == 200
    assert g.https("GET", path, None).status == 401
    assert g.https("GET", path, "wrong").status == 401


def test_clear_text_on_the_tls_port_gets_nothing(g):
    with socket.create_connection(("127.0.0.1", g.https_port), timeout=LIMIT_S) as s:
        s.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        text = b""
        try:
            while piece := s.recv(4096):
                text += piece
        except ConnectionResetError:
            pass
    assert b"HTTP/1.1" not in text
    assert g.https("GET", "/healthz", None).status == 200


def test_who_said_goodbye_is_still_answered(g):
    """A close_notify (RFC 8446 6.1) ends one side only."""
    context = ssl.create_default_context(cafile=g.file("tls.pem"))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection(("localhost", g.https_port), timeout=LIMIT_S) as s:
        def until_done(step, *args):
            while True:
                try:
                    return step(*args)
                except ssl.SSLWantReadError:
                    s.sendall(outgoing.read())
                    incoming.write(s.recv(65536))

        until_done(tls.do_handshake)
        tls.write(f"GET /healthz HTTP/1.1\r\nHost: localhost:{g.https_port}\r\n\r\n".encode())
        with contextlib.suppress(ssl.SSLWantReadError):  # it waits for the server's
            tls.unwrap()
        assert until_done(tls.read, 4096).startswith(b"HTTP/1.1 200 ")


def test_the_admin_key_sees_everybody(g):
    message_id = g.https("POST", "/v1/messages", KEY, MAIL).json["id"]
    for key in (ADMIN, OLDER):
        answer = g.https("GET", f"/v1/messages/{message_id}", key)
        assert answer.status == 200 and answer.json["tenant"] == "shop"
    assert "tenant" not in g.https("GET", f"/v1/messages/{message_id}", KEY).json
    assert g.https("GET", f"/v1/messages/{message_id}?tenant=other", ADMIN).status == 404
    assert g.https("POST", "/v1/messages", ADMIN, MAIL).json["code"] == "credential_needed"


def test_what_is_open_from_afar(g):
    assert g.http("GET", "/metrics", key=None).status == 200
    for path, with_key in (("/healthz", 200), ("/readyz", 200), ("/metrics", 403)):
        assert g.from_afar(path) == 401
        assert g.from_afar(path, KEY) == with_key
        assert g.from_afar(path, ADMIN) == 200


def test_clear_http_beyond_loopback_is_refused(g):
    for more, code, said in (("", 78, "listeners[4].address: HTTP beyond this machine"),
                             (" allow_clear = true;", 0, "warning: listeners[4].address")):
        path = os.path.join(g.folder, "clear.conf")
        with open(path, "w", encoding="utf-8") as f:
            f.write(g.text.replace(f'kind = "http"; port = {g.http_port};',
                                   f'kind = "http"; address = "0.0.0.0"; port = {g.http_port};{more}'))
        os.chmod(path, 0o600)
        done = test_serve.subprocess.run([g.binary, "check", "config", "-c", path],
                                         capture_output=True, text=True, timeout=LIMIT_S)
        assert done.returncode == code and said in done.stdout + done.stderr
