"""Mail that receivers would not believe: refused, told or not looked at, by domain."""
import os
import signal

import pytest
from hostile import NameServer
from support import wait_until
from test_serve import KEY, MAIL, Served, dev, dkim_records, served, session  # noqa: F401

IP = "192.0.2.1"


@pytest.fixture
def name_server():
    n = NameServer()
    yield n
    n.close()


def publish(n, g, spf=f"v=spf1 ip4:{IP} -all", keys=True, domain="example.com"):
    """Everything that belongs to the domain, as DNS has it."""
    n.answers[(domain, "MX")] = [f"10 mx.{domain}."]
    n.answers[(domain, "TXT")] = [f'"{spf}"']
    n.answers[(f"_dmarc.{domain}", "TXT")] = ['"v=DMARC1; p=reject"']
    for name, record in dkim_records(g).items() if keys else ():
        text = record.decode()
        half = len(text) // 2
        n.answers[(name.rstrip("."), "TXT")] = [f'"{text[:half]}" "{text[half:]}"']


def gateway(served, name_server, policy):
    g = served(dns=name_server.address)
    text = g.config().replace('name = "example.com";', f'name = "example.com"; policy = "{policy}";')
    g.write(text)
    return g


def by_smtp(g):
    with session(g.smtp_port, g.tls()) as s:
        s.ehlo("client.test")
        s.mail("shop@example.com")
        s.rcpt("anna@customer.test")
        code, text = s.data(MAIL)
        return code, text.decode()


def by_http(g, domain="example.com"):
    return g.http("POST", "/v1/messages", {"from": f"shop@{domain}", "to": "anna@customer.test",
                                           "subject": "s", "text": "t"}, key=KEY)


def test_what_is_published_well_passes_and_is_remembered(served, name_server):
    g = gateway(served, name_server, "enforce")
    publish(name_server, g)
    g.start()
    assert by_smtp(g)[0] == 250
    assert by_http(g).status == 202
    event, = [e for e in g.events("policy.preflight")][:1]
    assert (event["result"], event["spf"], event["dkim"]) == ("pass", "pass", "ours")
    assert g.metric('stagepost_preflight_total{result="pass"}') == 2


def test_enforced(served, name_server):
    g = gateway(served, name_server, "enforce")
    publish(name_server, g, spf="v=spf1 ip4:198.51.100.1 ~all", keys=False)
    g.start()
    code, text = by_smtp(g)
    assert code == 550 and text.startswith("5.7.26 ")
    assert "r1._domainkey.example.com is missing" in text
    answer = by_http(g)
    assert (answer.status, answer.json["code"]) == (403, "policy")
    assert "stagepost check domain example.com" in answer.json["detail"]
    assert g.metric('stagepost_accepted_messages_total{source="smtp"}') == 0


def test_a_warning_is_logged_and_the_mail_goes(served, name_server):
    g = gateway(served, name_server, "warn")
    publish(name_server, g, spf="v=spf1 -all")
    g.start()
    assert by_smtp(g)[0] == 250
    event, = g.events("policy.not-believed")
    assert f"SPF of example.com says fail for {IP}" in event["text"]
    assert g.metric('stagepost_preflight_total{result="fail"}') == 1


def test_a_null_mx_of_the_sender(served, name_server):
    g = gateway(served, name_server, "enforce")
    publish(name_server, g)
    name_server.answers[("example.com", "MX")] = ["0 ."]
    g.start()
    code, text = by_smtp(g)
    assert code == 550 and text.startswith("5.7.27 ")


def test_dns_trouble_refuses_nobody(served, name_server):
    g = gateway(served, name_server, "enforce")
    for name, kind in (("example.com", "TXT"), ("example.com", "MX"), ("_dmarc.example.com", "TXT"),
                       ("r1._domainkey.example.com", "TXT"), ("e1._domainkey.example.com", "TXT")):
        name_server.answers[(name, kind)] = "SERVFAIL"
    g.start()
    assert by_smtp(g)[0] == 250
    assert g.metric('stagepost_preflight_total{result="unknown"}') == 1


def test_silent_dns_is_late(served, name_server):
    g = gateway(served, name_server, "enforce")
    for name, kind in (("example.com", "TXT"), ("example.com", "MX"), ("_dmarc.example.com", "TXT"),
                       ("r1._domainkey.example.com", "TXT"), ("e1._domainkey.example.com", "TXT")):
        name_server.answers[(name, kind)] = "silent"
    g.start()
    assert by_smtp(g)[0] == 250
    event, = g.events("policy.preflight-late")
    assert event["domain"] == "example.com"


def test_dead_dns_is_waited_for_once(served, name_server):
    """One message pays the two seconds, and the log says so; those of other domains do not."""
    g = gateway(served, name_server, "enforce")
    domains = ["example.com"] + [f"d{i}.example.net" for i in range(4)]
    senders = ", ".join(f'"{d}"' for d in domains + ["alive.example.net"])
    g.write(g.config().replace("workers = 2", "workers = 1")
            .replace('senders = [ "example.com" ]', f"senders = [ {senders} ]"))
    name_server.dead = True
    g.start()
    for domain in domains:
        assert by_http(g, domain).status == 202
    assert g.metric("stagepost_preflight_dns_silences_total") == 1
    assert sum(g.metric(f'stagepost_preflight_total{{result="{r}"}}')
               for r in ("late", "unknown")) == len(domains)
    event, = g.events("policy.dns-silent")
    assert event["domain"] == "example.com"
    name_server.dead = False
    wait_until("an answer", lambda: by_http(g, "alive.example.net").status == 202
               and g.events("policy.dns-answers"))


def test_off_asks_nobody(served, name_server):
    g = gateway(served, name_server, "off")
    assert g.check() == (0, f"{g.path}: ok\n")
    g.start()
    assert by_http(g).status == 202
    assert not [n for n, _ in name_server.asked if n.startswith("_dmarc.")]


def test_the_checker_is_started_again(served, name_server):
    g = gateway(served, name_server, "enforce")
    publish(name_server, g)
    g.start()
    for _ in range(2):
        old, = g.children("checker")
        os.kill(old, signal.SIGKILL)
        wait_until("another checker", lambda gone=old: [p for p in g.children("checker")
                                                        if p != gone])
    assert by_smtp(g)[0] == 250
    event = g.events("policy.preflight")[0]
    assert (event["result"], event["spf"]) == ("pass", "pass")
    assert g.stop() == 0


def test_no_addresses_are_a_warning(served, name_server):
    g = gateway(served, name_server, "warn")
    g.write(g.config().replace(f'egress = [ "{IP}" ];', ""))
    code, said = g.check()
    assert code == 0 and "warning: egress: not given" in said
    g.write(g.config().replace(f'"{IP}"', '"192.0.2.300"'))
    code, said = g.check()
    assert code == 78 and "egress: " in said


def test_a_reload_changes_the_policy(served, name_server):
    g = gateway(served, name_server, "warn")
    publish(name_server, g, spf="v=spf1 -all", keys=False)
    g.start()
    assert by_smtp(g)[0] == 250
    g.write(g.config().replace('name = "example.com";', 'name = "example.com"; policy = "enforce";'))
    g.process.send_signal(signal.SIGHUP)
    wait_until("the reload", lambda: g.events("reload.done"))
    assert by_smtp(g)[0] == 550
    assert by_http(g).status == 403
