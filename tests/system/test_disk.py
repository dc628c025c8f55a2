"""The disk fills up: mail is refused before Redis cannot write any more, and what waits is delivered. The
state directory is a file system of its own, in a mount namespace of the gateway."""
import os
import shutil
import subprocess

import pytest
import support
from support import ROOT, smtp_send, wait_until

MESSAGE = b"From: shop@example.com\r\nTo: a@b.example\r\nSubject: x\r\n\r\nx\r\n"
MOUNTED = """#!/bin/sh
mount -t tmpfs -o size=64m none '{state}' && exec '{binary}' "$@"
"""


@pytest.fixture(name="small")
def small_fixture():
    if os.geteuid() != 0 or subprocess.run(["unshare", "--mount", "true"], check=False).returncode != 0:
        pytest.skip("mounting needs root")
    folder = support.temporary_state()
    script = os.path.join(folder, "mounted")
    state = os.path.join(folder, "s")
    with open(script, "w", encoding="utf-8") as f:
        f.write(MOUNTED.format(state=state, binary=os.path.join(ROOT, support.BIN)))
    with open(script + ".unshared", "w", encoding="utf-8") as f:
        f.write(f"#!/bin/sh\nexec unshare --mount sh '{script}' \"$@\"\n")
    os.chmod(script + ".unshared", 0o755)
    g = support.Gateway(state, binary=script + ".unshared").start()
    g.ready["ca"] = f"/proc/{g.process.pid}/root{g.ready['ca']}"
    yield g
    g.kill_all()
    shutil.rmtree(folder, ignore_errors=True)


def within(g, *command):
    subprocess.run(["nsenter", f"--target={g.process.pid}", "--mount", *command], check=True)


def ready(g):
    answer = g.http("GET", "/readyz", key=None)
    return "yes" if answer.status == 200 else answer.json["reason"]


def test_a_full_disk_refuses_mail_and_delivers_what_waits(small):
    g, filler = small, os.path.join(small.state, "filler")
    waiting = g.accepted(to="greylist@b.example")
    g.wait_status(waiting, "deferred")
    redis = g.children("redis-server")
    within(g, "fallocate", "--length", "61MiB", filler)  # less than a sixteenth is left
    wait_until("it is noticed", lambda: ready(g) == "the queue has no room")
    assert len(g.events("queue.disk.low")) == 1 and g.metric("stagepost_queue_full") == 1

    refused = g.send()
    assert (refused.status, refused.json["code"]) == (503, "queue_full")
    with g.smtp() as s:
        code, text = s.mail("shop@example.com")
        assert code == 452 and text.startswith(b"4.3.1 "), text
    g.advance("1m")
    g.wait_status(waiting, "delivered")

    within(g, "rm", filler)
    wait_until("there is room again", lambda: ready(g) == "yes")
    with g.smtp() as s:
        assert smtp_send(s, MESSAGE)[0] == 250
    assert g.children("redis-server") == redis  # it never was at its end


def test_a_gateway_that_starts_with_a_full_disk_is_ready(small):
    """It delivers, and says to clients that they should come back."""
    g, filler = small, os.path.join(small.state, "filler")
    waiting = g.accepted(to="greylist@b.example")
    g.wait_status(waiting, "deferred")
    within(g, "fallocate", "--length", "61MiB", filler)
    wait_until("it is noticed", lambda: ready(g) == "the queue has no room")
    worker = g.children("worker")[0]
    os.kill(worker, 9)
    wait_until("another one serves", lambda: len(g.events("worker.ready")) == 2)
    assert ready(g) == "the queue has no room"
    g.advance("1m")
    g.wait_status(waiting, "delivered")
