"""The control socket: who may open it, what it may see, and that it outlives workers."""
import http.client
import json
import os
import signal
import socket
import stat

from support import LIMIT_S, Answer, wait_until


class ControlConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=LIMIT_S)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def control_path(gateway):
    return os.path.join(gateway.ready["state"], "run", "control.sock")


def control(gateway, method, path, body=None, headers=None):
    c = ControlConnection(control_path(gateway))
    h = dict(headers or {})
    if isinstance(body, dict):
        body = json.dumps(body)
        h.setdefault("Content-Type", "application/json")
    try:
        c.request(method, path, body=body, headers=h)
        r = c.getresponse()
        return Answer(r.status, r.headers, r.read())
    finally:
        c.close()


MESSAGE = {"from": "shop@example.org", "to": "anna@customer.example", "subject": "s", "text": "t"}


def test_operators_see_all_tenants(gw):
    mode = os.stat(control_path(gw)).st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o660
    assert control(gw, "GET", "/readyz").json == {"status": "ready"}
    for tenant in "dev", "dev2":
        id_ = gw.accepted(key=tenant, **{"from": "shop@example.org"})
        there = control(gw, "GET", f"/v1/messages/{id_}")
        assert there.status == 200 and there.json["tenant"] == tenant
        other = {"dev": "dev2", "dev2": "dev"}[tenant]
        assert control(gw, "GET", f"/v1/messages/{id_}?tenant={tenant}").status == 200
        assert control(gw, "GET", f"/v1/messages/{id_}?tenant={other}").status == 404
        assert gw.http("GET", f"/v1/messages/{id_}?tenant={tenant}", key=other).status == 404


def test_sending_names_a_credential(gw):
    assert control(gw, "POST", "/v1/messages", MESSAGE).json["code"] == "credential_needed"
    refused = control(gw, "POST", "/v1/messages", MESSAGE,
                      {"X-Stagepost-Credential": "nobody"})
    assert refused.json["code"] == "unknown_credential"
    # The policy is the credential's: dev2 owns example.org only.
    foreign = dict(MESSAGE, **{"from": "shop@example.com"})
    refused = control(gw, "POST", "/v1/messages", foreign, {"X-Stagepost-Credential": "dev2"})
    assert refused.status == 403 and refused.json["code"] == "sender_not_owned"
    sent = control(gw, "POST", "/v1/messages", MESSAGE, {"X-Stagepost-Credential": "dev2"})
    assert sent.status == 202
    id_ = sent.json["id"]
    gw.wait_capture(id_)
    assert gw.message(id_, key="dev2")["id"] == id_
    logged = [e for e in gw.events("http.operator") if e["status"] == 202]
    assert logged[-1]["uid"] == os.getuid() and logged[-1]["method"] == "POST"


def test_the_socket_outlives_workers_and_starts(gateway):
    """All workers accept on it; a start after kill -9 takes the stale one over."""
    g = gateway("--workers", "2")
    for number in range(2):
        for pid in g.children("worker")[number:number + 1]:
            os.kill(pid, signal.SIGKILL)
        assert control(g, "GET", "/healthz").status == 200
    os.kill(g.process.pid, signal.SIGKILL)
    g.process.communicate()
    g.process = None
    g.start()
    assert wait_until("the socket", lambda: control(g, "GET", "/readyz").status == 200)
