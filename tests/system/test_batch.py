"""POST /v1/messages/batch: no item is lost, and what became of each is said."""
import json

import pytest
from test_http import problem


def draft(n=0, **fields):
    return {"from": "shop@example.com", "to": f"anna{n}@customer.example", "subject": f"n {n}",
            "text": "Thank you", **fields}


def post(gw, messages, headers=None, key="dev", **members):
    body = json.dumps({"messages": messages, **members})
    return gw.http("POST", "/v1/messages/batch", body, key=key,
                   headers={"Content-Type": "application/json", **(headers or {})})


def accepted(gw):
    return gw.metric('stagepost_accepted_messages_total{source="http"}')


def test_each_item_is_a_message(gw):
    answer = post(gw, [draft(i) for i in range(30)])
    assert answer.status == 200, answer.body
    data = answer.json["data"]
    assert [d["index"] for d in data] == list(range(30))
    assert all(d["status"] == "queued" for d in data)
    assert len({d["id"] for d in data}) == 30
    for i in (0, 29):
        m = gw.wait_status(data[i]["id"], "delivered")
        assert m["subject"] == f"n {i}"
        assert gw.wait_capture(data[i]["id"])["to"] == [f"anna{i}@customer.example"]


def test_a_strict_batch_with_a_malformed_item_is_nothing(gw):
    before = accepted(gw)
    p = problem(post(gw, [draft(0), draft(1, subject="a\r\nBcc: x@y.example"), draft(2, form=1)]),
                422, "invalid_fields")
    assert [e["pointer"] for e in p["errors"]] == ["/messages/1/subject", "/messages/2/form"]
    problem(post(gw, []), 422)
    problem(post(gw, [draft(i) for i in range(101)]), 422)
    problem(gw.http("POST", "/v1/messages/batch", "[]",
                    headers={"Content-Type": "application/json"}), 400)
    assert accepted(gw) == before


def test_a_permissive_batch_says_what_became_of_each(gw):
    answer = post(gw, [draft(0), draft(1, to="nobody"), draft(2)], mode="permissive")
    assert answer.status == 200
    data = answer.json["data"]
    assert "id" in data[0] and "id" in data[2]
    assert data[1]["problem"]["status"] == 422
    assert data[1]["problem"]["errors"][0]["pointer"] == "/to"


def test_the_door_judges_each_item(gw):
    """dev2 owns example.org only."""
    answer = post(gw, [draft(0), draft(1, **{"from": "a@example.org"})], key="dev2")
    first, second = answer.json["data"]
    assert first["problem"]["code"] == "sender_not_owned" and first["problem"]["status"] == 403
    assert second["status"] == "queued"


def test_a_batch_again_is_the_same_messages(gw):
    before = accepted(gw)
    items = [draft(i) for i in range(12)]
    header = {"Idempotency-Key": "batch-once"}
    first = post(gw, items, header).json["data"]
    again = post(gw, items, header).json["data"]
    assert [d["id"] for d in first] == [d["id"] for d in again]
    assert all(d["replayed"] for d in again)
    other = post(gw, items[:3], header).json["data"]
    assert [d["problem"]["code"] for d in other] == ["idempotency_key_reused"] * 3
    assert accepted(gw) == before + 12


def test_an_item_has_a_key_of_its_own(gw):
    one = post(gw, [draft(1, idempotency_key="order-7")]).json["data"][0]
    two = post(gw, [draft(2), draft(1, idempotency_key="order-7")]).json["data"]
    assert two[1]["id"] == one["id"] and two[1]["replayed"]
    assert two[0]["id"] != one["id"]
    p = problem(post(gw, [draft(1, idempotency_key="k"), draft(2, idempotency_key="k")]), 422)
    assert p["errors"][0]["code"] == "duplicate_key"


def test_a_large_batch(gw):
    """Larger than what is read on the loop."""
    answer = post(gw, [draft(i, text="x " * 10000) for i in range(100)])
    assert answer.status == 200
    assert len({d["id"] for d in answer.json["data"]}) == 100


@pytest.mark.parametrize("key", [None, "wrong"])
def test_a_key_is_needed(gw, key):
    problem(post(gw, [draft()], key=key), 401)
