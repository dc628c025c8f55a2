"""The Debian package: what is in it, and what its scripts do to a machine."""
import glob
import os
import shutil
import subprocess

import pytest
from support import LIMIT_S, ROOT, temporary_state
from test_install import make
from test_serve import Served

pytestmark = pytest.mark.release_only(reason="a package is made of the release build")
if not os.path.exists(os.path.join(ROOT, "build/release/stagepost")):
    pytest.skip("no release build here", allow_module_level=True)

# A machine of its own: what is written goes to memory, and is gone with the mount namespace.
IN_A_COPY_OF_THIS_MACHINE = """
set -e
mount -t tmpfs none /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work none /mnt/root
mount --bind /dev /mnt/root/dev
mount -t tmpfs none /mnt/root/run
cp "$1" /mnt/root/stagepost.deb
chroot /mnt/root sh -c "$2"
"""


def run(*command, **kw):
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, **kw)


def output(*command):
    done = run(*command)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    def take():
        built = glob.glob(os.path.join(ROOT, "build/deb/stagepost_*.deb"))
        assert len(built) == 1
        return shutil.copy(built[0], tmp_path_factory.mktemp("deb"))

    return make("deb", then=take)


def test_what_it_says_of_itself(package):
    version = output(os.path.join(ROOT, "build/release/stagepost"), "--version").split()[1]
    fields = dict(line.split(": ", 1) for line in output("dpkg-deb", "-f", package).splitlines()
                  if not line.startswith(" "))
    assert os.path.basename(package) == f"stagepost_{version}_{fields['Architecture']}.deb"
    assert fields["Version"] == version
    depends = fields["Depends"]
    for name in ("libc6 (", "libopendkim", "libunbound", "libuv1", "libseccomp2", "libspf2",
                 "redis-tools | valkey-tools", "adduser"):
        assert name in depends, depends
    assert "-dev" not in depends and "@" not in depends


def test_what_is_in_it(package):
    rows = [line.split(None, 5) for line in output("dpkg-deb", "-c", package).splitlines()]
    assert {row[1] for row in rows} == {"root/root"}
    modes = {row[5][1:]: row[0] for row in rows}
    assert modes["/usr/bin/stagepost"] == "-rwxr-xr-x"
    assert modes["/etc/stagepost/dkim/"] == modes["/etc/stagepost/tls/"] == "drwx------"
    for name in ("lib/systemd/system/stagepost.service", "lib/sysusers.d/stagepost.conf",
                 "share/man/man1/stagepost.1.gz", "share/man/man5/stagepost.conf.5.gz",
                 "share/doc/stagepost/copyright", "share/doc/stagepost/changelog.gz",
                 "share/doc/stagepost/examples/config.example"):
        assert modes[f"/usr/{name}"] == "-rw-r--r--", name
    # Nothing that would be written over: the configuration is the operator's.
    assert not [n for n in modes if n.startswith("/etc/") and not n.endswith("/")]


def test_the_shipped_example_needs_only_files(package):
    """Unpacked, and its example with the files that it names."""
    folder = temporary_state()
    try:
        output("dpkg", "-x", package, folder)
        program = os.path.join(folder, "usr/bin/stagepost")
        files = os.path.join(folder, "files")
        os.mkdir(files)
        g = Served(files, "127.0.0.1:9")
        with open(os.path.join(folder, "usr/share/doc/stagepost/examples/config.example"),
                  encoding="utf-8") as f:
            text = f.read()
        for there, here in (("tls/fullchain.pem", "tls.pem"), ("tls/privkey.pem", "tls.key"),
                            ("dkim/s1-rsa.pem", "rsa.pem"), ("dkim/s1-ed.pem", "ed.pem"),
                            ("shop.hash", "shop.hash")):
            assert f"/etc/stagepost/{there}" in text
            text = text.replace(f"/etc/stagepost/{there}", g.file(here))
        g.write(text)
        done = run(program, "check", "config", "-c", g.path)
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"{g.path}: ok\n"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def in_a_copy(package, script):
    return run("unshare", "--mount", "sh", "-c", IN_A_COPY_OF_THIS_MACHINE, "sh", package, script)


def test_installed_removed_and_purged(package):
    if os.geteuid() != 0 or in_a_copy(package, "true").returncode != 0:
        pytest.skip("no overlay of this machine can be made here")
    done = in_a_copy(package, """
        set -e
        rm -rf /var/lib/stagepost /etc/stagepost
        for user in stagepost stagepost-sign; do ! id $user >/dev/null 2>&1 || userdel $user; done
        dpkg -i /stagepost.deb >/dev/null
        for user in stagepost stagepost-sign; do getent passwd $user; done
        stat -c '%n %U %a' /var/lib/stagepost /etc/stagepost/dkim
        ls -l /etc/systemd/system/multi-user.target.wants/stagepost.service | sed 's/.*-> //'
        stagepost --version
        stagepost check config 2>/dev/null || echo "exit $?"
        touch /var/lib/stagepost/mail /etc/stagepost/stagepost.conf
        dpkg -i /stagepost.deb >/dev/null          # an upgrade
        dpkg -r stagepost >/dev/null
        test ! -e /usr/bin/stagepost
        dpkg -P stagepost >/dev/null 2>&1
        ls /var/lib/stagepost /etc/stagepost
        test ! -e /etc/systemd/system/multi-user.target.wants/stagepost.service
        echo purged
    """)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    for user, line in zip(("stagepost", "stagepost-sign"), lines):
        name, _, uid, gid, _, _, shell = line.split(":")
        assert name == user and int(uid) > 0 and int(gid) > 0 and shell == "/usr/sbin/nologin"
    assert lines[2:4] == ["/var/lib/stagepost root 711", "/etc/stagepost/dkim root 700"]
    assert lines[4].endswith("/lib/systemd/system/stagepost.service")
    assert lines[5].startswith("stagepost ") and lines[6] == "exit 78"
    assert lines[-1] == "purged" and "mail" in lines and "stagepost.conf" in lines


def test_lintian_finds_no_error(package):
    if shutil.which("lintian") is None:
        pytest.skip("no lintian here")
    done = run("lintian", "--fail-on", "error", "--allow-root", package)
    assert done.returncode == 0, done.stdout
