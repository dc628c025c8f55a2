"""The Dockerfile, without Docker: its files are there, and what it would run does run."""
import glob
import json
import os
import re
import shutil
import subprocess

import pytest
from support import LIMIT_S, ROOT, temporary_state
from test_package import in_a_copy, package  # noqa: F401 (a fixture)
from test_serve import Served

pytestmark = pytest.mark.release_only(reason="what runs is the package's release build")
DOCKERFILE = os.path.join(ROOT, "relay/dist/Dockerfile")


def instructions():
    """[(instruction, its text)], lines joined."""
    with open(DOCKERFILE, encoding="utf-8") as f:
        text = "".join(line for line in f if not line.startswith("#"))
    rows = [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    return [tuple(re.sub(r"\s+", " ", row).strip().split(" ", 1)) for row in rows]


def of_kind(kind):
    return [text for name, text in instructions() if name == kind]


def command(kind):
    """The array form, as a list of words."""
    text = of_kind(kind)[-1]
    return json.loads(text[text.index("["):])


def test_what_it_copies_is_there_and_what_it_runs_parses():
    for text in of_kind("COPY"):
        if not text.startswith("--from="):
            assert os.path.exists(os.path.join(ROOT, text.split()[0])), text
    for text in of_kind("RUN"):
        assert subprocess.run(["sh", "-n", "-c", text]).returncode == 0, text
    assert of_kind("USER") == ["stagepost"] and of_kind("STOPSIGNAL") == ["SIGTERM"]
    assert {text for text in of_kind("VOLUME")} == {"/var/lib/stagepost", "/etc/stagepost"}
    with open(DOCKERFILE + ".dockerignore", encoding="utf-8") as f:
        ignored = f.read().split()
    tracked = subprocess.run(["git", "-C", ROOT, "ls-files"], capture_output=True, text=True,
                             check=True).stdout.split()
    assert not [t for t in tracked if t.split("/")[0] in ignored]


RUN_IT = """
set -e
! id stagepost >/dev/null 2>&1 || userdel stagepost
! getent group stagepost >/dev/null || groupdel stagepost
rm -rf /var/lib/stagepost /etc/stagepost
{make_user}
dpkg -i /stagepost.deb >/dev/null
{give_state}
mount -t proc none /proc
mv {files}/* /etc/stagepost/
chown -R stagepost:stagepost /etc/stagepost
as_user="setpriv --reuid=stagepost --regid=stagepost --clear-groups --bounding-set=-all --no-new-privs"
! $as_user {health} >/dev/null 2>&1
$as_user {start} >/ready 2>/log &
n=0
until grep -q '"event":"ready"' /ready || [ $n -gt 600 ]; do sleep 0.1; n=$((n + 1)); done
cat /ready
$as_user {health} || {{ cat /log; exit 1; }}
id -u stagepost
stat -c %u /proc/$!
kill -TERM $!
wait $!
echo "drained"
"""


def test_it_starts_is_healthy_and_drains(package):  # noqa: F811
    if os.geteuid() != 0 or in_a_copy(package, "true").returncode != 0:
        pytest.skip("no overlay of this machine can be made here")
    folder = temporary_state()
    try:
        g = Served(folder, "127.0.0.1:9")
        g.write(g.config().replace(g.state, "/var/lib/stagepost")
                .replace(folder, "/etc/stagepost"))
        runs = of_kind("RUN")
        done = in_a_copy(package, RUN_IT.format(
            make_user=next(r for r in runs if "useradd" in r),
            give_state=next(r for r in runs if r.startswith("chown")), files=folder,
            health=" ".join(command("HEALTHCHECK")),
            start=" ".join(command("ENTRYPOINT") + command("CMD"))))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert json.loads(lines[0])["event"] == "ready"
    assert json.loads(lines[1])["total"]["queued"] == 0
    assert lines[2:] == ["587", "587", "drained"]


def test_the_packages_are_known():
    """Of what the image installs by name."""
    if not glob.glob("/var/lib/apt/lists/*Packages*"):
        pytest.skip("apt has no lists here")
    text = next(r for r in of_kind("RUN") if "apt-get install" in r)
    names = text.split("--no-install-recommends ")[1].split(" &&")[0].split()
    for name in names:
        if name.startswith("/"):
            continue
        done = subprocess.run(["apt-cache", "policy", name], capture_output=True, text=True,
                              timeout=LIMIT_S)
        assert "Candidate: " in done.stdout and "(none)" not in done.stdout.split("Candidate")[1], name
