"""TLS at the front door of the running program: STL cases of tests/CASES.md."""
import contextlib
import os
import select
import shutil
import socket
import ssl
import subprocess
import time

import pytest
from raw_smtp import Gone, Raw
from support import LIMIT_S, TEST_BIN, temporary_state
from test_front_door import AUTH, DOORS
from test_serve import Served, openssl

pytestmark = pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")


def address(gw, implicit):
    host, port = gw.ready["smtps" if implicit else "smtp"].rsplit(":", 1)
    return host, int(port)


def handshake(gw, implicit, context, server_hostname="localhost", session=None):
    """A TLS socket, or the reason why there is none."""
    s = Raw(gw, implicit=False) if not implicit else None
    if implicit:
        raw = socket.create_connection(address(gw, True), timeout=LIMIT_S)
    else:
        assert s.codes(b"EHLO c.example", b"STARTTLS") == [250, 220]
        raw = s.sock
    try:
        return context.wrap_socket(raw, server_hostname=server_hostname, session=session)
    except (ssl.SSLError, ConnectionError) as e:
        raw.close()
        return str(e)


def anything():
    """A client that would agree to everything."""
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    c.check_hostname, c.verify_mode = False, ssl.CERT_NONE
    c.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    c.set_ciphers("ALL:COMPLEMENTOFALL:@SECLEVEL=0")
    return c


def still_works(gw):
    with Raw(gw, True) as s:
        s.login()


# STL-08: versions and ciphers
@pytest.mark.parametrize("implicit", DOORS)
def test_versions(gw, implicit):
    for version, wanted in (("TLSv1", None), ("TLSv1_1", None), ("TLSv1_2", "TLSv1.2"),
                            ("TLSv1_3", "TLSv1.3")):
        c = anything()
        c.maximum_version = c.minimum_version = getattr(ssl.TLSVersion, version)
        s = handshake(gw, implicit, c)
        assert wanted == (None if isinstance(s, str) else s.version()), (version, s)
        if wanted:
            s.close()


@pytest.mark.parametrize("implicit", DOORS)
@pytest.mark.parametrize("cipher", ["aNULL", "eNULL", "kRSA", "DHE", "CAMELLIA", "ARIA"])
def test_weak_ciphers(gw, implicit, cipher):
    c = anything()
    c.maximum_version = ssl.TLSVersion.TLSv1_2
    c.set_ciphers(f"{cipher}:@SECLEVEL=0" if cipher in ("CAMELLIA", "ARIA")
                  else f"{cipher}:!kECDHE:@SECLEVEL=0")
    assert [x for x in c.get_ciphers() if x["protocol"] != "TLSv1.3"]
    s = handshake(gw, implicit, c)
    assert isinstance(s, str) and "alert" in s.lower(), s  # and it is told why


def test_what_is_agreed_is_modern(gw):
    for implicit in (False, True):
        s = handshake(gw, implicit, anything())
        assert s.version() == "TLSv1.3" and s.compression() is None
        s.close()
        c = anything()
        c.maximum_version = ssl.TLSVersion.TLSv1_2
        s = handshake(gw, implicit, c)
        assert s.cipher()[0].startswith("ECDHE-"), s.cipher()  # forward secrecy
        s.close()


def test_small_keys_are_not_served():
    """A certificate of RSA-1024 is refused before anything is started, and named."""
    folder = temporary_state()
    try:
        g = Served(folder, "127.0.0.1:9")
        assert g.check()[0] == 0
        openssl("req", "-x509", "-newkey", "rsa:1024", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                "-addext", "subjectAltName=DNS:localhost", "-keyout", g.file("tls.key"), "-out", g.file("tls.pem"))
        os.chmod(g.file("tls.key"), 0o600)
        for code, said in g.check(), g.refusal():
            assert code == 78 and "key too small" in said and g.file("tls.pem") in said, said
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# STL-09: nothing is resumed, on the same listener or on the other one
@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_sessions_are_not_resumed(gw, version):
    c = anything()
    c.maximum_version = c.minimum_version = getattr(ssl.TLSVersion, version)
    for first, second in ((True, True), (True, False), (False, True), (False, False)):
        s = handshake(gw, first, c)
        s.sendall(b"EHLO c.example\r\n")
        s.recv(4096)  # a ticket would have come before it
        session = s.session
        assert session is None or not session.has_ticket
        s.close()
        s = handshake(gw, second, c, session=session)
        assert not s.session_reused
        s.close()


# STL-10: a client that was sent here to speak something else
@pytest.mark.parametrize("implicit", DOORS)
def test_foreign_alpn(gw, implicit):
    for names in (["h2"], ["http/1.1"], ["h2", "http/1.1"], ["imap"], ["x" * 255], ["smt"], ["smtps"]):
        c = anything()
        c.set_alpn_protocols(names)
        s = handshake(gw, implicit, c)
        assert isinstance(s, str) and "no application protocol" in s.lower().replace("_", " "), (names, s)
    for names in (["smtp"], ["h2", "esmtp"], []):
        c = anything()
        if names:
            c.set_alpn_protocols(names)
        s = handshake(gw, implicit, c)
        assert s.selected_alpn_protocol() == (names[-1] if names else None)
        s.close()


def said(sock):
    out = b""
    with contextlib.suppress(ConnectionError):
        while piece := sock.recv(65536):
            out += piece
    return out


VERBS = [b"GET", b"POST", b"PUT", b"HEAD", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE", b"CONNECT"]


@pytest.mark.parametrize("implicit", DOORS)
@pytest.mark.parametrize("verb", VERBS)
def test_http_on_the_smtp_port(gw, implicit, verb):
    with Raw(gw, implicit) as s:
        s.say(verb + b" / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nEHLO c.example\r\n"
              b"MAIL FROM:<evil@example.com>\r\n")
        assert [c for c, _ in s.replies_until_gone()] == [521]


def test_h2_preface_on_the_smtp_port(gw):
    with Raw(gw, True) as s:
        s.say(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert [c for c, _ in s.replies_until_gone()] == [521]


def test_tls_on_the_plain_port(gw):
    with Raw(gw, implicit=False) as s:
        c = anything()
        with pytest.raises((ssl.SSLError, ConnectionError)):
            c.wrap_socket(s.sock, server_hostname="localhost")
    still_works(gw)


def test_clear_text_on_the_tls_port(gw):
    for text in (b"EHLO c.example\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\0" * 100, b"\xff" * 20000):
        with socket.create_connection(address(gw, True), timeout=LIMIT_S) as s:
            s.sendall(text)
            got = said(s)
            assert b"220" not in got and len(got) < 100, got  # an alert at most
    still_works(gw)


def test_smtp_on_the_http_port(gw):
    host, port = gw.ready["http"].rsplit(":", 1)
    for text in (b"EHLO c.example\r\nMAIL FROM:<evil@example.com>\r\n", b"HELO x\r\n", b"\x16\x03\x01\x02\0\x01"):
        with socket.create_connection((host, int(port)), timeout=LIMIT_S) as s:
            s.sendall(text)
            s.shutdown(socket.SHUT_WR)
            got = said(s)
            assert got == b"" or got.startswith(b"HTTP/1.1 400 "), got
    assert gw.http("GET", "/healthz", key=None).status == 200


# STL-06: hostile handshakes
def client_hello(context, name=None):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    o = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        o.do_handshake()
    return outgoing.read()


def with_server_name(hello, name):
    """The ClientHello with another name in it (of the same length)."""
    def entry(text):
        return b"\0" + len(text).to_bytes(2, "big") + text  # RFC 6066 3

    assert hello.count(entry(b"a" * len(name))) == 1
    return hello.replace(entry(b"a" * len(name)), entry(name))


def test_odd_server_names(gw):
    c = anything()
    names = [b"x\\", b"x\0y", b"127.0.0.1", b"[::1]", b"../../etc/passwd", b"%n%n%n%n", b"$(id)", b"\xff\xfe",
             b".", b"..", b"-", b"*", b"a b", b"\r\nQUIT", b"x" * 62 + b"\\"]
    for name in names:
        hello = with_server_name(client_hello(c, "a" * len(name)), name)
        with socket.create_connection(address(gw, True), timeout=LIMIT_S) as s:
            s.sendall(hello)
            first = s.recv(1)
            assert first in (b"\x16", b"\x15", b""), first  # a handshake, or an alert
    long_name = ".".join(["a" * 63] * 4)
    s = handshake(gw, True, c, server_hostname=long_name[:253])
    if not isinstance(s, str):
        s.close()
    still_works(gw)


def test_large_and_broken_hellos(gw):
    hello = client_hello(anything(), "localhost")
    body = b"\1" + (65536 + 1000).to_bytes(3, "big") + b"\3\3" + b"x" * 70000
    large = b"".join(b"\x16\3\1" + len(p).to_bytes(2, "big") + p
                     for p in (body[i:i + 16384] for i in range(0, len(body), 16384)))
    pieces = b"".join(b"\x16\3\1\0\1" + hello[5 + i:6 + i] for i in range(len(hello) - 5))
    empty = b"\x16\3\1\0\0" * 10000
    alerts = b"\x15\3\1\0\2\1\0" * 10000
    for text in (large, empty, alerts, hello[:-1] + b"\xff" * 2, b"\x16\3\1\xff\xff" + b"x" * 65535,
                 b"\x80\x80\1\3\1" + bytes(200)):
        with socket.create_connection(address(gw, True), timeout=LIMIT_S) as s:
            with contextlib.suppress(OSError):  # it may be gone already
                s.sendall(text)
                s.shutdown(socket.SHUT_WR)
            got = said(s)
            assert len(got) < 10000, len(got)
    with socket.create_connection(address(gw, True), timeout=LIMIT_S) as s:
        s.sendall(pieces)  # a record for each octet of the hello: slow, and legal or not
        assert s.recv(1) in (b"\x16", b"\x15", b"")
    still_works(gw)


def test_renegotiation_is_off(gw):
    p = subprocess.Popen(["openssl", "s_client", "-connect", "%s:%d" % address(gw, True), "-tls1_2", "-crlf"],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    out = b""

    def until(mark):
        nonlocal out
        end = time.monotonic() + LIMIT_S
        while mark not in out:
            assert time.monotonic() < end and select.select([p.stdout], [], [], LIMIT_S)[0], out
            piece = p.stdout.read1(65536)
            assert piece, out
            out += piece

    try:
        until(b"220 ")
        p.stdin.write(b"R\n")
        p.stdin.flush()
        until(b"no renegotiation")  # standard input stays open: its end would end the client before the answer
    finally:
        p.kill()
        p.wait()
    still_works(gw)


# STL-06: a handshake that stands still or dribbles ends; others are served meanwhile (time scaled by 60)
def test_stalled_handshakes_end(gateway):
    g = gateway(binary=TEST_BIN, env={"STAGEPOST_TIME_SCALE": "60"})
    hello = client_hello(anything(), "localhost")
    silent = [socket.create_connection(address(g, True), timeout=LIMIT_S) for _ in range(20)]
    half = [socket.create_connection(address(g, True), timeout=LIMIT_S) for _ in range(20)]
    for s in half:
        s.sendall(hello[:50])
    with Raw(g, implicit=False) as s:
        assert s.codes(b"EHLO c.example", b"STARTTLS") == [250, 220]
        s.say(hello[:-1])
        with Raw(g, True) as other:
            other.login()
        assert said(s.sock) == b""
    for s in silent + half:
        assert said(s) == b""
        s.close()


# STL-12: a failed handshake leaves nothing behind for others
@pytest.mark.parametrize("implicit", DOORS)
def test_failed_handshakes_do_not_hurt_others(gw, implicit):
    with Raw(gw, implicit) as good:
        good.login()
        for _ in range(20):
            with socket.create_connection(address(gw, True), timeout=LIMIT_S) as bad:
                bad.sendall(b"\x16\3\1\0\5\1\0\0\1\0")
                assert good.command(b"NOOP")[0] == 250
                with contextlib.suppress(ConnectionError):
                    bad.sendall(b"EHLO x\r\n")
            assert good.command(b"VRFY anna")[0] == 252
            c = anything()
            c.maximum_version = ssl.TLSVersion.TLSv1_1
            assert isinstance(handshake(gw, implicit, c), str)
            assert good.command(b"NOOP")[0] == 250


# STL-01: STARTTLS and what stands behind it, with a whole ClientHello too
def test_a_hello_behind_starttls_is_not_read(gw):
    hello = client_hello(anything(), "localhost")
    for behind in (hello, b"\r\n", b"\0", AUTH + b"\r\n"):
        with Raw(gw, implicit=False) as s:
            assert s.command(b"EHLO c.example")[0] == 250
            s.say(b"STARTTLS\r\n" + behind)
            with contextlib.suppress(Gone):
                assert s.replies_until_gone() == []
