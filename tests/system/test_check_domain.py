"""`stagepost check domain` against the sandbox's DNS and against a real Knot."""
import glob
import json
import os
import shutil
import socket
import subprocess
import tempfile

import dns.message
import dns.query
import pytest
import support
from support import ROOT, wait_until
from test_serve import Served, dkim_records

KNOT = os.path.join(ROOT, "build/knot")
GOOD, MEND, DNS_TROUBLE, USAGE = 0, 1, 75, 64

ZONE = """\
$TTL 60
@ SOA ns.test. admin.test. 1 3600 600 86400 60
@ NS ns.test.
ns A 127.0.0.1
good TXT "v=spf1 include:_spf.good.test -all"
_spf.good TXT "v=spf1 ip4:192.0.2.0/24 " "ip6:2001:db8::/32 a:out.good.test ?all"
out.good A 198.51.100.7
out.good TXT "v=spf1 a -all"
mx.good A 192.0.2.25
mx2.good AAAA 2001:db8::25
good MX 10 mx.good.test.
good MX 20 mx2.good.test.
_dmarc.good TXT "v=DMARC1; p=reject; sp=quarantine; np=none; adkim=s; rua=mailto:d@good.test"
sub.good A 192.0.2.9
broken TXT "v=spf1 ip4:192.0.2.300 -all"
broken MX 0 .
_dmarc.broken TXT "p=none; v=DMARC1"
two TXT "v=spf1 -all"
two TXT "v=spf1 +all"
two A 192.0.2.1
_dmarc.two TXT "v=DMARC1; p=none"
_dmarc.two TXT "v=DMARC1; p=reject"
deep TXT "v=spf1 include:deep.test -all"
deep A 192.0.2.1
macro TXT "v=spf1 exists:%{ir}.%{v}._spf.%{d2} -all"
7.2.0.192.in-addr._spf.macro A 127.0.0.2
macro MX 10 mx.good.test.
_dmarc.macro TXT "v=DMARC1; p=none; rua=mailto:d@good.test"
keyed TXT "v=spf1 ip4:198.51.100.7 ip4:192.0.2.1 -all"
keyed MX 10 mx.good.test.
_dmarc.keyed TXT "v=DMARC1; p=reject; rua=mailto:d@keyed.test"
_mta-sts.keyed TXT "v=STSv1; id=1;"
_smtp._tls.keyed TXT "v=TLSRPTv1; rua=mailto:d@keyed.test"
elsewhere A 192.0.2.200
*.wild TXT "v=spf1 -all"
_dmarc.wild TXT "v=DMARC1; rua=mailto:d@wild.test"
wild MX 10 nowhere.test.
wild TXT "v=spf1;ip4:192.0.2.1 -all"
wild TXT "v=DMARC1; p=reject"
open TXT "v=spf1 +all"
open MX 10 mx.good.test.
_dmarc.open TXT "v=DMARC1; p=reject; p=none"
_mta-sts.open TXT "v=STSv1; id=1;"
_mta-sts.open TXT "v=STSv1; id=2;"
"""

REVERSE = {"100.51.198.in-addr.arpa": "7 PTR out.good.test.\n",
           "2.0.192.in-addr.arpa": "1 PTR elsewhere.test.\n"}
SOA = "$TTL 60\n@ SOA ns.test. admin.test. 1 3600 600 86400 60\n@ NS ns.test.\n"


@pytest.fixture(scope="module")
def gateway_file():
    """A configuration file, with its keys, that is never served."""
    g = Served(support.temporary_state(), "127.0.0.1:53")
    g.write(g.config().replace("example.com", "keyed.test")
            .replace('hostname = "localhost"', 'hostname = "out.good.test"')
            .replace('egress = [ "192.0.2.1" ]', 'egress = [ "198.51.100.7", "192.0.2.1" ]'))
    yield g
    shutil.rmtree(g.folder, ignore_errors=True)


def key_values(g):
    """{selector: TXT value to publish}"""
    return {name.split(".")[0]: value.decode() for name, value in dkim_records(g).items()}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture(scope="module")
def knot(gateway_file):
    """ADDRESS:PORT of a Knot that serves the zone `test`."""
    binary = os.path.join(KNOT, "usr/sbin/knotd")
    if not os.access(binary, os.X_OK):
        pytest.skip("no Knot below build/knot: relay/dist/install-packages.sh test fetches it")
    folder, port = tempfile.mkdtemp(prefix="stagepost-knot-"), free_port()
    value = key_values(gateway_file)["r1"]
    key = f'r1._domainkey.keyed TXT "{value[:100]}" "{value[100:]}"\n'
    zones = {"test": ZONE + key, **{name: SOA + text for name, text in REVERSE.items()}}
    for name, text in zones.items():
        with open(os.path.join(folder, name + ".zone"), "w", encoding="ascii") as f:
            f.write(f"$ORIGIN {name}.\n{text}")
    config = os.path.join(folder, "knot.conf")
    with open(config, "w", encoding="ascii") as f:
        f.write(f'server:\n    rundir: "{folder}"\n    listen: 127.0.0.1@{port}\n'
                f'database:\n    storage: "{folder}/db"\n'
                f'template:\n  - id: default\n    storage: "{folder}"\n    zonefile-load: whole\n'
                f'    journal-content: none\n'
                'zone:\n' + "".join(f"  - domain: {z}\n    file: {z}.zone\n" for z in zones))
    libraries = ":".join(sorted(glob.glob(os.path.join(KNOT, "usr/lib/*-linux-gnu*"))))
    log = open(os.path.join(folder, "log"), "wb")
    server = subprocess.Popen([binary, "-c", config], stdout=log, stderr=log,
                              env=dict(os.environ, LD_LIBRARY_PATH=libraries))

    def answers():
        assert server.poll() is None, open(os.path.join(folder, "log"), encoding="utf-8").read()
        try:
            q = dns.message.make_query("good.test", "MX")
            return dns.query.udp(q, "127.0.0.1", port=port, timeout=1).answer
        except (dns.exception.Timeout, OSError):
            return None

    try:
        wait_until("Knot answers", answers)
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(timeout=support.LIMIT_S)
        log.close()
        shutil.rmtree(folder, ignore_errors=True)


def check(server, domain, *ips, binary=None, env=None, options=()):
    """Exit code and report."""
    command = [binary or support.BIN, "check", "domain", domain, "--dns", server, "--json", *options]
    for ip in ips:
        command += ["--from-ip", ip]
    done = subprocess.run(command, capture_output=True, text=True, timeout=support.LIMIT_S,
                          env=dict(os.environ, **(env or {})))
    return done.returncode, json.loads(done.stdout)


def results(report):
    return {s["ip"]: s["result"] for s in report["spf"]}


def texts(report, level):
    return [f["text"] for f in report["findings"] if f["level"] == level]


def test_good_domain(knot):
    code, report = check(knot, "good.test", "192.0.2.1", "2001:db8::5", "198.51.100.7")
    assert (code, report["verdict"], report["publish"]) == (GOOD, "good", [])
    assert set(results(report).values()) == {"pass"}
    assert report["dmarc"] == {"policy": "reject", "at": "good.test"}
    assert "mx.good.test" in texts(report, "good")
    assert any("is aligned (strict)" in t for t in texts(report, "note"))


def test_address_that_is_not_listed(knot):
    code, report = check(knot, "good.test", "192.0.2.1", "203.0.113.5")
    assert code == MEND
    assert results(report) == {"192.0.2.1": "pass", "203.0.113.5": "fail"}
    assert report["publish"] == [{"name": "good.test", "type": "TXT",
                                  "value": "v=spf1 ip4:203.0.113.5 include:_spf.good.test -all"}]


def test_subdomain_takes_its_parents_policy(knot):
    code, report = check(knot, "sub.good.test", "192.0.2.1")
    assert code == MEND  # no SPF of its own
    assert report["dmarc"] == {"policy": "quarantine", "at": "good.test"}
    assert report["publish"][0]["value"] == "v=spf1 ip4:192.0.2.1 -all"
    code, report = check(knot, "nosuch.good.test", "192.0.2.1")
    assert report["dmarc"] == {"policy": "none", "at": "good.test"}  # np=
    assert "DNS does not know nosuch.good.test" in texts(report, "mend")


def test_broken_records(knot):
    code, report = check(knot, "broken.test", "192.0.2.1")
    assert (code, results(report)) == (MEND, {"192.0.2.1": "permerror"})
    mend = texts(report, "mend")
    assert any('"ip4:192.0.2.300" is not valid' in t for t in mend)
    assert any("null MX" in t for t in mend)
    assert any("no record applies" in t or "is not valid: receivers" in t for t in mend)
    assert [p["name"] for p in report["publish"]] == ["_dmarc.broken.test"]


def test_two_records_and_loops(knot):
    code, report = check(knot, "two.test", "192.0.2.1")
    assert (code, results(report)) == (MEND, {"192.0.2.1": "permerror"})
    assert any("2 SPF records" in t for t in texts(report, "mend"))
    assert any("2 records at _dmarc.two.test" in t for t in texts(report, "mend"))
    code, report = check(knot, "deep.test", "192.0.2.1")
    assert (code, results(report)) == (MEND, {"192.0.2.1": "permerror"})


def test_macros(knot):
    code, report = check(knot, "macro.test", "192.0.2.7")
    assert (code, results(report)) == (GOOD, {"192.0.2.7": "pass"})
    assert check(knot, "macro.test", "192.0.2.8")[0] == MEND


def test_with_a_configuration_file(knot, gateway_file):
    code, report = check(knot, "keyed.test", options=["-c", gateway_file.path])
    assert code == MEND
    assert results(report) == {"198.51.100.7": "pass", "192.0.2.1": "pass"}
    assert report["dkim"] == [{"selector": "r1", "published": "ours"},
                              {"selector": "e1", "published": "missing"}]
    assert report["publish"] == [{"name": "e1._domainkey.keyed.test", "type": "TXT",
                                  "value": key_values(gateway_file)["e1"]}]
    assert report["addresses"] == [
        {"ip": "198.51.100.7", "names": ["out.good.test"], "confirmed": True, "helo": True,
         "helo_spf": "pass"},
        {"ip": "192.0.2.1", "names": ["elsewhere.test"], "confirmed": False, "helo": False,
         "helo_spf": "fail"}]
    mend, note = texts(report, "mend"), texts(report, "note")
    assert any("192.0.2.1 is called elsewhere.test, which does not lead back" in t for t in mend)
    assert any("out.good.test, which we say in EHLO, does not lead to 192.0.2.1" in t for t in mend)
    assert any("published: v=STSv1" in t for t in note)
    assert any("published: v=TLSRPTv1" in t for t in note)


def test_a_long_key_is_split_into_strings(knot, gateway_file):
    other = for_domain(gateway_file, "good.test")
    done = subprocess.run([support.BIN, "check", "domain", "good.test", "-c", other, "--dns", knot,
                           "--from-ip", "192.0.2.1"], capture_output=True, text=True,
                          timeout=support.LIMIT_S)
    assert done.returncode == MEND
    value = key_values(gateway_file)["r1"]
    assert f'r1._domainkey.good.test. TXT "{value[:255]}" "{value[255:]}"\n' in done.stdout


def test_a_domain_that_is_not_configured(knot, gateway_file):
    code, report = check(knot, "good.test", options=["-c", gateway_file.path])
    assert (code, report["dkim"]) == (MEND, [])
    assert any("no key for good.test" in t for t in texts(report, "mend"))
    bad = gateway_file.file("bad.conf")
    with open(bad, "w", encoding="utf-8") as f:
        f.write("nonsense = 1;\n")
    done = subprocess.run([support.BIN, "check", "domain", "good.test", "-c", bad],
                          capture_output=True, text=True, timeout=support.LIMIT_S)
    assert (done.returncode, done.stdout) == (78, "")
    assert "nonsense: unknown key" in done.stderr


def for_domain(g, domain):
    """Another configuration file, in which the keys are the domain's."""
    path = g.file(f"{domain}.conf")
    with open(path, "w", encoding="utf-8") as f:
        f.write(g.config().replace("example.com", domain))
    os.chmod(path, 0o600)
    return path


def test_records_at_wrong_places(knot, gateway_file):
    """A wildcard answers for keys; records without a space, and without _dmarc."""
    code, report = check(knot, "wild.test", "192.0.2.1",
                         options=["-c", for_domain(gateway_file, "wild.test")])
    mend, note = texts(report, "mend"), texts(report, "note")
    assert code == MEND
    assert {k["published"] for k in report["dkim"]} == {"broken"}
    assert len([t for t in mend if "is no DKIM key (a wildcard record" in t]) == 2
    assert any("nowhere.test has no address" in t for t in mend)
    assert any("is no SPF record, a space must stand behind v=spf1" in t for t in mend)
    assert any("move it to _dmarc.wild.test" in t for t in mend)
    assert any("no p=: it counts as p=none" in t for t in note)


def test_records_that_do_too_much(knot):
    code, report = check(knot, "open.test", "192.0.2.1")
    mend, note = texts(report, "mend"), texts(report, "note")
    assert (code, results(report)) == (MEND, {"192.0.2.1": "pass"})
    assert any("lets any address pass" in t for t in mend)
    assert any("_dmarc.open.test is not valid" in t for t in mend)
    assert any("a tag stands twice" in t for t in note)
    assert any("2 records are published: senders ignore" in t for t in note)


def test_no_address_is_given(knot):
    code, report = check(knot, "good.test")
    assert (code, report["spf"]) == (GOOD, [])


def test_sandbox(gw):
    server = gw.ready["dns"]
    code, report = check(server, "example.org", "127.0.0.1")
    assert (code, results(report)) == (GOOD, {"127.0.0.1": "pass"})
    code, report = check(server, "servfail.example", "127.0.0.1")
    assert (code, report["verdict"]) == (DNS_TROUBLE, "trouble")
    code, report = check(server, "null-mx.example", "127.0.0.1")
    assert code == MEND


def test_dns_that_is_not_there():
    code, report = check(f"127.0.0.1:{free_port()}", "example.org", "127.0.0.1")
    assert (code, report["verdict"]) == (DNS_TROUBLE, "trouble")


def test_checker_that_dies(gw):
    code, report = check(gw.ready["dns"], "example.org", "127.0.0.1", binary=support.TEST_BIN,
                         env={"FAILPOINT": "check.in-checker:kill"})
    assert (code, results(report)) == (DNS_TROUBLE, {"127.0.0.1": "temperror"})
    assert any("died twice" in t for t in texts(report, "trouble"))


def test_checker_that_hangs(gw):
    code, report = check(gw.ready["dns"], "example.org", "127.0.0.1", "127.0.0.2",
                         binary=support.TEST_BIN,
                         env={"FAILPOINT": "check.in-checker:stop", "STAGEPOST_TIME_SCALE": "100"})
    assert (code, set(results(report).values())) == (DNS_TROUBLE, {"temperror"})
    assert any("took too long" in t for t in texts(report, "trouble"))


def test_report_for_a_person(gw):
    done = subprocess.run([support.BIN, "check", "domain", "EXAMPLE.org.", "--dns", gw.ready["dns"],
                           "--from-ip", "192.0.2.1"], capture_output=True, text=True,
                          timeout=support.LIMIT_S)
    assert done.returncode == MEND
    assert done.stdout.startswith("example.org: mend\n")
    assert 'example.org. TXT "v=spf1 ip4:192.0.2.1 ip4:127.0.0.1 -all"\n' in done.stdout


@pytest.mark.parametrize("arguments", [
    [], ["a..b"], ["localhost"], ["a.example", "b.example"], ["a.example", "--from-ip", "x"],
    ["a.example", "--dns", "nowhere"], ["a.example", "--wrong"],
    ["a.example"] + ["--from-ip", "192.0.2.1"] * 17])
def test_usage(arguments):
    done = subprocess.run([support.BIN, "check", "domain"] + arguments, capture_output=True,
                          text=True, timeout=support.LIMIT_S)
    assert (done.returncode, done.stdout) == (USAGE, "")
    assert done.stderr
