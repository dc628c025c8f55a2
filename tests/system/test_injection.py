"""INJ-07, INJ-08: the language of Redis, of its scripts and of logs, in every field of every door."""
import base64
import json
import subprocess
import urllib.parse

import pytest
import support
from raw_smtp import Gone, Raw
from support import wait_until
from test_control import ControlConnection, control, control_path

FLUSH = "\r\n*1\r\n$8\r\nFLUSHALL\r\n"
EVAL = "'] redis.call('flushall') --[[ {x} sp:{s1}:* \x1b[2J\u2028\"},{\"event\":\"bug"
TEXTS = (FLUSH, EVAL, "*", "sp:{0}:", "x\0y")
COMMANDS = ("flushall", "flushdb", "shutdown", "keys")


@pytest.fixture(scope="module")
def guarded():
    """Afterwards Redis was never asked to flush, what was there at first still is, and every line
    of the log is one object of one event that the program knows."""
    g = support.Gateway(support.temporary_state(), ("--workers", "2")).start()
    first = g.accepted(to="canary@customer.example")
    g.wait_status(first, "delivered")
    yield g
    try:
        stats = g.redis().info("commandstats")
        assert "cmdstat_get" in stats or len(stats) > 10
        for command in COMMANDS:
            assert f"cmdstat_{command}" not in stats
        assert g.message(first)["status"] == "delivered"
        last = g.accepted(to="canary@customer.example")
        g.wait_status(last, "delivered")
        assert len(g.captures(last)) == 1
        for line in g.log().splitlines():
            assert line.isprintable() and "\x1b" not in line, line
            assert isinstance(json.loads(line), dict)
        assert not g.events("bug")
    finally:
        g.kill_all()


def quoted(text):
    return urllib.parse.quote(text, safe="")


def nothing_broke(answer, what):
    """A refusal that names the trouble, or a plain success; never our own failure."""
    assert answer.status in (200, 201, 202, 400, 401, 403, 404, 409, 422), (what, answer.status, answer.body)
    if answer.status >= 400:
        assert answer.json["code"], what


@pytest.mark.parametrize("text", TEXTS)
def test_in_requests(guarded, text):
    good = {"from": "shop@example.com", "to": "anna@customer.example", "subject": "s", "text": "t"}
    fields = ["from", "to", "cc", "bcc", "reply_to", "subject", "text", "html"]
    drafts = [dict(good, **{f: text}) for f in fields]
    drafts += [dict(good, **{f: f"{text} <a@customer.example>"}) for f in ("from", "to", "cc", "reply_to")]
    drafts += [dict(good, **{f: f"\"{text}\"@customer.example"}) for f in ("from", "to", "cc", "reply_to")]
    drafts += [dict(good, headers={"X-A": text}), dict(good, headers={text: "x"}),
               dict(good, idempotency_key=text), dict(good, **{text: text}),
               dict(good, attachments=[{"filename": text, "content": "eA=="}]),
               dict(good, attachments=[{"filename": "x", "content": text, "content_type": text}])]
    drafts += [dict(good, tags=[text]), dict(good, metadata={"k": text}), dict(good, metadata={text: "v"}),
               dict(good, send_at=text), dict(good, ttl=text), dict(good, expires_at=text), dict(good, **{"class": text}),
               dict(good, list_unsubscribe={"url": "https://a.example/" + text}),
               dict(good, list_unsubscribe={"mailto": text})]
    for draft in drafts:
        for item in draft, dict(draft, idempotency_key=text), dict(draft, idempotency_key="x" + text.strip()):
            answer = guarded.http("POST", "/v1/messages/batch", {"messages": [item], "mode": "permissive"})
            nothing_broke(answer, item)
        answer = guarded.http("POST", "/v1/messages", draft)
        nothing_broke(answer, draft)
        if answer.status == 202:
            assert guarded.message(answer.json["id"])["id"] == answer.json["id"]


@pytest.mark.parametrize("text", TEXTS)
def test_in_paths_and_queries(guarded, text):
    q = quoted(text)
    asked = [("GET", f"/v1/messages/{q}"), ("GET", f"/v1/messages/{q}/events"), ("GET", f"/v1/messages/{q}/raw"),
             ("GET", f"/v1/queues/{q}"), ("GET", f"/v1/suppressions/{q}"), ("DELETE", f"/v1/suppressions/{q}"),
             ("PUT", f"/v1/suppressions/{q}"), ("PUT", f"/v1/suppressions/%22{q}%22%40a.example"),
             ("GET", f"/v1/queues?limit={q}&shape={q}"), ("GET", f"/v1/suppressions?limit=5&after={q}")]
    asked += [("POST", f"/v1/messages/{q}/{act}") for act in ("cancel", "retry", "hold", "release")]
    asked += [("GET", f"/v1/messages?{name}={q}") for name in ("to", "status", "since", "until", "limit", "after", q)]
    operators = [("GET", f"/v1/messages?tenant={q}"), ("GET", f"/v1/queues?tenant={q}"),
                 ("PUT", f"/v1/suppressions/a%40b.example?tenant={q}"), ("DELETE", f"/v1/credentials/{q}"),
                 ("GET", f"/v1/suppressions?tenant={q}")]
    operators += [("POST", f"/v1/credentials/{q}/{act}") for act in ("rotate", "freeze", "unfreeze")]
    for method, path in asked + operators:
        body = {"reason": "manual", "recipients": [text]} if method == "POST" and "messages" in path else \
            {"reason": "manual"} if method == "PUT" else None
        nothing_broke(control(guarded, method, path, body), (method, path))
        if (method, path) in asked:
            nothing_broke(guarded.http(method, path, body), (method, path))
    for body in {"reason": text}, {text: text}:
        nothing_broke(guarded.http("PUT", "/v1/suppressions/b%40customer.example", body), body)
    guarded.http("DELETE", "/v1/suppressions/b%40customer.example")


@pytest.mark.parametrize("text", TEXTS)
def test_in_credentials(guarded, text):
    good = {"user": "inj", "tenant": "inj", "senders": ["example.org"]}
    for change in {"user": text}, {"tenant": text}, {"senders": [text]}, {"senders": [f"\"{text}\"@example.org"]}, \
            {"recipients": [text]}, {"networks": [text]}, {"rate": text}, {"expires": text}, {"class": text}, \
            {"daily": text}, {text: text}:
        answer = control(guarded, "POST", "/v1/credentials", dict(good, **change))
        nothing_broke(answer, change)
        if answer.status != 201:
            continue
        made = answer.json  # a name or a tenant that is only odd: found again under exactly that name
        user = quoted(made["user"])
        assert made["user"] == change.get("user", "inj") and made["tenant"] == change.get("tenant", "inj")
        assert made["user"] in [c["user"] for c in control(guarded, "GET", "/v1/credentials").json["data"]]
        if change.get("senders"):
            assert control(guarded, "DELETE", f"/v1/credentials/{user}").status == 200
            continue
        wait_until("it sends", lambda key=made["key"]: guarded.send(
            key=key, **{"from": "a@example.org"}).status == 202)
        wait_until("and sees what it sent", lambda key=made["key"]: guarded.http(
            "GET", "/v1/messages", key=key).json.get("data"))
        assert control(guarded, "DELETE", f"/v1/credentials/{user}").status == 200


@pytest.mark.parametrize("text", TEXTS)
def test_in_headers_of_requests(guarded, text):
    """As bytes on the wire: a client that is no library."""
    good = json.dumps({"from": "shop@example.org", "to": "anna@customer.example", "subject": "s", "text": "t"})
    for name in ("Idempotency-Key", "X-Stagepost-Credential", "Authorization", "Content-Type", "Host", "X-Other"):
        c = ControlConnection(control_path(guarded))
        c.connect()
        with c.sock as s:
            s.sendall(b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nX-Stagepost-Credential: dev2\r\n"
                      b"Content-Type: application/json\r\nConnection: close\r\n"
                      + f"{name}: {text}\r\nContent-Length: {len(good)}\r\n\r\n{good}".encode())
            answer = b""
            while piece := s.recv(65536):
                answer += piece
        assert answer.startswith(b"HTTP/1.1 ") and b" 500 " not in answer[:16], (name, answer)
        assert answer.count(b"HTTP/1.1 ") == 1, answer


@pytest.mark.parametrize("text", TEXTS)
def test_in_smtp(guarded, text):
    raw = text.encode()
    b64 = base64.b64encode
    xtext = "".join(c if c.isalnum() else "".join(f"+{b:02X}" for b in c.encode()) for c in text).encode()
    lines = [b"EHLO " + raw, b"MAIL FROM:<" + raw + b">", b"MAIL FROM:<\"" + raw + b"\"@example.com>",
             b"MAIL FROM:<a@example.com> ENVID=" + xtext, b"MAIL FROM:<a@example.com> AUTH=" + xtext,
             b"RCPT TO:<" + raw + b">", b"RCPT TO:<a@b.example> ORCPT=rfc822;" + xtext, b"VRFY " + raw, raw]
    for line in lines:
        with Raw(guarded, implicit=True) as s:
            s.login()
            if line.startswith(b"RCPT"):
                assert s.command(b"MAIL FROM:<shop@example.com>")[0] == 250
            s.say(line + b"\r\nQUIT\r\n")
            assert all(code in (250, 252, 221, 421, 500, 501, 502, 503, 550, 552, 553, 554, 555)
                       for code, _ in s.replies_until_gone()), line
    for user in b"n," + raw, b"n=" + raw, b"n=" + raw.replace(b"=", b"=3D").replace(b",", b"=2C"):
        with Raw(guarded, implicit=True) as s:
            s.command(b"EHLO c.example")
            code, _ = s.command(b"AUTH SCRAM-SHA-256 " + b64(b"n,," + user + b",r=abcdefghijklmnop"))
            if code == 334:
                code, _ = s.command(b64(b"c=biws,r=abcdefghijklmnop" + raw + b",p=AAAA"))
            assert code in (501, 504, 535, 454), code  # 504: not offered
    for user, password in (raw, b"dev"), (b"dev", raw), (raw, raw):
        with Raw(guarded, implicit=True) as s:
            s.command(b"EHLO c.example")
            assert s.command(b"AUTH PLAIN " + b64(b"\0" + user + b"\0" + password))[0] in (501, 535, 454)
            assert s.command(b"AUTH PLAIN " + b64(raw + b"\0" + user + b"\0" + password))[0] in (501, 535, 454)
            try:
                codes = s.codes(b"AUTH LOGIN", b64(user), b64(password))
            except Gone:
                continue
            assert codes[-1] in (334, 421, 501, 535, 454, 500), codes


def test_in_messages(guarded):
    """As the text of a message, it arrives as it was; as a key or a file name it does nothing."""
    body = (FLUSH + "\r\n" + EVAL.replace("\x1b", "") + "\r\n").encode()
    with guarded.smtp() as s:
        s.ehlo()
        for key in "*1", "$8 FLUSHALL", "'] redis.call('flushall') --[[", "sp:{0}:m":
            message = f"From: shop@example.com\r\nX-Stagepost-Idempotency-Key: {key}\r\nSubject: x\r\n\r\n".encode() + body
            code, text = support.smtp_send(s, message)
            if code == 250:
                sent = support.queued_id(text)
                assert guarded.raw(guarded.wait_capture(sent)["id"]).endswith(b"\r\n\r\n" + body)
            else:
                assert code in (550, 554), (key, code, text)
            s.rset()


@pytest.mark.parametrize("text", TEXTS[:4])
def test_on_the_command_line(guarded, text):
    commands = [("msg", text), ("queue", "ls", "--to", text), ("suppress", "add", text, "--tenant", "dev"),
                ("suppress", "rm", text, "--tenant", text), ("credential", "freeze", text), ("credential", "rm", text),
                ("credential", "add", "inj2", "--tenant", "t", "--sender", text),
                ("send", "--as", text, "--from", "a@example.org", "--to", "b@c.example", "--subject", text),
                ("send", "--as", "dev2", "--from", "a@example.org", "--to", text, "--subject", "s")]
    for command in commands:
        done = subprocess.run([guarded.binary, *command, "--state", guarded.state], input=b"x", check=False,
                              capture_output=True, timeout=support.LIMIT_S)
        assert 0 <= done.returncode < 128, (command, done)
        assert b"\x1b" not in done.stdout + done.stderr, done
