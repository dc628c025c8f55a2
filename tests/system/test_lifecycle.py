"""Start, stop, second starts, and the death of each process."""
import os
import signal
import subprocess
import time

import pytest
import support
from support import command_of, wait_until


def test_sigterm_drains_and_exits_0(gateway):
    g = gateway()
    pids = support.processes_below(g.process.pid)
    assert g.stop() == 0
    assert not [p for p in pids if support.is_alive(p)]


@pytest.mark.parametrize("pause_ms", [0, 20, 40, 80, 160])
def test_sigterm_right_after_the_start_ends_cleanly(gateway, pause_ms):
    """At 0 it may be that the program is not there yet: then the kernel ends what was."""
    g = gateway(start=False).spawn()
    time.sleep(pause_ms / 1000)
    code = g.stop()
    assert code == 0 or (code == -signal.SIGTERM and not g.log()), g.log()
    assert not g.redis_servers() and not g.events("bug")


def test_ctrl_c_stops_all(gateway):
    g = gateway()
    pids = support.processes_below(g.process.pid)
    assert g.stop(signal.SIGINT) == 0
    assert not [p for p in pids if support.is_alive(p)]


def test_a_second_start_finds_its_queue_again(gateway):
    g = gateway()
    message_id = g.accepted(to="defer@customer.example")
    done = g.accepted()
    g.wait_status(message_id, "deferred")
    g.wait_status(done, "delivered")
    assert g.stop() == 0
    g.start()
    assert g.message(message_id)["status"] == "deferred"
    assert g.message(done)["status"] == "delivered"
    attempts = g.message(message_id)["recipients"][0]["attempts"]
    g.advance("5h")
    wait_until("another attempt",
               lambda: g.message(message_id)["recipients"][0]["attempts"] > attempts)
    assert len(g.captures(done)) == 1


def test_a_second_start_on_the_same_state_is_refused(gateway):
    g = gateway()
    second = gateway(state=g.state, start=False).spawn()
    out, _ = second.process.communicate(timeout=support.LIMIT_S)
    assert second.process.returncode == 75 and out == b""
    second.process = None
    assert g.send().status == 202


def test_a_second_start_on_the_same_port_is_refused(gateway):
    g = gateway()
    port = g.ready["smtp"].rsplit(":", 1)[1]
    state = support.temporary_state()
    done = subprocess.run([g.binary, "dev", "--smtp-port", port, "--state", state],
                          capture_output=True, timeout=support.LIMIT_S)
    assert done.returncode == 75
    assert port in done.stderr.decode()
    subprocess.run(["rm", "-rf", state], check=True)


def test_usage_errors_exit_64(gateway):
    for args in (["--bogus"], ["--workers", "0"], ["--smtp-port", "x"], ["extra"],
                 ["--dns", "192.0.2.1:53"]):
        done = subprocess.run([support.BIN, "dev"] + args, capture_output=True)
        assert done.returncode == 64, args
        assert b"usage" in done.stderr


def test_a_worker_that_dies_again_and_again_is_an_alarm(gateway):
    """The others go on: only its sessions are lost."""
    g = gateway("--workers", "2")
    killed = 0
    while not g.events("supervisor.crash-loop"):
        pid = wait_until("worker 0 is there", lambda: next(
            (p for p in g.children("worker") if "child worker 0 " in command_of(p)), None))
        os.kill(pid, signal.SIGKILL)
        killed += 1
        wait_until("that is known", lambda: len(g.events("child.ended")) == killed)
    assert killed >= 5
    alarm = g.events("supervisor.crash-loop")
    assert [(e["child"], e["number"], e["deaths"]) for e in alarm] == [("worker", 0, 5)]
    assert g.metric('stagepost_child_deaths_total{role="worker"}') == killed
    assert g.metric("stagepost_crash_loops_total") == 1
    g.wait_status(g.accepted(), "delivered")


@pytest.mark.parametrize("role", ["worker", "signer", "sandbox", "redis", "redis-server"])
def test_kill_9_of_a_child_loses_nothing(gateway, role):
    g = gateway()
    ids = [g.accepted(to=f"a{i}@customer.example") for i in range(5)]
    ids.append(g.accepted(to="defer@customer.example"))
    victim = g.children(role)[0]
    os.kill(victim, signal.SIGKILL)
    wait_until("it is gone", lambda: not support.is_alive(victim))

    def whole_again():
        try:
            answer = g.send(to="after@customer.example")
        except OSError:
            return None
        return answer.json["id"] if answer.status == 202 else None

    ids.append(wait_until("mail is accepted again", whole_again))
    for message_id in ids[:5] + ids[6:]:
        g.wait_status(message_id, "delivered")
    assert g.message(ids[5])["status"] == "deferred"
    g.advance("5h")
    before = g.message(ids[5])["recipients"][0]["attempts"]
    wait_until("it is tried again", lambda: g.message(ids[5])["recipients"][0]["attempts"] >= before)
    assert g.stop() == 0


def test_children_end_after_kill_9_of_the_supervisor(gateway):
    g = gateway()
    ids = [g.accepted(to=f"a{i}@customer.example") for i in range(3)]
    pids = support.processes_below(g.process.pid)
    assert len(pids) >= 5
    os.kill(g.process.pid, signal.SIGKILL)
    killed = time.monotonic()
    g.process.communicate()
    g.process = None
    wait_until("all children have ended", lambda: not [p for p in pids if support.is_alive(p)])
    assert time.monotonic() - killed < 10 or os.environ.get("CI") == "true"
    g.start()
    for message_id in ids:
        g.wait_status(message_id, "delivered")


def test_a_start_right_after_kill_9_of_the_supervisor_is_whole(gateway):
    g = gateway()
    message_id = g.accepted(to="defer@customer.example")
    os.kill(g.process.pid, signal.SIGKILL)
    g.process.communicate()
    g.process = None
    g.start()
    assert g.message(message_id)["id"] == message_id
    g.wait_status(g.accepted(), "delivered")


def test_a_redis_that_still_runs_is_adopted(gateway):
    g = gateway()
    message_id = g.accepted(to="defer@customer.example")
    redis_pid = g.children("redis-server")[0]
    for pid in g.children("redis") + g.children("worker") + g.children("signer") + g.children("sandbox"):
        os.kill(pid, signal.SIGSTOP)
    everybody = support.processes_below(g.process.pid)
    os.kill(g.process.pid, signal.SIGKILL)
    g.process.communicate()
    g.process = None
    for pid in everybody:
        if pid != redis_pid:
            os.kill(pid, signal.SIGKILL)
    assert support.is_alive(redis_pid)
    g.start()
    assert support.is_alive(redis_pid)
    assert g.events("redis.adopted")[-1]["pid"] == redis_pid
    assert g.message(message_id)["id"] == message_id
    assert g.stop() == 0
    wait_until("it ends with us", lambda: not support.is_alive(redis_pid))


def test_readyz_and_healthz(gateway):
    g = gateway()
    assert g.http("GET", "/healthz", key=None).status == 200
    assert g.http("GET", "/readyz", key=None).status == 200
    redis_pid = g.children("redis-server")[0]
    os.kill(redis_pid, signal.SIGSTOP)
    try:
        wait_until("not ready", lambda: g.http("GET", "/readyz", key=None).status == 503)
        assert g.http("GET", "/healthz", key=None).status == 200
    finally:
        os.kill(redis_pid, signal.SIGCONT)
    wait_until("ready again", lambda: g.http("GET", "/readyz", key=None).status == 200)
