"""What processes may ask of the kernel: the running gateway is confined, and works so."""
import contextlib
import os
import signal
import subprocess

import pytest
import support
from support import BIN, LIMIT_S, TEST_BIN, is_alive, smtp_send, wait_until
from test_rights import ServedByNobody, as_root, dns, served, status_of  # noqa: F401

ROLES = ("worker", "signer", "checker", "redis", "redis-server", "sandbox")
MAIL = b"From: shop@example.com\r\nTo: anna@customer.example\r\nSubject: Order 1\r\n\r\nThank you\r\n"
confined = pytest.mark.skipif("asan" in BIN, reason="a sanitizer needs what is refused")


def rewrite_of_the_log_ends(g):
    """Redis forks, writes another file and moves it into its place."""
    g.redis().bgrewriteaof()
    info = wait_until("it is rewritten", lambda: rewritten(g))
    assert info["aof_last_bgrewrite_status"] == "ok" and info["aof_last_write_status"] == "ok"


def rewritten(g):
    info = g.redis().info("persistence")
    busy = info["aof_rewrite_in_progress"] or info["aof_rewrite_scheduled"]
    return info if not busy and info["aof_last_rewrite_time_sec"] >= 0 else None


def mail_goes_through(g):
    with g.smtp() as s:
        assert smtp_send(s, MAIL)[0] == 250
    message_id = g.accepted()
    g.wait_status(message_id, "delivered")
    assert g.verify(g.raw(g.wait_capture(message_id)["id"])) == 2
    g.wait_status(g.accepted(to="bounce@customer.example"), "bounced")


@confined
def test_every_process_is_confined(gateway):
    g = gateway()
    for role in ROLES:
        pids = g.children(role)
        assert pids, role
        for pid in pids:
            status = status_of(pid)
            assert status["NoNewPrivs"] == ["1"] and status["Seccomp"] == ["2"], role
            assert int(status["SigIgn"][0], 16) & 1 << (signal.SIGPIPE - 1), role
            with open(f"/proc/{pid}/limits", encoding="ascii") as f:
                core = [line.split() for line in f if line.startswith("Max core file size")]
            assert core[0][4:6] == ["0", "0"], role
    assert status_of(g.process.pid)["Seccomp"] == ["2"]
    mail_goes_through(g)
    rewrite_of_the_log_ends(g)
    assert g.stop() == 0


def internet_sockets():
    inodes = set()
    for name in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6"):
        with contextlib.suppress(FileNotFoundError), open(f"/proc/net/{name}", encoding="ascii") as f:
            inodes |= {line.split()[9] for line in f.readlines()[1:]}
    return inodes


def sockets_of(pid):
    found = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            to = os.readlink(f"/proc/{pid}/fd/{name}")
            if to.startswith("socket:["):
                found.add(to[8:-1])
    return found


@as_root
def test_who_has_no_network_has_no_internet_socket(gateway):
    g = gateway()
    mail_goes_through(g)
    for role in ("signer", "checker", "redis-server"):
        for pid in g.children(role):
            assert sockets_of(pid) and not sockets_of(pid) & internet_sockets(), role
    assert sockets_of(g.children("worker")[0]) & internet_sockets()


@confined
def test_nothing_that_is_refused_is_needed(gateway):
    """Refused calls end the process here: a whole life without one."""
    g = gateway(binary=TEST_BIN, env={"STAGEPOST_SECCOMP": "kill"})
    mail_goes_through(g)
    rewrite_of_the_log_ends(g)
    for role in ("worker", "signer", "redis"):
        pid = g.children(role)[0]
        os.kill(pid, signal.SIGKILL)
        wait_until("it is gone", lambda pid=pid: not is_alive(pid))
        wait_until("another is there", lambda role=role: g.children(role))
    wait_until("it accepts again", lambda: accepts(g))
    mail_goes_through(g)
    assert g.stop() == 0
    assert not g.events("confine.refused")
    ended = [e for e in g.events("child.ended") if e["signal"] != signal.SIGKILL]
    assert all(e["code"] == 0 and e["signal"] == 0 for e in ended), ended


def accepts(g):
    with contextlib.suppress(OSError):
        return g.send().status == 202
    return False


@confined
@as_root
def test_without_root_the_memory_of_the_processes_is_closed(served):  # noqa: F811
    g = served(ServedByNobody).start()
    for role in ("signer", "worker"):
        pid = g.children(role)[0]
        for name in ("mem", "environ", "maps"):
            done = subprocess.run(
                ["setpriv", f"--reuid={g.USER}", f"--regid={g.USER}", "--clear-groups", "dd",
                 f"if=/proc/{pid}/{name}", "of=/dev/null", "count=1"],
                capture_output=True, text=True, timeout=LIMIT_S)
            assert done.returncode != 0 and "denied" in done.stderr, (role, name)
    assert support.is_alive(g.process.pid)
