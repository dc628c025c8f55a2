"""The README's examples run as written, but for ports and the CA's path."""
import os
import re
import subprocess
import sys

import pytest
import support
from support import wait_until

pytestmark = pytest.mark.release_only(reason="the mail libraries of other languages are at work")
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


def sends(gw, command, where=None, env=None):
    """Runs it; one more mail arrives, the one of the README."""
    before = {c["id"] for c in gw.captures()}
    done = subprocess.run(command, timeout=support.LIMIT_S, cwd=where, env={**os.environ, **(env or {})},
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    new = wait_until("it is delivered", lambda: [c for c in gw.captures() if c["id"] not in before])
    assert [(c["from"], c["to"], c["subject"]) for c in new] == [
        ("shop@example.com", ["anna@customer.example"], "Order 1")]
    assert b"Thank you" in gw.raw(new[0]["id"])


def needs(path):
    if not os.path.exists(path):
        assert not os.environ.get("CI"), f"{path} must be there"
        pytest.skip(f"no {path}: relay/dist/install-packages.sh test")


def test_python(gw):
    sends(gw, [sys.executable, "-c", here(gw, block_after("Python:"))])


def test_nodemailer(gw):
    modules = os.path.join(support.ROOT, "build/node/node_modules")
    needs(os.path.join(modules, "nodemailer"))
    sends(gw, ["node", "-e", here(gw, block_after("Node.js with nodemailer:"))], env={"NODE_PATH": modules})


def test_phpmailer(gw, tmp_path):
    needs("/usr/share/php/libphp-phpmailer")
    (tmp_path / "send.php").write_text(here(gw, block_after("PHP with PHPMailer")))
    sends(gw, ["php", "send.php"], tmp_path)


def test_ruby(gw):
    needs("/usr/share/doc/ruby-mail")
    sends(gw, ["ruby", "-e", here(gw, block_after("Ruby with mail"))])


def test_django(gw, tmp_path):
    needs("/usr/lib/python3/dist-packages/django")
    settings, place = here(gw, block_after("Django:")).split("\n\n")
    (tmp_path / "settings.py").write_text(settings)
    sends(gw, [sys.executable, "-c", place], tmp_path, {
        "DJANGO_SETTINGS_MODULE": "settings", "PYTHONPATH": str(tmp_path), "SSL_CERT_FILE": gw.ready["ca"]})


def test_javamail(gw, tmp_path):
    needs("/usr/share/java/javax.mail.jar")
    (tmp_path / "Send.java").write_text(here(gw, block_after("Java with JavaMail")))
    sends(gw, ["sh", "-ec", here(gw, block_after("It trusts what is in a store of its own"))], tmp_path)


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
