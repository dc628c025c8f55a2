"""`stagepost dkim new`: keys, the lines for the configuration file, the records to publish."""
import base64
import os
import re
import shutil
import stat
import subprocess

import pytest
import support
from support import BIN, LIMIT_S
from test_serve import Served

USAGE, CANNOT_CREATE = 64, 73


def dkim_new(*args):
    done = subprocess.run([BIN, "dkim", *args], capture_output=True, text=True, timeout=LIMIT_S)
    return done.returncode, done.stdout, done.stderr


def public_key(path, skip):
    der = subprocess.run(["openssl", "pkey", "-in", path, "-pubout", "-outform", "DER"], check=True,
                         capture_output=True).stdout
    return base64.b64encode(der[skip:]).decode()


def test_keys_configuration_and_records(tmp_path):
    keys = tmp_path / "keys"
    code, out, err = dkim_new("new", "Example.COM.", "s1", "--dir", str(keys))
    assert (code, err) == (0, "")
    files = {"s1-rsa": keys / "example.com-s1-rsa.pem", "s1-ed": keys / "example.com-s1-ed.pem"}
    assert sorted(keys.iterdir()) == sorted(files.values())
    for path in (keys, *files.values()):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
    records = dict(re.findall(r"^  (\S+)\. TXT (.*)$", out, re.M))
    strings = {name: "".join(re.findall('"(.*?)"', value)) for name, value in records.items()}
    assert max(len(s) for v in records.values() for s in re.findall('"(.*?)"', v)) <= 255
    assert strings == {
        "s1-rsa._domainkey.example.com": f"v=DKIM1; k=rsa; p={public_key(files['s1-rsa'], 0)}",
        "s1-ed._domainkey.example.com": f"v=DKIM1; k=ed25519; p={public_key(files['s1-ed'], -32)}"}
    check_configuration(out)


def check_configuration(out):
    """The printed group is one of `domains`."""
    g = Served(support.temporary_state(), "127.0.0.1:53")
    try:
        group = out.split("file:\n", 1)[1].split("# To publish", 1)[0]
        before, rest = g.config().split("domains = (", 1)
        g.write(before + "domains = (" + group + ");\n" + rest.split("); } );", 1)[1])
        assert g.check() == (0, f"{g.path}: ok\n")
    finally:
        shutil.rmtree(g.folder, ignore_errors=True)


def test_no_key_is_written_over(tmp_path):
    """And the one that could be made goes away with the one that could not."""
    there = tmp_path / "example.com-s1-ed.pem"
    there.write_text("mine")
    code, out, err = dkim_new("new", "example.com", "s1", "--dir", str(tmp_path))
    assert (code, out) == (CANNOT_CREATE, "") and f"{there}: File exists" in err
    assert os.listdir(tmp_path) == [there.name] and there.read_text() == "mine"
    assert dkim_new("new", "example.com", "s2", "--dir", str(tmp_path))[0] == 0
    code, _, err = dkim_new("new", "example.com", "s3", "--dir", "/proc/none/below")
    assert code == CANNOT_CREATE and "/proc/none/below: No such file" in err


@pytest.mark.parametrize("arguments", [
    [], ["old"], ["new"], ["new", "example.com"], ["new", "localhost", "s1"],
    ["new", "example.com", "s 1"], ["new", "example.com", "s1", "extra"],
    ["new", "example.com", "s" * 70], ["new", "example.com", "s1", "--wrong"]])
def test_usage(arguments, tmp_path):
    code, out, err = dkim_new(*arguments, *(["--dir", str(tmp_path)] if arguments else []))
    assert (code, out) == (USAGE, "") and "usage: stagepost dkim new" in err
    assert not os.listdir(tmp_path)
