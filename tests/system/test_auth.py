"""AUT cases of tests/CASES.md at the running program, by raw bytes."""
import base64
import concurrent.futures
import socket
import ssl
import subprocess

import pytest
from raw_smtp import Gone, Raw
from support import LIMIT_S, auth_plain
from test_front_door_tls import address

DOORS = pytest.mark.parametrize("implicit", [False, True])


def b64(*parts):
    return base64.b64encode(b"\0".join(parts))


class Quiet(Raw):
    """A session under TLS that has said EHLO and no more."""

    def __init__(self, gw, implicit=True):
        super().__init__(gw, implicit=implicit)
        if not implicit:
            assert self.codes(b"EHLO c.example", b"STARTTLS") == [250, 220]
            self.start_tls()
        assert self.command(b"EHLO c.example")[0] == 250


MALFORMED = [b"=", b"====", b"AA=A", b"*", b"\xff\xfe", b"A", b"AGRl", b64(b"dev", b"dev"), b64(b"", b"dev"),
             b64(b"", b"", b"dev"), b64(b"", b"dev", b""), b64(b"", b"dev", b"dev", b""), b64(b"\xff", b"dev", b"dev"),
             b64(b"a", b"b", b"c", b"d"), b64(b"", b"d" * 300, b"dev"), b64(b"", b"dev", b"d" * 1100), b64(b"other", b"dev", b"dev"),
             b64(b"", b"dev\r\nMAIL FROM:<a@example.com>", b"dev"), b64(b"", b"dev", b"\xc3\x28"), b" " + b64(b"", b"dev", b"dev")]


@DOORS
@pytest.mark.parametrize("text", MALFORMED)
def test_malformed_answers_let_nobody_in(gw, implicit, text):
    """As initial response and after the challenge; the right password is taken afterwards (AUT-01)."""
    with Quiet(gw, implicit) as s:
        code, said = s.command(b"AUTH PLAIN " + text)
        if code == 334:  # "=" is an empty initial response, or there was none
            code, said = s.command(text)
        assert code in (501, 535), (text, code, said)
        assert s.command(b"AUTH PLAIN")[0] == 334
        assert s.command(text)[0] in (501, 535)
        assert s.command(b"MAIL FROM:<shop@example.com>")[0] == 530
        assert s.command(b"AUTH PLAIN " + auth_plain().encode())[0] == 235
        assert s.command(b"AUTH PLAIN " + auth_plain().encode())[0] == 503
        assert s.command(b"MAIL FROM:<shop@example.com>")[0] == 250


@DOORS
def test_login_is_cancelled_and_begun_anew(gw, implicit):
    dev = base64.b64encode(b"dev")
    with Quiet(gw, implicit) as s:
        assert s.codes(b"AUTH LOGIN", b"*") == [334, 501]
        assert s.codes(b"AUTH LOGIN", dev, b"*") == [334, 334, 501]
        assert s.codes(b"AUTH LOGIN " + dev, b"!") == [334, 501]
        assert s.codes(b"AUTH NTLM", b"AUTH EXTERNAL =", b"AUTH CRAM-MD5", b"AUTH", b"AUTH PLAIN a b") == [504, 504, 504, 501, 501]
        assert s.codes(b"AUTH LOGIN", dev, dev) == [334, 334, 235]


def test_long_answers_are_read_and_refused(gw):
    """12,288 octets are a line of AUTH; more is thrown away, and the session lives (RFC 4954 4)."""
    with Quiet(gw) as s:
        line = b"AUTH PLAIN " + b64(b"", b"dev", b"d" * 9000)
        assert len(line) + 2 <= 12288
        assert s.command(line)[0] in (501, 535)
        assert s.command(b"AUTH PLAIN " + b"A" * 13000)[0] == 500
        assert s.command(b"AUTH PLAIN " + auth_plain().encode())[0] == 235


@DOORS
def test_wrong_user_and_wrong_password_are_one_answer(gw, implicit):
    """AUT-02; and the third failure ends the session."""
    said = []
    for user, password in (("dev", "wrong"), ("nobody", "wrong"), ("nobody", "dev"), ("", "x")):
        with Quiet(gw, implicit) as s:
            said.append(s.command(b"AUTH PLAIN " + auth_plain(user, password).encode()))
    assert len({x for x in said[:3]}) == 1 and said[0][0] == 535, said
    assert said[0][1].startswith("5.7.8")
    with Quiet(gw, implicit) as s:
        codes = s.codes(*[b"AUTH PLAIN " + auth_plain("dev", f"no{i}").encode() for i in range(3)])
        assert codes == [535, 535, 421] or (codes == [535] * 3 and s.is_gone()), codes


def test_a_storm_of_passwords_leaves_the_gateway_working(gateway):
    """AUT-03, AUT-05: 400 hashes asked for at once are answered, each with 535 or 454, and the API is not
    kept from its work."""
    g = gateway()

    def one(i):
        try:
            with Quiet(g) as s:
                return s.command(b"AUTH PLAIN " + auth_plain(f"user{i}", "x").encode())[0]
        except (Gone, ConnectionError, ssl.SSLError):
            return 0

    with concurrent.futures.ThreadPoolExecutor(100) as pool:
        asked = [pool.submit(one, i) for i in range(400)]
        sent = [g.accepted() for _ in range(10)]
        codes = [x.result(LIMIT_S) for x in asked]
    assert set(codes) <= {535, 454}, sorted(set(codes))
    for message in sent:
        g.wait_status(message, "delivered")


PASSWORD = "S3cretZebraQuux"
LEAKS = [  # by AUTH and by what clients do that do not listen to its answers
    [b"AUTH LOGIN", base64.b64encode(b"dev"), b64(PASSWORD.encode())],
    [b"AUTH LOGIN " + b64(b"dev"), b64(PASSWORD.encode())[:-2], b64(PASSWORD.encode())],
    [b"AUTH PLAIN " + auth_plain("dev", PASSWORD).encode()],
    [b"AUTH PLAIN " + auth_plain(PASSWORD, PASSWORD).encode() + b" x"],
    [b"AUTH PLAIN " + auth_plain("dev", PASSWORD).encode() + b"x" * 13000],
    [b"AUTH NTLM " + PASSWORD.encode(), b64(PASSWORD.encode()), PASSWORD.encode()],
    [b"AUTH " + PASSWORD.encode(), b"NOOP " + PASSWORD.encode(), b"VRFY " + PASSWORD.encode()],
]


@pytest.mark.parametrize("under_tls", [True, False])
def test_nothing_of_a_password_is_logged(gw, under_tls):
    """AUT-07: before TLS too, where passwords should not be and are sent."""
    before = len(gw.events("smtp.error"))
    for commands in LEAKS:
        with Quiet(gw) if under_tls else Raw(gw) as s:
            s.codes(b"EHLO c.example", *commands)
    assert len(gw.events("smtp.error")) > before
    for secret in (PASSWORD, b64(PASSWORD.encode()).decode()[:-4], auth_plain("dev", PASSWORD)[4:-4]):
        assert secret not in gw.log()


def test_client_certificates_mean_nothing(gw, tmp_path):
    """AUT-10: none is asked for, so none makes an identity, and EXTERNAL is not offered."""
    with Raw(gw, implicit=True) as s:
        assert b"EXTERNAL" not in s.command(b"EHLO c.example")[1].encode()
        assert s.codes(b"AUTH EXTERNAL ZGV2", b"MAIL FROM:<shop@example.com>") == [504, 530]
    key, cert = str(tmp_path / "k.pem"), str(tmp_path / "c.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                    "-subj", "/CN=dev", "-keyout", key, "-out", cert], check=True, capture_output=True)
    done = subprocess.run(["openssl", "s_client", "-connect", "%s:%d" % address(gw, True), "-cert", cert, "-key", key, "-quiet"],
                          input=b"EHLO c.example\r\nMAIL FROM:<shop@example.com>\r\nQUIT\r\n", capture_output=True, timeout=LIMIT_S)
    assert b"Acceptable client certificate" not in done.stdout + done.stderr


@pytest.mark.parametrize("name", ["dev2", "dev2.example", "example.org", "localhost", "\u00fc.example"])
def test_the_server_name_decides_nothing(gw, name):
    """AUT-11: whichever name TLS was asked for, a credential is what it is, and no more."""
    tls = gw.tls()
    tls.check_hostname = False
    with socket.create_connection(address(gw, True), timeout=LIMIT_S) as raw:
        s = Raw.__new__(Raw)
        s.buffer, s.replies, s.gateway = b"", 0, gw
        s.sock = tls.wrap_socket(raw, server_hostname=name)
        assert s.reply()[0] == 220
        assert s.codes(b"EHLO c.example", b"AUTH PLAIN " + auth_plain("dev2", "dev2").encode()) == [250, 235]
        assert s.codes(b"MAIL FROM:<shop@example.com>", b"MAIL FROM:<shop@example.org>") == [550, 250]
