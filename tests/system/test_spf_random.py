"""Random zones through the checker process: judged by another implementation, and hostile ones.

pyspf stands in build/python3-spf beside the suite; it is asked only about what it reads as RFC 7208 does
(no record that includes itself, no two of one unknown modifier) and as we do: it asks for the addresses of
all hosts of an `mx` and names of a `ptr` before it looks at the first, and finds more void lookups so.
"""
import ipaddress
import os
import random
import sys
import warnings

import pytest
import support
from support import ROOT
from test_spf_suite import DNS_NODATA, DNS_NXDOMAIN, DNS_OK, DNS_TEMP, RESULTS, Checker, Zone, rdata

PACKAGES = os.path.join(ROOT, "build/python3-spf/usr/lib/python3/dist-packages")
QUESTIONS_MAX, NAME_MAX, ANSWER_MAX = 40, 253, 60000  # what is longer, the asker takes for trouble
COUNT = 20000 if os.environ.get("STAGEPOST_TEST_LONG") else 400
NAMES = ["d.test", "a.test", "b.test", "c.test", "mx.d.test", "user.d.test", "x.d.test"]
IPS, IP6S = ["192.0.2.1", "192.0.2.77", "198.51.100.9"], ["2001:db8::1", "2001:db8::77"]
SPECS = ["%{l}.d.test", "%{ir}.z.test", "%{d}", "%{o}", "%{h}", "x.%{d}", "%{l-}.d.test", "%{s}", "%{v}.d.test",
         "%{L}.a.test", "%{d1r}.test", "%{i}.%{d}", "%{l2r+-}.d.test"]


@pytest.fixture
def checker(tmp_path):
    c = Checker(str(tmp_path))
    yield c
    c.close()


# ---- judged by another implementation

def spec(r):
    return r.choice(SPECS) if r.random() < 0.4 else r.choice(NAMES + ["none.test"])


def term(r, owner):
    bits = r.choice([""] * 6 + ["/24", "/32", "/0", "//64", "/24//64", "//0", "/16//128"])
    others = [n for n in NAMES if n > owner] or ["none.test"]  # so that there is no loop
    return r.choice(["", "", "+", "-", "~", "?"]) + r.choice([
        "all", "ip4:" + r.choice(["192.0.2.1", "192.0.2.0/24", "10.0.0.0/8", "0.0.0.0/1"]),
        "ip6:" + r.choice(["2001:db8::1", "2001:db8::/32", "::/0"]), "a" + bits, f"a:{spec(r)}{bits}",
        "mx" + bits, f"mx:{spec(r)}{bits}", "include:" + r.choice(others), "exists:" + spec(r)])


def record(r, owner):
    terms = [term(r, owner) for _ in range(r.randrange(1, 6))]
    if r.random() < 0.2:
        terms.append("redirect=" + r.choice([n for n in NAMES if n > owner] or ["none.test"]))
    if r.random() < 0.1:
        terms.append(r.choice(["bogus", "a:", "ip4:1.2.3", "include", "mx/33", "a//129", "exists", "all:x", "%",
                               "a:%{x}.test", "a:b", "1x=y", "x=%{d}", "mx:-.test", "A:A.TEST", "a:a.test."]))
    r.shuffle(terms)
    return "v=spf1 " + " ".join(terms)


def random_zone(r):
    zone = {}
    for name in NAMES:
        rows = [{"TXT": record(r, name)} for _ in range(r.choice([0, 1, 1, 1, 1, 1, 2]))]
        rows += [{"A": r.choice(IPS)} for _ in range(r.randrange(3))]
        rows += [{"AAAA": r.choice(IP6S)} for _ in range(r.randrange(2))]
        rows += [{"MX": [10 * i, r.choice(NAMES)]} for i in range(r.choice([0, 1, 1, 2]))]
        zone[name] = ["TIMEOUT"] if r.random() < 0.03 else rows
    return Zone(zone)


def judge(spf, zone, question):
    """The result; None where it counts other void lookups than we do."""
    def lookup(name, kind, *_, **__):
        rows = zone.rows(name.rstrip(".").lower(), kind) if kind != "SPF" else []
        if rows == "TIMEOUT":
            raise spf.TempError("silence")
        return [((name, kind), (v.encode(),) if kind == "TXT" else tuple(v) if kind == "MX" else v)
                for v in rows or []]

    ip, local, domain, helo = question
    spf.DNSLookup = lookup
    query = spf.query(ip, f"{local}@{domain}", helo, timeout=0, querytime=0)
    query.set_default_explanation("")
    result = query.check()[0]
    return None if str(getattr(query, "perm_error", "")).startswith("Void lookup limit") else result


def test_another_implementation_agrees(checker, monkeypatch):
    if not os.path.exists(PACKAGES):
        pytest.skip("no pyspf below build/python3-spf: relay/dist/install-packages.sh test fetches it")
    monkeypatch.setattr(sys, "path", sys.path + [PACKAGES])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spf = pytest.importorskip("spf")
        seen = set()
        for seed in range(COUNT):
            r = random.Random(seed)
            zone = random_zone(r)
            question = (r.choice(IPS + IP6S), r.choice(["user", "a+b"]), "d.test", "helo.test")
            got, wanted = checker.ask(zone, *question), judge(spf, zone, question)
            assert wanted in (got, None), (seed, question, zone.records)
            seen.add(wanted)
    seen.discard(None)
    assert seen == set(RESULTS)


# ---- hostile

WORDS = ["v=spf1", "a", "mx", "ptr", "all", "include:", "exists:", "redirect=", "exp=", "ip4:", "ip6:", ":", "/", "//",
         "=", "%", "%{", "}", "%%", "%_", "%-", " ", "  ", "-", "~", "+", "?", ".", "..", "d.test", "%{d}", "%{l}",
         "%{ir}", "%{p}", "%{s99r.-+,/_=}", "%{D0}", "%{d" + "9" * 30 + "}", "a" * 70, "x." * 60, "\\", "\"", "\0", "\x80",
         "xn--bcher-kva", "bücher", ".invalid", "0.odd-name.invalid", "d.test.any-address.invalid",
         "matches.ptr.invalid", "1.2.3.4/33", "::1/129", "/0", "0", "4294967296", "\t", "\r\n", "exp=%{" * 20]


def hostile_text(r):
    words = [r.choice(WORDS) for _ in range(r.choice([3, 10, 30, 300]))]
    text = r.choice(["v=spf1 ", "v=spf1 ", "v=spf1 ", ""]) + r.choice(["", " "]).join(words)
    return text.encode("utf-8")[:r.choice([50, 400, 2048, 2100, 30000])]


class HostileZone:
    """Answers every question with something else, and remembers what was asked."""

    def __init__(self, r):
        self.r, self.asked = r, []

    def answer(self, kind, name):
        r = self.r
        self.asked.append(name)
        status = r.choice([DNS_OK] * 12 + [DNS_NODATA, DNS_NXDOMAIN, DNS_TEMP])
        if status != DNS_OK:
            return status, []
        records = [self.record(kind) for _ in range(r.choice([1, 1, 1, 2, 11, 100]))]
        return (DNS_OK, records) if sum(map(len, records)) < ANSWER_MAX else (DNS_TEMP, [])

    def record(self, kind):
        r = self.r
        if r.random() < 0.1:
            return bytes(r.randrange(256) for _ in range(r.randrange(40)))
        name = r.choice(NAMES + ["*." + "y" * 60 + ".test"])
        good = {"TXT": hostile_text, "MX": lambda r: [r.randrange(70000) % 65536, name], "PTR": lambda r: name,
                "A": lambda r: r.choice(IPS), "AAAA": lambda r: r.choice(IP6S)}
        return rdata(kind, good[kind](r))


def test_hostile_zones_end_in_a_verdict(checker):
    """Loops, long texts, macros, bytes that are no text: within the limits, and nothing ends the checker."""
    seen = set()
    for seed in range(COUNT):
        r = random.Random(seed)
        zone = HostileZone(r)
        local = r.choice(["user", "a+b=c", "\"x y\"", "%{d}", "l" * 64])
        seen.add(checker.ask(zone, r.choice(IPS + IP6S), local, "d.test", r.choice(["helo.test", ""])))
        assert len(zone.asked) <= QUESTIONS_MAX and all(0 < len(n) <= NAME_MAX for n in zone.asked), seed
    assert checker.process.poll() is None and checker.refused == 0
    assert {"permerror", "temperror", "none"} < seen
