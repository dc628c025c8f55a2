"""End to end: accept, sign, commit, deliver; 20 persistent sessions.

Starts the release build in development mode with the sink as its MX, sends
MESSAGES of each size, and prints a table: rate end to end, latency of the 250
and of delivery, CPU per message and memory by process, and what `openssl speed`
says of the same machine in the same run. Options: --messages N, --workers N,
--signers N, --sizes 2,10,100 (KB).
"""
import argparse
import json
import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(ROOT, "build", "release")
TICK = os.sysconf("SC_CLK_TCK")
LIMIT_S = 600


def processes(root_pid):
    """pid -> role for the program and all its children."""
    parents, names = {}, {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", encoding="latin-1") as f:
                text = f.read()
            with open(f"/proc/{name}/cmdline", "rb") as f:
                words = f.read().decode("latin-1").split("\0")
        except OSError:
            continue
        parents[int(name)] = int(text[text.rindex(")") + 2:].split()[1])
        names[int(name)] = words
    found, front = {root_pid: "supervisor"}, [root_pid]
    while front:
        front = [p for p, parent in parents.items() if parent in front]
        for p in front:
            words = names[p]
            role = words[2] if len(words) > 2 and words[1] == "child" else "redis-server"
            found[p] = "keeper" if role == "redis" else role
    return found


def usage(pids):
    """role -> (CPU seconds, resident MB)"""
    out = {}
    for pid, role in pids.items():
        with open(f"/proc/{pid}/stat", encoding="latin-1") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        cpu = (int(fields[11]) + int(fields[12])) / TICK
        mb = int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 1e6
        old = out.get(role, (0, 0))
        out[role] = (old[0] + cpu, old[1] + mb)
    return out


def read_line(process):
    out, end = b"", time.monotonic() + LIMIT_S
    while not out.endswith(b"\n"):
        if time.monotonic() > end:
            sys.exit("bench: no answer")
        if select.select([process.stdout], [], [], 1)[0]:
            piece = os.read(process.stdout.fileno(), 1)
            if not piece:
                sys.exit("bench: a process ended early")
            out += piece
    return out.decode()


def openssl_signs():
    """RSA-2048 signatures a second on all cores."""
    out = subprocess.run(["openssl", "speed", "-multi", str(os.cpu_count()), "-seconds", "3",
                          "rsa2048"], capture_output=True, text=True, check=True).stdout
    return float(re.search(r"rsa 2048 bits\s+\S+\s+\S+\s+([\d.]+)", out).group(1))


def one_size(args, kb):
    state = tempfile.mkdtemp(prefix="sp-bench-")
    sink = subprocess.Popen([os.path.join(BUILD, "bench/sink"), str(args.messages)],
                            stdout=subprocess.PIPE)
    gateway = None
    try:
        port = read_line(sink).strip()
        with open(os.path.join(state, "log"), "wb") as log:
            gateway = subprocess.Popen(
                [os.path.join(BUILD, "stagepost"), "dev", "--smtp-port", "0", "--smtps-port", "0",
                 "--http-port", "0", "--dns-port", "0", "--state", os.path.join(state, "s"),
                 "--workers", str(args.workers), "--signers", str(args.signers), "--mx-port", port],
                stdout=subprocess.PIPE, stderr=log)
        ready = json.loads(read_line(gateway))
        pids = processes(gateway.pid)
        before = usage(pids)
        load = json.loads(subprocess.run(
            [os.path.join(BUILD, "bench/load"), ready["smtps"], ready["ca"], str(args.sessions),
             str(args.messages), str(kb * 1000)],
            stdout=subprocess.PIPE, text=True, check=True, timeout=LIMIT_S).stdout)
        got = json.loads(read_line(sink))
        after = usage(pids)
        return load, got, {r: (after[r][0] - before[r][0], after[r][1]) for r in after}
    finally:
        for p in (gateway, sink):
            if p is not None and p.poll() is None:
                p.terminate()
                try:
                    p.wait(30)
                except subprocess.TimeoutExpired:
                    p.kill()
        shutil.rmtree(state, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=5000)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--signers", type=int, default=1)
    parser.add_argument("--sizes", default="2,10,100")
    args = parser.parse_args()
    signs = openssl_signs()
    print(f"openssl speed -multi {os.cpu_count()} rsa2048: {signs:.0f} signatures/s")
    print(f"{args.sessions} sessions, {args.messages} messages a size, RSA-2048 and Ed25519, "
          f"{args.workers} worker(s), {args.signers} signer(s)\n")
    print("| size | end to end msg/s | of openssl | 250 p50 / p99 ms | delivery p50 / p99 ms "
          "| CPU ms per message | memory MB |\n|---|---|---|---|---|---|---|")
    for kb in [int(x) for x in args.sizes.split(",")]:
        load, got, use = one_size(args, kb)
        seconds = (got["last_us"] - load["start_us"]) / 1e6
        rate = got["messages"] / seconds
        roles = ["worker", "signer", "redis-server"]
        cpu = ", ".join(f"{r} {1000 * use[r][0] / args.messages:.2f}" for r in roles)
        mem = ", ".join(f"{r} {use[r][1]:.0f}" for r in roles)
        print(f"| {kb} KB | {rate:.0f} | {100 * rate / signs:.0f} % "
              f"| {load['p50_us'] / 1000:.1f} / {load['p99_us'] / 1000:.1f} "
              f"| {got['p50_us'] / 1000:.1f} / {got['p99_us'] / 1000:.1f} | {cpu} | {mem} |",
              flush=True)


main()
