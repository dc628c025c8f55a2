"""What receivers will say of a message: over HTTP, and on the command line."""
import json
import os
import subprocess

from test_http import problem

GOOD = ("From: shop@example.com\nSubject: s\nDate: Mon, 23 Nov 2026 08:00:00 +0000\n"
        "Message-ID: <m@example.com>\nAuto-Submitted: auto-generated\n\nThank you\n")


def validate(gw, body, content_type="application/json", key="dev"):
    return gw.http("POST", "/v1/messages/validate", body, key=key,
                   headers={"Content-Type": content_type})


def ids(answer):
    return {f["id"]: f["severity"] for f in answer.json["findings"]}


def draft(**fields):
    return json.dumps({"from": "shop@example.com", "to": "anna@customer.example",
                       "subject": "s", "text": "x", **fields})


def test_a_draft_is_judged_and_nothing_is_queued(gw):
    before = gw.metric('stagepost_accepted_messages_total{source="http"}')
    answer = validate(gw, draft())
    assert answer.status == 200 and answer.json["ok"], answer.body
    assert ids(answer)["date-missing"] == "info"
    answer = validate(gw, draft(**{"class": "bulk"}))
    assert not answer.json["ok"] and ids(answer)["bulk-without-one-click"] == "error"
    answer = validate(gw, draft(**{"class": "bulk", "list_unsubscribe": {
        "url": "https://example.com/u", "one_click": True}}))
    assert answer.json["ok"]
    answer = validate(gw, draft(html="<p>x", text=None))
    assert ids(answer)["no-text-part"] == "warning"
    assert ids(validate(gw, draft(), key="dev2"))["sender-not-owned"] == "error"
    assert gw.metric('stagepost_accepted_messages_total{source="http"}') == before


def test_a_draft_that_sending_refuses_is_refused(gw):
    assert problem(validate(gw, draft(form=1)), 422)["errors"][0]["pointer"] == "/form"
    problem(validate(gw, "{"), 400)
    problem(validate(gw, draft(), key="wrong"), 401)
    problem(validate(gw, draft(), "text/plain"), 415)


def test_a_suppressed_recipient_is_told(gw):
    gw.http("PUT", "/v1/suppressions/gone@customer.example", '{"reason":"manual"}')
    answer = validate(gw, draft(cc="gone@customer.example"))
    found = [f for f in answer.json["findings"] if f["id"] == "suppressed-recipient"]
    assert len(found) == 1 and "gone@customer.example" in found[0]["detail"]


def test_a_finished_message(gw):
    answer = validate(gw, GOOD.replace("\n", "\r\n"), "message/rfc822")
    assert answer.status == 200 and answer.json == {"ok": True, "findings": []}, answer.body
    answer = validate(gw, GOOD, "message/rfc822")
    assert ids(answer)["refused"] == "error"
    half = GOOD.replace("\n", "\r\n").replace("Thank you", "Thank\nyou")
    assert ids(validate(gw, half, "message/rfc822"))["bare-line-end"] == "error"
    answer = validate(gw, GOOD.replace("\n", "\r\n").replace("Date:", "Bcc: a@b.example\r\nDate:"),
                      "message/rfc822")
    assert ids(answer)["bcc-field"] == "error"
    large = GOOD.replace("\n", "\r\n") + "x" * 70 + "\r\n"
    assert validate(gw, large + ("y" * 70 + "\r\n") * 10000, "message/rfc822").json["ok"]


def lint(*args, text=GOOD):
    binary = os.environ.get("STAGEPOST_BIN", "build/release/stagepost")
    return subprocess.run([binary, "lint", *args], input=text, capture_output=True, text=True,
                          timeout=60)


def test_the_command_needs_no_gateway(tmp_path):
    done = lint()
    assert done.returncode == 0 and done.stdout == "nothing found\n", done
    file = tmp_path / "x.eml"
    file.write_text(GOOD.replace("Subject", "Bcc: a@b.example\nSubject"))
    done = lint(str(file))
    assert done.returncode == 65 and "bcc-field" in done.stdout
    done = lint("--json", "--bulk")
    answer = json.loads(done.stdout)
    assert done.returncode == 65 and answer["ok"] is False
    assert "bulk-without-one-click" in [f["id"] for f in answer["findings"]]
    assert lint(str(tmp_path / "none")).returncode == 66
    assert lint("--as", "shop").returncode == 64
    assert lint("-c", str(tmp_path / "none.conf")).returncode == 78
