"""The PROXY protocol in front of every kind of listener of the running program."""
import contextlib
import http.client
import json
import socket
import ssl
import struct

import pytest
from raw_smtp import Gone, Raw
from support import LIMIT_S, auth_plain, wait_until
from test_serve import KEY, PASSWORD, dev, served, stored_message  # noqa: F401

PROXY = "127.0.0.2"  # the proxy's address; anybody else comes from 127.0.0.1
CLIENT, CLIENT6 = "192.0.2.77", "2001:db8::77"
V1 = f"PROXY TCP4 {CLIENT} 127.0.0.1 4242 587\r\n".encode()
V1_TCP6 = f"PROXY TCP6 {CLIENT6} ::1 4242 587\r\n".encode()
V1_UNKNOWN = b"PROXY UNKNOWN\r\n"


def v2(command=0x21, family=0x11, payload=None):
    if payload is None:
        payload = socket.inet_aton(CLIENT) + socket.inet_aton("127.0.0.1") + struct.pack("!HH", 4242, 587)
    return b"\r\n\r\n\0\r\nQUIT\n" + struct.pack("!BBH", command, family, len(payload)) + payload


HEADERS = {
    "v1": (V1, CLIENT), "v1-tcp6": (V1_TCP6, CLIENT6), "v1-unknown": (V1_UNKNOWN, PROXY),
    "v2": (v2(), CLIENT), "v2-local": (v2(0x20, 0, b""), PROXY),
    "v2-tlv": (v2(payload=v2()[16:] + b"\x04\0\x03abc"), CLIENT),
}


class Proxied(Raw):
    """Raw, with a header first; source is where it comes from."""

    def __init__(self, gateway, header, implicit=False, source=PROXY):
        self.gateway, self.buffer, self.replies = gateway, b"", 0
        port = gateway.smtps_port if implicit else gateway.smtp_port
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S,
                                             source_address=(source, 0))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.ends = self.sock.getpeername(), self.sock.getsockname()
        self.say(header)
        if implicit:
            self.start_tls()

    def send_one(self):
        """A message; its id."""
        if not isinstance(self.sock, ssl.SSLSocket):
            assert self.codes(b"EHLO c.example", b"STARTTLS") == [250, 220]
            self.start_tls()
        auth = b"AUTH PLAIN " + auth_plain("shop", PASSWORD).encode()
        assert self.codes(b"EHLO c.example", auth) == [250, 235]
        self.begin_data(sender=b"shop@example.com", to=(b"anna@customer.com",))
        self.say(b"From: shop@example.com\r\nSubject: x\r\n\r\nx\r\n.\r\n")
        code, text = self.reply()
        assert code == 250, text
        return text.rsplit(" ", 1)[1]


@pytest.fixture
def behind(served):  # noqa: F811
    """A gateway that trusts PROXY on all its listeners; its DNS is silent, so that mail stays."""
    silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    silent.bind(("127.0.0.1", 0))

    def make():
        g = served(dns=f"127.0.0.1:{silent.getsockname()[1]}")
        text = g.config()
        for kind in ("smtp", "smtps", "http"):
            text = text.replace(f'kind = "{kind}"; port', f'kind = "{kind}"; '
                                f'proxy_from = [ "10.0.0.0/8", "{PROXY}" ]; port')
        g.write(text)
        assert g.check()[0] == 0, g.check()
        return g.start()

    yield make
    silent.close()


def test_smtp_knows_the_client_of_a_proxy(behind):
    g = behind()
    for name, (header, client) in HEADERS.items():
        for implicit in (False, True):
            with Proxied(g, header, implicit) as s:
                assert s.reply()[0] == 220, name
                message_id = s.send_one()
            shown = f"[IPv6:{client}]" if ":" in client else f"[{client}]"
            received = stored_message(g, message_id).split(b"\r\n\r\n")[0].decode()
            assert shown in received, (name, received)
            events = [e for e in g.events("smtp.accepted") if e["msg"] == message_id]
            assert [e["client"] for e in events] == [client], name


def test_a_64_is_one_network(behind):
    """AUT-04: thirty addresses of one /64 are soon told to wait, as one address would be; thirty /64 are not."""
    g = behind()

    def attempt(client):
        with Proxied(g, f"PROXY TCP6 {client} ::1 4242 465\r\n".encode(), implicit=True) as s:
            wrong = b"AUTH PLAIN " + auth_plain("nobody", "wrong").encode()
            assert [s.reply()[0], s.command(b"EHLO c.example")[0]] == [220, 250]
            return s.command(wrong)[0]
    assert [attempt(f"2001:db8:0:{i:x}::1") for i in range(30)] == [535] * 30
    codes = [attempt(f"2001:db8:1:1:{i:x}::1") for i in range(30)]
    assert codes[0] == 535 and 454 in codes, codes


def test_http_knows_the_client_of_a_proxy(behind):
    g = behind()
    body = json.dumps({"from": "shop@example.com", "to": "anna@customer.com", "subject": "x",
                       "text": "x"})
    for name, (header, client) in HEADERS.items():
        c = http.client.HTTPConnection("127.0.0.1", g.http_port, timeout=LIMIT_S,
                                       source_address=(PROXY, 0))
        c.connect()
        c.sock.sendall(header)
        c.request("POST", "/v1/messages", body=body, headers={
            "Content-Type": "application/json", "Authorization": f"Bearer {KEY}"})
        answer = c.getresponse()
        said = json.loads(answer.read())
        assert answer.status == 202, (name, said)
        c.close()
        events = [e for e in g.events("http.accepted") if e["msg"] == said["id"]]
        assert [e["client"] for e in events] == [client], name
    assert g.http("GET", "/healthz", key=None).status == 200  # without a proxy, from 127.0.0.1


def gone_without_a_word(s):
    with contextlib.suppress(Gone, ConnectionError):
        raise AssertionError(s.line())
    return True


def test_a_proxy_that_says_something_else_is_not_served(behind):
    g = behind()
    wrong = [b"EHLO c.example\r\n", b"PROXY TCP4 192.0.2.7 127.0.0.1 1\r\n", b"PROXY " + b"x" * 200,
             v2(0x22), v2(payload=bytes(2000)), v2(payload=bytes(3)), b"\x16\x03\x01\x02\0",
             b"GET / HTTP/1.1\r\n\r\n"]
    for header in wrong:
        with Proxied(g, header) as s:
            assert gone_without_a_word(s), header
    wait_until("all are in the log",
               lambda: len(g.events("listener.proxy-refused")) == len(wrong))
    with Proxied(g, V1) as s:
        assert s.reply()[0] == 220


def test_only_proxies_are_believed(behind):
    g = behind()
    with Proxied(g, b"", source="127.0.0.1") as s:
        assert s.reply()[0] == 220
        assert s.command(V1[:-2])[0] == 500  # a command that there is not
        message_id = s.send_one()
    assert b"[127.0.0.1]" in stored_message(g, message_id)
    assert CLIENT.encode() not in stored_message(g, message_id)
    with Proxied(g, V1) as s:  # and a second header is no header
        assert s.reply()[0] == 220
        assert s.command(V1_UNKNOWN[:-2])[0] == 500
