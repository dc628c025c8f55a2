"""While the outcome of a commit is not known, nothing is said."""
import contextlib
import os
import signal
import socket
import time

import pytest
import support
from support import auth_plain, queued_id, wait_until

# The limits of 10 s and 120 s become 1 s and 12 s.
SCALE = {"STAGEPOST_TIME_SCALE": "10"}


def session_at_final_dot(g, token):
    """An SMTP session that has sent everything but the final dot."""
    s = g.smtp()
    assert s.mail("shop@example.com")[0] == 250
    assert s.rcpt("anna@customer.example")[0] == 250
    s.putcmd("data")
    assert s.getreply()[0] == 354
    s.send(f"From: shop@example.com\r\nTo: anna@customer.example\r\nSubject: {token}\r\n\r\nx\r\n".encode())
    return s


@contextlib.contextmanager
def commits_held(g):
    """Redis takes commands that write and does not run them, nor answers; what
    only reads is answered."""
    r = g.redis()
    r.client_pause(3600 * 1000, all=False)
    try:
        yield
    finally:
        r.client_unpause()


def stop_redis(g):
    pid = g.children("redis-server")[0]
    os.kill(pid, signal.SIGSTOP)
    return pid


def subjects(g):
    return [c["subject"] for c in g.captures()]


@pytest.mark.parametrize("held_s", [0.2, 4.0])
def test_a_held_reply_is_waited_for(gateway, held_s):
    g = gateway(binary=support.TEST_BIN, env=SCALE)
    s = session_at_final_dot(g, "held")
    with commits_held(g):
        s.send(b".\r\n")
        s.sock.settimeout(held_s)
        with pytest.raises((socket.timeout, TimeoutError)):
            s.sock.recv(1)
    s.sock.settimeout(support.LIMIT_S)
    s.file = None
    code, text = s.getreply()
    marker = wait_until("mail is accepted again", lambda: (
        lambda a: a.json["id"] if a.status == 202 else None)(g.send(subject="marker")))
    g.wait_status(marker, "delivered")
    if code == 250:
        g.wait_status(queued_id(text), "delivered")
        assert subjects(g).count("held") == 1
    else:
        assert code == 451 and text.startswith(b"4.3.0")
        g.advance("120h")
        later = g.accepted(subject="later")
        g.wait_status(later, "delivered")
        assert "held" not in subjects(g)


def test_never_known_is_never_answered(gateway):
    """Redis stays away: the connection is closed without a reply."""
    g = gateway(binary=support.TEST_BIN, env=SCALE)
    s = session_at_final_dot(g, "silent")
    with commits_held(g):
        s.send(b".\r\n")
        s.sock.settimeout(support.LIMIT_S)
        try:
            got = s.sock.recv(100)
        except OSError:
            got = b""
        assert got == b""
    marker = wait_until("mail is accepted again", lambda: (
        lambda a: a.json["id"] if a.status == 202 else None)(g.send(subject="marker")))
    g.wait_status(marker, "delivered")


def test_http_answers_504_and_the_key_tells(gateway):
    g = gateway(binary=support.TEST_BIN, env=SCALE)
    def unknown():
        """504, unless this machine was so slow that the links were lost first."""
        wait_until("it is up", lambda: g.http("GET", "/readyz", key=None).status == 200)
        with commits_held(g):
            return g.send(subject="late", http_headers={"Idempotency-Key": "late"}).status == 504

    wait_until("an unknown outcome", unknown)
    again = wait_until("an answer to the same key", lambda: (
        lambda a: a if a.status == 202 else None)(
            g.send(subject="late", http_headers={"Idempotency-Key": "late"})))
    g.wait_status(again.json["id"], "delivered")
    assert subjects(g).count("late") == 1


def test_redis_away_is_451_and_503(gateway):
    g = gateway(binary=support.TEST_BIN, env=SCALE)
    with g.smtp() as s:
        pid = stop_redis(g)
        try:
            wait_until("it is noticed", lambda: g.http("GET", "/readyz", key=None).status == 503)
            code, text = s.mail("shop@example.com")
            assert code == 451 and text.startswith(b"4.3.0")
            answer = g.send()
            assert answer.status == 503 and answer.headers["Retry-After"]
        finally:
            os.kill(pid, signal.SIGCONT)
        wait_until("it is back", lambda: g.http("GET", "/readyz", key=None).status == 200)
        assert s.mail("shop@example.com")[0] == 250
