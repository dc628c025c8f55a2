"""What clients put into requests and messages stays data: for the message, for its
readers, for the log and for the metrics. For Redis: test_injection.py."""
import base64
import email
import email.policy
import gzip
import hashlib
import json
import pathlib
import re
import socket
import subprocess

import pytest
from raw_smtp import Raw
from support import queued_id, smtp_send, wait_until
from test_http import problem

HERE = pathlib.Path(__file__).resolve().parent


def draft(**fields):
    return {"from": "shop@example.com", "to": "anna@customer.example", "subject": "s",
            "text": "x", **fields}


# ---- blind copies -------------------------------------------------------------

BLIND = (b"From: shop@example.com\r\nTo: anna@customer.example\r\nBcc: secret@customer.example,\r\n"
         b" other-secret@customer.example\r\nRESENT-BCC: third-secret@customer.example\r\n"
         b"resent-bcc: fourth-secret@customer.example\r\nSubject: s\r\n\r\nx\r\n")


def by_smtp(gw):
    with gw.smtp() as s:
        code, text = smtp_send(s, BLIND.replace(b"\r\n", b"\n").decode(),
                               to=("anna@customer.example", "secret@customer.example"))
        assert code == 250, text
        return queued_id(text)


def by_raw(gw):
    return gw.http("POST", "/v1/messages/raw?from=shop@example.com&to=anna@customer.example"
                   "&to=secret@customer.example", BLIND,
                   headers={"Content-Type": "message/rfc822"}).json["id"]


def by_json(gw):
    return gw.accepted(bcc=["secret@customer.example"])


def by_batch(gw):
    body = json.dumps({"messages": [draft(bcc="secret@customer.example")]})
    return gw.http("POST", "/v1/messages/batch", body,
                   headers={"Content-Type": "application/json"}).json["data"][0]["id"]


@pytest.mark.parametrize("way", [by_smtp, by_raw, by_json, by_batch])
def test_blind_copies_are_in_no_header(gw, way):
    id_ = way(gw)
    gw.wait_status(id_, "delivered")
    capture = gw.wait_capture(id_)
    assert set(capture["to"]) == {"anna@customer.example", "secret@customer.example"}
    raw = gw.raw(capture["id"]).lower()
    assert b"secret@" not in raw and b"-secret" not in raw
    assert not re.search(rb"^(resent-)?bcc", raw, re.M)


# ---- file names, boundaries ----------------------------------------------------

NAMES = ['a"; x="b.txt', "..\\..\\boot.ini", "../../etc/passwd", "a;filename=evil.exe",
         "name*0*=utf-8''x.exe", "größe €.pdf", "日本語のファイル名" * 8 + ".txt", "a" * 255,
         "a b  c.txt", "=x.txt", "'quoted'.txt", "50%.txt", "a\\", '"', "(comment).txt", "a,b.txt"]


def names_by_python(raw):
    m = email.message_from_bytes(raw, policy=email.policy.default)
    return [[p.get_filename(), hashlib.sha256(p.get_payload(decode=True)).hexdigest()]
            for p in m.walk() if p.get_filename() is not None]


def names_by_perl(raw):
    done = subprocess.run(["perl", HERE / "mime_readers.pl"], input=raw, capture_output=True,
                          check=True, timeout=60)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_file_names_are_the_same_to_three_readers(gw):
    contents = [b"content of %d" % i for i in range(len(NAMES))]
    id_ = gw.accepted(attachments=[
        {"filename": n, "content": base64.b64encode(c).decode()}
        for n, c in zip(NAMES, contents)])
    raw = gw.raw(gw.wait_capture(id_)["id"])
    wanted = [[n, hashlib.sha256(c).hexdigest()] for n, c in zip(NAMES, contents)]
    assert names_by_python(raw) == wanted
    for found in names_by_perl(raw):
        assert found == wanted


def test_content_ends_no_part(gw):
    """A part that has the first message's boundaries in it, and text that looks like one."""
    first = gw.accepted(html="<p>x", attachments=[{"filename": "a", "content": "eA=="}])
    raw = gw.raw(gw.wait_capture(first)["id"])
    boundaries = re.findall(rb'boundary="([^"]*)"', raw)
    assert len(boundaries) == 2 and len(set(boundaries)) == 2
    text = "".join(f"--{b.decode()}--\r\n\r\n.\r\n..\r\nFrom me\r\n" for b in boundaries)
    second = gw.accepted(text=text, attachments=[
        {"filename": "first.eml", "content": base64.b64encode(raw).decode(),
         "content_type": "text/x-mail"}])
    again = gw.raw(gw.wait_capture(second)["id"])
    m = email.message_from_bytes(again, policy=email.policy.default)
    parts = list(m.iter_parts())
    assert len(parts) == 2
    assert parts[0].get_content().replace("\r\n", "\n") == text.replace("\r\n", "\n")
    assert not set(boundaries) & set(re.findall(rb'boundary="([^"]*)"', again.split(b"\r\n\r\n")[0]))
    for bad in ("text/plain; boundary=x\r\nX-A: b", "text/plain\nX: y", "text/plain; a=\"b\x00\""):
        problem(gw.send(attachments=[{"filename": "a", "content": "", "content_type": bad}]), 422)


# ---- JSON and HTTP -----------------------------------------------------------------

def post(gw, body):
    return gw.http("POST", "/v1/messages", body, headers={"Content-Type": "application/json"})


@pytest.mark.parametrize("body,status", [
    (b'{"from":"a@b.example","from":"c@d.example"}', 400),
    (b"[" * 100000, 400),
    (b'{"a":' * 17 + b"1" + b"}" * 17, 400),
    (b'{"ttl":9007199254740993}', 422),
    (b'{"ttl":' + b"9" * 400 + b"}", 400),
    (b'{"ttl":1e999999}', 400),
    (b'{"subject":"\xff"}', 400),
    (b'{"subject":"\\ud800"}', 400),
    (b'{"subject":"\\udc00\\ud800"}', 400),
    (b'{"subj\\u0000ect":"x"}', 400),
    (b'{"subject":"x"', 400),
    (b'{"subject":"x"} {}', 400),
    (b"\xef\xbb\xbf{}", 400),
    (b'{"__proto__":{"x":1}}', 422),
    (b"", 400),
])
def test_json_that_is_none(gw, body, status):
    problem(post(gw, body), status)


def test_a_compressed_body_is_refused(gw):
    body = gzip.compress(json.dumps(draft(text="x" * 1000000)).encode())
    for coding in ("gzip", "deflate", "br", "zstd", "gzip, identity"):
        p = problem(gw.http("POST", "/v1/messages", body, headers={
            "Content-Type": "application/json", "Content-Encoding": coding}), 415)
        assert "compress" in p["detail"] or "encod" in p["detail"].lower(), p


def answers(gw, data):
    """The status of every answer to these bytes."""
    host, port = gw.ready["http"].rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=60) as s:
        s.sendall(data)
        got = b""
        while piece := s.recv(65536):
            got += piece
    return [int(x) for x in re.findall(rb"^HTTP/1\.1 (\d+)", got, re.M)]


def request(gw, extra=b"", line=b"GET /healthz HTTP/1.1", body=b""):
    host = gw.ready["http"].encode()
    return line + b"\r\nHost: " + host + b"\r\n" + extra + b"\r\n" + body


def test_requests_that_two_readers_could_frame_differently(gw):
    closing = b"Connection: close\r\n"
    smuggled = request(gw, closing)
    post_line = b"POST /v1/messages HTTP/1.1"
    auth = b"Authorization: Bearer dev\r\nContent-Type: application/json\r\n"
    before = gw.metric('stagepost_accepted_messages_total{source="http"}')
    for extra in (b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
                  b"Content-Length: 0\r\nContent-Length: 4\r\n",
                  b"Content-Length: +4\r\n", b"Content-Length: 0x4\r\n",
                  b"Transfer-Encoding: chunked, chunked\r\n",
                  b"Transfer-Encoding : chunked\r\n", b"Transfer-Encoding: xchunked\r\n",
                  b"X: a\n b\r\n", b"X: a\r\n b\r\n"):
        got = answers(gw, request(gw, auth + extra, post_line, b"0\r\n\r\n" + smuggled))
        assert got in ([400], [501]), extra
    assert answers(gw, b"GET /healthz\r\n\r\n") in ([], [400])
    assert answers(gw, request(gw, b"X: " + b"a" * 65536 + b"\r\n") + smuggled) == [431]
    assert answers(gw, request(gw, b"".join(b"X-%d: a\r\n" % i for i in range(200)))) == [431]
    assert answers(gw, request(gw, line=b"GET /" + b"a" * 70000 + b" HTTP/1.1")) in ([414], [431])
    absolute = b"GET http://" + gw.ready["http"].encode() + b"/healthz HTTP/1.1"
    assert answers(gw, request(gw, closing, absolute)) == [200]
    assert answers(gw, request(gw) * 3 + smuggled) == [200] * 4
    assert answers(gw, request(gw, auth + b"Expect: 100-continue\r\nContent-Length: 2\r\n" +
                               closing, post_line, b"{}"))[-1:] == [422]
    assert gw.metric('stagepost_accepted_messages_total{source="http"}') == before


# ---- log, metrics, answers ----------------------------------------------------

def test_log_lines_are_one_event_each(gw):
    marks = "\x1b[31mred\x1b[0m\x07\"}\n{\"event\":\"forged\"}\r\x7f\x9b"
    gw.send(**{"from": f"{marks}@example.com"})
    gw.accepted(subject="a\"}{\\ü", to="\"a}{\\\"\\\\\"@customer.example")
    gw.http("GET", "/v1/" + "".join("%%%02X" % ord(c) for c in marks if ord(c) < 128))
    gw.http("GET", "/healthz", headers={"User-Agent": "x\x1b[31m"})
    with Raw(gw) as raw:
        for line in (b"EHLO " + marks.replace("\n", "").replace("\r", "").encode("latin-1"),
                     b"FORGED \x1b[31m\x9b\xff\"}"):
            raw.command(line)
        raw.say(b"QUIT\r\n")
        raw.replies_until_gone()
    long = gw.send(to=["x" * 60 + f"{i}@{'d' * 60}.example" for i in range(200)])
    assert long.status == 202

    def logged():
        return long.json["id"] in gw.log()

    wait_until("it is in the log", logged)
    with open(gw.log_path, "rb") as f:
        lines = f.read().split(b"\n")
    assert lines.pop() == b""
    for line in lines:
        assert not re.search(rb"[\x00-\x1f\x7f-\x9f]", line.decode("utf-8").encode("latin-1",
                                                                                  "ignore")), line
        event = json.loads(line)
        assert event["event"] != "forged" and len(line) < 16384


def test_no_metric_grows_with_what_strangers_say(gw):
    def series():
        body = gw.http("GET", "/metrics", key=None).body.decode()
        return {line.rsplit(" ", 1)[0] for line in body.splitlines() if not line.startswith("#")}

    gw.wait_status(gw.accepted(), "delivered")
    before = series()
    ids = [gw.accepted(to=f"a@d{i}.example", **{"from": f"a{i}@s{i}.example"}) for i in range(60)]
    for i in range(60):
        gw.http("GET", f"/v1/none{i}")
    for id_ in ids:
        gw.wait_status(id_, "delivered")
    assert len(series()) <= len(before) + 10  # what happened for the first time


def test_tags_come_back_as_json(gw):
    """Whatever was given, each answer is JSON."""
    odd = ["\"}],\"x\":[{\"", "\\", "\\u0000", "😀", "<script>", "'"]
    id_ = gw.accepted(tags=odd, metadata={o: o for o in odd}, subject="".join(odd))
    m = gw.message(id_)
    assert m["tags"] == odd and m["metadata"] == {o: o for o in odd}
    listed = gw.http("GET", "/v1/messages?limit=1").json["data"][0]
    assert listed["subject"] == "".join(odd)
