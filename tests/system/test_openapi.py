"""api/openapi.json against the running program: the same routes, and answers,
refusals included, that are what it says."""
import json
import pathlib
import re
import urllib.parse

import jsonschema
import pytest
from support import wait_until
from test_control import control

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOC = json.loads((ROOT / "api/openapi.json").read_text())
RESOLVER = jsonschema.RefResolver.from_schema(DOC)
OPERATIONS = {(method.upper(), path): operation for path, item in DOC["paths"].items()
              for method, operation in item.items()}
BY_ID = {o["operationId"]: (m, p, o) for (m, p), o in OPERATIONS.items()}


def routes_of_the_program():
    text = (ROOT / "api/routes/routes.c").read_text()
    return set(re.findall(r'\{"(GET|POST|PUT|DELETE|PATCH)", "(/[^"]*)"', text))


def resolved(node):
    while "$ref" in node:
        node = RESOLVER.resolve(node["$ref"])[1]
    return node


def check(schema, value):
    validator = jsonschema.Draft202012Validator(
        schema, resolver=RESOLVER, format_checker=jsonschema.draft202012_format_checker)
    errors = [f"{list(e.path)}: {e.message}" for e in validator.iter_errors(value)]
    assert not errors, errors


class Client:
    """Asks by operationId and checks whatever comes back."""

    def __init__(self, gw):
        self.gw, self.seen = gw, set()

    def __call__(self, name, expect, query="", body=None, headers=None, key="dev", **path):
        method, template, operation = BY_ID[name]
        url = template
        for k, v in path.items():
            url = url.replace("{%s}" % k, urllib.parse.quote(v, safe=""))
        headers = dict(headers or {})
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
        answer = self.gw.http(method, url + query, body, headers=headers, key=key)
        assert answer.status == expect, (name, answer.status, answer.body)
        self.check(name, operation, answer)
        return answer

    def act(self, name, expect, id_):
        """An action, when no attempt is under way."""
        method, template, operation = BY_ID[name]
        answer = None

        def asked():
            nonlocal answer
            answer = self.gw.http(method, template.replace("{id}", id_))
            self.check(name, operation, answer)
            return answer.status != 409 or answer.json["code"] != "in_flight"

        wait_until("nothing is in flight", asked)
        assert answer.status == expect, (name, answer.status, answer.body)

    def check(self, name, operation, answer):
        assert str(answer.status) in operation["responses"], (name, answer.status, answer.body)
        said = resolved(operation["responses"][str(answer.status)])
        self.seen.add((name, answer.status))
        if "content" not in said:
            return
        type_ = answer.headers["Content-Type"].split(";")[0]
        assert type_ in said["content"], (name, type_)
        if type_.endswith("json"):
            check(said["content"][type_]["schema"], answer.json)
        for field in answer.headers:
            if field.lower() in ("location", "idempotency-replayed", "ratelimit"):
                assert field in said.get("headers", {}), (name, field)


@pytest.fixture
def ask(gw):
    return Client(gw)


def draft(**fields):
    return {"from": "shop@example.com", "to": "anna@customer.example", "subject": "s",
            "text": "x", **fields}


def test_the_same_routes():
    documented = {(m, re.sub(r"\{[^}]*\}", "*", p)) for m, p in OPERATIONS}
    assert documented == routes_of_the_program()


def test_the_document_is_whole(gw):
    answer = gw.http("GET", "/openapi.json", key=None)
    assert answer.status == 200 and answer.json == DOC
    ids = [o["operationId"] for o in OPERATIONS.values()]
    assert len(ids) == len(set(ids))
    for ref in re.findall(r'"\$ref": "([^"]*)"', json.dumps(DOC)):
        assert RESOLVER.resolve(ref)[1]
    for schema in DOC["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    for (_, path), operation in OPERATIONS.items():
        named = set(re.findall(r"\{([^}]*)\}", path))
        assert named == {p["name"] for p in operation.get("parameters", ()) if p["in"] == "path"}


def test_sending(ask):
    full = draft(cc=[{"email": "b@customer.example", "name": "B"}], reply_to="c@example.com",
                 html="<p>x", headers={"X-A": "b"}, tags=["a"], metadata={"k": "v"}, ttl=60,
                 attachments=[{"filename": "a.txt", "content": "eA=="}],
                 list_unsubscribe={"url": "https://example.com/u", "one_click": True})
    check(DOC["components"]["schemas"]["Draft"], full)
    id_ = ask("send", 202, body=full, headers={"Idempotency-Key": "openapi-1"}).json["id"]
    ask("send", 202, body=full, headers={"Idempotency-Key": "openapi-1"})
    ask("send", 422, body=draft(), headers={"Idempotency-Key": "openapi-1"})
    ask("send", 202, body=draft(send_at="2026-12-20T00:00:00Z"))
    ask("send", 400, body="{")
    ask("send", 401, body=draft(), key="wrong")
    ask("send", 403, body=draft(), key="dev2")
    ask("send", 415, body=json.dumps(draft()), headers={"Content-Type": "text/plain"})
    ask("send", 422, body=draft(form=1))
    ask("sendBatch", 200, body={"messages": [draft(), {"to": 1}], "mode": "permissive"})
    ask("sendBatch", 200, body={"messages": [draft()]}, headers={"Idempotency-Key": "openapi-2"})
    ask("sendBatch", 200, body={"messages": [draft()]}, headers={"Idempotency-Key": "openapi-2"})
    ask("sendBatch", 422, body={"messages": []})
    ask("validate", 200, body=draft(**{"class": "bulk"}))
    ask("validate", 422, body={})
    raw = "From: shop@example.com\r\n\r\nx\r\n"
    message = {"Content-Type": "message/rfc822"}
    ask("validate", 200, body=raw, headers=message)
    ask("sendRaw", 202, "?from=shop@example.com&to=a@b.example", raw, message)
    ask("sendRaw", 422, "?from=shop@example.com", raw, message)
    ask.gw.wait_status(id_, "delivered")
    ask("get", 200, id=id_)


def test_questions_and_changes(ask):
    id_ = ask("send", 202, body=draft(to=["defer@customer.example", "anna@x.example"])).json["id"]
    ask.gw.wait_status(id_, "deferred")
    ask("get", 200, id=id_)
    ask("get", 404, id="01890000-0000-7000-8000-000000000000")
    ask("get", 401, id=id_, key="wrong")
    ask("list", 200, "?limit=2")
    ask("list", 200, "?to=defer@customer.example&status=deferred&since=2026-01-01T00:00:00Z")
    ask("list", 422, "?limit=0&status=lost")
    ask("source", 200, id=id_)
    ask("queues", 200, "?shape=1")
    ask("queue", 200, domain="customer.example")
    ask("queues", 422, "?limit=x")
    for action, status in (("hold", 200), ("hold", 409), ("release", 200), ("cancel", 200),
                           ("cancel", 409), ("retry", 409)):
        ask.act(action, status, id_)
    ask("cancel", 400, id=id_, body="{")
    ask("cancel", 422, id=id_, body={"recipients": 1})
    ask("cancel", 404, id="01890000-0000-7000-8000-000000000000")
    ask("source", 404, id=id_)
    ask("events", 200, id=id_)
    ask("events", 404, id="nonsense")
    bounced = ask("send", 202, body=draft(to="bounce@customer.example")).json["id"]
    ask.gw.wait_status(bounced, "bounced")
    ask("events", 200, id=bounced)


def test_suppressions(ask):
    who = "openapi@customer.example"
    ask("suppress", 201, email=who, body={"reason": "complaint"})
    ask("suppress", 200, email=who)
    ask("suppression", 200, email=who)
    ask("suppressions", 200, "?limit=1")
    ask("unsuppress", 204, email=who)
    ask("unsuppress", 404, email=who)
    ask("suppression", 404, email=who)
    ask("suppress", 422, email=who, body={"reason": "dislike"})


def test_the_rest(ask):
    for name in ("healthz", "readyz", "metrics", "openapi", "console", "about", "captures"):
        ask(name, 200)
    ask("consoleFile", 200, file="app.js")
    ask("consoleFile", 404, file="none.js")
    ask("clock", 200, body={"advance": "0s"})
    ask("capture", 404, id="none")
    ask("credentials", 403)
    ask("credentials", 401, key="wrong")
    ask("createCredential", 403, body={"user": "x"})
    for name in ("removeCredential", "rotateCredential", "freezeCredential", "unfreezeCredential"):
        ask(name, 403, user="shop")


def test_operators(gw):
    class Operator(Client):
        def __call__(self, name, expect, query="", body=None, headers=None, **path):
            method, template, operation = BY_ID[name]
            for k, v in path.items():
                template = template.replace("{%s}" % k, v)
            def asked():
                nonlocal answer
                answer = control(self.gw, method, template + query, body, headers)
                self.check(name, operation, answer)
                # a worker that has not read of the last change yet says so
                return answer.status != 409 or answer.json["code"] != "changed"

            answer = None
            wait_until("the workers know the credential", asked)
            assert answer.status == expect, (name, answer.status, answer.body)
            return answer

    ask = Operator(gw)
    wish = {"user": "openapi", "tenant": "dev", "senders": ["example.com"], "rate": "100/m",
            "daily": 1000}
    check(DOC["components"]["schemas"]["CredentialWish"], wish)
    made = ask("createCredential", 201, body=wish).json
    assert made["password"] and made["key"]
    ask("createCredential", 409, body=wish)
    ask("createCredential", 422, body={**wish, "sender": 1})
    ask("credentials", 200)
    ask("rotateCredential", 200, user="openapi")
    ask("freezeCredential", 200, user="openapi")
    ask("unfreezeCredential", 200, user="openapi")
    sent = ask("send", 202, body=draft(), headers={"X-Stagepost-Credential": "openapi"})
    assert "RateLimit-Policy" in sent.headers
    assert ask("get", 200, id=sent.json["id"]).json["tenant"] == "dev"
    ask("send", 422, body=draft())
    ask("list", 200)
    ask("queues", 200)
    ask("suppress", 422, email="a@b.example")
    ask("suppress", 201, "?tenant=dev", email="operator@customer.example")
    ask("suppressions", 200)
    ask("removeCredential", 200, user="openapi")
    ask("removeCredential", 404, user="nobody")
    ask("removeCredential", 409, user="dev")


def test_every_route_is_there(gw):
    """No documented operation is unknown to the program."""
    for (method, path) in OPERATIONS:
        answer = gw.http(method, re.sub(r"\{[^}]*\}", "none", path), key=None)
        assert answer.status != 405, (method, path)
        if answer.status == 404:
            assert answer.json["detail"] != "there is nothing at this path", (method, path)
