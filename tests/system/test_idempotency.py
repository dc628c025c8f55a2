"""Idempotency keys at both doors."""
import threading

from support import queued_id, smtp_send


def message(key, text=b"x"):
    return (b"From: shop@example.com\r\nTo: anna@customer.example\r\nSubject: once\r\n"
            b"X-Stagepost-Idempotency-Key: " + key + b"\r\n\r\n" + text + b"\r\n")


def test_http_replay_and_conflict(gw):
    first = gw.send(http_headers={"Idempotency-Key": "order-1"})
    again = gw.send(http_headers={"Idempotency-Key": '"order-1"'})
    assert first.status == again.status == 202
    assert first.json["id"] == again.json["id"]
    assert again.headers["Idempotency-Replayed"] == "true"
    assert first.headers["Idempotency-Replayed"] is None
    other = gw.send(http_headers={"Idempotency-Key": "order-1"}, subject="another")
    assert other.status == 422 and other.headers["Content-Type"].startswith("application/problem+json")
    gw.wait_status(first.json["id"], "delivered")
    assert len(gw.captures(first.json["id"])) == 1


def test_keys_belong_to_a_credential(gw):
    a = gw.send(http_headers={"Idempotency-Key": "shared"}, **{"from": "x@example.org"})
    b = gw.send(http_headers={"Idempotency-Key": "shared"}, key="dev2", **{"from": "x@example.org"})
    assert a.status == b.status == 202 and a.json["id"] != b.json["id"]


def test_bad_keys(gw):
    assert gw.send(http_headers={"Idempotency-Key": "x" * 257}).status in (400, 422)
    assert gw.send(http_headers={"Idempotency-Key": ""}).status in (400, 422)


def test_ten_at_once_are_one_message(gw):
    answers = []

    def one():
        answers.append(gw.send(http_headers={"Idempotency-Key": "rush"}, to="rush@customer.example"))

    threads = [threading.Thread(target=one) for _ in range(10)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert {a.status for a in answers} <= {202, 409}
    ids = {a.json["id"] for a in answers if a.status == 202}
    assert len(ids) == 1
    gw.wait_status(ids.pop(), "delivered")
    assert len([c for c in gw.captures() if c["to"] == ["rush@customer.example"]]) == 1


def test_smtp_replay_and_conflict(gw):
    with gw.smtp() as s:
        code, text = smtp_send(s, message(b"smtp-1"))
        again_code, again = smtp_send(s, message(b"smtp-1"))
        assert code == again_code == 250 and queued_id(text) == queued_id(again)
        code, reply = smtp_send(s, message(b"smtp-1", b"other"))
        assert code == 550 and reply.startswith(b"5.5.0")
    gw.wait_status(queued_id(text), "delivered")
    captures = gw.captures(queued_id(text))
    assert len(captures) == 1
    assert b"Idempotency" not in gw.raw(captures[0]["id"])
