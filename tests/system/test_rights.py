"""Who the processes of `serve` run as, and what they can reach."""
import grp
import os
import pwd
import shutil
import signal
import stat
import subprocess

import dkim
import pytest
import support
from support import LIMIT_S, is_alive, wait_until
from test_serve import KEY, Served, dkim_records, of_status, sent, session, stored_message

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="what root separates needs root")
ROLES = ("worker", "signer", "redis", "redis-server")


def status_of(pid):
    """/proc/PID/status as a dict of lists of words."""
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return {k: v.split() for k, v in (line.rstrip("\n").split(":", 1) for line in f)}


def users_of(pid):
    return {int(n) for n in status_of(pid)["Uid"]}


def as_user(name, *command):
    """Runs it as that user, with its group and no other; the finished process."""
    return subprocess.run(["setpriv", f"--reuid={name}", f"--regid={name}", "--clear-groups",
                           *command], capture_output=True, text=True, timeout=LIMIT_S)


@pytest.fixture(scope="module")
def dns():
    g = support.Gateway(support.temporary_state()).start()
    yield g.ready["dns"]
    g.kill_all()
    shutil.rmtree(g.state, ignore_errors=True)


@pytest.fixture
def served(dns):
    made = []

    def make(kind=Served):
        made.append(kind(support.temporary_state(), dns))
        return made[-1]

    yield make
    for g in made:
        g.kill_all()
        shutil.rmtree(g.folder, ignore_errors=True)


def check_users(g):
    """A child that has just begun is root's until it has read its orders."""
    wait_until("all have begun", lambda: all(users_of(pid) != {0} for role in ROLES
                                             for pid in g.children(role)))
    gateway, signer = pwd.getpwnam("stagepost"), pwd.getpwnam("stagepost-sign")
    for role in ROLES:
        for pid in g.children(role):
            who, status = signer if role == "signer" else gateway, status_of(pid)
            assert {int(n) for n in status["Uid"]} == {who.pw_uid}, role
            assert {int(n) for n in status["Gid"]} == {who.pw_gid}, role
            assert status["Groups"] == [] and int(status["CapEff"][0], 16) == 0, role


@as_root
def test_each_process_has_its_user_and_mail_goes_through(served):
    g = served().start()
    assert users_of(g.process.pid) == {0}
    assert [len(g.children(role)) for role in ROLES] == [2, 1, 1, 1]
    check_users(g)
    message_id = sent(g, session(g.smtp_port, g.tls()))
    m = wait_until("it is given up",
                   lambda: of_status(g, message_id, "bounced"))  # its MX is on loopback
    assert m["recipients"][0]["last_response"]["enhanced"] == "5.4.4"
    for role in ("signer", "worker", "worker"):
        pid = g.children(role)[0]
        os.kill(pid, signal.SIGKILL)
        wait_until("it is gone", lambda pid=pid: not is_alive(pid))
    wait_until("all are back", lambda: [len(g.children(r)) for r in ROLES] == [2, 1, 1, 1])
    check_users(g)
    answer = wait_until("it accepts again", lambda: accepted(g))
    assert answer.status == 202
    assert g.stop() == 0


def accepted(g):
    """None while the workers are coming back."""
    try:
        answer = g.send(key=KEY, to="anna@customer.com")
    except OSError:
        return None
    return answer if answer.status == 202 else None


@as_root
def test_what_root_alone_may_read_signs_and_serves_tls(served):
    g = served()
    silent = g.config().replace(f'forward = "{g.dns}"', 'forward = "127.0.0.1:9"')
    g.write(silent)
    for name in ("tls.key", "tls.pem", "ed.pem", "rsa.pem", "stagepost.conf"):
        os.chmod(g.file(name), 0o600)
    g.start()
    message_id = sent(g, session(g.smtp_port, g.tls()))
    records = dkim_records(g)
    d = dkim.DKIM(stored_message(g, message_id))
    for i in range(2):
        assert d.verify(idx=i, dnsfunc=lambda name, timeout=5: records[
            name.decode() if isinstance(name, bytes) else name])
    for name in ("tls.key", "ed.pem", "rsa.pem", "shop.hash", "stagepost.conf"):
        for user in ("stagepost", "stagepost-sign"):
            done = as_user(user, "cat", g.file(name))
            assert done.returncode != 0 and "Permission denied" in done.stderr, (user, name)


@as_root
def test_the_gateways_user_cannot_touch_the_signer(served):
    g = served().start()
    signer = g.children("signer")[0]
    for command in (["cat", f"/proc/{signer}/environ"], ["cat", f"/proc/{signer}/maps"],
                    ["dd", f"if=/proc/{signer}/mem", "of=/dev/null", "count=1"],
                    ["ls", f"/proc/{signer}/fd"], ["sh", "-c", f"kill -0 {signer}"],
                    ["sh", "-c", f"kill -0 {g.process.pid}"],
                    ["rm", f"{g.state}/run/signer-0.sock"],
                    ["mv", f"{g.state}/run", f"{g.state}/run2"],
                    ["ls", f"{g.state}/keys"]):
        done = as_user("stagepost", *command)
        assert done.returncode != 0, command
        assert "not permitted" in done.stderr or "denied" in done.stderr, (command, done.stderr)
    assert as_user("stagepost", "ls", f"{g.state}/run").returncode == 0


@as_root
def test_the_state_directory_is_shared_out(served):
    g = served()
    gid, uid = grp.getgrnam("stagepost").gr_gid, pwd.getpwnam("stagepost").pw_uid
    os.makedirs(f"{g.state}/redis/appendonlydir", mode=0o700)  # of a start without users
    with open(f"{g.state}/redis/redis.lock", "w", encoding="ascii"):
        pass
    os.symlink("/etc/passwd", f"{g.state}/redis/link")
    g.start()

    def facts(name):
        s = os.lstat(os.path.join(g.state, name))
        return s.st_uid, s.st_gid, stat.S_IMODE(s.st_mode)

    assert facts("run") == (0, gid, 0o1770)
    assert facts("run/signer-0.sock") == (0, gid, 0o660)
    assert facts("keys") == (0, 0, 0o700) and facts("tls") == (0, 0, 0o700)
    assert facts("redis")[:2] == facts("redis/redis.lock")[:2] == (uid, gid)
    assert facts("redis/appendonlydir") == (uid, gid, 0o700)
    assert os.stat("/etc/passwd").st_uid == 0
    assert not stat.S_IMODE(os.stat(g.state).st_mode) & 0o022
    os.lchown(f"{g.state}/redis/link", 0, 0)  # what is in there later stays as it is
    assert g.stop() == 0
    g.start()
    assert facts("redis/link")[0] == 0


@as_root
def test_users_and_files_that_would_not_separate_are_refused(served):
    g = served()
    for line, why in (
            ('user = "no-such-user";', 'user: there is no user "no-such-user": useradd --system'),
            ('user = "root";', 'user: "root" is root'),
            ('signer_user = "stagepost";', "is the user of the workers too")):
        g.write(g.config() + line)
        code, said = g.refusal()
        assert code == 78 and why in said, said
    g.write(g.config())
    shutil.chown(g.file("ed.pem"), "stagepost")
    code, said = g.refusal()
    assert code == 78 and f"{g.file('ed.pem')}: user stagepost could read it" in said
    shutil.chown(g.file("ed.pem"), "root")
    os.chmod(g.folder, 0o700)
    code, said = g.refusal()
    assert code == 78 and "cannot get there" in said


@as_root
def test_a_reload_does_not_bring_keys_that_the_gateway_could_read(served):
    g = served().start()
    shutil.chown(g.file("ed.pem"), "stagepost")
    g.process.send_signal(signal.SIGHUP)
    refused = wait_until("it is refused", lambda: g.events("reload.refused"))
    assert "user stagepost could read it" in refused[0]["why"]
    shutil.chown(g.file("ed.pem"), "root")
    g.process.send_signal(signal.SIGHUP)
    wait_until("it reloads", lambda: g.events("reload.done"))
    assert len(g.events("reload.refused")) == 1


class ServedByNobody(Served):
    """Started by a user who is nobody special."""

    USER = 65534

    def make_files(self):
        super().make_files()
        if os.geteuid() == 0:
            for name in [self.folder] + [self.file(n) for n in os.listdir(self.folder)]:
                os.chown(name, self.USER, self.USER)

    def write(self, text):
        super().write(text)
        if os.geteuid() == 0:
            os.chown(self.path, self.USER, self.USER)

    def spawn(self):
        self.log_path = self.file("test.log")
        become = ["setpriv", f"--reuid={self.USER}", f"--regid={self.USER}", "--clear-groups"]
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                (become if os.geteuid() == 0 else []) + [
                    os.path.abspath(self.binary), "serve", "-c", self.path],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                start_new_session=True)
        return self


def test_without_root_all_are_one_user_and_that_is_said(served):
    g = served(ServedByNobody).start()
    mine = users_of(g.process.pid)
    assert all(users_of(pid) == mine for role in ROLES for pid in g.children(role))
    said = g.events("serve.rights-not-separated")
    assert len(said) == 1 and "not started by root" in said[0]["why"]
    sent(g, session(g.smtp_port, g.tls()))
    assert g.stop() == 0
