"""What an operator watches: metrics, alert rules, the dashboard, log lines."""
import contextlib
import fcntl
import json
import os
import re
import select
import signal
import subprocess
import time

import pytest
import yaml
from support import LIMIT_S, ROOT, is_alive, wait_until

DIST = os.path.join(ROOT, "relay/dist")
PROMTOOL = os.path.join(ROOT, "build/prometheus/usr/bin/promtool")
has_promtool = pytest.mark.skipif(not os.path.exists(PROMTOOL), reason="no promtool")
SERIES = re.compile(r"^(stagepost_\w+)(?:\{(.*)\})? (\S+)$")


def scrape(gw):
    """{series: value}, and the text."""
    answer = gw.http("GET", "/metrics", key=None)
    assert answer.status == 200
    text = answer.body.decode()
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            series, value = line.rsplit(" ", 1)
            assert SERIES.match(line), line
            assert series not in found, f"{series} stands there twice"
            found[series] = float(value)
    return found, text


def families(text):
    return dict(re.findall(r"^# TYPE (\S+) (\w+)$", text, flags=re.M))


def promtool(*words, text=None):
    done = subprocess.run([PROMTOOL, *words], input=text, capture_output=True, text=True, check=False,
                          cwd=ROOT, timeout=LIMIT_S)
    assert done.returncode == 0, done.stdout + done.stderr


# ---- metrics --------------------------------------------------------------------

@has_promtool
def test_promtool_likes_the_metrics(gw):
    promtool("check", "metrics", text=scrape(gw)[1])


def test_every_series_is_there_from_the_start_and_no_stranger_adds_one(gw):
    before = set(scrape(gw)[0])
    assert 'stagepost_delivery_attempts_total{provider="google",result="bounced"}' in before
    for i in range(3):
        gw.wait_status(gw.accepted(to=f"bounce@d{i}.test", subject='x"} 1 stagepost_up 0'), "bounced")
    for path in ("/nothing", "/v1/messages/x%22", "/v1/queues/a%0Ab"):
        assert gw.http("GET", path, key="wrong").status in (400, 401, 404)
    gw.http("POST", "/v1/messages", {"from": "nobody@elsewhere.test"}, key="dev2")
    assert set(scrape(gw)[0]) == before


def test_they_count(gw):
    before = scrape(gw)[0]
    gw.wait_status(gw.accepted(), "delivered")
    gw.wait_status(gw.accepted(to="bounce@customer.example"), "bounced")
    gw.wait_status(gw.accepted(to="full@customer.example"), "deferred")
    assert gw.send(key="wrong").status == 401
    assert gw.send(key="dev2").status == 403  # shop@example.com is not its sender
    with gw.smtp():
        during = scrape(gw)[0]
        assert during['stagepost_connections{side="smtp"}'] >= 1

    def more(series):
        return scrape(gw)[0][series] - before[series]

    for series, least in [
            ('stagepost_accepted_messages_total{source="http"}', 3),
            ('stagepost_delivery_attempts_total{provider="other",result="delivered"}', 1),
            ('stagepost_delivery_attempts_total{provider="other",result="bounced"}', 1),
            ('stagepost_delivery_attempts_total{provider="other",result="deferred"}', 1),
            ('stagepost_rejected_submissions_total{source="http",reason="sender"}', 1),
            ('stagepost_http_requests_total{route="messages",code="2xx"}', 3),
            ('stagepost_http_requests_total{route="messages",code="4xx"}', 2),
            ("stagepost_http_auth_failures_total", 1),
            ('stagepost_smtp_auth_total{result="ok"}', 1),
            ('stagepost_tls_sessions_total{side="smtp",version="1.3"}', 1),
            ("stagepost_time_to_delivery_seconds_count", 1),
            ("stagepost_dkim_sign_seconds_count", 3),
            ("stagepost_redis_latency_seconds_count", 3),
            ("stagepost_http_request_seconds_count", 5),
            ('stagepost_attempt_duration_seconds_count{stage="data"}', 1),
            ('stagepost_attempt_duration_seconds_count{stage="mail"}', 3)]:
        wait_until(f"{series} has grown by {least}", lambda s=series, n=least: more(s) >= n)
    now = scrape(gw)[0]
    assert now["stagepost_up"] == 1 and now["stagepost_queue_full"] == 0
    assert now["stagepost_redis_links_up"] > 0
    assert now['stagepost_queue_messages{state="scheduled"}'] >= 1
    assert now["stagepost_tls_certificate_expiry_seconds"] > time.time()
    gw.advance("2h")
    wait_until("the oldest is old", lambda: scrape(gw)[0]["stagepost_queue_oldest_age_seconds"] > 7000)


def test_histograms_add_up(gw):
    gw.wait_status(gw.accepted(), "delivered")
    for name in [n for n, kind in families(scrape(gw)[1]).items() if kind == "histogram"]:
        values, text = scrape(gw)
        for labels in {m[1] for m in re.findall(rf"^({name}_count)(\{{.*\}})? ", text, flags=re.M)}:
            inside = labels[1:-1] + "," if labels else ""
            buckets = [v for s, v in values.items() if s.startswith(f"{name}_bucket{{{inside}le=")]
            assert buckets == sorted(buckets) and len(buckets) > 10, name
            assert buckets[-1] == values[f"{name}_count{labels}"], name


def test_all_workers_say_the_same_and_a_dead_one_is_not_forgotten(gateway):
    g = gateway("--workers", "2")
    for _ in range(4):
        g.wait_status(g.accepted(), "delivered")
    name = 'stagepost_accepted_messages_total{source="http"}'
    assert {g.metric(name) for _ in range(12)} == {4}
    sessions = [g.smtp() for _ in range(4)]
    wait_until("four sessions", lambda: g.metric('stagepost_connections{side="smtp"}') == 4)
    for pid in g.children("worker"):
        os.kill(pid, signal.SIGKILL)
        wait_until("it is gone", lambda p=pid: not is_alive(p))
    with contextlib.suppress(OSError):
        wait_until("new workers", lambda: len(g.children("worker")) == 2)

    def told(series):
        with contextlib.suppress(OSError, AssertionError):
            return g.metric(series)
        return None

    wait_until("the deaths are counted", lambda: told('stagepost_child_deaths_total{role="worker"}') == 2)
    assert told(name) == 4
    wait_until("their sessions are over", lambda: told('stagepost_connections{side="smtp"}') == 0)
    for s in sessions:
        s.close()


def test_the_list_of_metrics_is_complete(gw):
    with open(os.path.join(ROOT, "api/README.md"), encoding="utf-8") as f:
        section = f.read().split("## Metrics\n")[1].split("\n## ")[0]
    listed = re.findall(r"^\| `(\w+)` \| (\w+) \|", section, flags=re.M)
    assert {f"stagepost_{name}": kind for name, kind in listed} == families(scrape(gw)[1])
    assert len(listed) == len({name for name, _ in listed})


# ---- rules and dashboard -----------------------------------------------------------

def names_in(text):
    return {re.sub(r"_(bucket|sum|count)$", "", n) for n in re.findall(r"\bstagepost_\w+", text)}


@has_promtool
def test_the_alert_rules_fire_when_they_should():
    promtool("check", "rules", "relay/dist/alerts.yml")
    promtool("test", "rules", "tests/system/alerts_test.yml")


def test_every_alert_has_a_test():
    with open(os.path.join(DIST, "alerts.yml"), encoding="utf-8") as f:
        rules = yaml.safe_load(f)["groups"][0]["rules"]
    with open(os.path.join(ROOT, "tests/system/alerts_test.yml"), encoding="utf-8") as f:
        tested = set(re.findall(r"\b(Stagepost\w+)\b", f.read()))
    assert {r["alert"] for r in rules} == tested
    assert all(r["annotations"]["summary"] and r["labels"]["severity"] in ("page", "ticket") for r in rules)


@pytest.mark.parametrize("name", ["alerts.yml", "grafana-dashboard.json"])
def test_rules_and_dashboard_ask_for_metrics_that_exist(gw, name):
    with open(os.path.join(DIST, name), encoding="utf-8") as f:
        text = f.read()
    known = families(scrape(gw)[1])
    assert names_in(text) - set(known) == set()
    values = scrape(gw)[0]
    labels = {(m[0], m[1]) for s in values for m in re.findall(r'(\w+)="([^"]*)"', s)}
    for key, value in re.findall(r'(\w+)=\\?"([\w-]+)\\?"', text):
        assert (key, value) in labels, (key, value)


def test_the_dashboard_is_one():
    with open(os.path.join(DIST, "grafana-dashboard.json"), encoding="utf-8") as f:
        panels = json.load(f)["panels"]
    assert len({p["id"] for p in panels}) == len(panels)
    taken = set()
    for p in panels:
        g = p["gridPos"]
        cells = {(x, y) for x in range(g["x"], g["x"] + g["w"]) for y in range(g["y"], g["y"] + g["h"])}
        assert g["x"] + g["w"] <= 24 and not cells & taken, p["title"]
        taken |= cells
        assert p["type"] == "row" or p["targets"]


# ---- log lines -----------------------------------------------------------------------

FIRST = ["ts", "level", "event"]
IDS = ["msg", "attempt", "session"]


def test_log_lines(gateway):
    """Each is one JSON object of at most 4096 bytes: time, level, event, process, then the ids."""
    g = gateway()
    hostile = 'a"}\n{"event":"forged"}\x1b[2J\u009b\u2028' + "é" * 400
    assert g.send(to="anna@customer.example", subject=hostile).status == 422
    for to in ("bounce@customer.example", "full@customer.example", "anna@customer.example"):
        g.wait_status(g.accepted(to=to), ["bounced", "deferred", "delivered"])
    assert g.http("GET", "/v1/messages/" + "%1b%5b2J" * 200).status in (400, 401, 404, 414)
    with contextlib.suppress(Exception), g.smtp(user="x\x1b[2J" + "y" * 300, password="no"):
        pass
    with open(g.log_path, "rb") as f:
        lines = f.read().splitlines(keepends=True)
    processes, with_ids = set(), 0
    for line in lines:
        assert line.endswith(b"\n") and len(line) <= 4096
        assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]", line), line
        pairs = json.loads(line, object_pairs_hook=list)
        keys = [k for k, _ in pairs]
        assert keys[:3] == FIRST and len(set(keys)) == len(keys), line
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", pairs[0][1])
        assert pairs[1][1] in ("debug", "info", "notice", "warn", "error")
        assert re.fullmatch(r"[a-z0-9]+([.-][a-z0-9]+)*", pairs[2][1]), line
        processes.add(keys[3])
        ids = [k for k in keys if k in IDS]
        assert keys[4:4 + len(ids)] == [k for k in IDS if k in ids], line
        with_ids += len(ids) > 0
        assert pairs[2][1] != "forged"
    assert {"worker", "supervisor"} <= processes and with_ids >= 6
    assert b"Thank you" not in b"".join(lines)  # no message body ever


def test_a_reader_of_the_log_that_stands_still_stops_nothing(gateway):
    g = gateway(start=False)
    os.makedirs(g.state, exist_ok=True)
    fifo = os.path.join(g.state, "test.log")
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
    try:
        g.start()
        g.log_path = None  # nobody else may read it
        for i in range(30):
            g.wait_status(g.accepted(to=f"a{i}@customer.example"), "delivered")
        assert g.metric("stagepost_log_lines_dropped_total") > 0
        got = b""
        while select.select([reader], [], [], 0)[0]:
            piece = os.read(reader, 65536)
            if not piece:
                break
            got += piece
        assert got.endswith(b"\n") and all(json.loads(line) for line in got.splitlines())
        g.wait_status(g.accepted(), "delivered")
        g.process.send_signal(signal.SIGTERM)
        wait_until("it has ended", lambda: g.process.poll() is not None)
    finally:
        os.close(reader)
