"""Copies of the queue: taken while mail flows, put back, and what is refused."""
import json
import os
import pwd
import shutil
import subprocess
import threading

import pytest
import support
from support import BIN, LIMIT_S, wait_until
from test_serve import KEY, Served, of_status


def run(*args, code=0):
    done = subprocess.run([BIN, *args], capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done.stdout if code == 0 else done.stderr


@pytest.fixture
def gateway():
    folder = support.temporary_state()
    g = support.Gateway(os.path.join(folder, "state"), args=["--workers", "2"])
    g.folder = folder
    yield g
    g.kill_all()
    shutil.rmtree(folder, ignore_errors=True)


class Flow:
    """Keeps handing in mail in a thread; `accepted`: (id, recipient) of each 202."""

    def __init__(self, g, name):
        self.g, self.name, self.accepted, self.stopping = g, name, [], threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        n = 0
        while not self.stopping.is_set():
            to = f"{'greylist' if n % 2 else self.name}+{n}@{self.name}{n % 7}.example"
            answer = self.g.send(to=to, text="x" * (n % 5) * 1000)
            if answer.status == 202:
                self.accepted.append((answer.json["id"], to))
            n += 1

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join()


def test_what_was_acknowledged_before_a_backup_is_delivered_after_its_restore(gateway):
    g = gateway.start()
    waiting = [g.accepted(to=f"defer+{n}@waits.example") for n in range(20)]
    for message_id in waiting:
        g.wait_status(message_id, "deferred")
    copies = []
    with Flow(g, "flow") as flow:
        for n in range(2):
            wait_until("mail flows", lambda n=n: len(flow.accepted) > 15 * (n + 1))
            if n % 2:  # the log is rewritten at the same time
                g.redis().bgrewriteaof()
            before = list(flow.accepted)
            copies.append((os.path.join(g.folder, f"copy-{n}"), before))
            run("backup", copies[-1][0], "--state", g.state)
    for copy, before in copies:
        g.kill_all()
        shutil.rmtree(g.state)
        run("restore", copy, "--state", g.state)
        g.start()
        for message_id in waiting:
            assert g.message(message_id)["status"] == "deferred"
        for message_id, _ in before:
            g.wait_status(message_id, ["delivered", "deferred"])
        g.advance("10m")  # greylisted ones are due
        for message_id, _ in before:
            g.wait_status(message_id, "delivered")
        assert g.send().status == 202
    assert len(before) > 30


def test_a_rewrite_of_the_log_meanwhile_costs_nothing(gateway):
    """Many copies while Redis replaces its files all the time: each is whole."""
    g = gateway.start()
    for n in range(30):
        g.accepted(to=f"defer+{n}@waits.example", text="y" * 20000)
    stopping = threading.Event()

    def rewrite():
        r = g.redis()
        while not stopping.is_set():
            if not r.info("persistence")["aof_rewrite_in_progress"]:
                r.bgrewriteaof()

    thread = threading.Thread(target=rewrite)
    thread.start()
    try:
        for n in range(12):
            run("backup", os.path.join(g.folder, f"copy-{n}"), "--state", g.state)
    finally:
        stopping.set()
        thread.join()
    assert g.stop() == 0
    for n in range(12):
        state = os.path.join(g.folder, f"state-{n}")
        run("restore", os.path.join(g.folder, f"copy-{n}"), "--state", state)
    other = support.Gateway(state)
    try:
        other.start()
        answer = other.http("GET", "/v1/queues")
        assert answer.json["total"]["deferred"] + answer.json["total"]["queued"] == 30
    finally:
        other.kill_all()


def test_a_stopped_gateway_can_be_backed_up(gateway):
    g = gateway.start()
    message_id = g.accepted(to="defer@waits.example")
    g.wait_status(message_id, "deferred")
    assert g.stop() == 0
    copy = os.path.join(g.folder, "copy")
    said = json.loads(run("backup", copy, "--state", g.state, "--json"))
    assert said["files"] == len(os.listdir(copy)) - 1
    assert os.stat(copy).st_mode & 0o7777 == 0o700
    assert all(os.stat(os.path.join(copy, n)).st_mode & 0o7777 == 0o600 for n in os.listdir(copy))
    assert not os.path.exists(copy + ".part")
    shutil.rmtree(g.state)
    run("restore", copy, "--state", g.state)
    g.start()
    assert g.message(message_id)["status"] == "deferred"


@pytest.mark.skipif(os.geteuid() != 0, reason="what is given away needs root")
@pytest.mark.parametrize("used_before", [False, True])
def test_restored_by_root_it_is_the_gateways(gateway, used_before):
    """Into a new state directory, and into one whose parts were given to the gateway's user already."""
    support.make_users()
    dev = gateway.start()
    g = Served(support.temporary_state(), dev.ready["dns"])
    try:
        g.write(g.config().replace(dev.ready["dns"], "127.0.0.1:9"))  # no DNS: it waits
        g.start()
        message_id = g.accepted(key=KEY, to="anna@customer.com")
        wait_until("it waits", lambda: of_status(g, message_id, "deferred"))
        copy = g.file("copy")
        run("backup", copy, "-c", g.path)
        assert g.stop() == 0
        if used_before:
            shutil.rmtree(f"{g.state}/redis/appendonlydir")
            os.unlink(f"{g.state}/dataset")
        else:
            shutil.rmtree(g.state)
        run("restore", copy, "-c", g.path)
        uid = pwd.getpwnam("stagepost").pw_uid
        for name in ("redis", "redis/appendonlydir", "redis/appendonlydir/appendonly.aof.manifest"):
            assert os.stat(os.path.join(g.state, name)).st_uid == uid  # whoever starts it
        g.start()
        assert of_status(g, message_id, "deferred")
        assert g.send(key=KEY, to="anna@customer.com").status == 202
        assert g.stop() == 0
    finally:
        g.kill_all()
        shutil.rmtree(g.folder, ignore_errors=True)


def test_what_is_refused(gateway):
    g = gateway.start()
    g.accepted(to="defer@waits.example")
    copy, other = os.path.join(g.folder, "copy"), os.path.join(g.folder, "other")
    run("backup", copy, "--state", g.state)
    assert "is there already" in run("backup", copy, "--state", g.state, code=77)
    assert "another stagepost is running" in run("restore", copy, "--state", g.state, code=77)
    assert g.stop() == 0
    assert "has a queue already" in run("restore", copy, "--state", g.state, code=77)
    assert "queue.redis" in run("backup", other, "--state", g.folder, code=66)
    assert not os.path.exists(other)
    run("restore", copy, code=64)
    run("backup", code=64)


@pytest.mark.parametrize("damage", ["cut", "changed", "missing", "no list", "climbing", "link"])
def test_a_copy_that_is_not_whole_changes_nothing(gateway, damage):
    g = gateway.start()
    g.accepted(to="defer@waits.example")
    assert g.stop() == 0
    copy, other = os.path.join(g.folder, "copy"), os.path.join(g.folder, "other")
    run("backup", copy, "--state", g.state)
    incr = [n for n in os.listdir(copy) if n.endswith(".incr.aof")][0]
    path, listing = os.path.join(copy, incr), os.path.join(copy, "BACKUP")
    with open(path, "rb") as f:
        data = f.read()
    with open(listing, encoding="ascii") as f:
        text = f.read()
    if damage == "missing":
        os.unlink(path)
    elif damage == "no list":
        os.unlink(listing)
    elif damage == "climbing":
        with open(listing, "w", encoding="ascii") as f:
            f.write(text.replace(incr, "../" + incr))
    elif damage == "link":
        os.rename(path, path + ".away")
        os.symlink(path + ".away", path)
    else:
        with open(path, "wb") as f:
            f.write(data[:-1] if damage == "cut" else data[:-1] + b"?")
    done = subprocess.run([BIN, "restore", copy, "--state", other], capture_output=True, text=True,
                          timeout=LIMIT_S)
    assert done.returncode in (65, 66, 74) and copy in done.stderr, done.stderr
    assert not os.path.exists(other)
