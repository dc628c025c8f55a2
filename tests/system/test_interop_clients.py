"""The clients that applications use, as they are in Debian and npm: each sends what applications send, by both
ports, and says the right thing when it is refused."""
import email
import email.policy
import os
import subprocess

import mail_clients
import pytest
from mail_clients import CLIENTS
from support import wait_until

DOORS = {"starttls": False, "implicit TLS": True}
TEXT = "Grüße aus Köln, 価格 9 €\n.\n..\n.hidden\nFrom here\n\nend\n"
LONG = "x" * 2500 + " ö " + "word " * 800 + "\n"


@pytest.fixture(scope="module")
def used(gw):
    """A gateway that knows this address: wrong passwords from it are not limited at once."""
    for user in ("dev", "dev2"):
        gw.smtp(user=user, password=user).quit()
    return gw


@pytest.fixture(scope="module", params=CLIENTS)
def client(request):
    if not mail_clients.is_there(request.param):
        assert not os.environ.get("CI"), f"{request.param} must be installed"
        pytest.skip("not installed: relay/dist/install-packages.sh test")
    return request.param


@pytest.fixture(scope="module")
def attachment(tmp_path_factory):
    path = tmp_path_factory.mktemp("files") / "data.bin"
    path.write_bytes(bytes(range(256)) * 200)
    return {"path": str(path), "name": "Rechnung März.pdf"}


class Post:
    """Makes jobs; addresses are the test's own, so that its mail is found again."""

    def __init__(self, gw, attachment, name):
        self.gw, self.attachment = gw, attachment
        self.name = "".join(c if c.isalnum() else "-" for c in name).strip("-")

    def message(self, n, text=TEXT, sender="shop@example.com"):
        at = f"{n}.{self.name}@customer.example"
        return {"from": sender, "name": "Größe GmbH", "to": [f"anna.{at}", f"bob.{at}"], "cc": [f"carl.{at}"],
                "bcc": [f"dora.{at}"], "subject": f"Bestellung {n}: 価格 und Größe, für alle unsere Kunden in Köln",
                "text": text, "html": f"<p>{text}</p>\n", "attachment": self.attachment}

    def job(self, messages, implicit=False, user="dev", password="dev", auth=None):
        host, port = self.gw.ready["smtps" if implicit else "smtp"].rsplit(":", 1)
        return {"host": host, "port": int(port), "implicit": implicit, "user": user, "password": password,
                "ca": self.gw.ready["ca"], "auth": auth, "messages": messages}

    def found(self, message, user="dev"):
        """What the gateway knows of it."""
        answer = self.gw.http("GET", f"/v1/messages?to={message['bcc'][0]}", key=user)
        assert answer.status == 200, answer.body
        return answer.json["data"]

    def arrived(self, message, user="dev"):
        """(id, the mail's bytes), delivered to all of its recipients and nobody else."""
        def delivered():
            record, = self.found(message, user)
            return record if record["status"] == "delivered" else None
        record = wait_until("delivered", delivered)
        everyone = message["to"] + message["cc"] + message["bcc"]
        assert sorted(r["email"] for r in record["recipients"]) == sorted(everyone)
        captures = wait_until("captured", lambda: self.gw.captures(record["id"]))
        assert sorted(to for c in captures for to in c["to"]) == sorted(everyone)
        return record["id"], self.gw.raw(captures[0]["id"])


@pytest.fixture
def post(used, attachment, request):
    return Post(used, attachment, request.node.name.removeprefix("test_"))


def same_text(a, b):
    """But for what composers do: white space at the end, a CR too many (Ruby's mail), ">From" (Python's)."""
    return a.replace("\r", "").replace("\n>From ", "\nFrom ").rstrip() == b.rstrip()


def same_mail(raw, message):
    assert b"dora." not in raw, "Bcc is for nobody's eyes"
    parsed = email.message_from_bytes(raw, policy=email.policy.default)
    for name in ("From", "Date", "Message-ID", "Subject", "To", "Cc"):
        assert len(parsed.get_all(name)) == 1, name
    sender, = parsed["From"].addresses
    assert (sender.display_name, sender.addr_spec) == (message["name"], message["from"])
    assert parsed["Subject"].strip() == message["subject"]  # Python folds before its first word
    assert [a.addr_spec for a in parsed["To"].addresses] == message["to"]
    assert [a.addr_spec for a in parsed["Cc"].addresses] == message["cc"]
    assert same_text(parsed.get_body(("plain",)).get_content(), message["text"])
    assert same_text(parsed.get_body(("html",)).get_content(), message["html"])
    part, = [p for p in parsed.walk() if p.get_filename()]
    assert part.get_filename() == message["attachment"]["name"]
    with open(message["attachment"]["path"], "rb") as f:
        assert part.get_payload(decode=True) == f.read()
    assert max(map(len, raw.split(b"\r\n"))) <= 998


@pytest.mark.parametrize("door", DOORS)
def test_mail_of_every_client(post, client, door):
    messages = [post.message(0), post.message(1, LONG), post.message(2)]
    seen = mail_clients.do(client, post.job(messages, DOORS[door]))
    assert [kind for kind, _ in seen] == ["reply"] * 3, seen
    for (_, reply), message in zip(seen, messages):
        message_id, raw = post.arrived(message)
        if CLIENTS[client][3]:
            assert message_id in reply and "queued as" in reply, reply
        assert post.gw.verify(raw) == 2
        same_mail(raw, message)


MECHANISMS = [(c, m) for c, row in CLIENTS.items() for m in row[2]]


@pytest.mark.parametrize("name,mechanism", MECHANISMS)
def test_mechanisms(post, name, mechanism):
    if not mail_clients.is_there(name):
        pytest.skip("not installed")
    message = post.message(0)
    (kind, text), = mail_clients.do(name, post.job([message], auth=mechanism))
    assert kind == "reply", text
    post.arrived(message)


def test_wrong_password(post, client):
    message = post.message(0)
    (kind, text), = mail_clients.do(client, post.job([message], password="wrong"))
    # Ruby's and JavaMail's words are the server's; the others show the code too.
    assert kind == "error" and ("535" in text or "Authentication credentials invalid" in text), text
    assert post.found(message) == []


def test_senders_that_are_not_the_credentials(post, client):
    """The refusal of one message is told, and the next one goes through on the same connection."""
    messages = [post.message(0), post.message(1, sender="shop@example.org")]
    seen = mail_clients.do(client, post.job(messages, user="dev2", password="dev2"))
    assert [kind for kind, _ in seen] == ["error", "reply"], seen
    assert "not one of this credential" in seen[0][1], seen
    assert post.found(messages[0], "dev2") == []
    post.arrived(messages[1], "dev2")


@pytest.mark.long
def test_messages_that_are_too_large(post, client, tmp_path):
    """SIZE is 50 MiB. Not every client looks at it before it sends, but each says what became of it."""
    (tmp_path / "data.bin").write_bytes(os.urandom(40 << 20))  # in base64 56 MB
    message = post.message(0)
    message["attachment"] = {"path": str(tmp_path / "data.bin"), "name": "film.bin"}
    (kind, text), = mail_clients.do(client, post.job([message]))
    assert kind == "error" and "552" in text and "The message is too large" in text, text[-1000:]
    assert post.found(message) == []


def test_curl_by_http(post, tmp_path):
    message = post.message(0)
    (tmp_path / "mail.eml").write_bytes(mail_clients.without_bcc(message))
    everyone = ",".join(message["to"] + message["cc"] + message["bcc"])
    url = f"http://{post.gw.ready['http']}/v1/messages/raw?from={message['from']}"
    for address in everyone.split(","):
        url += f"&to={address}"

    def send(key):
        return subprocess.run(["curl", "-sS", "--fail-with-body", "-H", f"Authorization: Bearer {key}", "-H",
                               "Content-Type: message/rfc822", "--data-binary", "@mail.eml", url],
                              cwd=tmp_path, capture_output=True, text=True)
    for key, code in (("wrong", '"status":401'), ("dev2", '"status":403')):
        done = send(key)
        assert done.returncode == 22 and code in done.stdout.replace(" ", ""), done
    assert post.found(message) == []
    done = send("dev")
    assert done.returncode == 0, done
    message_id, raw = post.arrived(message)
    assert message_id in done.stdout and post.gw.verify(raw) == 2
    same_mail(raw, message)
