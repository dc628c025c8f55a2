"""Mail servers of others that hand their mail to the gateway, as a smarthost: Postfix and Exim, with TLS whose
certificate they check and AUTH. Exim sends by BDAT, Postfix pipelines."""
import os
import shutil
import smtplib

import mta
import pytest
import support
from support import LIMIT_S, wait_until
from test_interop_mx import BODIES


class PostfixRelay(mta.Postfix):
    def __init__(self, gateway, *args):
        self.gateway = gateway
        super().__init__(*args)

    def configure(self):
        super().configure()
        port = self.gateway.ready["smtp"].rsplit(":", 1)[1]
        with open(self.gateway.ready["ca"], encoding="ascii") as f:
            self.stage("etc/mx/ca.pem", f.read())
        self.stage("etc/postfix/secrets", f"[localhost]:{port} dev2:dev2\n", 0o600)
        self.stage("etc/postfix/main.cf", f"""
compatibility_level = 3.6
maillog_file = /dev/stdout
myhostname = relay.{self.domain}
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtputf8_enable = yes
relayhost = [localhost]:{port}
smtp_host_lookup = native
smtp_tls_security_level = secure
smtp_tls_secure_cert_match = nexthop
smtp_tls_CAfile = /etc/mx/ca.pem
smtp_sasl_auth_enable = yes
smtp_sasl_password_maps = texthash:/etc/postfix/secrets
smtp_sasl_security_options = noanonymous
""")


class EximRelay(mta.Exim):
    def __init__(self, gateway, *args):
        self.gateway = gateway
        super().__init__(*args)

    def configure(self):
        super().configure()
        with open(self.gateway.ready["ca"], encoding="ascii") as f:
            self.stage("etc/exim4/ca.pem", f.read())
        # disable_ipv6: else it asks a name server for an IPv6 address of localhost.
        self.stage("etc/exim4/exim4.conf", f"""
primary_hostname = relay.{self.domain}
daemon_smtp_ports = {self.port}
local_interfaces = 127.0.0.1
tls_advertise_hosts =
smtputf8_advertise_hosts = *
acl_smtp_rcpt = accept
acl_smtp_data = accept
log_file_path = /mnt/exim-%slog
log_selector = +smtp_confirmation
disable_ipv6 = true
host_lookup =
rfc1413_query_timeout = 0s
begin routers
smarthost:
  driver = manualroute
  route_list = * localhost::{self.gateway.ready["smtp"].rsplit(":", 1)[1]} byname
  self = send
  transport = out
begin transports
out:
  driver = smtp
  hosts_require_auth = *
  hosts_require_tls = *
  tls_verify_certificates = /etc/exim4/ca.pem
  tls_verify_hosts = *
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  client_send = ^dev2^dev2
""")


RELAYS = {"postfix": PostfixRelay, "exim": EximRelay}


@pytest.fixture(scope="module", params=RELAYS)
def pair(request):
    """(gateway, relay)"""
    if not mta.is_there(request.param):
        assert not os.environ.get("CI"), f"{request.param} must be below build/"
        pytest.skip("needs root and the servers that install-packages.sh test unpacks")
    from conftest_shared import clean_up, make_gateways
    started, make = make_gateways()
    gateway, kept = make(), support.temporary_state()
    relay = RELAYS[request.param](gateway, "example.org", *mta.certificate(kept, "relay.example.org"))
    yield gateway, relay
    relay.close()
    clean_up(started)
    shutil.rmtree(kept, ignore_errors=True)


def captured(gateway, to):
    """The one message for this recipient."""
    def there():
        return [c for c in gateway.captures() if to in c["to"]]
    capture, = wait_until(f"mail for {to}", there)
    return capture


def told(relay, to):
    """What the relay's log says of this recipient, at last."""
    name = "exim-mainlog" if relay.name == "exim" else "server.log"

    def there():
        with open(os.path.join(relay.mail, name), encoding="utf-8", errors="replace") as f:
            return [line for line in f if "queued as" in line and to in line]
    line, = wait_until(f"{relay.name} tells of {to}", there)
    return line


@pytest.mark.parametrize("shape", BODIES)
def test_bodies(pair, shape):
    gateway, relay = pair
    sent, to = BODIES[shape], f"{shape.replace(' ', '-').replace(chr(39), '')}@customer.example"
    header = (f"From: Shop <shop@example.org>\r\nTo: {to}\r\nSubject: {shape}\r\n"
              "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
              "Content-Transfer-Encoding: 8bit\r\n\r\n").encode()
    with smtplib.SMTP("127.0.0.1", relay.port, timeout=LIMIT_S) as s:
        s.sendmail("shop@example.org", [to], header + sent, ["BODY=8BITMIME"])
    raw = gateway.raw(captured(gateway, to)["id"])
    assert gateway.verify(raw) == 2
    assert raw.split(b"\r\n\r\n", 1)[1] == sent
    line = told(relay, to)
    assert f"queued as {captured(gateway, to)['message']}" in line
    if relay.name == "exim":
        assert " CV=yes A=plain K " in line, line  # the certificate, AUTH, BDAT


def test_many_messages_and_recipients(pair):
    gateway, relay = pair
    to = [f"many{i}@customer.example" for i in range(30)]
    with smtplib.SMTP("127.0.0.1", relay.port, timeout=LIMIT_S) as s:
        for i in range(10):
            s.sendmail("shop@example.org", to, f"From: shop@example.org\r\nSubject: many {i}\r\n\r\nx\r\n".encode())

    def all_there():
        found = [(c["subject"], r) for c in gateway.captures() for r in c["to"] if r in to]
        return len(found) >= 300 and found
    found = wait_until("300 copies", all_there)
    assert len(found) == len(set(found)) == 300
