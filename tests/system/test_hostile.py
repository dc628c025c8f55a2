"""What strangers, accidents and small machines do to the whole program."""
from support import wait_until


def test_a_report_is_counted_and_logged_once(gw):
    sent = gw.accepted(to="bounce@customer.example")
    gw.wait_status(sent, "bounced")
    wait_until("the report is enqueued", lambda: gw.events("ndr.enqueued"))
    assert [e["to"] for e in gw.events("ndr.enqueued")] == ["shop@example.com"]
    assert gw.metric("stagepost_ndr_total") == 1
