"""Commands against the real program: what they print, and their exit codes."""
import json
import os
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
    assert {"dev", "serve", "check", "msg", "queue", "suppress"} <= set(names)
    for name in names:
        helped = run(name, "--help")
        assert helped.returncode == 0 and b"usage: stagepost " + name.encode() in helped.stdout
        assert run(name, "--nonsense").returncode == 64
    assert run().returncode == 64
    assert run("nonsense").returncode == 64
    assert run("--version").stdout.startswith(b"stagepost 0.")


def test_no_gateway(tmp_path):
    for words in (["msg", "x"], ["queue"], ["queue", "ls"], ["suppress", "ls"]):
        r = run(*words, "--state", str(tmp_path))
        assert r.returncode == 69 and b"no gateway is running" in r.stderr, words
    r = run("msg", "x", "--state", "/tmp/" + "x" * 100)
    assert r.returncode == 78 and b"too long" in r.stderr
    assert run("msg", "x", "-c", "/nonexistent").returncode == 78


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
