"""An SMTP client that sends exactly the bytes it is given, in the pieces it is given."""
import contextlib
import errno
import re
import socket
import ssl
import struct
import time

from support import LIMIT_S, auth_plain

REPLY_LINE = re.compile(rb"([2-5][0-9]{2})([ -])([\x20-\x7e]*)\r\n")
REPLY_LINE_MAX = 512  # RFC 5321 4.5.3.1.5


class Gone(Exception):
    """The server has closed the connection."""


def bytes_unread(reader, writer):
    """How much the process behind the socket `reader`, an (address, port), has not read yet of what
    `writer` sent: the kernel's answer (sock_diag(7)). None when the connection is gone."""
    def key(address):
        return socket.inet_aton(address[0]) + bytes(12)
    request = struct.pack("=BBBBI", socket.AF_INET, socket.IPPROTO_TCP, 0, 0, 0xffffffff)
    request += struct.pack("!HH", reader[1], writer[1]) + key(reader) + key(writer)
    request += struct.pack("=III", 0, 0xffffffff, 0xffffffff)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4) as s:  # NETLINK_SOCK_DIAG
        s.send(struct.pack("=IHHII", 16 + len(request), 20, 1, 1, 0) + request)
        answer = s.recv(8192)
    if struct.unpack_from("=H", answer, 4)[0] == 2:  # NLMSG_ERROR: ENOENT is what is expected
        assert struct.unpack_from("=i", answer, 16)[0] == -errno.ENOENT, answer
        return None
    return struct.unpack_from("=I", answer, 16 + 56)[0]


class Raw:
    """One connection. `say` sends bytes, `reply` reads one reply and checks its form (CMD-12)."""

    def __init__(self, gateway, implicit=False, banner=True, source=None):
        self.gateway = gateway
        host, port = gateway.ready["smtps" if implicit else "smtp"].rsplit(":", 1)
        self.sock = socket.create_connection((host, int(port)), timeout=LIMIT_S,
                                             source_address=source and (source, 0))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.ends = self.sock.getpeername(), self.sock.getsockname()
        self.buffer = b""
        self.replies = 0
        if implicit:
            self.start_tls()
        if banner:
            assert self.reply()[0] == 220

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def start_tls(self):
        self.sock = self.gateway.tls().wrap_socket(self.sock, server_hostname="localhost")

    def say(self, data):
        self.sock.sendall(data)

    def was_read(self):
        """Waits until the server has taken everything from its socket: what comes then is another
        piece for it."""
        end = time.monotonic() + LIMIT_S
        while bytes_unread(*self.ends):
            assert time.monotonic() < end, "the server does not read"
            time.sleep(0.0002)

    def say_in_two(self, data, at):
        self.say(data[:at])
        self.was_read()
        with contextlib.suppress(OSError):  # it may have been closed by the first piece
            self.say(data[at:])

    def line(self):
        while b"\n" not in self.buffer:
            try:
                piece = self.sock.recv(65536)
            except (ConnectionError, ssl.SSLError) as e:
                raise Gone(f"{e}, {self.buffer!r}") from None
            if not piece:
                raise Gone(repr(self.buffer))
            self.buffer += piece
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line + b"\n"

    def reply(self):
        """(code, text) of one reply."""
        code, texts, more = None, [], True
        while more:
            line = self.line()
            m = REPLY_LINE.fullmatch(line)
            assert m and len(line) <= REPLY_LINE_MAX, line
            assert code in (None, m[1]), (code, line)
            code, more = m[1], m[2] == b"-"
            texts.append(m[3].decode())
        self.replies += 1
        return int(code), "\n".join(texts)

    def replies_until_gone(self):
        out = []
        while True:
            try:
                out.append(self.reply())
            except Gone:
                return out

    def is_gone(self):
        try:
            line = self.line()
        except Gone:
            return True
        raise AssertionError(f"it went on: {line!r}")

    def command(self, data):
        self.say(data + b"\r\n")
        return self.reply()

    def codes(self, *commands):
        return [self.command(c)[0] for c in commands]

    def login(self):
        """EHLO, TLS, EHLO, AUTH as a good client."""
        if not isinstance(self.sock, ssl.SSLSocket):
            assert self.codes(b"EHLO c.example", b"STARTTLS") == [250, 220]
            self.start_tls()
        assert self.codes(b"EHLO c.example", b"AUTH PLAIN " + auth_plain().encode()) == [250, 235]
        return self

    def begin_data(self, sender=b"shop@example.com", to=(b"anna@customer.example",), pipelined=False):
        """MAIL, RCPT, DATA up to 354."""
        commands = [b"MAIL FROM:<" + sender + b">"] + [b"RCPT TO:<" + r + b">" for r in to] + [b"DATA"]
        wanted = [250] * (len(commands) - 1) + [354]
        if pipelined:
            self.say(b"\r\n".join(commands) + b"\r\n")
            assert [self.reply()[0] for _ in commands] == wanted
        else:
            assert self.codes(*commands) == wanted
