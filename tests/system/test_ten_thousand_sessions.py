"""CMD-13 of tests/CASES.md at its size: 10,000 sessions that promise 25 MB each, 250 GB together."""
import concurrent.futures
import resource

import pytest
from raw_smtp import Raw
from support import auth_plain, queued_id, wait_until
from test_bdat import rss_kb
from test_front_door import ACCEPTED

SESSIONS, WORKERS = 10000, 5
PROMISE = 25 << 20
PIECE = (b"x" * 998 + b"\r\n") * 64
PIECES = 10  # 640 KB of each: 6.4 GB, of which 2.5 GB may be held
ENDED = 200  # messages that come to their end
# relay/sys/base/limits.h: the messages of a worker, and what a session has beside its message (input of
# 64 KB, TLS, its state); the rest is the program itself.
MESSAGES_KB, SESSION_KB, PROGRAM_KB = 512 << 10, 128, 96 << 10


def most_kb(pid):
    """The most memory that the process has ever had."""
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return int(next(x for x in f if x.startswith("VmHWM")).split()[1])


class Client(Raw):
    """With one TLS context for all of a gateway's."""

    contexts = {}

    def start_tls(self):
        context = self.contexts.get(self.gateway) or self.gateway.tls()
        self.contexts[self.gateway] = context
        self.sock = context.wrap_socket(self.sock, server_hostname="localhost")


def promise(g):
    """A session up to 354; None where there is no room for it (421) or its SIZE (452), and it was told so."""
    s = Client(g, implicit=True, banner=False)
    code, text = s.reply()
    if code == 421:
        assert text == "4.3.2 Too many connections" and s.is_gone()
        return None
    assert s.codes(b"EHLO c.example", b"AUTH PLAIN " + auth_plain().encode()) == [250, 235]
    s.say(b"MAIL FROM:<shop@example.com> SIZE=%d\r\nRCPT TO:<anna@customer.example>\r\nDATA\r\n" % PROMISE)
    codes = [s.reply()[0] for _ in range(3)]
    if codes == [452, 503, 503]:
        s.close()
        return None
    assert codes == [250, 250, 354]
    s.say(b"From: shop@example.com\r\n\r\n")
    return s


def send_pieces(s):
    for _ in range(PIECES):
        s.say(PIECE)


def end(s):
    s.say(b".\r\n")
    code, text = s.reply()
    assert (code, text[:5]) in ((250, "2.0.0"), (452, "4.3.1")), (code, text)
    return queued_id(text) if code == 250 else None


def fill_envelope(s):
    """As much as an envelope can hold; True while there was room for all of it."""
    if s.command(b"MAIL FROM:<shop@example.com>")[0] == 452:
        return False
    s.say(b"".join(b"RCPT TO:<%s%d@%s.example> ORCPT=rfc822;%s\r\n" % (b"r" * 50, n, b"d" * 60, b"x" * 470)
                   for n in range(1000)))
    said = s.buffer
    while said.count(b"\n") < 1000:
        said += s.sock.recv(65536)
    assert said.count(b"250 2.1.5 ") + said.count(b"452 4.3.1 ") == 1000
    return b"452" not in said


@pytest.mark.long
def test_envelopes_are_counted_with_texts(gateway):
    """1000 recipients with all they may say are 700 KB: envelopes alone cannot take more than messages may."""
    g = gateway()
    (worker,) = g.children("worker")
    sessions = [Client(g, implicit=True).login()]
    while fill_envelope(sessions[-1]):
        assert len(sessions) < 1000, "no envelope is ever refused"
        sessions.append(Client(g, implicit=True).login())
    print(f"\n{len(sessions)} envelopes, at most {most_kb(worker) >> 10} MB")
    assert most_kb(worker) < PROGRAM_KB + MESSAGES_KB + len(sessions) * SESSION_KB
    for s in sessions:
        s.close()
    wait_until("there is room again", lambda: g.send().status == 202)


@pytest.mark.long
def test_ten_thousand_promises(gateway):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard >= SESSIONS + 1000, "this case needs that many descriptors"
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        ten_thousand(gateway("--workers", str(WORKERS)))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def ten_thousand(g):
    workers = g.children("worker")
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(lambda _: promise(g), range(SESSIONS)))
        sessions = [s for s in opened if s is not None]
        idle = [rss_kb(w) for w in workers]
        list(pool.map(send_pieces, sessions))
        late = [promise(g) for _ in range(20)]
        ids = list(pool.map(end, sessions[::len(sessions) // ENDED]))
    most = [most_kb(w) for w in workers]
    accepted = [i for i in ids if i is not None]
    print(f"\n{len(sessions)} sessions, {SESSIONS - len(sessions)} times 421; RSS of the workers in MB: "
          f"{[k >> 10 for k in idle]} before the text, {[k >> 10 for k in most]} at most; "
          f"{len(accepted)} times 250, {len(ids) - len(accepted)} times 452; {late.count(None)} of 20 late ones were refused")
    assert len(sessions) > SESSIONS * 0.9
    assert max(most) < PROGRAM_KB + MESSAGES_KB + SESSIONS // WORKERS * SESSION_KB
    assert len(accepted) < len(ids), "there was room for all of it"
    for s in sessions + [s for s in late if s is not None]:
        s.close()
    for message_id in accepted:
        g.wait_status(message_id, "delivered")
    assert g.metric(ACCEPTED) == len(accepted)
    assert workers == g.children("worker")
    g.wait_status(g.accepted(), "delivered")
