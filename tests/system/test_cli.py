"""Commands against the real program: what they print, and their exit codes."""
import email
import email.policy
import json
import os
import re
import shutil
import subprocess

import pytest
import support
from support import LIMIT_S, ROOT


def run(*words, input=None, env=None, name="stagepost"):
    """The command; its exit code, output and errors. `name` is argv[0]."""
    return subprocess.run([name, *words], executable=os.path.join(ROOT, support.BIN), input=input,
                          capture_output=True, timeout=LIMIT_S, check=False,
                          env=dict(os.environ, **(env or {})))


def cli(gw, *words, **kw):
    return run(*words, "--state", gw.ready["state"], **kw)


def rows(output):
    return [line.split() for line in output.decode().splitlines()]


# ---- without a gateway --------------------------------------------------------

def test_help_and_usage():
    listed = run("--help")
    assert listed.returncode == 0 and b"msg ID" in listed.stdout and listed.stderr == b""
    names = [r[0] for r in rows(listed.stdout)[1::2]]
    assert {"dev", "serve", "check", "msg", "queue", "suppress", "send", "sendmail"} <= set(names)
    for name in names:
        helped = run(name, "--help")
        assert helped.returncode == 0 and b"usage: stagepost " + name.encode() in helped.stdout
        assert run(name, "--nonsense").returncode == 64
    assert run().returncode == 64
    for words in (["nonsense"], ["check", "nonsense"]):
        unknown = run(*words)
        assert unknown.returncode == 64 and unknown.stderr.count(b"\n") == 1
        assert b"--help` lists them" in unknown.stderr
    for words in ([], ["check"], ["check", "domain"], ["queue", "ls"], ["credential", "add"]):
        assert run(*words, "-h").stdout == run(*words, "--help").stdout != b""
    assert run("--version").stdout.startswith(b"stagepost 0.")


def test_no_gateway(tmp_path):
    for words in (["msg", "x"], ["queue"], ["queue", "ls"], ["suppress", "ls"]):
        r = run(*words, "--state", str(tmp_path))
        assert r.returncode == 69 and b"no gateway is running" in r.stderr, words
    r = run("msg", "x", "--state", "/tmp/" + "x" * 100)
    assert r.returncode == 78 and b"too long" in r.stderr
    assert run("msg", "x", "-c", "/proc/none").returncode == 78


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user's process")
def test_no_permission(gw):
    r = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                        os.path.join(ROOT, support.BIN), "msg", "x", "--state", gw.ready["state"]],
                       capture_output=True, timeout=LIMIT_S, check=False)
    assert r.returncode == 77, r.stderr


# ---- messages -----------------------------------------------------------------

def test_msg_shows_what_became_of_it(gw):
    id_ = gw.accepted(to=["anna@customer.example", "bounce@x.example"], subject="Gr\u00fc\u00dfe")
    gw.wait_status(id_, "bounced")
    shown = cli(gw, "msg", id_)
    text = shown.stdout.decode()
    assert ["Message", id_] in rows(shown.stdout) and ["Subject", "Gr\u00fc\u00dfe"] in rows(shown.stdout)
    assert ["Tenant", "dev"] in rows(shown.stdout)
    assert "delivered" in text and "550 5.1.1" in text
    explained = cli(gw, "msg", id_, "explain").stdout.decode()
    assert "bounce@x.example: was refused for good" in explained
    as_json = json.loads(cli(gw, "msg", id_, "--json").stdout.splitlines()[0])
    assert as_json["id"] == id_ and as_json["tenant"] == "dev"


def test_msg_exit_codes(gw):
    unknown = cli(gw, "msg", "01890000-0000-7000-8000-000000000001")
    assert unknown.returncode == 66 and b"no such message" in unknown.stderr
    assert unknown.stdout == b""
    assert cli(gw, "msg", "../healthz").returncode == 66
    assert cli(gw, "msg", "x" * 9000).returncode == 65
    assert cli(gw, "msg").returncode == 64
    assert cli(gw, "msg", "x", "dance").returncode == 64
    refused = cli(gw, "msg", "x", "--json")
    assert refused.returncode == 66 and json.loads(refused.stdout)["code"] == "not_found"


def test_msg_verbs(gw):
    id_ = gw.accepted(to=["full@verbs.example", "full@other.example"])
    gw.wait_status(id_, "deferred")
    raw = cli(gw, "msg", id_, "raw")
    assert raw.returncode == 0 and b"Subject: Order 1\r\n" in raw.stdout
    held = cli(gw, "msg", id_, "hold", "--to", "full@verbs.example")
    assert (held.returncode, held.stdout) == (0, b"1 recipient held\n")
    assert cli(gw, "msg", id_, "hold", "--to", "full@verbs.example").returncode == 65
    assert cli(gw, "msg", id_, "release").stdout == b"1 recipient released\n"
    assert cli(gw, "msg", id_, "retry", "--tenant", "dev2").returncode == 66
    trace = [r[1] for r in rows(cli(gw, "msg", id_).stdout) if r and r[0].startswith("20")]
    assert trace[0] == "message.accepted" and "message.released" in trace

    def cancelled():  # not what is being delivered just now
        cli(gw, "msg", id_, "cancel")
        return {r["status"] for r in gw.message(id_)["recipients"]} == {"cancelled"}

    support.wait_until("all is cancelled", cancelled)


def test_queue(gw):
    id_ = gw.accepted(to="full@waiting.example")
    gw.wait_status(id_, "deferred")
    listed = [r[0] for r in rows(cli(gw, "queue", "ls", "--to", "full@waiting.example").stdout)]
    assert listed == ["ID", id_]
    assert cli(gw, "queue", "ls", "--tenant", "dev2").stdout.count(b"\n") == 1
    cli(gw, "msg", id_, "hold")
    summary = rows(cli(gw, "queue", "summary", "waiting.example").stdout)
    assert summary[1][:3] == ["DOMAIN", "TENANT", "CLASS"]
    assert summary[2][:7] == ["waiting.example", "dev", "transactional", "0", "0", "1", "0"]
    assert rows(cli(gw, "queue", "waiting.example").stdout)[1:] == summary[1:]
    cli(gw, "msg", id_, "release")
    waits = cli(gw, "queue", "waiting.example").stdout.decode()
    assert re.search(r" \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ  .*: 452 4\.2\.2 ", waits), waits
    since = re.search(r" (\S+Z) ", waits).group(1)
    assert id_.encode() in cli(gw, "queue", "ls", "--since", since).stdout
    assert run("queue", env={"STAGEPOST_STATE": gw.ready["state"]}).returncode == 0
    shape = [r for r in rows(cli(gw, "queue", "shape").stdout) if r[0] == "waiting.example"]
    assert shape and shape[0][2:4] == ["1", "1"] and set(shape[0][4:]) == {"0"}
    assert b"waiting.example" in run(name="mailq", env={"STAGEPOST_STATE": gw.ready["state"]}).stdout
    refused = cli(gw, "queue", "ls", "--status", "lost")
    assert refused.returncode == 65 and b"/status" in refused.stderr
    assert cli(gw, "queue", "ls", "--limit", "0").returncode == 64
    assert cli(gw, "queue", "dance").returncode == 64
    assert cli(gw, "msg", id_, "cancel").returncode in (0, 65)


def test_queue_ls_reads_all_pages(gw):
    ids = {gw.accepted(to=f"full@page{i}.example", subject="page") for i in range(103)}
    for id_ in ids:
        gw.wait_status(id_, "deferred")
    listed = {r[0] for r in rows(cli(gw, "queue", "ls", "--limit", "1000").stdout)}
    assert ids <= listed
    assert len(rows(cli(gw, "queue", "ls", "--limit", "7").stdout)) == 8
    answer = json.loads(cli(gw, "queue", "ls", "--limit", "1000", "--json").stdout)
    assert ids <= {m["id"] for m in answer["data"]} and answer["has_more"] is False
    some = json.loads(cli(gw, "queue", "ls", "--status", "deferred", "--limit", "101", "--json").stdout)
    assert len(some["data"]) == 101 and some["has_more"] is True
    refused = cli(gw, "queue", "ls", "--since", "yesterday", "--json")
    assert refused.returncode == 65 and json.loads(refused.stdout)["status"] == 422
    for id_ in ids:
        cli(gw, "msg", id_, "cancel")


def test_suppress(gw):
    assert cli(gw, "suppress", "add", "gone@s.example").returncode == 64  # whose list?
    assert cli(gw, "suppress", "add", "gone@s.example", "--tenant", "dev").returncode == 0
    assert cli(gw, "suppress", "add", "odd+tag@s.example", "--tenant", "dev2", "--reason",
               "complaint").returncode == 0
    listed = {tuple(r[:3]) for r in rows(cli(gw, "suppress", "ls").stdout)}
    assert {("gone@s.example", "dev", "manual"),
            ("odd+tag@s.example", "dev2", "complaint")} <= listed
    only = cli(gw, "suppress", "ls", "--tenant", "dev2").stdout
    assert b"odd+tag@s.example" in only and b"gone@s.example" not in only
    answer = json.loads(cli(gw, "suppress", "ls", "--tenant", "dev2", "--json").stdout)
    assert [s["email"] for s in answer["data"]] == ["odd+tag@s.example"]
    none = cli(gw, "suppress", "ls", "--tenant", "nobody", "--json").stdout
    assert json.loads(none) == {"data": [], "has_more": False}
    id_ = gw.accepted(to="gone@s.example")
    assert gw.message(id_)["status"] == "suppressed"
    assert cli(gw, "suppress", "rm", "gone@s.example", "--tenant", "dev").returncode == 0
    assert cli(gw, "suppress", "rm", "gone@s.example", "--tenant", "dev").returncode == 66
    refused = cli(gw, "suppress", "add", "no address", "--tenant", "dev")
    assert refused.returncode == 65
    assert cli(gw, "suppress", "add", "a@b.example", "--tenant", "dev", "--reason",
               "boredom").returncode == 65


# ---- handing mail in ------------------------------------------------------------

def last_capture(gw, id_):
    return gw.raw(gw.wait_capture(id_)["id"])


def test_send_prints_the_id(gw, tmp_path):
    page, file = tmp_path / "p.html", tmp_path / 'odd "name".bin'
    page.write_text("<p>Hallo</p>")
    file.write_bytes(bytes(range(256)))
    r = cli(gw, "send", "--from", "Shop <shop@example.com>", "--to", "anna@customer.example",
            "--subject", "Grüße", "--html", str(page), "--attach", str(file),
            input="Hällo\n".encode())
    assert r.returncode == 0, r.stderr
    id_ = r.stdout.decode().strip()
    m = email.message_from_bytes(last_capture(gw, id_), policy=email.policy.default)
    assert m["Subject"] == "Grüße" and m.get_body(("plain",)).get_content().strip() == "Hällo"
    assert "<p>Hallo</p>" in m.get_body(("html",)).get_content()
    assert [a.get_content() for a in m.iter_attachments()] == [file.read_bytes()]
    again = [cli(gw, "send", "--from", "shop@example.com", "--to", "a@b.example", "--key", "once",
                 input=b"x") for _ in range(2)]
    assert again[0].stdout == again[1].stdout != b""


def test_send_a_finished_message(gw, tmp_path):
    eml = tmp_path / "m.eml"
    eml.write_bytes(b"From: shop@example.com\nTo: anna@customer.example\nBcc: b@c.example\n"
                    b"Subject: raw\n\nline\n.\nend\n")
    r = cli(gw, "send", "--raw", str(eml))
    assert r.returncode == 0, r.stderr
    status = gw.message(r.stdout.decode().strip())
    assert {t["email"] for t in status["recipients"]} == {"anna@customer.example", "b@c.example"}
    r = cli(gw, "send", "--raw", "--from", "bill@example.com", "--to", "x@y.example", str(eml))
    status = gw.message(r.stdout.decode().strip())
    assert status["from"] == "bill@example.com"
    assert [t["email"] for t in status["recipients"]] == ["x@y.example"]
    raw = last_capture(gw, status["id"])
    assert b"Bcc" not in raw and raw.endswith(b"\r\nline\r\n.\r\nend\r\n")


def test_send_refusals(gw, tmp_path):
    good = ["send", "--from", "shop@example.com", "--to", "a@b.example"]
    assert cli(gw, "send", "--to", "a@b.example", input=b"x").returncode == 64
    assert cli(gw, *good, "--attach", "/proc/none", input=b"x").returncode == 66
    assert cli(gw, *good, input=b"\xff").returncode == 65
    wrong = cli(gw, "send", "--from", "shop@example.com", "--to", "no address", input=b"x")
    assert wrong.returncode == 65 and b"/to" in wrong.stderr
    assert cli(gw, *good, "--as", "dev2", input=b"x").returncode == 77
    assert cli(gw, *good, "--as", "nobody", input=b"x").returncode == 65
    assert run(*good, "--state", str(tmp_path), "--as", "dev", input=b"x").returncode == 69
    assert run(*good, "--state", str(tmp_path), input=b"x").returncode == 78


def sendmail(gw, *words, input, **kw):
    return run(*words, input=input, env={"STAGEPOST_STATE": gw.ready["state"]}, name="sendmail", **kw)


def delivered_with(gw, subject):
    def found():
        return [c for c in gw.captures() if c["subject"] == subject]

    captures = support.wait_until(f"a capture of {subject}", found)
    return captures[0], gw.raw(captures[0]["id"])


def test_sendmail_as_cron_calls_it(gw):
    r = sendmail(gw, "-i", "-FCronDaemon", "-B8BITMIME", "-oem", "-f", "ops@example.com",
                 "anna@customer.example",
                 input=b"From: root (Cron Daemon)\nTo: root\nSubject: Cron <root> 1\n\n.\nout\n")
    assert (r.returncode, r.stdout, r.stderr) == (0, b"", b"")
    capture, raw = delivered_with(gw, "Cron <root> 1")
    assert capture["from"] == "ops@example.com" and capture["to"] == ["anna@customer.example"]
    m = email.message_from_bytes(raw)
    assert m["From"].startswith("root@") and m["From"].endswith("(Cron Daemon)")
    assert m["To"].startswith("root@") and raw.endswith(b"\r\n.\r\nout\r\n")
    assert gw.verify(raw) == 2


def test_sendmail_with_t(gw):
    r = sendmail(gw, "-t", input=b"To: a@t.example\nCc: b@t.example\nBcc: c@t.example\n"
                 b"From: Shop <shop@example.com>\nSubject: from header\n\nHello\n.\nnot sent\n")
    assert r.returncode == 0, r.stderr
    capture, raw = delivered_with(gw, "from header")
    assert capture["from"] == "shop@example.com"
    support.wait_until("three copies", lambda: sum(
        len(c["to"]) for c in gw.captures() if c["subject"] == "from header") == 3)
    assert b"c@t.example" not in raw.split(b"\r\n\r\n")[0].replace(b"for <c@t.example>", b"")
    assert raw.endswith(b"\r\nHello\r\n")


def test_sendmail_with_control_fields(gw):
    """API-15: applied as at the other doors, and a message's own key holds over calls."""
    text = (b"From: shop@example.com\nTo: a@t.example\nSubject: tagged\nX-Stagepost-Tag: cron\n"
            b"X-Stagepost-Idempotency-Key: nightly\n\nx\n")
    before = gw.metric("stagepost_idempotent_replays_total")
    assert sendmail(gw, "-t", input=text).returncode == sendmail(gw, "-t", input=text).returncode == 0
    assert gw.metric("stagepost_idempotent_replays_total") == before + 1
    capture, raw = delivered_with(gw, "tagged")
    assert gw.message(capture["message"])["tags"] == ["cron"] and b"X-Stagepost" not in raw
    refused = sendmail(gw, "-t", input=text.replace(b"-Tag", b"-Tga"))
    assert refused.returncode == 65 and b"X-Stagepost-Tga" in refused.stderr


def test_sendmail_exit_codes(gw, tmp_path):
    text = b"Subject: x\n\nx\n"
    assert sendmail(gw, input=text).returncode == 64
    assert sendmail(gw, "a b", input=text).returncode == 67
    assert sendmail(gw, "a@b..example", input=text).returncode == 67
    assert sendmail(gw, "-t", input=b"To: a b c\n\nx\n").returncode == 65
    assert sendmail(gw, "x@y.example", input=b"Subject: x\n\na\rb\n").returncode == 65
    assert sendmail(gw, "--as", "dev2", "x@y.example", input=text).returncode == 77
    env = {"STAGEPOST_STATE": str(tmp_path), "STAGEPOST_CREDENTIAL": "dev"}
    assert run("x@y.example", input=text, env=env, name="sendmail").returncode == 75
    env.pop("STAGEPOST_CREDENTIAL")
    assert run("x@y.example", input=text, env=env, name="/usr/sbin/sendmail").returncode == 78


def test_a_lost_answer_costs_no_second_copy(gateway):
    """The worker dies between commit and answer: the command asks again, with its key."""
    g = gateway(binary=os.path.join(ROOT, support.TEST_BIN),
                env={"FAILPOINT": "api.before-reply:kill"})
    r = run("--state", g.ready["state"], "-f", "shop@example.com", "a@b.example", name="sendmail",
            input=b"Subject: once\n\nx\n")
    assert r.returncode == 0, r.stderr
    assert [e for e in g.events("child.ended") if e["child"] == "worker"], "nobody died"
    g.wait_status(g.captures()[0]["message"], "delivered")
    assert len([c for c in g.captures() if c["subject"] == "once"]) == 1


@pytest.mark.skipif(not shutil.which("php"), reason="php is not installed")
def test_php_mail(gw):
    """PHP's mail() with sendmail_path; its fifth argument is the envelope's sender."""
    code = ('exit(mail("anna@customer.example", "from PHP", "Line 1\\nLine 2", '
            '"From: shop@example.com\\r\\nCc: b@c.example", "-fbill@example.com") ? 0 : 1);')
    path = f"{os.path.join(ROOT, support.BIN)} sendmail -t -i --state {gw.ready['state']}"
    r = subprocess.run(["php", "-n", "-d", f"sendmail_path={path}", "-r", code],
                       capture_output=True, timeout=LIMIT_S, check=False)
    assert r.returncode == 0, r.stdout + r.stderr
    capture, raw = delivered_with(gw, "from PHP")
    assert capture["from"] == "bill@example.com"
    assert raw.endswith(b"\r\nLine 1\r\nLine 2\r\n")
    failing = subprocess.run(["php", "-n", "-d", f"sendmail_path={path} --as nobody", "-r", code],
                             capture_output=True, timeout=LIMIT_S, check=False)
    assert failing.returncode == 1


@pytest.mark.skipif(not shutil.which("s-nail"), reason="s-nail is not installed")
def test_mailx(gw, tmp_path):
    program = tmp_path / "sendmail"
    program.symlink_to(os.path.join(ROOT, support.BIN))
    r = subprocess.run(["s-nail", "-:/", "-S", "v15-compat", "-S", f"mta={program}",
                        "-r", "shop@example.com", "-s", "from mailx", "anna@customer.example"],
                       input="Grüße\n".encode(), capture_output=True, timeout=LIMIT_S, check=False,
                       env=dict(os.environ, STAGEPOST_STATE=gw.ready["state"], LC_ALL="C.UTF-8"))
    assert r.returncode == 0, r.stderr
    capture, raw = delivered_with(gw, "from mailx")
    assert capture["from"] == "shop@example.com"
    m = email.message_from_bytes(raw, policy=email.policy.default)
    assert m.get_content().strip() == "Grüße"
