"""`stagepost check relay`, and the commands with a configuration file."""
import os
import subprocess

import pytest
import support
from support import BIN, LIMIT_S
from test_serve import dev, openssl, served  # noqa: F401

pytestmark = pytest.mark.usefixtures("dev")


def check(*words):
    r = subprocess.run([os.path.join(support.ROOT, BIN), "check", "relay", *words],
                       capture_output=True, text=True, timeout=LIMIT_S, check=False)
    return r.returncode, r.stdout.splitlines(), r.stderr


def marks(lines):
    """{"smtp": {"ok"}, ...}: what was said of each kind of thing."""
    out = {}
    for line in lines:
        mark, what = line.split()[:2]
        out.setdefault(what.rstrip(":"), set()).add(mark)
    return out


def lasting_certificate(g):
    openssl("req", "-x509", "-key", g.file("tls.key"), "-days", "90", "-subj", "/CN=localhost",
            "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1",
            "-out", g.file("tls.pem"))


def test_all_is_well(served):  # noqa: F811
    g = served()
    lasting_certificate(g)
    g.start()
    code, lines, err = check("-c", g.path)
    assert (code, err) == (0, ""), (lines, err)
    assert marks(lines) == {k: {"ok"} for k in ("gateway", "certificate", "smtp", "smtps", "http")}
    assert len(lines) == 6 and "STARTTLS" in "\n".join(lines)
    assert f"smtp [::1]:{g.smtp6_port}: it answers, with STARTTLS" in "\n".join(lines)


def test_what_is_to_be_mended(served):  # noqa: F811
    g = served()  # its certificate is valid for two days
    code, lines, err = check("-c", g.path)
    assert code == 1 and err == ""
    assert marks(lines) == {k: {"MEND"} for k in ("gateway", "certificate", "smtp", "smtps", "http")}
    assert "no gateway is running" in lines[0] and " more days" in lines[1]
    assert "refused" in lines[2]


def test_the_way_out(served):  # noqa: F811
    """The sandbox's MX is on loopback, where mail must not go: that is said."""
    g = served()
    lasting_certificate(g)
    g.start()
    code, lines, _ = check("-c", g.path, "--to", "customer.example")
    assert code == 1 and marks(lines)["way"] == {"MEND"}
    assert marks(lines)["smtp"] == {"ok"} and "customer.example" in lines[-1]


def test_usage(served, dev):  # noqa: F811
    assert check("-c", "/proc/none")[0] == 78
    g = served()
    g.write(g.config() + 'unknown = "x";\n')
    assert check("-c", g.path)[0] == 78
    code, lines, _ = check("--state", dev.ready["state"])
    assert code == 0 and len(lines) == 1
    assert check("--state", dev.ready["state"], "--to", "x.example")[0] == 64
    assert check("--to", "no name", "-c", served().path)[0] == 64
    assert check("more")[0] == 64


def test_sendmail_by_the_file(served):  # noqa: F811
    """The credential and the host name are those of the file."""
    g = served()
    g.write(g.config() + 'sendmail_credential = "shop";\n')
    g.start()

    def sendmail(*words):
        return subprocess.run(["sendmail", "-C", g.path, *words, "a@customer.example"],
                              executable=os.path.join(support.ROOT, BIN), timeout=LIMIT_S,
                              input=b"Subject: x\n\nx\n", capture_output=True, check=False)

    assert sendmail("-f", "ops@example.com").returncode == 0
    foreign = sendmail()  # user@localhost is not the credential's
    assert foreign.returncode == 77 and b"localhost" in foreign.stderr
