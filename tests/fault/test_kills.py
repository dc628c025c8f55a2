"""The ledger test: 1,000 messages through both doors while processes are killed.

At least 20 kills of each kind of process. A client that got no clear answer
asks again with the same idempotency key, as a client should. At the end every
accepted message must have arrived, and every second copy must be flagged as
uncertain. Prints the kills, the duplicates and the losses.
"""
import contextlib
import http.client
import os
import queue
import random
import signal
import smtplib
import threading

import support
from support import queued_id, wait_until

ROUNDS = 20
MESSAGES = 1000
SENDERS = 4
ROLES = ["worker", "signer", "sandbox", "redis-server", "redis", "supervisor"]


class Ledger:
    """What the clients know: token -> id, once an answer said accepted."""

    def __init__(self):
        self.lock, self.accepted = threading.Lock(), {}

    def note(self, token, message_id):
        with self.lock:
            assert self.accepted.setdefault(token, message_id) == message_id, "two ids for one key"


def send_http(g, token):
    answer = g.http("POST", "/v1/messages",
                    {"from": "shop@example.com", "to": f"{token}@customer.example",
                     "subject": token, "text": "x" * 2000},
                    headers={"Idempotency-Key": token}, timeout=60)
    return answer.json["id"] if answer.status == 202 else None


def send_smtp(g, token):
    message = (f"From: shop@example.com\r\nTo: {token}@customer.example\r\nSubject: {token}\r\n"
               f"X-Stagepost-Idempotency-Key: {token}\r\n\r\n" + "x" * 60 + "\r\n").encode()
    with contextlib.closing(g.smtp(timeout=60)) as s:
        s.mail("shop@example.com")
        if s.rcpt(f"{token}@customer.example")[0] != 250:
            return None
        code, text = s.data(message)
        return queued_id(text) if code == 250 else None


def send_until_accepted(g, ledger, token):
    send = send_http if int(token[1:]) % 2 else send_smtp

    def once():
        with contextlib.suppress(OSError, EOFError, smtplib.SMTPException, http.client.HTTPException,
                                 TypeError):  # TypeError: between two starts there is no address
            return send(g, token)

    ledger.note(token, wait_until(f"{token} is accepted", once, 300))


def sender(g, ledger, work, failures):
    while True:
        token = work.get()
        if token is None:
            return
        try:
            send_until_accepted(g, ledger, token)
        except BaseException as e:  # noqa: B036  a thread's assertion must reach the test
            failures.append(f"{token}: {e}")


def kill_one(g, role):
    if role == "supervisor":
        os.kill(g.process.pid, signal.SIGKILL)
        g.process.communicate()
        g.start()
        return 1
    with contextlib.suppress(ProcessLookupError, IndexError):
        os.kill(g.children(role)[0], signal.SIGKILL)
        return 1
    return 0


def kill_all_roles(g, kills, rng):
    for role in rng.sample(ROLES, len(ROLES)):
        done = wait_until(f"a {role} to kill", lambda r=role: kill_one(g, r))
        kills[role] += done
        wait_until("it is whole again", lambda: is_whole(g))


def is_whole(g):
    with contextlib.suppress(OSError, http.client.HTTPException):
        return g.http("GET", "/readyz", key=None).status == 200
    return False


def finish(g, ledger):
    """Lets everything be delivered: what was deferred becomes due by the clock."""
    def all_done():
        open_ones = [i for i in ledger.accepted.values()
                     if g.message(i)["status"] not in ("delivered",)]
        if open_ones:
            g.advance("1h")
        return not open_ones

    wait_until("all are delivered", all_done, 300)


def explain(g, token, message_id):
    """What the log and the gateway know of a message that went wrong."""
    print(f"\n{token} {message_id}: {g.message(message_id)}")
    print("\n".join(x for x in g.log().splitlines() if message_id in x))
    print([c for c in g.captures() if c["subject"] == token])


def test_kills_lose_nothing(gateway):
    g = gateway("--workers", "2", "--signers", "2")
    rng = random.Random(20260101)
    ledger, work, failures = Ledger(), queue.Queue(), []
    kills = dict.fromkeys(ROLES, 0)
    threads = [threading.Thread(target=sender, args=(g, ledger, work, failures))
               for _ in range(SENDERS)]
    for t in threads:
        t.start()
    try:
        for round_no in range(ROUNDS):
            for i in range(MESSAGES // ROUNDS):
                work.put(f"m{round_no * (MESSAGES // ROUNDS) + i}")
            kill_all_roles(g, kills, rng)
    finally:
        for _ in threads:
            work.put(None)
        for t in threads:
            t.join()
    assert not failures, failures[:5]
    assert len(ledger.accepted) == MESSAGES
    finish(g, ledger)
    copies = {}
    for c in g.captures():
        copies[c["subject"]] = copies.get(c["subject"], 0) + 1
    lost = [t for t in ledger.accepted if t not in copies]
    doubled = [t for t in ledger.accepted if copies.get(t, 0) > 1]
    unflagged = [t for t in doubled
                 if not g.message(ledger.accepted[t])["recipients"][0]["uncertain"]]
    print(f"\nkills {kills}, messages {MESSAGES}, duplicates {len(doubled)} "
          f"(not flagged: {len(unflagged)}), lost {len(lost)}")
    assert min(kills.values()) >= ROUNDS
    for token in lost + unflagged:
        explain(g, token, ledger.accepted[token])
    assert not lost, lost[:10]
    assert not unflagged, unflagged[:10]
    assert g.stop() == 0
