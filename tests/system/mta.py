"""Real mail servers as MX hosts: Postfix, Exim, OpenSMTPD. They are unpacked below build/ (see
relay/dist/install-packages.sh) and each runs in a mount namespace of its own whose root is the machine's
with the server laid over it: paths and users are as its packagers meant them, and nothing on the machine
changes. Ports are on loopback. Needs root."""
import contextlib
import glob
import os
import shutil
import signal
import socket
import subprocess
import tempfile

from support import ROOT, processes_below, wait_until

# Run inside the new namespaces: $1 the server below build/, $2 a directory for what it writes. The program
# that follows runs in the joined root.
ENTER = r"""
set -e
server=$1 work=$2; shift 2
mount -t tmpfs none "$work"
mkdir "$work/upper" "$work/work" "$work/root"
(cd "$server" && cp -a etc usr var "$work/upper/")
cp -a "$STAGED/." "$work/upper/"
mount -t overlay overlay -o "lowerdir=/,upperdir=$work/upper,workdir=$work/work" "$work/root"
mount --rbind /dev "$work/root/dev"
mount -t proc none "$work/root/proc"
mount -t tmpfs none "$work/root/run"
mount --bind "$MAIL" "$work/root/mnt"
exec chroot "$work/root" "$@"
"""


def is_there(name):
    return os.geteuid() == 0 and os.path.isdir(os.path.join(ROOT, "build", name, "usr"))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def certificate(directory, name):
    """Paths of a new self-signed certificate and its key."""
    cert, key = os.path.join(directory, "cert.pem"), os.path.join(directory, "key.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert,
                    "-subj", f"/CN={name}", "-days", "3"], check=True, stderr=subprocess.DEVNULL)
    return cert, key


class Server:
    """One mail server; it takes mail for any local part of `domain` but `nobody`, into a maildir."""
    name = None
    users = ()  # of its own, (name, uid)

    def __init__(self, domain, cert, key, network=None):
        """network: a network.Machine in whose network it runs, at port 25 of `network.mx`."""
        self.domain, self.network = domain, network
        self.address, self.port = (network.mx, 25) if network else ("127.0.0.1", free_port())
        self.staged, self.work = tempfile.mkdtemp(), tempfile.mkdtemp()
        self.mail = tempfile.mkdtemp()
        os.chmod(self.staged, 0o755)
        os.chmod(self.mail, 0o777)
        self.stage_users()
        self.stage("etc/mx/cert.pem", open(cert, encoding="ascii").read())
        self.stage("etc/mx/key.pem", open(key, encoding="ascii").read(), 0o600)
        self.configure()
        self.log = open(os.path.join(self.mail, "server.log"), "ab")
        self.process = subprocess.Popen(
            [*(network.enter_network if network else ()), "unshare", "--mount", "--pid", "--fork",
             "--kill-child", "sh", "-c", ENTER, "sh",
             os.path.join(ROOT, "build", self.name), self.work, *self.command()],
            env={**os.environ, "STAGED": self.staged, "MAIL": self.mail,
                 "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, start_new_session=True)
        wait_until(f"{self.name} greets", self.greets)

    def greets(self):
        assert self.process.poll() is None, self.said()
        return self.network.within(self.answer_220) if self.network else self.answer_220()

    def answer_220(self):
        with contextlib.suppress(OSError):
            with socket.create_connection((self.address, self.port), timeout=10) as s:
                return s.recv(512).startswith(b"220")
        return False

    def stage(self, path, text, mode=0o644):
        full = os.path.join(self.staged, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w", encoding="ascii") as f:
            f.write(text)
        os.chmod(full, mode)

    def stage_users(self):
        users, groups = "root:x:0:0::/root:/bin/sh\n", "root:x:0:\n"
        for name, uid in (*self.users, ("mail", 8), ("nobody", 65534), ("vmail", 5000)):
            users += f"{name}:x:{uid}:{uid}::/nonexistent:/usr/sbin/nologin\n"
            groups += f"{name}:x:{uid}:\n"
        self.stage("etc/passwd", users)
        self.stage("etc/group", groups)
        self.stage("etc/hosts", "127.0.0.1 localhost\n")
        if self.network:
            self.stage("etc/resolv.conf", f"nameserver {self.network.ns}\n")

    def said(self):
        with open(os.path.join(self.mail, "server.log"), "rb") as f:
            return f.read()[-4000:].decode("latin-1")

    def messages(self):
        """All that arrived, as it was stored."""
        found = []
        for path in sorted(glob.glob(os.path.join(self.mail, "**/new/*"), recursive=True)):
            with open(path, "rb") as f:
                found.append(f.read())
        return found

    def close(self):
        if self.process.poll() is None:
            for pid in processes_below(self.process.pid):  # the first is init of its namespace
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.wait()
        self.log.close()
        for directory in (self.staged, self.work, self.mail):
            shutil.rmtree(directory, ignore_errors=True)

    def configure(self):
        raise NotImplementedError

    def command(self):
        raise NotImplementedError


class Postfix(Server):
    name = "postfix"
    users = (("postfix", 5001), ("postdrop", 5002))

    def configure(self):
        self.stage("etc/postfix/main.cf", f"""
compatibility_level = 3.6
maillog_file = /dev/stdout
myhostname = mx.{self.domain.split()[0]}
mydestination =
inet_interfaces = {self.address}
inet_protocols = ipv4
smtputf8_enable = yes
message_size_limit = 300000
virtual_mailbox_domains = {self.domain}
virtual_mailbox_base = /mnt
virtual_mailbox_maps = regexp:/etc/postfix/users
virtual_uid_maps = static:5000
virtual_gid_maps = static:5000
smtpd_tls_security_level = may
smtpd_tls_cert_file = /etc/mx/cert.pem
smtpd_tls_key_file = /etc/mx/key.pem
smtpd_recipient_restrictions = check_recipient_access regexp:/etc/postfix/access, reject_unauth_destination
smtpd_relay_restrictions = reject_unauth_destination
smtpd_end_of_data_restrictions =
""")
        self.stage("etc/postfix/users", "if !/^nobody@/\n/@/ box/\nendif\n")
        self.stage("etc/postfix/access", "/^later@/ 450 4.7.1 come back\n/^never@/ 550 5.7.1 not you\n")
        services = [f"{self.address}:{self.port} inet n - n - - smtpd"]
        for line in ("cleanup unix n - n - 0 cleanup", "qmgr unix n - n 300 1 qmgr",
                     "rewrite unix - - n - - trivial-rewrite", "bounce unix - - n - 0 bounce",
                     "defer unix - - n - 0 bounce", "trace unix - - n - 0 bounce",
                     "tlsmgr unix - - n 1000? 1 tlsmgr", "virtual unix - n n - - virtual",
                     "smtp unix - - n - - smtp", "error unix - - n - - error",
                     "retry unix - - n - - error", "anvil unix - - n - 1 anvil",
                     "scache unix - - n - 1 scache", "proxymap unix - - n - - proxymap",
                     "showq unix n - n - - showq", "flush unix n - n 1000? 0 flush",
                     "verify unix - - n - 1 verify", "postlog unix-dgram n - n - 1 postlogd"):
            services.append(line)
        self.stage("etc/postfix/master.cf", "\n".join(services) + "\n")

    def command(self):
        return ["/bin/sh", "-c", "chown postfix /var/lib/postfix && postfix start-fg"]


class Exim(Server):
    name = "exim"
    users = (("Debian-exim", 5001),)

    def configure(self):
        self.stage("etc/exim4/exim4.conf", f"""
primary_hostname = mx.{self.domain}
domainlist ours = {self.domain}
daemon_smtp_ports = {self.port}
local_interfaces = 127.0.0.1
tls_advertise_hosts = *
tls_certificate = /etc/exim4/cert.pem
tls_privatekey = /etc/exim4/key.pem
smtputf8_advertise_hosts = *
dsn_advertise_hosts = *
chunking_advertise_hosts = *
smtp_accept_queue_per_connection = 0
message_size_limit = 300000
acl_smtp_rcpt = rcpt
log_file_path = /mnt/exim-%slog
host_lookup =
rfc1413_query_timeout = 0s
begin acl
rcpt:
  deny local_parts = nobody
       message = unknown user
  deny local_parts = never
       message = not you
  defer local_parts = later
       message = come back
  accept domains = +ours
  deny message = relay not permitted
begin routers
all:
  driver = accept
  domains = +ours
  transport = box
begin transports
box:
  driver = appendfile
  directory = /mnt/box
  maildir_format
  user = vmail
  group = vmail
""")
        for name in ("cert", "key"):
            with open(os.path.join(self.staged, f"etc/mx/{name}.pem"), encoding="ascii") as f:
                self.stage(f"etc/exim4/{name}.pem", f.read())

    def command(self):
        return ["/bin/sh", "-c", "mkdir -p /var/spool/exim4 /var/log/exim4 && "
                "chown Debian-exim:Debian-exim /var/spool/exim4 /var/log/exim4 && "
                "exec exim4 -bdf"]


class OpenSmtpd(Server):
    name = "opensmtpd"
    users = (("opensmtpd", 5001), ("opensmtpq", 5002))

    def configure(self):
        self.stage("etc/smtpd.conf", f"""
pki "here" cert "/etc/mx/cert.pem"
pki "here" key "/etc/mx/key.pem"
smtp max-message-size 300000
table users {{ "@" = vmail }}
listen on 127.0.0.1 port {self.port} tls pki "here" hostname mx.{self.domain}
action "box" maildir "/mnt/box" virtual <users>
match from any for rcpt-to regex "^nobody@" reject
match from any for domain "{self.domain}" action "box"
""")

    def command(self):
        return ["/bin/sh", "-c", "install -d -m 711 /var/spool/smtpd && mkdir -p /var/lib/opensmtpd/empty && "
                "exec smtpd -d -f /etc/smtpd.conf"]
