import os
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


def pytest_configure(config):
    config.addinivalue_line("markers", "long: whole counts; make test-long")
    support.make_users()
