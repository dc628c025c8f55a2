"""Include direction: who may include whom (relay/README.md, "Direction").

Each folder has a list of the folders that it may include. Only
relay/sys/net/ touches libuv and OpenSSL's ssl.h.
"""
import re
import subprocess
import sys

BASE = ["relay/sys/base"]
NET = BASE + ["relay/sys/net"]
CONFIG = ["relay/sys/config"]
# Longest prefix wins. A folder may always include itself.
MAY_INCLUDE = {
    "relay/sys/base": [],
    # The file has addresses and domain names in it: there is one parser of each.
    "relay/sys/config": NET + ["relay/wire/address.h"],
    "relay/sys/net": BASE,
    "relay/wire": BASE,
    "queue": NET,
    "dkim": NET + ["relay/wire"] + CONFIG,
    "relay/event": NET + ["relay/wire", "queue/queue.h"],
    "relay/accept": NET + ["relay/wire", "queue", "dkim"] + CONFIG,
    "relay/accept/smtp": NET + ["relay/wire", "relay/accept", "queue/queue.h"] + CONFIG,
    "relay/deliver": NET + ["relay/wire", "queue", "dkim", "relay/event"] + CONFIG,
    "relay/sandbox": NET + ["relay/wire"],
    "api": NET + ["relay/wire", "relay/accept/submit.h", "relay/accept/credential.h",
                  "relay/accept/credential_registry.h", "relay/accept/credential_secret.h",
                  "relay/accept/api_key.h", "relay/accept/lint.h", "relay/accept/wishes.h",
                  "relay/accept/control.h",
            "relay/accept/policy/preflight.h", "queue/queue.h", "queue/operate.h", "queue/registry.h",
                  "queue/suppression.h", "relay/sandbox/store.h"] + CONFIG,
    "relay/cli": ["relay/", "dkim", "queue", "api"],
    "relay/sys/proc": ["relay/", "dkim", "queue", "api"],
    "relay/main.c": ["relay/", "dkim", "queue", "api"],
}


def rule_for(path):
    best = max((p for p in MAY_INCLUDE if path.startswith(p)), key=len, default=None)
    return best, MAY_INCLUDE.get(best)


def main():
    files = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--",
         "relay/*.[ch]", "dkim/*.[ch]", "api/*.[ch]", "queue/*.[ch]"],
        capture_output=True, text=True, check=True).stdout.split()
    bad = []
    for path in files:
        own, allowed = rule_for(path)
        if own is None:
            bad.append(f"{path}: no rule for this folder in tests/lint/includes.py")
            continue
        for number, line in enumerate(open(path, encoding="utf-8"), 1):
            m = re.match(r'\s*#\s*include\s+(["<])([^">]+)[">]', line)
            if not m:
                continue
            quoted, target = m.group(1) == '"', m.group(2)
            if target in ("uv.h", "openssl/ssl.h") and not path.startswith("relay/sys/net/"):
                bad.append(f"{path}:{number}: only relay/sys/net/ includes {target}")
            if not quoted or target == "queue/scripts.inc":
                continue
            if "/" not in target:
                bad.append(f"{path}:{number}: include \"{target}\" is not relative to the root")
            elif not target.startswith(own) and not any(target.startswith(a) for a in allowed):
                bad.append(f"{path}:{number}: {own} must not include {target}")
    print("\n".join(bad), end="\n" if bad else "")
    return 1 if bad else 0


sys.exit(main())
