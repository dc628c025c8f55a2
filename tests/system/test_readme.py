"""The README's examples run as written, but for ports and the CA's path."""
import os
import re
import shutil
import subprocess
import sys

import pytest
import support
from support import wait_until

README = open(os.path.join(support.ROOT, "README.md"), encoding="utf-8").read()


def block_after(text):
    """The indented block behind a line."""
    lines = README.split(text, 1)[1].split("\n")[1:]
    out = []
    for line in lines:
        if line and not line.startswith("    "):
            break
        out.append(line[4:])
    return "\n".join(out).strip() + "\n"


def here(g, text):
    for name, port in (("smtp", "1587"), ("smtps", "1465"), ("http", "8025")):
        text = re.sub(rf"\b{port}\b", g.ready[name].rsplit(":", 1)[1], text)
    return text.replace("CA-PATH", g.ready["ca"])


def wait_one_more(g, before):
    return wait_until("it is delivered", lambda: len(g.captures()) > before)


def test_python(gw):
    before = len(gw.captures())
    subprocess.run([sys.executable, "-c", here(gw, block_after("Python:"))], check=True,
                   timeout=support.LIMIT_S)
    wait_one_more(gw, before)


def test_nodemailer(gw):
    if shutil.which("node") is None:
        pytest.skip("no node")
    before = len(gw.captures())
    subprocess.run(["node", "-e", here(gw, block_after("Node.js with nodemailer:"))], check=True,
                   timeout=support.LIMIT_S,
                   env=dict(os.environ, NODE_PATH=os.path.join(support.ROOT, "build/node/node_modules")))
    wait_one_more(gw, before)


def test_curl_and_swaks(gw):
    commands = [c for c in block_after("example.org only.").replace("\\\n", " ").split("\n") if c.strip()]
    before = len(gw.captures())
    send = [c for c in commands if "/v1/messages" in c and "-d" in c or c.startswith("swaks")]
    assert len(send) == 2
    for command in send:
        subprocess.run(["sh", "-c", here(gw, command)], check=True, stdout=subprocess.DEVNULL,
                       timeout=support.LIMIT_S)
    wait_until("both are delivered", lambda: len(gw.captures()) >= before + 2)


def test_install_script_without_rights_says_what_to_run(tmp_path):
    """As somebody without root and sudo: the exact command, and exit 69."""
    for name, does in (("dpkg-query", "exit 1"), ("id", "echo 1000"), ("sudo", "exit 1")):
        fake = tmp_path / name
        fake.write_text(f"#!/bin/sh\n{does}\n")
        fake.chmod(0o755)
    script = os.path.join(support.ROOT, "relay/dist/install-packages.sh")
    done = subprocess.run(["sh", script, "run"], capture_output=True, text=True,
                          env=dict(os.environ, PATH=f"{tmp_path}:{os.environ['PATH']}"))
    assert done.returncode == 69
    assert "sudo apt-get install --no-install-recommends gcc" in done.stderr
    assert "redis-tools" in done.stderr
