"""HTTP clients that close one side of their connection, or all of it, before the answer."""
import json
import os
import signal
import socket
import struct

import pytest
from raw_smtp import bytes_unread
from support import LIMIT_S, wait_until

MAIL = {"from": "shop@example.com", "to": "anna@customer.example", "subject": "x", "text": "y"}


def connect(gw, where="http"):
    if where == "control":
        s = socket.socket(socket.AF_UNIX)
        s.connect(os.path.join(gw.state, "run/control.sock"))
    else:
        host, port = gw.ready["http"].rsplit(":", 1)
        s = socket.create_connection((host, int(port)))
    s.settimeout(LIMIT_S)
    return s


def request(gw, key="", body=None, **more):
    text = json.dumps(body or MAIL | more).encode()
    return (f"POST /v1/messages HTTP/1.1\r\nHost: {gw.ready['http']}\r\nAuthorization: Bearer dev\r\n"
            f"X-Stagepost-Credential: dev\r\nContent-Type: application/json\r\n"
            + (f"Idempotency-Key: {key}\r\n" if key else "")
            + f"Content-Length: {len(text)}\r\n\r\n").encode() + text


def read_all(s):
    return b"".join(iter(lambda: s.recv(65536), b""))


@pytest.mark.parametrize("where", ["http", "control"])
def test_a_whole_request_is_answered(gw, where):
    with connect(gw, where) as s:
        s.sendall(request(gw) + request(gw, subject="second"))
        s.shutdown(socket.SHUT_WR)
        answers = read_all(s).split(b"HTTP/1.1 ")[1:]
    assert [a[:3] for a in answers] == [b"202", b"202"]
    for answer in answers:
        message_id = json.loads(answer.split(b"\r\n\r\n", 1)[1])["id"]
        gw.wait_status(message_id, "delivered")
        assert len(gw.captures(message_id)) == 1


@pytest.mark.parametrize("where", ["http", "control"])
def test_a_part_of_a_request_is_nothing(gw, where):
    before = gw.metric('stagepost_accepted_messages_total{source="http"}')
    whole = request(gw)
    for cut in (1, 40, whole.index(b"\r\n\r\n") + 2, whole.index(b"\r\n\r\n") + 4, len(whole) - 1):
        with connect(gw, where) as s:
            s.sendall(whole[:cut])
            s.shutdown(socket.SHUT_WR)
            answer = read_all(s)
        assert answer.startswith(b"HTTP/1.1 400 ") and b'"incomplete_request"' in answer, (cut, answer)
    assert gw.metric('stagepost_accepted_messages_total{source="http"}') == before


@pytest.mark.parametrize("how", ["reset", "close"])
def test_who_is_gone_finds_the_answer_by_its_key(gw, how):
    """While the signers stand still the message waits at the door."""
    [signer] = gw.children("signer")
    os.kill(signer, signal.SIGSTOP)
    try:
        s = connect(gw)
        s.sendall(request(gw, key=f"gone-{how}", to=f"{how}@customer.example"))
        ends = s.getpeername(), s.getsockname()
        wait_until("it is read", lambda: not bytes_unread(*ends))
        if how == "reset":
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()
    finally:
        os.kill(signer, signal.SIGCONT)

    def again():
        answer = gw.send(to=f"{how}@customer.example", http_headers={"Idempotency-Key": f"gone-{how}"},
                         subject="x", text="y")
        assert answer.status in (202, 409), answer.body
        return answer if answer.status == 202 else None

    message_id = wait_until("it is answered", again).json["id"]
    gw.wait_status(message_id, "delivered")
    assert again().json["id"] == message_id
    assert len([c for c in gw.captures() if c["to"] == [f"{how}@customer.example"]]) == 1
