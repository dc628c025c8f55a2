"""AUT-02 of tests/CASES.md by the clock: how long a refusal takes does not say whether the name is known.

Each connection comes from an address of its own (failures are counted by network) and tries a name that
somebody has and one that nobody has, in random order, so that whatever else the machine does falls on
both alike. The hash is a quick one: beside a slow one the rest would not be seen."""
import base64
import random
import shutil
import statistics
import subprocess
import time

import pytest
import support
from raw_smtp import Raw
from test_credentials import Policies

NAMES, ROUNDS = 600, 17  # below the 20 failures from which a name has pauses: 10,200 pairs


class Many(Policies):
    """Many credentials with quick hashes."""

    def credentials(self):
        made = subprocess.run(["openssl", "passwd", "-6", "-salt", "rounds=1000$saltsalt", "right"],
                              check=True, capture_output=True, text=True)
        return ", ".join(f'{{ user = "name{i}"; password_hash = "{made.stdout.strip()}"; tenant = "t"; '
                         f'senders = [ "example.com" ]; }}' for i in range(NAMES))


@pytest.fixture(scope="module")
def many():
    dev = support.Gateway(support.temporary_state()).start()
    folder = support.temporary_state()
    g = Many(folder, dev.ready["dns"]).start()
    yield g
    for each in (g, dev):
        each.kill_all()
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(dev.state, ignore_errors=True)


def seconds_of_a_refusal(s, user):
    line = b"AUTH PLAIN " + base64.b64encode(b"\0" + user.encode() + b"\0wrong") + b"\r\n"
    before = time.perf_counter()
    s.sock.sendall(line)
    code, _ = s.reply()
    assert code == 535, code
    return time.perf_counter() - before


def pair(g, number, order):
    """Seconds for the known and the unknown name of this number."""
    source = f"127.{10 + number // 60000}.{number // 250 % 240 + 1}.{number % 250 + 1}"
    took = {}
    with Raw(g, implicit=True, source=source) as s:
        assert s.command(b"EHLO c.example")[0] == 250
        for kind in order:
            took[kind] = seconds_of_a_refusal(s, f"{kind}{number % NAMES}")
    return took["name"], took["none"]


def middle(values):
    """The mean without the tenth at either end: a pause of the machine is no property of a name."""
    values = sorted(values)
    return statistics.fmean(values[len(values) // 10:len(values) - len(values) // 10])


@pytest.mark.long
def test_time_does_not_tell_names(many):
    rng, kinds = random.Random(2), ["name", "none"]
    pairs = [pair(many, n, rng.sample(kinds, 2)) for n in range(NAMES * ROUNDS)]
    known, unknown = zip(*pairs)
    sigma = 1.4826 * statistics.median(abs(x - statistics.median(unknown)) for x in unknown)
    differences = [a - b for a, b in pairs]
    difference = middle(differences)
    error = 1.4826 * statistics.median(abs(d - difference) for d in differences) / len(pairs) ** 0.5
    print(f"\n{len(pairs)} pairs: known {1e6 * middle(known):.0f} us, unknown {1e6 * middle(unknown):.0f} us, "
          f"difference {1e6 * difference:.1f} +- {1e6 * error:.1f} us, one sigma of a try {1e6 * sigma:.0f} us")
    assert abs(difference) < sigma
