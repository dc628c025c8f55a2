"""Builds and runs unit and system tests and prints `N passed, N failed`.

  --variant V   release (default), test or asan: the build that is tested.
                Tests that need fault points use build/test/ beside a release.
  --long        whole counts: also the tests marked `long`, and STAGEPOST_TEST_LONG=1 for unit tests
  --unit, --system   only one kind
  -k EXPR       passed to pytest
"""
import argparse
import concurrent.futures
import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ET

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PYTHON = "/usr/bin/python3"  # Debian's: the test packages are installed for it
UNIT_TIMEOUT_S = 300
LONG_TIMEOUT_S = 3600
IN_CI = os.environ.get("CI") == "true"


def step(name, since):
    print(f"-- {name}: {time.monotonic() - since:.1f} s", flush=True)


def build(variant, want_unit, want_system):
    targets = []
    if want_unit:
        targets += [os.path.relpath(program, ROOT) for _, program in unit_programs(variant)]
    if want_system:
        targets.append(f"build/{variant}/stagepost")
        if variant == "release":
            targets.append("build/test/stagepost")
    jobs = str(os.cpu_count() or 1)
    subprocess.run(["make", "-s", "-j", jobs, "WERROR=1"] + targets, cwd=ROOT, check=True)


def unit_variant(source, variant):
    """A test that sets fault points or scales time needs a build that has them."""
    with open(os.path.join(ROOT, source), encoding="utf-8") as f:
        text = f.read()
    needs = variant == "release" and any(
        w in text for w in ("FAILPOINT", "STAGEPOST_TIME_SCALE", "STAGEPOST_SECCOMP"))
    return "test" if needs else variant


def unit_programs(variant):
    """(source, program) of all unit tests."""
    found = []
    for folder, _, files in os.walk(os.path.join(ROOT, "tests", "unit")):
        for name in files:
            source = os.path.relpath(os.path.join(folder, name), ROOT)
            if name.endswith(".c") and "/support/" not in source:
                build_of = unit_variant(source, variant)
                found.append((source, os.path.join(ROOT, "build", build_of, source[:-2])))
    return sorted(found)


def run_unit(source, program, long_run):
    env = dict(os.environ, CMOCKA_MESSAGE_OUTPUT="STDOUT", STAGEPOST_TEST_LONG="1" if long_run else "0")
    limit_s = LONG_TIMEOUT_S if long_run else UNIT_TIMEOUT_S
    try:
        done = subprocess.run([program], cwd=ROOT, env=env, capture_output=True, text=True,
                              errors="replace", timeout=limit_s)
        out, code = done.stdout + done.stderr, done.returncode
    except subprocess.TimeoutExpired as e:
        out, code = f"{e.stdout}\nno end after {limit_s} s", 1
    passed = sum(int(n) for n in re.findall(r"\[  PASSED  \] (\d+) test", out))
    failed = sum(int(n) for n in re.findall(r"\[  FAILED  \] (\d+) test", out))
    skipped = re.findall(r"\[  SKIPPED \] (\w+)", out)
    if code != 0 and failed == 0:
        failed = 1  # a crash or a sanitizer report
    if code == 0 and passed == 0:
        failed = 1  # a test program without tests
    return source, passed, failed, skipped, out


def unit(variant, long_run):
    passed, failed, skips = 0, 0, []
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for source, p, f, s, out in pool.map(lambda x: run_unit(*x, long_run), unit_programs(variant)):
            passed, failed = passed + p, failed + f
            skips += [f"{source}: {name}" for name in s]
            if f:
                print(f"== {source}\n{out}")
    return passed, failed, skips


def system(variant, args):
    report = os.path.join(ROOT, "build", f"system-{variant}.xml")
    test_build = "asan" if variant == "asan" else "test"
    env = dict(os.environ,
               STAGEPOST_BIN=os.path.join(ROOT, "build", variant, "stagepost"),
               STAGEPOST_TEST_BIN=os.path.join(ROOT, "build", test_build, "stagepost"),
               PYTHONDONTWRITEBYTECODE="1")
    command = [PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "3", "--dist", "loadfile",
               f"--junitxml={report}", "tests/system", "tests/fault"]
    command += [] if args.long else ["-m", "not long"]
    command += ["-k", args.k] if args.k else []
    code = subprocess.run(command, cwd=ROOT, env=env).returncode
    if code not in (0, 1, 5) or not os.path.exists(report):
        return 0, 1, []
    passed, failed, skips = 0, 0, []
    for case in ET.parse(report).getroot().iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            failed += 1
        elif case.find("skipped") is not None:
            skips.append(f"{case.get('classname')}.{case.get('name')}")
        else:
            passed += 1
    return passed, failed, skips


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variant", default="release", choices=["release", "test", "asan"])
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--unit", action="store_true")
    parser.add_argument("--system", action="store_true")
    parser.add_argument("-k", default="")
    args = parser.parse_args()
    want_unit, want_system = args.unit or not args.system, args.system or not args.unit
    start = time.monotonic()
    build(args.variant, want_unit, want_system)
    step(f"build {args.variant}", start)
    passed, failed, skips = 0, 0, []
    for wanted, run, name in ((want_unit, lambda: unit(args.variant, args.long), "unit"),
                              (want_system, lambda: system(args.variant, args), "system")):
        if not wanted:
            continue
        start = time.monotonic()
        p, f, s = run()
        step(f"{name} tests {args.variant}: {p} passed, {f} failed", start)
        passed, failed, skips = passed + p, failed + f, skips + s
    for name in skips:
        print(f"skipped: {name}")
    if IN_CI and args.variant == "release":  # some skip what a sanitizer cannot do
        failed += len(skips)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


sys.exit(main())
