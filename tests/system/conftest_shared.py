import functools
import os
import re
import shutil
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import support  # noqa: E402


def make_gateways():
    started = []

    def make(*args, binary=None, env=None, state=None, start=True):
        g = support.Gateway(state or support.temporary_state(), args, env, binary)
        started.append(g)
        return g.start() if start else g

    return started, make


def clean_up(started):
    for g in started:
        g.kill_all()
    reports = [g.sanitizer_report() for g in started]
    for state in {g.state for g in started}:
        shutil.rmtree(state, ignore_errors=True)
    assert not any(reports), "\n".join(reports)


@pytest.fixture
def gateway():
    """A function that starts gateways of the test's own."""
    started, make = make_gateways()
    yield make
    clean_up(started)


@pytest.fixture(scope="module")
def gw():
    """One gateway for all tests of a file."""
    started, make = make_gateways()
    yield make()
    clean_up(started)


# What takes longest is begun first, so that nothing long is left for one worker at the end.
LONGEST = ["test_kills", "test_takeover", "test_testssl", "test_credentials_api", "test_console", "test_injection",
           "test_judges", "test_front_door_limits", "test_backup", "test_failpoints", "test_reload",
           "test_unknown_commit", "test_lifecycle", "test_interop_clients", "test_client_texts"]


def pytest_collection_modifyitems(items):
    def rank(item):
        name = item.module.__name__.rsplit(".", 1)[-1]
        return LONGEST.index(name) if name in LONGEST else len(LONGEST)
    items.sort(key=rank)


@functools.cache
def shares_a_gateway(path):
    """Whether the tests of a file have something in common that is started once."""
    with open(os.path.join(support.ROOT, path), encoding="utf-8") as f:
        return re.search(r'\bgw\b|scope="module"', f.read()) is not None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A file goes to one worker where its tests share a gateway; other tests go where there is room."""
    from xdist.scheduler import LoadScopeScheduling

    class ByGateway(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            path = nodeid.split("::", 1)[0]
            return path if shares_a_gateway(path) else nodeid

    return ByGateway(config, log)


def pytest_configure(config):
    config.addinivalue_line("markers", "long: whole counts; make test-long")
    config.addinivalue_line("markers", "release_only(reason): nothing in it that a sanitizer could watch")
    support.make_users()
