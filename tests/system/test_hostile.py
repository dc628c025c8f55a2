"""What strangers, accidents and small machines do to the whole program."""
import os
import resource

from support import LIMIT_S, wait_until


def test_a_report_is_counted_and_logged_once(gw):
    sent = gw.accepted(to="bounce@customer.example")
    gw.wait_status(sent, "bounced")
    wait_until("the report is enqueued", lambda: gw.events("ndr.enqueued"))
    assert [e["to"] for e in gw.events("ndr.enqueued")] == ["shop@example.com"]
    assert gw.metric("stagepost_ndr_total") == 1


def test_a_usual_limit_on_descriptors_is_raised(gateway):
    def limits(pid):
        with open(f"/proc/{pid}/limits", encoding="ascii") as f:
            line = next(x for x in f if x.startswith("Max open files"))
        return [int(x) for x in line.split()[3:5]]

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    g = gateway(start=False)
    g.before_exec = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    g.start()
    for role in ("worker", "signer", "sandbox"):
        soft, _ = limits(g.children(role)[0])
        assert soft == min(hard, 16384), role


def test_few_descriptors_cost_time_and_no_mail(gateway):
    """More destinations than one process may open connections: tried again, not bounced."""
    g = gateway(start=False)
    g.before_exec = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
    g.start()
    sent = g.accepted(to=[f"u{i}@d{i}.example" for i in range(300)])
    seen = g.wait_status(sent, "delivered")
    assert len(g.captures(sent)) == 300
    assert not any(r["uncertain"] for r in seen["recipients"])
    assert g.stop() == 0


def test_a_key_that_cannot_be_read_is_said_at_the_start(gateway):
    g = gateway()
    assert g.stop() == 0
    path = os.path.join(g.state, "keys", "dev-rsa.pem")
    with open(path, "w", encoding="ascii") as f:
        f.write("no key")
    again = gateway(state=g.state, start=False).spawn()
    assert again.process.wait(LIMIT_S) == 78
    assert "dev-rsa.pem" in again.log()
    with open(path, encoding="ascii") as f:
        assert f.read() == "no key", "a key that was published is never replaced"
