"""The queue's dataset is remembered: an empty Redis, or another's, is not taken for it."""
import os
import shutil
import signal
import socket

import pytest
import support
import test_serve
from support import wait_until
from test_serve import KEY, sent, session


@pytest.fixture
def g():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        gateway = test_serve.Served(support.temporary_state(),
                                    f"127.0.0.1:{silent.getsockname()[1]}")
        yield gateway
        gateway.kill_all()
        shutil.rmtree(gateway.folder, ignore_errors=True)


def remembered(g):
    with open(os.path.join(g.state, "dataset"), encoding="ascii") as f:
        return f.read()


def gone(g):
    return any("dataset of this queue is gone" in e["why"] and "`dataset`" in e["why"]
               for e in g.events("queue.redis.unfit"))


def test_an_emptied_directory_is_noticed_at_the_next_start(g):
    g.start()
    message_id = sent(g, session(g.smtp_port, g.tls()))
    uuid = wait_until("it is remembered", lambda: remembered(g))
    assert uuid.strip() == g.redis().hget("sp:dataset", "uuid").decode()
    assert g.stop() == 0
    data = os.path.join(g.state, "redis")
    shutil.move(data, data + ".lost")
    g.spawn()
    wait_until("it says so", lambda: gone(g))
    assert not g.redis().exists("sp:dataset") and remembered(g) == uuid
    assert g.stop() == 0
    shutil.rmtree(data)
    shutil.move(data + ".lost", data)
    g.start()
    assert g.message(message_id, key=KEY)["status"] in ("queued", "deferred")
    assert g.stop() == 0
    os.unlink(os.path.join(g.state, "dataset"))  # as the log says
    shutil.rmtree(data)
    g.start()
    assert wait_until("another is remembered", lambda: remembered(g)) != uuid
    sent(g, session(g.smtp_port, g.tls()))


def test_a_worker_that_starts_later_knows_it_too(g):
    g.start()
    g.redis().flushall()
    wait_until("it says so", lambda: gone(g))
    before = len(g.events("queue.redis.unfit"))
    for pid in g.children("worker"):
        os.kill(pid, signal.SIGKILL)
    wait_until("new ones say so", lambda: len(g.events("queue.redis.unfit")) >= before + 2)
    assert not g.redis().exists("sp:dataset")


def test_a_file_with_something_else_is_not_guessed_at(g):
    os.makedirs(g.state, mode=0o700)
    with open(os.path.join(g.state, "dataset"), "w", encoding="ascii") as f:
        f.write("mine\n")
    code, said = g.refusal()
    assert code == 78 and "dataset: not the name of a dataset" in said


def test_a_redis_that_cannot_start_says_why(g):
    g.start()
    assert g.stop() == 0
    folder = os.path.join(g.state, "redis", "appendonlydir")
    with open(os.path.join(folder, "appendonly.aof.manifest"), "w", encoding="ascii") as f:
        f.write("this is no manifest\n")
    g.spawn()
    events = wait_until("it is said", lambda: g.events("redis.cannot-start"))
    assert "manifest" in events[0]["text"]
