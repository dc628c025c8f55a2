"""The TLS of both SMTP ports as testssl.sh sees it, which others wrote. It looks at nothing beyond this machine."""
import json
import os
import shutil
import subprocess

import pytest

# What it would grade down and why that is as it should be.
ACCEPTED = {
    "engine_problem": "its own openssl",
    "service": "no HTTP, which is all that it would look at",
    "cert_revocation": "the certificate of development mode",
}
ALPN = "application_layer_protocol_negotiation extension"  # RFC 7301 3.2: no protocol but SMTP is agreed to
FINDINGS = {"SSLv2": "not offered", "SSLv3": "not offered", "TLS1": "not offered", "TLS1_1": "not offered",
            "TLS1_2": "offered", "TLS1_3": "offered with final", "cipherlist_NULL": "not offered",
            "cipherlist_aNULL": "not offered", "cipherlist_EXPORT": "not offered", "cipherlist_LOW": "not offered",
            "secure_renego": "supported", "sessionresumption_ticket": "not supported"}
# Both ports have one TLS context: a minute for all that it knows is spent on one of them.
CHECKS = {"implicit TLS": ["-p", "-s", "-P", "-f", "-S", "-U", "-g"], "starttls": ["-p", "-s", "-S", "-R"]}
NOT_VULNERABLE = ("heartbleed", "CCS", "ROBOT", "secure_client_renego", "CRIME_TLS", "POODLE_SSL", "SWEET32",
                  "FREAK", "DROWN", "LOGJAM", "BEAST", "LUCKY13", "RC4")


@pytest.mark.release_only(reason="OpenSSL is the same there, and it takes a minute")
@pytest.mark.parametrize("door", CHECKS)
def test_grades(gw, tmp_path, door):
    testssl = shutil.which("testssl") or shutil.which("testssl.sh")
    if testssl is None:
        assert not os.environ.get("CI"), "testssl.sh must be installed"
        pytest.skip("not installed: relay/dist/install-packages.sh test")
    port = gw.ready["smtp" if door == "starttls" else "smtps"].rsplit(":", 1)[1]
    with open(tmp_path / "said.txt", "wb") as out:
        subprocess.run([testssl, "--quiet", "--color", "0", "--warnings", "off", "--nodns", "none", "--ip",
                        "127.0.0.1", "--add-ca", gw.ready["ca"], "--connect-timeout", "60", "--openssl-timeout",
                        "120", *CHECKS[door], "--jsonfile", "found.json",
                        *(["-t", "smtp"] if door == "starttls" else []), f"localhost:{port}"],
                       cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=out, stderr=out, check=False)
    said = (tmp_path / "said.txt").read_text(errors="replace")
    found = json.loads((tmp_path / "found.json").read_text())
    by_id = {x["id"]: x for x in found}
    assert "scanTime" in by_id, said
    assert {i: by_id[i]["finding"] for i in FINDINGS} == FINDINGS, said
    if "-U" in CHECKS[door]:
        assert [i for i in NOT_VULNERABLE if by_id[i]["severity"] != "OK"] == [], said
    offered = [i for i, x in by_id.items() if i.startswith("cipherlist_") and x["finding"] == "offered"]
    assert offered and all("STRONG" in i for i in offered), said
    bad = [x for x in found if x["severity"] not in ("OK", "INFO", "LOW") and x["id"] not in ACCEPTED]
    bad = [x for x in bad if not (x["id"] == "GREASE" and ALPN in x["finding"])]
    assert bad == [], said
