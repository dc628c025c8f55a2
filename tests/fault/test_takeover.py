"""Two workers: the inbox, and one of them stopped beyond its lease."""
import http.client
import json
import os
import signal

import support
from support import wait_until


def owner_of(pid):
    """The queue owner's name: an argument of a worker (relay/sys/proc/child.h)."""
    return support.command_of(pid).split()[4]


def leases(g):
    """owner -> number of partitions held"""
    out, asked = {}, g.redis().pipeline(transaction=False)
    for p in range(256):
        asked.hget(f"sp:{{{p}}}:lease", "o")
    for owner in asked.execute():
        name = (owner or b"").decode()
        out[name] = out.get(name, 0) + 1
    return out


def wait_balanced(g, workers=2):
    """Until each worker holds a fair share of the partitions."""
    def fair():
        held = leases(g)
        return all(held.get(owner_of(p), 0) >= 100 // workers * 2 for p in g.children("worker"))
    wait_until("the workers share the partitions", fair)


def copies_by_subject(g):
    out = {}
    for c in g.captures():
        out[c["subject"]] = out.get(c["subject"], 0) + 1
    return out


def test_mail_for_the_other_workers_partitions_is_delivered(gateway):
    """A key decides the partition: half of these are accepted by the worker that
    does not own it, and reach the owner through the queue."""
    g = gateway("--workers", "2")
    wait_balanced(g)
    ids = [g.accepted(http_headers={"Idempotency-Key": f"inbox-{i}"}, subject=f"inbox-{i}")
           for i in range(60)]
    for message_id in ids:
        g.wait_status(message_id, "delivered")
    assert copies_by_subject(g) == {f"inbox-{i}": 1 for i in range(60)}


def test_a_worker_stopped_beyond_its_lease(gateway):
    """Its partitions are taken over; what it had on the wire when it stopped may
    arrive twice, and then it is flagged. When it goes on, its late facts count."""
    g = gateway("--workers", "2")
    wait_balanced(g)
    ids = {}
    for i in range(20):
        subject = f"slow-{i}"
        ids[subject] = g.accepted(to=f"slow+{i}@d{i}.example", subject=subject)
    stopped = g.children("worker")[0]
    os.kill(stopped, signal.SIGSTOP)
    try:
        # The living worker takes over: everything is delivered without the other.
        living = Living(g)
        fast = [living.send(f"fast-{i}") for i in range(10)]
        for message_id in list(ids.values()) + fast:
            living.wait_delivered(message_id)
    finally:
        os.kill(stopped, signal.SIGCONT)
    wait_until("ready again", lambda: len(g.children("worker")) == 2)
    after = g.accepted(subject="after")
    g.wait_status(after, "delivered")
    copies = copies_by_subject(g)
    for subject, message_id in ids.items():
        assert copies.get(subject, 0) >= 1, f"{subject} is lost"
        if copies[subject] > 1:
            assert g.message(message_id)["recipients"][0]["uncertain"], f"{subject} is not flagged"
    assert all(copies[f"fast-{i}"] == 1 for i in range(10))
    print(f"\nduplicates: {sum(1 for s in ids if copies[s] > 1)} of {len(ids)}, all flagged")
    assert g.metric("stagepost_lease_takeovers_total") > 0


class Living:
    """Asks a worker that lives. Half of new connections wait at the stopped one: a good one is kept."""

    def __init__(self, g):
        self.host, self.port = g.ready["http"].rsplit(":", 1)
        self.connection = None

    def try_to_ask(self, method, path, body, headers):
        c = self.connection or http.client.HTTPConnection(self.host, int(self.port), timeout=2)
        self.connection = None
        try:
            c.request(method, path, body and json.dumps(body),
                      {"Authorization": "Bearer dev", "Content-Type": "application/json", **headers})
            r = c.getresponse()
            answer = support.Answer(r.status, r.headers, r.read())
            self.connection = c
            return answer
        except (OSError, http.client.HTTPException):
            c.close()
            return None

    def ask(self, method, path, body=None, headers=()):
        return wait_until("an answer", lambda: self.try_to_ask(method, path, body, dict(headers)))

    def send(self, subject):
        """Accepted; the id."""
        def accepted():
            answer = self.ask("POST", "/v1/messages",
                              {"from": "shop@example.com", "to": "anna@customer.example", "subject": subject,
                               "text": "x"}, {"Idempotency-Key": subject})
            return answer.json["id"] if answer.status == 202 else None
        return wait_until(f"{subject} is accepted", accepted)

    def wait_delivered(self, message_id):
        def delivered():
            answer = self.ask("GET", f"/v1/messages/{message_id}")
            return answer.status == 200 and answer.json["status"] == "delivered"
        wait_until(f"{message_id} is delivered", delivered)
