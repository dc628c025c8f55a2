"""A Redis that is not ours: over TCP with TLS and a password, and one that will not do."""
import os
import shutil
import socket
import subprocess

import pytest
import support
import test_serve
from support import wait_until
from test_serve import openssl, sent, session

SECRET = "a-password-nobody-should-see"
SETTINGS = ["--save", "", "--appendonly", "yes", "--appendfsync", "always",
            "--maxmemory-policy", "noeviction", "--maxmemory", "256mb", "--logfile", "r.log"]


class Redis:
    """A redis-server with TLS, wanting a password, in the gateway's folder."""

    def __init__(self, g, *more, settings=SETTINGS):
        [self.port] = test_serve.free_ports([socket.AF_INET])
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-days", "2", "-subj", "/CN=redis", "-addext", "subjectAltName=IP:127.0.0.1",
                "-keyout", g.file("redis.key"), "-out", g.file("redis.pem"))
        data = g.file("data")
        os.mkdir(data)
        self.process = subprocess.Popen(
            ["redis-server", "--port", "0", "--tls-port", str(self.port), "--bind", "127.0.0.1",
             "--tls-cert-file", g.file("redis.pem"), "--tls-key-file", g.file("redis.key"),
             "--tls-ca-cert-file", g.file("redis.pem"), "--tls-auth-clients", "no",
             "--dir", data, "--requirepass", SECRET, *settings, *more],
            executable="/usr/bin/redis-check-rdb")
        with open(g.file("redis.password"), "w", encoding="ascii") as f:
            f.write(SECRET + "\n")
        os.chmod(g.file("redis.password"), 0o600)

    def stop(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def made():
    things = {}

    def make(*more, password=True, ca="redis.pem", **kw):
        silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        silent.bind(("127.0.0.1", 0))
        g = test_serve.Served(support.temporary_state(), f"127.0.0.1:{silent.getsockname()[1]}")
        r = Redis(g, *more, **kw)
        lines = f'redis = "127.0.0.1:{r.port}"; redis_tls = true; redis_ca = "{g.file(ca)}";'
        if password:
            lines += f' redis_password_file = "{g.file("redis.password")}";'
        g.write(g.config().replace(f'redis = "{g.redis_at}";', lines))
        things.update(g=g, redis=r, silent=silent)
        return g

    yield make
    things["g"].kill_all()
    things["redis"].stop()
    things["silent"].close()
    shutil.rmtree(things["g"].folder, ignore_errors=True)


def unfit(g, text):
    """It never accepts, and the log says why."""
    g.spawn()
    wait_until(f"the log says {text}", lambda: any(
        text in e["why"] for e in g.events("queue.redis.unfit") + g.events("queue.link.lost")))
    assert not g.events("worker.ready")


def test_tls_and_password(made):
    g = made().start()
    sent(g, session(g.smtp_port, g.tls()))
    assert g.stop() == 0
    assert SECRET not in g.log()
    g.start()  # finds its queue again
    sent(g, session(g.smtp_port, g.tls()))


def test_without_the_password_it_is_asked_for(made):
    unfit(made(password=False), "Redis wants a password: queue.redis_password_file")


def test_a_certificate_of_somebody_else_is_refused(made):
    unfit(made(ca="tls.pem"), "certificate")


@pytest.mark.parametrize("setting,bad", [
    ("appendonly", "no"), ("appendfsync", "everysec"), ("no-appendfsync-on-rewrite", "yes"),
    ("maxmemory-policy", "allkeys-lru"), ("proto-max-bulk-len", "1mb")])
def test_settings_that_could_lose_mail_are_named(made, setting, bad):
    unfit(made(f"--{setting}", bad), f"Redis: {setting} must be ")


def test_no_memory_limit_is_only_advised_against(made):
    g = made("--maxmemory", "0").start()
    assert g.events("queue.redis.advice")
