"""The web console, in a browser that nobody looks at: what a person who is asked "where is my mail?" does."""
import json
import os
import re
import shutil
import subprocess
import urllib.parse

import pytest
from hostile import Nice, World
from support import LIMIT_S, ROOT, temporary_state, wait_until
from test_https import ADMIN, KEY, MAIL, g  # noqa: F401

CHROMIUM = "/usr/bin/chromium"
FOLDER = os.path.join(ROOT, "api/console")
SCRIPT = os.path.join(ROOT, "tests/system/node/console.js")
pytestmark = [pytest.mark.release_only(reason="a browser is at work; what it asks for, others ask for too"),
              pytest.mark.skipif(not os.path.exists(CHROMIUM) or shutil.which("node") is None,
                                 reason="no browser")]


@pytest.fixture(scope="module")
def world():
    from conftest_shared import clean_up, make_gateways
    started, make = make_gateways()
    w = World(make)
    w.point("good.test", w.home)
    yield w
    clean_up(started)
    w.close()


@pytest.fixture(name="browse")
def browse_fixture(world):
    """Does a step of console.js; what it saw. Nothing but the gateway is asked for anything, no key is in
    an address, and neither the page nor its policy complains."""
    folder = temporary_state()

    def browse(step, complaints=(), base=None, **wanted):
        base = base or f"http://{world.gw.ready['http']}"
        wanted.update(step=step, base=base, dir=folder, limit_ms=LIMIT_S * 1000)
        done = subprocess.run(["node", SCRIPT, json.dumps(wanted)], capture_output=True, text=True, check=False,
                              timeout=2 * LIMIT_S,
                              env=dict(os.environ, HOME=folder, TMPDIR=folder,
                                       NODE_PATH=os.path.join(ROOT, "build/node/node_modules")))
        assert done.returncode == 0, done.stderr[-4000:]
        out = json.loads(done.stdout)
        unexpected = [t for t in out["trouble"] if not any(c in t for c in complaints)]
        assert unexpected == []
        assert all(u.startswith(base + "/") for u in out["requests"]), out["requests"]
        assert not any("dev" in urllib.parse.urlsplit(u).query for u in out["requests"])
        return out["seen"]

    yield browse
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(name="refusing", scope="module")
def refusing_fixture(world):
    """A domain whose host says no and tries its luck with a browser."""
    text = b"550 5.1.1 <b>No</b> <img src=x onerror=alert(1)><script>alert(2)</script> 'mailbox' & \"more\"\r\n"
    host = world.host(Nice(rcpt=text))
    world.point("refusing.test", host)
    return text.decode().strip()


def test_the_page_comes_with_a_strict_policy(world):
    for path in ("/", "/console/app.js", "/console/style.css", "/console/icon.svg"):
        answer = world.gw.http("GET", path, key=None)
        assert answer.status == 200
        policy = answer.headers["Content-Security-Policy"].split("; ")
        assert {"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'",
                "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'",
                "require-trusted-types-for 'script'"} <= set(policy)
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Cache-Control"] == "no-store"
    for path in ("/console/none.js", "/console/", "/console/..%2Fembed.sh", "/console/embed.sh"):
        assert world.gw.http("GET", path, key=None).status in (400, 404)
    assert world.gw.http("POST", "/", b"", key=None).status == 405


def test_every_file_is_served_as_it_is(world):
    names = [n for n in os.listdir(FOLDER) if n.endswith((".js", ".css", ".svg"))]
    assert len(names) > 5
    for name in names + ["index.html"]:
        with open(os.path.join(FOLDER, name), "rb") as f:
            expected = f.read()
        path = "/" if name == "index.html" else f"/console/{name}"
        assert world.gw.http("GET", path, key=None).body == expected, name


def test_no_string_becomes_markup():
    ways = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser|srcdoc|javascript:"
    for name in os.listdir(FOLDER):
        with open(os.path.join(FOLDER, name), encoding="utf-8") as f:
            text = f.read()
        assert not re.search(ways, text), name
        assert not re.search(r"\sstyle=|\son\w+=", text) or not name.endswith(".html")
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text), name


def test_search_finds_the_mail(world, browse):
    world.gw.wait_status(world.gw.accepted(to="anna@good.test", subject="Order <1>"), "delivered")
    seen = browse("search", to="anna@good.test")
    assert len(seen["rows"]) == 1 and "Order <1>" in seen["rows"][0] and "delivered" in seen["rows"][0]


def test_search_finds_it_by_its_id(world, browse):
    message = world.gw.accepted(to="id@good.test", subject="By its id")
    world.gw.wait_status(message, "delivered")
    assert "By its id" in browse("by_id", id=message)["heading"][0]


def test_the_trace_has_the_exact_reply_and_markup_in_it_is_text(world, browse, refusing):
    world.gw.wait_status(world.gw.accepted(to="a@refusing.test"), "bounced")
    seen = browse("trace", to="a@refusing.test")
    assert refusing in seen["replies"] and seen["bold"] == 0
    assert any("Bounced" in item and "a@refusing.test" in item for item in seen["timeline"])


def test_cancel_asks_and_cancels(world, browse):
    host = world.host(Nice(rcpt=b"451 4.3.0 later\r\n"))
    world.point("later.test", host)
    message = world.gw.accepted(to="a@later.test")
    world.gw.wait_status(message, "deferred")
    seen = browse("cancel", to="a@later.test")
    assert seen == {"kept": ["deferred"], "now": ["cancelled"], "actions": 0}
    assert world.gw.message(message)["status"] == "cancelled"


def test_a_wrong_key_is_said_and_keys_stay_in_the_tab(world, browse):
    world.gw.wait_status(world.gw.accepted(to="b@good.test"), "delivered")
    seen = browse("key", complaints=["401"])
    assert "not known" in seen["alert"][0]
    assert "No message matches" in seen["other"][0]
    session, local, cookie = seen["kept"]
    assert "dev2" in session and local == [] and cookie == ""


def test_suppressions(browse):
    seen = browse("suppressions", to="no-more@good.test")
    assert len(seen["added"]) == 1 and "by hand" in seen["added"][0]


@pytest.mark.parametrize("width,colours", [(1280, "dark"), (800, "dark"), (360, "light")])
def test_the_views_show_something_and_fit(world, browse, refusing, width, colours):
    host = world.host(Nice(rcpt=b"452 4.2.2 full\r\n"))
    world.point(f"full{width}.test", host)
    world.gw.wait_status(world.gw.accepted(to="a@refusing.test"), "bounced")
    world.gw.wait_status(world.gw.accepted(to=f"a@full{width}.test"), "deferred")
    seen = browse("views", viewport={"width": width, "height": 740}, colours=colours)
    assert f"full{width}.test" in seen["queue"][0] and "452 4.2.2 full" in seen["queue"][0]
    assert refusing in seen["failures"][0]
    assert "Accepted per minute" in seen["rates"][0] and "Half are delivered within" in seen["rates"][0]
    assert [n for n in seen if n.endswith("too wide") and seen[n] > 0] == []


def test_captured_mail(gw, browse):
    gw.wait_capture(gw.accepted(subject="Captured <i>it</i>", text="A <b>bold</b> thank you"))
    seen = browse("captured", base=f"http://{gw.ready['http']}", subject="Captured <i>it</i>")
    assert "A <b>bold</b> thank you" in seen["raw"][0] and "DKIM-Signature:" in seen["raw"][0]
    assert "Captured <i>it</i>" in seen["heading"][0]


def test_an_operator_over_tls(g, browse):  # noqa: F811
    assert g.from_afar("/") == 200 and g.from_afar("/console/app.js") == 200  # for everybody: holds nothing
    assert g.https("POST", "/v1/messages", KEY, MAIL).status == 202
    wait_until("it waits", lambda: g.https("GET", "/v1/queues", ADMIN).json["data"])
    seen = browse("operator", complaints=["422", "400"], base=f"https://localhost:{g.https_port}", key=ADMIN,
                  to=MAIL["to"], tenant="shop")
    assert not any("Captured" in v for v in seen["before"])
    assert any("customer.example" in row and "shop" in row for row in seen["queue"])
    assert seen["sorted"] == "ascending"


def test_the_keyboard_is_enough(world, browse):
    world.gw.wait_status(world.gw.accepted(to="keys@good.test", subject="By keyboard"), "delivered")
    assert "By keyboard" in browse("keyboard", to="keys@good.test")["heading"][0]
