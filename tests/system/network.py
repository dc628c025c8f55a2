"""A small internet for one test: a network namespace with root name servers, zones signed by a real
Knot, and a freshly installed machine in it, which is an overlay over this one: /etc, /usr/local, /var and
the ports below 1024 are the machine's own, and nothing of it is left when the test ends. Needs root."""
import concurrent.futures
import contextlib
import ctypes
import glob
import os
import shutil
import signal
import subprocess
import tempfile

import dns.dnssec
import dns.message
import dns.name
import dns.query
import dns.rdatatype

import support
from support import LIMIT_S, ROOT, wait_until

KNOT = os.path.join(ROOT, "build/knot")
CLONE_NEWNET = 0x40000000
# a. to m.root-servers.net, as resolvers know them.
ROOT_SERVERS = ("198.41.0.4", "170.247.170.2", "192.33.4.12", "199.7.91.13", "192.203.230.10", "192.5.5.241",
                "192.112.36.4", "198.97.190.53", "192.36.148.17", "192.58.128.30", "193.0.14.129",
                "199.7.83.42", "202.12.27.33")

# Run in the new namespaces: $1 is for what is written there.
MACHINE = r"""
set -e
mount -t tmpfs none "$1"
cd "$1"
mkdir upper work repository repository-work root
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" root
mount -t overlay overlay -o "lowerdir=$ROOT,upperdir=$1/repository,workdir=$1/repository-work" "root$ROOT"
mount --rbind /dev root/dev
mount -t proc none root/proc
mount -t tmpfs none root/run
mount -t tmpfs -o mode=1777 none root/tmp
ip link set lo up
for a in $ADDRESSES; do ip address add "$a/32" dev lo; done
# What the machine says to the others comes from its own address.
for a in $ADDRESSES; do ip route replace table local local "$a" dev lo src "$OWN"; done
exec chroot root sh -c 'echo up; exec sleep infinity'
"""


class Machine:
    """`own` is its public address, `mx` and `ns` are other hosts' in the same network. None of RFC 5737:
    resolvers ask nobody for the names of those."""
    own, mx, ns = "203.0.114.25", "203.0.114.80", "203.0.114.53"

    def __init__(self):
        self.work = tempfile.mkdtemp(prefix="stagepost-machine-")
        self.init = subprocess.Popen(
            ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", MACHINE, "sh",
             self.work], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True,
            env={**os.environ, "ROOT": ROOT, "OWN": self.own, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                 "ADDRESSES": " ".join((self.own, self.mx, self.ns, *ROOT_SERVERS))})
        assert self.init.stdout.readline() == b"up\n", "namespaces cannot be made here"
        self.pid = support.processes_below(self.init.pid)[0]
        self.enter_network = ["nsenter", f"--net=/proc/{self.pid}/ns/net"]
        self.thread = concurrent.futures.ThreadPoolExecutor(1, initializer=self.join_network)

    def join_network(self):
        """The thread's sockets are in the network from here on."""
        with open(f"/proc/{self.pid}/ns/net", "rb") as f:
            if ctypes.CDLL(None, use_errno=True).setns(f.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")

    def within(self, function, *args, **kw):
        """Calls it in the network."""
        return self.thread.submit(function, *args, **kw).result()

    def run(self, script, text=None, limit_s=2 * LIMIT_S):
        """What a person at the machine gets to see from a script, typed in the folder of the repository."""
        return subprocess.run(
            ["nsenter", f"--target={self.pid}", "--mount", "--net", "--pid", "--root", "--wd", "sh", "-c",
             f"cd {ROOT} || exit\n{script}"], input=text, capture_output=True, text=True, timeout=limit_s,
            env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root",
                 "LANG": "C.UTF-8"})

    def must(self, script, text=None, **kw):
        done = self.run(script, text, **kw)
        assert done.returncode == 0, f"{script}\n{done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def write(self, path, text, mode=0o644):
        self.must(f"mkdir -p $(dirname {path}) && cat > {path} && chmod {mode:o} {path}", text)

    def close(self):
        self.thread.shutdown()
        for pid in support.processes_below(self.init.pid):  # the first is init of its namespace
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.init.wait()
        self.init.stdout.close()
        shutil.rmtree(self.work, ignore_errors=True)


def knot_is_there():
    return os.access(os.path.join(KNOT, "usr/sbin/knotd"), os.X_OK)


class Names:
    """Knot as root server and as name server of `zones` ({name: lines}), each signed and secured from the
    root down. `root_lines` are further records of the root zone. `broken` are zones whose DS is not theirs."""

    def __init__(self, machine, zones, root_lines="", broken=()):
        self.machine, self.zones = machine, {**zones, ".": None}
        self.root_lines, self.broken, self.serial = root_lines, broken, 1
        self.folder = tempfile.mkdtemp(prefix="stagepost-names-")
        os.mkdir(os.path.join(self.folder, "db"))
        for name in zones:
            self.write(name, zones[name])
        self.write(".", self.root())
        self.start()
        try:
            self.secure()
        except BaseException:
            self.close()
            raise

    def write(self, name, lines):
        file = os.path.join(self.folder, (name.strip(".") or "root") + ".zone")
        origin = name.strip(".") + "."
        with open(file + ".new", "w", encoding="ascii") as f:
            f.write(f"$ORIGIN {origin}\n$TTL 60\n"
                    f"@ SOA ns.example.com. admin.example.com. {self.serial} 60 60 86400 1\n" + lines)
        os.rename(file + ".new", file)

    def root(self, secure=()):
        lines = self.root_lines
        for i, address in enumerate(ROOT_SERVERS):
            server = f"{chr(ord('a') + i)}.root-servers.net."
            lines += f". NS {server}\n{server} A {address}\n"
        for name in self.zones:
            if name != ".":
                lines += f"{name}. NS ns.example.com.\n"
        return lines + f"ns.example.com. A {self.machine.ns}\n" + "".join(secure)

    def start(self):
        config = os.path.join(self.folder, "knot.conf")
        listen = ", ".join(f"{a}@53" for a in (self.machine.ns, *ROOT_SERVERS))
        with open(config, "w", encoding="ascii") as f:
            f.write(f'server:\n    rundir: "{self.folder}"\n    listen: [{listen}]\n'
                    f'database:\n    storage: "{self.folder}/db"\n'
                    'policy:\n  - id: sign\n    single-type-signing: on\n    cds-cdnskey-publish: none\n'
                    f'template:\n  - id: default\n    storage: "{self.folder}"\n'
                    '    zonefile-load: difference-no-serial\n    zonefile-sync: -1\n'
                    '    journal-content: all\n    dnssec-signing: on\n    dnssec-policy: sign\n'
                    'zone:\n' + "".join(f"  - domain: {z}\n    file: {z.strip('.') or 'root'}.zone\n"
                                        for z in self.zones))
        libraries = ":".join(sorted(glob.glob(os.path.join(KNOT, "usr/lib/*-linux-gnu*"))))
        self.log = open(os.path.join(self.folder, "log"), "wb")
        self.server = subprocess.Popen(
            [*self.machine.enter_network, os.path.join(KNOT, "usr/sbin/knotd"), "-c", config],
            stdout=self.log, stderr=self.log, env=dict(os.environ, LD_LIBRARY_PATH=libraries))

    def said(self):
        with open(os.path.join(self.folder, "log"), encoding="utf-8", errors="replace") as f:
            return f.read()[-4000:]

    def ask(self, name, kind, address=None):
        """The records of an answer; None when there is no answer."""
        assert self.server.poll() is None, self.said()
        q = dns.message.make_query(name, kind, want_dnssec=True)
        with contextlib.suppress(dns.exception.Timeout, OSError, EOFError):
            r = self.machine.within(dns.query.tcp, q, address or self.machine.ns, timeout=5)
            return [rdata for rrset in r.answer if rrset.rdtype == q.question[0].rdtype for rdata in rrset]
        return None

    def keys(self, zone):
        def signed():
            return self.ask(zone, "DNSKEY") and self.ask(zone, "RRSIG" if zone == "." else "SOA")
        wait_until(f"{zone} is signed", signed)
        return self.ask(zone, "DNSKEY")

    def secure(self):
        """DS records into the root zone; self.anchor is the root's key."""
        lines = []
        for zone in self.zones:
            if zone == ".":
                continue
            for key in self.keys(zone):
                # A digest of another name's key fits no key of the zone.
                owner = "other." + zone if zone in self.broken else zone
                ds = dns.dnssec.make_ds(dns.name.from_text(owner), key, "SHA256")
                lines.append(f"{zone}. DS {ds}\n")
        self.change(".", self.root(lines))
        last = [z for z in self.zones if z != "."][-1]
        wait_until("the root zone has them", lambda: self.ask(last, "DS"))
        self.anchor = "".join(f". IN DNSKEY {key}\n" for key in self.keys("."))

    def change(self, zone, lines):
        self.serial += 1
        self.write(zone, lines)
        self.zones[zone] = lines
        self.server.send_signal(signal.SIGHUP)

    def publish(self, zone, lines):
        """Adds records to a zone; returns when they are served."""
        self.change(zone, self.zones[zone] + lines)
        names = [line.split()[0] for line in lines.splitlines() if line.strip()]
        for name in names:
            wait_until(f"{name} is served", lambda name=name: self.ask(name, "TXT"))

    def txt(self, name):
        """For dkimpy."""
        found = self.ask(name.decode() if isinstance(name, bytes) else name, dns.rdatatype.TXT)
        return b"".join(found[0].strings) if found else None

    def close(self):
        if self.server.poll() is None:
            self.server.terminate()
            try:
                self.server.wait(timeout=LIMIT_S)
            except subprocess.TimeoutExpired:
                self.server.kill()
                self.server.wait()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def main():  # a look at it by hand
    machine = Machine()
    try:
        names = Names(machine, {"example.com": "@ NS ns\nns A 203.0.114.53\n"})
        print(names.anchor, names.ask("example.com", "DS"))
        print(machine.run("ip -br a; id; ls").stdout)
        names.close()
    finally:
        machine.close()


if __name__ == "__main__":
    main()
