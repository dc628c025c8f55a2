"""What `make install` puts where, the manual pages, and the service under what its unit allows."""
import contextlib
import fcntl
import os
import shutil
import smtplib
import subprocess
import sys

import as_unit
import pytest
import support
from support import LIMIT_S, ROOT, wait_until
from test_serve import KEY, Served, of_status, sent, session

UNIT = os.path.join(ROOT, "relay/dist/stagepost.service")
FILES = {
    "usr/bin/stagepost": 0o755,
    "usr/share/man/man1/stagepost.1": 0o644,
    "usr/share/man/man5/stagepost.conf.5": 0o644,
    "usr/share/doc/stagepost/README.md": 0o644,
    "usr/share/doc/stagepost/LICENSE": 0o644,
    "usr/share/doc/stagepost/examples/config.example": 0o644,
    "usr/share/doc/stagepost/examples/one-user.conf": 0o644,
    "usr/lib/systemd/system/stagepost.service": 0o644,
    "usr/lib/sysusers.d/stagepost.conf": 0o644,
    "usr/lib/tmpfiles.d/stagepost.conf": 0o644,
}
MONITORING = {f"usr/share/doc/stagepost/examples/{n}": 0o644 for n in ("grafana-dashboard.json", "alerts.yml")
              if os.path.exists(os.path.join(ROOT, "relay/dist", n))}

if not os.path.exists(os.path.join(ROOT, "build/release/stagepost")):
    pytest.skip("no release build here", allow_module_level=True)


def make(*args, then=lambda: None):
    """One at a time: tests run in parallel, and both would build. What `then` returns, before the next."""
    with open(os.path.join(ROOT, "build/.test-make.lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(["make", "-s", "-C", ROOT, *args], capture_output=True, text=True,
                              timeout=10 * LIMIT_S, env={k: v for k, v in os.environ.items()
                                                         if not k.startswith("MAKE")})
        assert done.returncode == 0, done.stdout + done.stderr
        return then()


def tree(folder):
    """{path below it: mode} of all files."""
    out = {}
    for where, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(where, name)
            out[os.path.relpath(path, folder)] = os.stat(path).st_mode & 0o7777
    return out


@pytest.fixture
def staging(tmp_path):
    make("install", f"DESTDIR={tmp_path}", "PREFIX=/usr")
    return str(tmp_path)


def test_install_and_uninstall_below_a_staging_folder(staging):
    assert tree(staging) == {**FILES, **MONITORING}
    assert os.path.isdir(os.path.join(staging, "etc/stagepost"))
    program = os.path.join(staging, "usr/bin/stagepost")
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    assert said.stdout.startswith("stagepost ")
    example = subprocess.run([program, "check", "config", "--example"], capture_output=True,
                             text=True, check=True)
    with open(os.path.join(staging, "usr/share/doc/stagepost/examples/config.example"),
              encoding="utf-8") as f:
        assert f.read() == example.stdout
    make("uninstall", f"DESTDIR={staging}", "PREFIX=/usr")
    assert tree(staging) == {}


def test_another_prefix_is_in_the_unit(tmp_path):
    make("install", f"DESTDIR={tmp_path}", "PREFIX=/opt/sp", "sysconfdir=/opt/sp/etc")
    with open(tmp_path / "opt/sp/lib/systemd/system/stagepost.service", encoding="utf-8") as f:
        assert "ExecStart=/opt/sp/bin/stagepost serve -c /opt/sp/etc/stagepost/stagepost.conf" in f.read()


def test_the_installed_program_runs_a_gateway(staging):
    g = support.Gateway(support.temporary_state(), binary=os.path.join(staging, "usr/bin/stagepost"))
    try:
        g.start()
        g.wait_capture(g.accepted())
        assert g.stop() == 0
    finally:
        g.kill_all()
        shutil.rmtree(g.state, ignore_errors=True)


# ---- manual pages -----------------------------------------------------------------


PAGES = ("usr/share/man/man1/stagepost.1", "usr/share/man/man5/stagepost.conf.5")


def test_manual_pages_have_nothing_to_complain_about(staging):
    for page in PAGES:
        path = os.path.join(staging, page)
        done = subprocess.run(["groff", "-man", "-Tascii", "-P-cbou", "-ww", path], capture_output=True, text=True,
                              check=True)
        assert done.stderr == "" and "SEE ALSO" in done.stdout
        done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", path], capture_output=True,
                              text=True)
        assert done.stdout + done.stderr == ""


def test_manual_pages_name_every_key_and_command(staging):
    with open(os.path.join(staging, PAGES[1]), encoding="utf-8") as f:
        page = f.read()
    with open(os.path.join(ROOT, "config.example"), encoding="utf-8") as f:
        keys = {line.strip().lstrip("#").split(" = ")[0] for line in f if " = " in line
                and not line.strip().startswith(("# ", "{"))}
    assert len(keys) > 30
    for key in keys - {"listeners", "tls", "domains", "credentials", "http", "queue", "dns", "retry",
                       "limits", "ndr", "dkim"}:
        assert f"\n.B {key}\n" in page, key
    with open(os.path.join(staging, PAGES[0]), encoding="utf-8") as f:
        page = f.read()
    for command in ("dev", "serve", "check config", "check domain", "check relay", "queue", "msg",
                    "credential", "suppress", "send", "sendmail"):
        assert f".SS {command}\n.nf\nusage: stagepost {command} " in page, command


# ---- the unit ---------------------------------------------------------------------


def analyze(*args):
    found = as_unit.analyzer()
    if found is None:
        pytest.skip("no systemd-analyze here")
    return subprocess.run([found[0], "--no-pager", *args], capture_output=True, text=True, env=found[1])


def test_the_unit_leaves_little_open(tmp_path):
    """2.0 of 10: of that, 0.7 is for two users, which keep DKIM keys apart (relay/dist/README.md)."""
    done = analyze("security", "--offline=true", "--threshold=20", UNIT)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    with open(UNIT, encoding="utf-8") as f:
        text = f.read()
    with open(os.path.join(os.path.dirname(UNIT), "one-user.conf"), encoding="utf-8") as f:
        drop_in = f.read()
    path = tmp_path / "stagepost.service"
    path.write_text(text.replace("[Install]", drop_in + "[Install]"), encoding="utf-8")
    done = analyze("security", "--offline=true", "--threshold=13", str(path))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr


def test_the_unit_is_well_formed(staging):
    with open(UNIT, encoding="utf-8") as f:
        text = "".join(line for line in f if not line.startswith("Documentation="))
    path = os.path.join(staging, "stagepost.service")
    with open(path, "w", encoding="utf-8") as f:
        f.write(text.replace("/usr/bin/stagepost", os.path.join(staging, "usr/bin/stagepost")))
    done = analyze("verify", path)
    assert "stagepost" not in done.stderr, done.stderr


class ServedAsUnit(Served):
    """As the unit would run it."""

    def spawn(self):
        self.log_path = self.file("test.log")
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, as_unit.__file__, UNIT, self.state, os.path.abspath(self.binary),
                 "serve", "-c", self.path], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=log, start_new_session=True)
        return self


@pytest.fixture
def as_a_unit():
    if os.geteuid() != 0:
        pytest.skip("systemd starts it as root")
    if "/asan/" in support.BIN:
        pytest.skip("the leak checker needs what the unit refuses")
    if as_unit.analyzer() is None:
        pytest.skip("no systemd-analyze here")
    support.make_users()
    dev = support.Gateway(support.temporary_state()).start()
    g = ServedAsUnit(support.temporary_state(), dev.ready["dns"])
    yield g
    for one in (g, dev):
        one.kill_all()
    for folder in (g.folder, dev.state):
        shutil.rmtree(folder, ignore_errors=True)


def status_of(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


def test_mail_goes_through_under_what_the_unit_allows(as_a_unit):
    g = as_a_unit.start()
    mine = status_of(g.process.pid)
    names = as_unit.settings(UNIT)["CapabilityBoundingSet"][0]
    numbers = {"CAP_SETGID": 6, "CAP_SETUID": 7, "CAP_NET_BIND_SERVICE": 10}
    assert int(mine["CapBnd"], 16) == sum(1 << numbers[n] for n in names)
    assert mine["Seccomp"] == "2" and mine["NoNewPrivs"] == "1" and mine["Umask"] == "0077"
    message_id = sent(g, session(g.smtp_port, g.tls()))
    wait_until("it is given up", lambda: of_status(g, message_id, "bounced"))  # its MX is on loopback
    for role in ("worker", "signer"):
        pid = g.children(role)[0]
        os.kill(pid, 9)
        wait_until("there is another", lambda role=role, pid=pid: g.children(role)
                   and pid not in g.children(role))
    g.process.send_signal(1)
    wait_until("it has reloaded", lambda: g.events("reload.done"))

    def accepted():
        with contextlib.suppress(OSError, smtplib.SMTPException):
            return g.send(key=KEY, to="anna@customer.com").status == 202
        return False

    wait_until("it accepts again", accepted)
    assert g.stop() == 0
    g.start()  # into the state directory that it gave away
    assert g.message(message_id, key=KEY)["status"] == "bounced"
    assert g.stop() == 0
