"""Credentials that an operator makes, rotates, freezes and removes while the gateway runs."""
import contextlib
import os
import signal
import smtplib
import ssl
import subprocess

import pytest
import support
from support import smtp_send, wait_until
from test_control import control

MESSAGE = b"From: app@example.org\r\nTo: b@customer.example\r\nSubject: x\r\n\r\nx\r\n"
FIELDS = {"tenant": "new", "senders": ["example.org"], "rate": "1000/m",
          "networks": ["127.0.0.0/8"], "expires": "2099-01-01"}


@pytest.fixture(scope="module")
def pair():
    g = support.Gateway(support.temporary_state(), ("--workers", "2")).start()
    yield g
    g.kill_all()


def login(g, user, password):
    host, port = g.ready["smtp"].rsplit(":", 1)
    s = smtplib.SMTP(host, int(port), timeout=support.LIMIT_S)
    s.starttls(context=ssl.create_default_context(cafile=g.ready["ca"]))
    s.login(user, password)
    return s


def accepted_by_all(g, user, password, times=8):
    """Connections come to both workers."""
    with contextlib.suppress(smtplib.SMTPAuthenticationError):
        for _ in range(times):
            login(g, user, password).quit()
        return True
    return False


def refused_by_all(g, user, password, times=8):
    for _ in range(times):
        try:
            login(g, user, password).quit()
            return False
        except smtplib.SMTPAuthenticationError as e:
            assert e.smtp_code == 535
    return True


def make(g, user, **more):
    answer = control(g, "POST", "/v1/credentials", dict(FIELDS, user=user, **more))
    assert answer.status == 201, answer.body
    return answer.json


def change(g, user, what):
    answer = control(g, "POST", f"/v1/credentials/{user}/{what}")
    assert answer.status == 200, answer.body
    return answer.json


def listed(g):
    return {c["user"]: c for c in control(g, "GET", "/v1/credentials").json["data"]}


def status(g, message):
    return control(g, "GET", f"/v1/messages/{message}").json["status"]


def test_made_used_removed(pair):
    made = make(pair, "app@example.org")
    assert made["tenant"] == "new" and made["rate"] == "1000/m" and not made["frozen"]
    wait_until("all workers know it",
               lambda: accepted_by_all(pair, "app@example.org", made["password"]))
    with login(pair, "app@example.org", made["password"]) as s:
        assert smtp_send(s, MESSAGE, "app@example.org")[0] == 250
        assert s.mail("x@example.com")[0] == 550
    wait_until("and its key", lambda: pair.send(
        key=made["key"], **{"from": "app@example.org"}).status == 202)
    row = listed(pair)["app@example.org"]
    assert row["kept_in"] == "registry" and row["senders"] == ["example.org"]
    assert "password" not in row and "key" not in row

    assert control(pair, "POST", "/v1/credentials",
                   dict(FIELDS, user="app@example.org")).json["code"] == "exists"
    session = login(pair, "app@example.org", made["password"])
    assert control(pair, "DELETE", "/v1/credentials/app%40example.org").status == 200
    wait_until("gone everywhere", lambda: refused_by_all(pair, "app@example.org", made["password"]))
    assert session.mail("app@example.org")[0] == 421  # AUT-09
    assert pair.send(key=made["key"]).status == 401
    assert control(pair, "DELETE", "/v1/credentials/app%40example.org").status == 404


def test_rotated_twice_retires_the_first(pair):
    first = make(pair, "rotating")
    second = change(pair, "rotating", "rotate")
    assert second["password"] != first["password"] and second["key"] != first["key"]
    for secrets in first, second:
        wait_until("both are live", lambda: accepted_by_all(pair, "rotating", secrets["password"]))
    third = change(pair, "rotating", "rotate")
    wait_until("the first is not", lambda: refused_by_all(pair, "rotating", first["password"]))
    for secrets in second, third:
        wait_until("the others are",
                   lambda: accepted_by_all(pair, "rotating", secrets["password"]))


def test_each_worker_knows_what_the_other_did(pair):
    """Whoever answers has looked first: nothing that an answer said is denied by the next one."""
    for _ in range(3):
        first = make(pair, "short")
        assert "short" in listed(pair)
        assert change(pair, "short", "rotate")["key"] != first["key"]
        assert control(pair, "DELETE", "/v1/credentials/short").status == 200
        assert "short" not in listed(pair)
        assert control(pair, "POST", "/v1/credentials/short/rotate").status == 404


def test_frozen_and_unfrozen(pair):
    made = make(pair, "froze")
    fields = {"from": "app@example.org", "to": "defer@customer.example"}
    wait_until("known to all", lambda: accepted_by_all(pair, "froze", made["password"], 20))
    sent = pair.send(key=made["key"], **fields).json["id"]
    wait_until("it was tried", lambda: pair.message(sent, key=made["key"])["status"] == "deferred")
    session = login(pair, "froze", made["password"])
    answer = change(pair, "froze", "freeze")
    assert answer["frozen"] and answer["affected"] >= 1
    wait_until("its mail waits", lambda: status(pair, sent) == "held")
    wait_until("nobody lets it in", lambda: refused_by_all(pair, "froze", made["password"]))
    assert session.mail("app@example.org")[0] == 421
    answer = pair.send(key=made["key"], **fields)
    assert answer.status == 403 and answer.json["code"] == "credential_frozen"
    for method, what in ("GET", ""), ("GET", "/raw"), ("POST", "/cancel"), ("POST", "/release"):
        answer = pair.http(method, f"/v1/messages/{sent}{what}", key=made["key"])
        assert answer.status == 403 and answer.json["code"] == "credential_frozen", what
    assert status(pair, sent) == "held"
    answer = change(pair, "froze", "unfreeze")
    assert not answer["frozen"] and answer["affected"] >= 1
    wait_until("its mail goes on",
               lambda: pair.message(sent, key=made["key"])["status"] != "held")
    wait_until("everybody lets it in", lambda: accepted_by_all(pair, "froze", made["password"]))


def test_freezing_tells_what_is_being_delivered(pair):
    made = make(pair, "busy")
    wait_until("known to all", lambda: accepted_by_all(pair, "busy", made["password"], 20))
    sent = pair.send(key=made["key"], **{"from": "app@example.org",
                                         "to": ["slow@customer.example", "defer@other.example"]})
    wait_until("one is being delivered",
               lambda: pair.metric('stagepost_queue_messages{state="inflight"}') == 1)
    answer = change(pair, "busy", "freeze")
    assert answer["in_flight"] == 1 and answer["affected"] == 1
    assert sent.status == 202


def test_freezing_goes_on_when_nobody_waits(pair):
    """The command gives up before the gateway has looked at the first message."""
    made = make(pair, "patient")
    fields = {"from": "app@example.org", "to": "defer@customer.example"}
    wait_until("known to all", lambda: accepted_by_all(pair, "patient", made["password"], 20))
    sent = pair.send(key=made["key"], **fields).json["id"]
    wait_until("it was tried", lambda: pair.message(sent, key=made["key"])["status"] == "deferred")
    code, _, err = cli(pair, "freeze", "patient", binary=support.TEST_BIN,
                       env={"STAGEPOST_TIME_SCALE": "5000"})
    assert code == 75 and "it goes on, ask again later" in err, (code, err)
    wait_until("its mail waits", lambda: status(pair, sent) == "held")
    assert listed(pair)["patient"]["frozen"]
    code, out, _ = cli(pair, "unfreeze", "patient")
    assert code == 0 and "1 recipients of waiting mail" in out


def test_one_of_the_file_is_frozen(pair):
    """A stolen credential of the file: stopped without a reload, and still after a restart."""
    fields = {"from": "app@example.org", "to": "defer@customer.example"}
    sent = pair.send(key="dev2", **fields).json["id"]
    wait_until("it was tried", lambda: pair.message(sent, key="dev2")["status"] == "deferred")
    session, other = login(pair, "dev2", "dev2"), login(pair, "dev2", "dev2")
    assert other.mail("app@example.org")[0] == 250
    assert other.rcpt("b@customer.example")[0] == 250
    answer = change(pair, "dev2", "freeze")
    assert answer["frozen"] and answer["affected"] >= 1
    assert "password" not in answer
    assert session.mail("app@example.org")[0] == 421
    assert other.data(MESSAGE)[0] == 550  # begun before, not taken after
    assert change(pair, "dev2", "freeze")["frozen"]  # twice is fine
    wait_until("its mail waits", lambda: status(pair, sent) == "held")
    row = listed(pair)["dev2"]
    assert row["frozen"] and row["kept_in"] == "file" and not listed(pair)["dev"]["frozen"]
    assert "frozen" in next(
        line for line in cli(pair, "ls")[1].splitlines() if line.startswith("dev2 "))
    assert control(pair, "POST", "/v1/credentials/dev2/rotate").json["code"] == "kept_in_file"
    assert control(pair, "DELETE", "/v1/credentials/dev2").json["code"] == "kept_in_file"
    pair.stop()
    pair.start()
    wait_until("nobody lets it in", lambda: refused_by_all(pair, "dev2", "dev2"))
    answer = pair.send(key="dev2", **fields)
    assert answer.status == 403 and answer.json["code"] == "credential_frozen"
    assert accepted_by_all(pair, "dev", "dev")
    answer = change(pair, "dev2", "unfreeze")
    assert not answer["frozen"] and answer["affected"] >= 1
    wait_until("its mail goes on", lambda: pair.message(sent, key="dev2")["status"] != "held")
    wait_until("everybody lets it in", lambda: accepted_by_all(pair, "dev2", "dev2"))
    assert not listed(pair)["dev2"]["frozen"]
    assert change(pair, "dev2", "unfreeze")["affected"] == 0


def test_what_is_refused(pair):
    for change in {"senders": ["a@@b"]}, {"senders": []}, {"rate": "often"}, {"networks": ["x"]}, \
            {"tenant": None}, {"password_hash": "x"}, {"colour": "red"}, {"daily": "5"}:
        answer = control(pair, "POST", "/v1/credentials", dict(FIELDS, user="bad", **change))
        assert answer.status == 422, (change, answer.body)
        assert answer.json["errors"][0]["pointer"] == f"/{next(iter(change))}"
    assert control(pair, "POST", "/v1/credentials", {"user": "bad"}).status == 422
    assert control(pair, "POST", "/v1/credentials/dev/rotate").json["code"] == "kept_in_file"
    assert control(pair, "POST", "/v1/credentials/nobody/freeze").status == 404
    assert pair.http("GET", "/v1/credentials").status == 403
    assert pair.http("GET", "/v1/credentials", key=None).status == 401
    assert "bad" not in listed(pair)


def cli(g, *args, binary=None, env=None):
    done = subprocess.run([binary or g.binary, "credential", *args, "--state", g.state], check=False,
                          capture_output=True, text=True, timeout=support.LIMIT_S, env=os.environ | (env or {}))
    return done.returncode, done.stdout, done.stderr


def test_from_the_command_line(pair):
    code, out, _ = cli(pair, "add", "typed@example.org", "--tenant", "typed", "--sender",
                       "example.org", "--sender", "one@example.net", "--daily", "50",
                       "--rate", "10/m", "--class", "bulk")
    assert code == 0
    shown = dict(line.split() for line in out.splitlines())
    assert shown["user"] == "typed@example.org" and shown["key"].startswith("sp_")
    wait_until("known",
               lambda: accepted_by_all(pair, "typed@example.org", shown["password"], 20))
    row = listed(pair)["typed@example.org"]
    assert row["senders"] == ["example.org", "one@example.net"]
    assert (row["daily"], row["rate"], row["class"]) == (50, "10/m", "bulk")
    code, out, _ = cli(pair, "ls", "--tenant", "typed")
    assert code == 0 and "typed@example.org" in out and "registry" in out and "dev2" not in out
    code, out, _ = cli(pair, "freeze", "typed@example.org")
    assert code == 0 and "0 recipients of waiting mail" in out
    assert "frozen" in cli(pair, "ls", "--tenant", "typed")[1]
    assert cli(pair, "rm", "typed@example.org")[0] == 0
    assert cli(pair, "rm", "typed@example.org")[0] == 66
    code, _, err = cli(pair, "add", "bad", "--tenant", "t", "--sender", "a@@b")
    assert code != 0 and "a@@b" in err
    assert cli(pair, "dance", "x")[0] == 64


def test_it_is_there_after_a_restart(pair):
    made = make(pair, "lasting")
    pair.stop()
    pair.start()
    wait_until("known again", lambda: accepted_by_all(pair, "lasting", made["password"]))


def test_nobody_is_refused_for_good_before_credentials_are_known():
    """A worker that cannot reach Redis does not know whom operators made, or froze."""
    g = support.Gateway(support.temporary_state()).start()
    try:
        made = make(g, "early@example.org")
        redis, worker = g.children("redis-server")[0], g.children("worker")[0]
        os.kill(redis, signal.SIGSTOP)
        os.kill(worker, signal.SIGKILL)
        wait_until("another worker", lambda: g.children("worker") not in ([], [worker]))
        with pytest.raises(smtplib.SMTPResponseException) as refused:
            login(g, "early@example.org", made["password"])
        assert refused.value.smtp_code in (421, 454)
        for key in (made["key"], "dev"):  # the file's may be frozen
            answer = g.send(key=key, **{"from": "early@example.org"})
            assert answer.status == 503 and answer.headers["Retry-After"], answer.body
        os.kill(redis, signal.SIGCONT)

        def known():
            with contextlib.suppress(smtplib.SMTPException, OSError):
                login(g, "early@example.org", made["password"]).quit()
                return True
        wait_until("it is known", known)
        assert g.send(key=made["key"], **{"from": "early@example.org"}).status == 202
    finally:
        g.kill_all()
