"""The public test suite of RFC 7208 (203 cases), asked of the checker on its own socket.

The suite is in build/python3-spf, where relay/dist/install-packages.sh test unpacks the package that has
it. What we answer otherwise is listed here, and a case that is answered rightly must leave the list.
"""
import glob
import gzip
import ipaddress
import os
import re
import socket
import struct
import subprocess

import pytest
import support
from support import ROOT

yaml = pytest.importorskip("yaml")

SUITE = os.path.join(ROOT, "build/python3-spf/usr/share/doc/python3-spf/rfc7208-tests.yml.gz")
RESULTS = ["none", "neutral", "pass", "fail", "softfail", "temperror", "permerror"]
CHECK, ANSWER, READY, ASK, VERDICT = 1, 2, 16, 17, 18
DNS_OK, DNS_NODATA, DNS_NXDOMAIN, DNS_TEMP = range(4)
TYPES = {1: "A", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA"}
FD_CONTROL, FD_LISTEN, CNAMES_MAX = 3, 8, 8

# What the checker says where the suite says something else: dkim/README.md has the reasons.
DEVIATIONS = {
    "mx-colon-domain": "neutral",  # an MX host that is no host name
    "mx-colon-domain-ip4mapped": "neutral",
    "macro-mania-in-domain": "fail",  # a space in a name
}


def frame(kind, request, payload=b""):
    return struct.pack("!IBBQ", 10 + len(payload), 1, kind, request) + payload


def text(value):
    data = value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")
    return struct.pack("!I", len(data)) + data


def wire_name(name):
    labels = [label for label in name.rstrip(".").split(".") if label]
    return b"".join(bytes([len(label)]) + label.encode() for label in labels) + b"\0"


def rdata(kind, value):
    if kind == "TXT":
        strings = value if isinstance(value, list) else [value]
        out = b""
        for s in strings:
            data = s.encode("latin-1", "replace") if isinstance(s, str) else s
            for i in range(0, max(len(data), 1), 255):
                out += bytes([len(data[i:i + 255])]) + data[i:i + 255]
        return out
    if kind == "MX":
        return struct.pack("!H", value[0]) + wire_name(value[1])
    if kind == "PTR":
        return wire_name(value)
    return ipaddress.ip_address(value).packed


class Zone:
    def __init__(self, data):
        self.records = {name.lower().rstrip("."): rows for name, rows in (data or {}).items()}

    def rows(self, name, kind):
        """Records of the type; "TIMEOUT"; None: no such name. SPF rows count as TXT where there is none."""
        found = self.records.get(name)
        if found is None:
            return None
        pairs = [next(iter(r.items())) for r in found if isinstance(r, dict)]
        wanted = [v for k, v in pairs if k == kind]
        if kind == "TXT":
            wanted = [v for v in wanted if v != "NONE"]
            if not any(k == "TXT" for k, _ in pairs):
                wanted = [v for k, v in pairs if k == "SPF"]
        for target in [v for k, v in pairs if k == "CNAME"]:
            return ("CNAME", target)
        if not wanted and any(r == "TIMEOUT" for r in found):
            return "TIMEOUT"
        return wanted

    def answer(self, kind, name):
        for _ in range(CNAMES_MAX):
            rows = self.rows(name, kind)
            if not isinstance(rows, tuple):
                break
            name = rows[1].lower().rstrip(".")
        else:
            return DNS_TEMP, []
        if rows is None:
            return DNS_NXDOMAIN, []
        if rows == "TIMEOUT":
            return DNS_TEMP, []
        return (DNS_OK if rows else DNS_NODATA), [rdata(kind, r) for r in rows]


class Checker:
    """A checker without a gateway; it may be ended by a case."""

    def __init__(self, folder):
        self.path, self.refused = os.path.join(folder, "checker"), 0
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen()
        ours, theirs = socket.socketpair()
        self.control = ours

        def place():  # from copies above all of them, so that none is overwritten
            copies = [os.dup2(s.fileno(), 200 + i) for i, s in enumerate((theirs, self.listener))]
            os.dup2(copies[0], FD_CONTROL)
            os.dup2(copies[1], FD_LISTEN)
            os.closerange(200, 202)

        self.process = subprocess.Popen([support.BIN, "child", "checker", "0", "-", "-", "-"],
                                        preexec_fn=place, close_fds=False)
        theirs.close()

    def read(self, sock):
        data = b""
        while len(data) < 4 or len(data) < 4 + struct.unpack("!I", data[:4])[0]:
            piece = sock.recv(65536)
            if not piece:
                return None, b""
            data += piece
        return data[5], data[14:]

    def ask(self, zone, ip, local, domain, helo):
        """The result; "none" where the checker takes no such question (RFC 7208 4.3)."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(support.LIMIT_S)
            s.connect(self.path)
            assert self.read(s)[0] == READY
            s.sendall(frame(CHECK, 1, text(ip) + text(local) + text(domain) + text(helo)))
            while True:
                kind, payload = self.read(s)
                if kind is None:
                    assert self.process.poll() is None, "the checker died"
                    self.refused += 1
                    return "none"
                if kind == VERDICT:
                    return RESULTS[struct.unpack("!I", payload[:4])[0]]
                number, length = struct.unpack("!II", payload[:8])
                status, records = zone.answer(TYPES[number], payload[8:8 + length].decode())
                s.sendall(frame(ANSWER, 1, struct.pack("!I", status) + b"".join(map(text, records))))

    def close(self):
        self.control.close()
        assert self.process.wait(timeout=support.LIMIT_S) == 0
        self.listener.close()


def cases():
    with gzip.open(SUITE, "rt", encoding="utf-8") as f:
        for scenario in yaml.safe_load_all(f):
            for name, case in scenario["tests"].items():
                yield name, case, Zone(scenario.get("zonedata"))


def question(case):
    helo, sender = str(case["helo"]), case["mailfrom"] or ""
    is_name = re.fullmatch(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", helo)
    local, _, domain = sender.rpartition("@")
    if not sender:
        local, domain = "", helo
    return str(case["host"]), local, domain, helo if is_name else ""


def test_the_public_suite(tmp_path):
    if not os.path.exists(SUITE):
        pytest.skip("no suite below build/python3-spf: relay/dist/install-packages.sh test fetches it")
    checker, wrong, count = Checker(str(tmp_path)), {}, 0
    try:
        for name, case, zone in cases():
            wanted = case["result"] if isinstance(case["result"], list) else [case["result"]]
            got = checker.ask(zone, *question(case))
            count += 1
            if got not in wanted:
                wrong[name] = got
    finally:
        checker.close()
    assert count == 203
    assert wrong == DEVIATIONS
