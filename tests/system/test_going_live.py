"""README, "Going live", word for word but for the address: a machine that has nothing becomes a gateway
whose mail receivers believe. The machine is in a network of its own (network.py): root servers, signed zones
in a real Knot, and a real Postfix as MX host; nothing of this one changes. certbot and systemctl are stood in
for, the latter with what the unit allows (as_unit.py). What `make install` installs is the release build."""
import email
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

import as_unit
import dkim
import mta
import network
import pytest
import support
from support import LIMIT_S, ROOT, wait_until

README = open(os.path.join(ROOT, "README.md"), encoding="utf-8").read()
SECTION = README.split("\n## Going live\n", 1)[1].split("\n## ", 1)[0].replace(
    "203.0.113.25", network.Machine.own)
SENDERS = ("example.org", "example.net")
ZONE = "@ NS ns.example.com.\n@ MX 10 mx.example.com.\n"
STATE = "/var/lib/stagepost"

# Stands in for certbot: an authority of its own, which the machine trusts; the hook as certbot keeps it.
CERTBOT = r"""#!/bin/sh
set -e
kept=/etc/letsencrypt/test
mkdir -p $kept
case $1 in
certonly)
    while [ $# -gt 0 ]; do
        case $1 in
        --domain) echo "$2" >$kept/domain; shift ;;
        --deploy-hook) printf '%s\n' "$2" >$kept/hook; shift ;;
        esac
        shift
    done ;;
renew) ;;
*) exit 2 ;;
esac
domain=$(cat $kept/domain)
live=/etc/letsencrypt/live/$domain
mkdir -p $live
umask 077
openssl req -newkey rsa:2048 -nodes -keyout $live/privkey.pem -out $kept/csr -subj "/CN=$domain" 2>/dev/null
printf 'subjectAltName=DNS:%s\n' "$domain" >$kept/ext
openssl x509 -req -in $kept/csr -CA /etc/ca/ca.pem -CAkey /etc/ca/ca.key -extfile $kept/ext -days 30 \
    -set_serial "0x$(openssl rand -hex 8)" -out $live/fullchain.pem 2>/dev/null
sh -c "$(cat $kept/hook)"
"""

# Stands in for systemd: what ExecStart, ExecReload and the sandbox of the installed unit say.
SYSTEMCTL = r"""#!/bin/sh
set -e
verb=$1
for unit; do :; done
file=/usr/lib/systemd/system/$unit.service
[ -e "$file" ] || { echo "Unit $unit.service not found." >&2; exit 5; }
setting() { sed -n "s/^$1=//p" "$file"; }
case $verb in
enable)
    [ "$2" = --now ] && [ -e /etc/stagepost/stagepost.conf ]
    rm -f /run/$unit.out /run/$unit.exit
    (
        PYTHON ROOT/tests/system/as_unit.py "$file" /var/lib/stagepost $(setting ExecStart) &
        echo $! >/run/$unit.pid
        code=0
        wait $! || code=$?
        echo $code >/run/$unit.exit.new
        mv /run/$unit.exit.new /run/$unit.exit
    ) </dev/null >/run/$unit.out 2>>/run/$unit.log &
    until grep -q '"event":"ready"' /run/$unit.out 2>/dev/null; do
        [ ! -e /run/$unit.exit ] || exit 1
        sleep 0.1
    done ;;
reload)
    [ -e /run/$unit.pid ] || { echo "$unit.service is not active, cannot reload." >&2; exit 1; }
    MAINPID=$(cat /run/$unit.pid)
    eval "$(setting ExecReload)" ;;
stop)
    kill -TERM "$(cat /run/$unit.pid)"
    until [ -e /run/$unit.exit ]; do sleep 0.1; done
    rm /run/$unit.pid ;;
*) exit 2 ;;
esac
"""
JOURNALCTL = '#!/bin/sh\n[ "$1" = --unit ] && exec cat "/run/$2.log"\n'


def steps():
    """{number: its code block}"""
    found = {}
    for piece in re.split(r"^\*\*(?=\d+\. )", SECTION, flags=re.M)[1:]:
        number = int(piece.split(".", 1)[0])
        found[number] = "".join(line[4:] + "\n" if line.startswith("    ") else "\n"
                                for line in piece.splitlines()
                                if not line or line.startswith("    ")).strip() + "\n"
    return found


def test_the_steps_are_there():
    assert sorted(steps()) == list(range(1, 10)) and all(text.strip() for text in steps().values())


class World:
    """The machine, DNS, and the MX host of all domains."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="stagepost-live-")
        self.closing = []
        try:
            self.machine = self.keep(network.Machine())
            zones = {name: ZONE for name in SENDERS}
            zones["example.org"] += f"mail A {self.machine.own}\n"
            zones["example.com"] = ZONE + f"ns A {self.machine.ns}\nmx A {self.machine.mx}\n"
            zones["forged.example"] = ZONE
            reverse = "".join(f"{a.split('.')[3]}.114.0.203.in-addr.arpa. PTR {name}.\n" for a, name in
                              ((self.machine.own, "mail.example.org"), (self.machine.mx, "mx.example.com")))
            self.names = self.keep(network.Names(self.machine, zones, reverse, broken=["forged.example"]))
            cert, key = mta.certificate(self.folder, "mx.example.com")
            self.mx = self.keep(mta.Postfix("example.com example.org example.net", cert, key, self.machine))
            self.make_fresh()
        except BaseException:
            self.close()
            raise

    def keep(self, what):
        self.closing.append(what)
        return what

    def close(self):
        for what in reversed(self.closing):
            what.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def make_fresh(self):
        """Nothing of stagepost is there; names are resolved, an authority is trusted."""
        m = self.machine
        m.must("for u in stagepost stagepost-sign; do userdel $u 2>/dev/null || true; done; "
               f"rm -rf {STATE} /etc/stagepost /etc/letsencrypt /usr/bin/stagepost /usr/local/bin/stagepost "
               "/usr/lib/systemd/system/stagepost.service /usr/lib/sysusers.d/stagepost.conf")
        m.write("/etc/resolv.conf", f"nameserver {m.ns}\n")
        m.write("/etc/hosts", "127.0.0.1 localhost\n")
        m.write("/usr/share/dns/root.key", self.names.anchor)
        m.must("mkdir /etc/ca && cd /etc/ca && openssl req -x509 -newkey rsa:2048 -nodes -days 30 "
               "-subj /CN=Authority -keyout ca.key -out ca.pem 2>/dev/null && "
               "cp ca.pem /etc/ssl/certs/test-authority.pem && "
               "ln -s test-authority.pem /etc/ssl/certs/$(openssl x509 -hash -noout -in ca.pem).0 && "
               "cat ca.pem >>/etc/ssl/certs/ca-certificates.crt")
        own = {"certbot": CERTBOT, "journalctl": JOURNALCTL,
               "systemctl": SYSTEMCTL.replace("ROOT", ROOT).replace("PYTHON", sys.executable)}
        for name in ("systemd-sysusers", "systemd-tmpfiles"):
            if shutil.which(name) is None:
                own[name] = STAND_INS[name]
        for name, text in own.items():
            m.write(f"/usr/local/sbin/{name}", text, 0o755)

    def log(self):
        return self.machine.must("journalctl --unit stagepost")

    def events(self, name):
        found = [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]
        return [e for e in found if e.get("event") == name]


# Where systemd is not installed: what these two would do with our files.
STAND_INS = {
    "systemd-sysusers": r"""#!/bin/sh
sed -n 's/^u  *\([a-z-]*\) .*/\1/p' /usr/lib/sysusers.d/stagepost.conf | while read -r u; do
    useradd --system --no-create-home --home-dir / --shell /usr/sbin/nologin --user-group "$u"
done
""",
    "systemd-tmpfiles": r"""#!/bin/sh
sed -n 's/^d //p' /usr/lib/tmpfiles.d/stagepost.conf | while read -r path mode rest; do
    install -d -m "$mode" "$path"
done
"""}


@pytest.fixture(scope="module")
def world():
    if os.geteuid() != 0:
        pytest.skip("namespaces and ports below 1024 need root")
    if not network.knot_is_there() or not mta.is_there("postfix"):
        pytest.skip("no Knot or no Postfix below build/: relay/dist/install-packages.sh test fetches them")
    if as_unit.analyzer() is None:
        pytest.skip("no systemd-analyze here")
    if os.path.realpath(support.BIN) != os.path.join(ROOT, "build/release/stagepost"):
        pytest.skip("not the release build, which is what is installed")
    if subprocess.run(["unshare", "--net", "--mount", "--pid", "--fork", "true"]).returncode != 0:
        pytest.skip("namespaces cannot be made here")
    w = World()
    yield w
    w.close()


def verified(world, raw):
    """The domains of its signatures; all verify by what is published."""
    d = dkim.DKIM(raw)
    fields = [value for name, value in d.headers if name.lower() == b"dkim-signature"]
    for i in range(len(fields)):
        assert d.verify(idx=i, dnsfunc=lambda name, timeout=5: world.names.txt(name)), fields[i]
    return [re.search(rb"\bd=([^;\s]+)", f).group(1).decode() for f in fields]


def install(world, blocks):
    world.machine.must("set -e\n" + blocks[1], limit_s=20 * LIMIT_S)  # it builds what is not built
    assert world.machine.must("id -u stagepost; id -u stagepost-sign; command -v stagepost"
                              ).split()[2] == "/usr/bin/stagepost"


def configure(world, blocks):
    world.machine.must("set -e\n" + blocks[2])
    printed = world.machine.must("set -e\n" + blocks[3])
    world.machine.must("set -e\n" + blocks[4])
    for line in re.findall(r"^ +\{ selector = .*\}", printed, re.M):
        assert line.strip() in blocks[4]  # what the command prints is what the file says
    return printed


def to_publish(report):
    return "".join(line.strip() + "\n" for line in report.splitlines() if re.match(r"  \S+\. TXT ", line))


def publish(world, blocks, printed):
    commands = [c for c in blocks[5].splitlines() if c.strip()]
    assert len(commands) == len(SENDERS)
    for domain, command in zip(SENDERS, commands):
        done = world.machine.run(command)
        lines = to_publish(done.stdout)
        assert done.returncode == 1, done.stdout + done.stderr
        assert len(lines.splitlines()) == 4, done.stdout  # SPF, two keys, DMARC
        assert all(key in to_publish(printed) for key in lines.splitlines() if "_domainkey" in key)
        world.names.publish(domain, lines)
    for domain, report in zip(SENDERS, (world.machine.run(c) for c in commands)):
        assert report.stdout.startswith(f"{domain}: good\n"), report.stdout
        assert report.returncode == 0
        for topic, text in (("SPF", f"pass from {world.machine.own}"),
                            ("DKIM", f"s1-ed._domainkey.{domain} is the key"), ("DMARC", "policy none"),
                            ("DMARC", "is aligned"), ("PTR", "mail.example.org, and back"),
                            ("HELO", "mail.example.org is ")):
            assert re.search(rf"good +{topic} +.*{re.escape(text)}", report.stdout), (text, report.stdout)


def start(world, blocks):
    done = world.machine.run("set -e\n" + blocks[6])
    assert done.returncode == 0 and "MEND" not in done.stdout, (done.stdout, done.stderr, world.log())
    users = world.machine.must("ps -eo user:20,args | sed -n 's/ .*stagepost child \\([a-z]*\\) .*/ \\1/p'")
    kinds = {tuple(line.split()) for line in users.splitlines()}
    assert {("stagepost", "worker"), ("stagepost-sign", "signer"), ("stagepost", "redis")} <= kinds, kinds
    assert not [who for who, role in kinds if (who == "stagepost-sign") != (role == "signer")], kinds


def credentials(world, blocks):
    """{user: {password, key}}"""
    out, user = {}, None
    for line in world.machine.must("set -e\n" + blocks[7]).splitlines():
        name, value = line.split()
        if name == "user":
            user = out.setdefault(value, {})
        else:
            user[name] = value
    assert [set(v) for v in out.values()] == [{"password", "key"}] * 2
    # On a slow machine the answer may come before all workers know them.
    wait_until("all workers know them", lambda: {e["worker"] for e in world.events("credential.registry-read")
                                                 if e["credentials"] == 2} == {0, 1})
    return out


def first_mail(world, blocks, secrets):
    """Runs the commands; their output."""
    commands = re.sub(r"\\\n", " ", blocks[8]).strip().splitlines()
    assert len(commands) == 3
    out = []
    for command in commands:
        user = re.search(r"--auth-user (\S+)", command)
        mine = secrets[user.group(1) if user else "crm@example.net"]
        command = command.replace("PASSWORD", mine["password"]).replace("KEY", mine["key"])
        done = world.machine.run(command)
        assert done.returncode == 0, done.stdout + done.stderr + world.log()
        out.append(done.stdout)
    return out


def judge_arrived(world):
    """All three: in the mailbox, over TLS, from our address, signed twice."""
    def there():
        found = world.mx.messages()
        return found if len(found) >= 3 else None
    for raw in wait_until("three are there", there):
        m = email.message_from_bytes(raw)
        domain = m["From"].split("@")[1].strip(">")
        assert verified(world, raw) == [domain, domain]
        assert m["Received"].startswith(f"from mail.example.org (mail.example.org [{world.machine.own}])")
        assert "ESMTPS" in m["Received"]


def message_ids(outputs):
    return [*(re.search(r"queued as (\S+)", text).group(1) for text in outputs[:2]),
            json.loads(outputs[2])["id"]]


def watch(world, blocks, ids):
    checks = world.events("policy.preflight")  # those that were not known from the message before
    assert {(e["from"], e["result"], e["spf"], e["dkim"]) for e in checks} == {
        (domain, "pass", "pass", "ours") for domain in SENDERS}
    for message_id in ids:
        out = world.machine.must("set -e\n" + blocks[9].replace("ID", message_id))
        assert "delivered" in out.lower() and '"event":"ready"' not in out.splitlines()[0], out


def send_by_command(world, recipient, subject):
    out = world.machine.must(f"echo Hello | stagepost send --as shop@example.org --from shop@example.org "
                             f"--to {recipient} --subject '{subject}'")
    return re.search(r"[0-9A-Za-z_-]{16,}", out).group(0)


def a_report_comes_back(world):
    send_by_command(world, "nobody@example.com", "To nobody")
    def report():
        found = [m for m in world.mx.messages() if b"multipart/report" in m]
        return found[0] if found else None
    raw = wait_until("a report arrives", report)
    assert email.message_from_bytes(raw)["To"].strip("<>") == "shop@example.org"
    assert b"nobody@example.com" in raw and b"Status: 5.1.1" in raw
    assert verified(world, raw) == ["example.org"] * 2


def forged_names_are_not_believed(world):
    """Answers are validated from the root's key down."""
    message_id = send_by_command(world, "you@forged.example", "Forged")
    def deferred():
        text = world.machine.must(f"stagepost msg {message_id} --json")
        r = json.loads(text)["recipients"][0]
        return r if r["status"] == "deferred" else None
    assert wait_until("it waits", deferred)["last_response"]["enhanced"] == "4.4.3"


def renewed(world):
    """certbot renews and runs the hook that the README gave it."""
    def shown():
        return world.machine.must("openssl s_client -connect mail.example.org:465 -verify_return_error "
                                  "</dev/null 2>/dev/null | openssl x509 -noout -serial")
    before = shown()
    world.machine.must("certbot renew")
    wait_until("the new certificate is served", lambda: shown() != before)
    assert world.events("reload.done") and not world.events("reload.refused")


def enforced(world):
    """As the section says at its end; mail still goes."""
    before = len(world.events("reload.done"))
    assert '`policy = "enforce"`' in SECTION and "`systemctl reload stagepost`" in SECTION
    world.machine.must("""cd /etc/stagepost
        sed -i 's/name = "example.org";/& policy = "enforce";/' stagepost.conf
        stagepost check config && systemctl reload stagepost""")
    wait_until("it is reloaded", lambda: len(world.events("reload.done")) > before)
    send_by_command(world, "you@example.com", "Enforced")
    wait_until("it arrives", lambda: [m for m in world.mx.messages() if b"Subject: Enforced" in m])


def stopped(world):
    """SIGTERM drains: all processes end, the supervisor with 0 (its parent writes that down)."""
    world.machine.must("systemctl stop stagepost")
    assert world.machine.must("cat /run/stagepost.exit") == "0\n"
    left = world.machine.run("ps -eo args | grep -E '[s]tagepost (child|serve)|[r]edis-server'")
    assert left.stdout == ""


def test_going_live(world):
    blocks = steps()
    install(world, blocks)
    printed = configure(world, blocks)
    publish(world, blocks, printed)
    start(world, blocks)
    secrets = credentials(world, blocks)
    ids = message_ids(first_mail(world, blocks, secrets))
    judge_arrived(world)
    watch(world, blocks, ids)
    a_report_comes_back(world)
    forged_names_are_not_believed(world)
    renewed(world)
    enforced(world)
    stopped(world)
