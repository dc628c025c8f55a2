"""MX hosts that do what a case says, and a name server that leads to them.

Every host has a loopback address of its own (127.0.1.N, all on one port), so that what the gateway
remembers of one host touches no other. Everything binds to loopback.
"""
import collections
import contextlib
import socket
import socketserver
import ssl
import struct
import threading

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
from raw_smtp import bytes_unread
from support import LIMIT_S, wait_until

CLOSE, RESET = "close", "reset"
SILENT, TRUNCATED = "silent", "truncated"
TTL_S = 60
RECEIVE_BYTES = 65536  # a host that does not read makes the gateway wait


class Nice:
    """What a good host does. A case changes some of it: each part is a reply, or a list of replies,
    CLOSE, RESET and functions that get the connection."""
    greeting = b"220 mx.test\r\n"
    ehlo = b"250-mx.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 DSN\r\n"
    starttls = b"502 5.5.1 no\r\n"
    mail = b"250 2.1.0 ok\r\n"
    rcpt = b"250 2.1.5 ok\r\n"  # or {local part: reply}
    data = b"354 go\r\n"
    text = None  # what is done once some text was read; no more is read until the gateway knows
    final = b"250 2.0.0 kept\r\n"
    tls = None  # an ssl.SSLContext

    def __init__(self, **changes):
        for name, value in changes.items():
            assert hasattr(Nice, name), name
            setattr(self, name, value)


Dot = collections.namedtuple("Dot", "sender recipients text tls refused")


class Ended(Exception):
    """This connection is over."""


def first_of(actions):
    return actions[0] if isinstance(actions, list) else actions


class Connection:
    def __init__(self, host, sock):
        self.host, self.sock = host, sock
        self.buffer, self.commands, self.is_tls = b"", [], False
        sock.settimeout(LIMIT_S)

    @property
    def behaviour(self):
        return self.host.behaviour

    def act(self, actions):
        for action in actions if isinstance(actions, list) else [actions]:
            if action == CLOSE:
                raise Ended
            if action == RESET:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                raise Ended
            if callable(action):
                action(self)
            else:
                self.sock.sendall(action)

    def read(self):
        piece = self.sock.recv(65536)
        if not piece:
            raise Ended
        self.buffer += piece

    def line(self):
        while b"\r\n" not in self.buffer:
            self.read()
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line.decode("utf-8", "surrogateescape")

    def wait_until_heard(self):
        ends = self.sock.getpeername(), self.sock.getsockname()
        wait_until("the gateway has read what was said", lambda: not bytes_unread(*ends))

    def flood(self, line):
        """Until the gateway has had enough."""
        while True:
            self.sock.sendall(line)

    def start_tls(self):
        self.sock = self.behaviour.tls.wrap_socket(self.sock, server_side=True)
        self.is_tls, self.buffer = True, b""

    def take_text(self):
        """The text up to the dot; the message counts as taken."""
        begun = False
        while not (self.buffer.startswith(b".\r\n") or b"\r\n.\r\n" in self.buffer):
            if len(self.buffer) > 1000 and self.behaviour.text is not None and not begun:
                begun = True
                self.act(self.behaviour.text)
                self.wait_until_heard()
            self.read()
        text, self.buffer = self.buffer.split(b"\r\n.\r\n", 1)
        final = first_of(self.behaviour.final)
        refused = isinstance(final, bytes) and final[:1] in (b"4", b"5")
        with self.host.lock:
            self.host.dots.append(
                Dot(self.sender, list(self.accepted), text + b"\r\n", self.is_tls, refused))

    def rcpt(self, argument):
        address = argument.split("<", 1)[1].split(">", 1)[0]
        said = self.behaviour.rcpt
        if isinstance(said, dict):
            said = said.get(address.split("@")[0], Nice.rcpt)
        first = first_of(said)
        if isinstance(first, bytes) and first.startswith(b"2"):
            self.accepted.append(address)
        self.act(said)

    def command(self, line):
        self.commands.append(line)
        verb, b = line.split(" ")[0].upper(), self.behaviour
        if verb in ("EHLO", "HELO"):
            self.act(b.ehlo)
        elif verb == "STARTTLS":
            self.act(b.starttls)
        elif verb == "MAIL":
            self.sender, self.accepted = line.split("<", 1)[1].split(">", 1)[0], []
            self.act(b.mail)
        elif verb == "RCPT":
            self.rcpt(line)
        elif verb == "DATA":
            self.act(b.data)
            if first_of(b.data).startswith(b"354"):
                self.take_text()
                self.act(b.final)
        elif verb == "QUIT":
            self.sock.sendall(b"221 bye\r\n")
            raise Ended
        else:
            self.sock.sendall(b"250 ok\r\n")

    def run(self):
        self.sender, self.accepted = None, []
        with contextlib.suppress(Ended, OSError), contextlib.closing(self):
            self.act(self.behaviour.greeting)
            while True:
                self.command(self.line())

    def close(self):
        self.sock.close()


class Host:
    """One address. `behaviour` is what it does from now on; `dots` are the messages whose end
    it has seen."""

    def __init__(self, ip, port):
        self.behaviour, self.dots, self.connections = Nice(), [], []
        self.lock = threading.Lock()
        self.listener = socket.create_server((ip, port), backlog=100)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        self.ip, self.port = self.listener.getsockname()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                c = Connection(self, sock)
                with self.lock:
                    self.connections.append(c)
                threading.Thread(target=c.run, daemon=True).start()

    def commands(self):
        return [x for c in self.connections for x in c.commands]

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


class NameServer:
    """answers[(name, "MX")] is a list of records, an RCODE's name, SILENT or TRUNCATED. A name that is
    not there at all is NXDOMAIN, one with other types only has no such data. `dead`: all is SILENT."""

    def __init__(self):
        self.answers, self.asked, self.dead = {}, [], False
        owner = self

        class Udp(socketserver.BaseRequestHandler):
            def handle(self):
                data, sock = self.request
                wire = owner.answer(data, udp=True)
                if wire is not None:
                    sock.sendto(wire, self.client_address)

        class Tcp(socketserver.StreamRequestHandler):
            def handle(self):
                with contextlib.suppress(OSError, struct.error):
                    length, = struct.unpack("!H", self.rfile.read(2))
                    wire = owner.answer(self.rfile.read(length), udp=False)
                    if wire is not None:
                        self.wfile.write(struct.pack("!H", len(wire)) + wire)

        self.tcp = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Tcp)
        self.tcp.daemon_threads = True
        self.udp = socketserver.UDPServer(self.tcp.server_address, Udp)
        self.address = "%s:%d" % self.tcp.server_address
        for server in (self.udp, self.tcp):
            threading.Thread(target=server.serve_forever, daemon=True).start()

    def answer(self, wire, udp):
        query = dns.message.from_wire(wire)
        question, = query.question
        name = question.name.to_text().rstrip(".").lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.RA
        known = self.answers.get((name, kind))
        if self.dead or known == SILENT or (known == TRUNCATED and not udp):
            return None
        if known == TRUNCATED:
            reply.flags |= dns.flags.TC
        elif isinstance(known, str):
            reply.set_rcode(dns.rcode.from_text(known))
        elif known:
            reply.answer.append(dns.rrset.from_text_list(question.name, TTL_S, "IN", kind, known))
        elif name not in {n for n, _ in self.answers}:
            reply.set_rcode(dns.rcode.NXDOMAIN)
        return reply.to_wire()

    def close(self):
        for server in (self.udp, self.tcp):
            server.shutdown()
            server.server_close()


class World:
    """Name server, hosts and a gateway that knows nothing else."""

    def __init__(self, make_gateway):
        self.dns, self.hosts, self.messages = NameServer(), [], {}
        self.home = self.host()
        self.point("home.test", self.home)
        self.gw = make_gateway("--dns", self.dns.address, "--mx-port", str(self.home.port))

    def host(self, behaviour=None):
        n = len(self.hosts) + 1
        for _ in range(50):  # the first port must be free at all the later addresses too
            try:
                h = Host(f"127.0.1.{n}", self.hosts[0].port if self.hosts else 0)
                break
            except OSError:
                n += 1
        h.behaviour = behaviour or Nice()
        self.hosts.append(h)
        return h

    def point(self, domain, *hosts):
        """MX records in the order of the hosts."""
        mx = []
        for i, h in enumerate(hosts):
            mx.append(f"{10 * (i + 1)} mx{i}.{domain}.")
            self.dns.answers[f"mx{i}.{domain}", "A"] = [h.ip]
        self.dns.answers[domain, "MX"] = mx

    def send(self, *to, sender="shop@home.test", **fields):
        subject = f"message {len(self.messages)}."
        message_id = self.gw.accepted(to=list(to), subject=subject, **{"from": sender}, **fields)
        self.messages[message_id] = subject
        return message_id

    def copies(self, message_id, recipient):
        """How many copies hosts may have, as far as they did not refuse them."""
        line = f"Subject: {self.messages[message_id]}\r\n".encode()
        return len([1 for h in self.hosts for d in h.dots
                    if line in d.text and recipient in d.recipients and not d.refused])

    def close(self):
        for h in self.hosts:
            h.close()
        self.dns.close()


def server_context(cert, key, **options):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    for name, value in options.items():
        setattr(context, name, value)
    return context
