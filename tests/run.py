"""Builds and runs unit and system tests and prints `N passed, N failed`.

  --variant V   release (default), test or asan: the build that is tested.
                Tests that need fault points use build/test/ beside a release.
  --long        whole counts: also the tests marked `long`, and STAGEPOST_TEST_LONG=1 for unit tests
  --unit, --system   only one kind
  -k EXPR       passed to pytest
"""
import argparse
import collections
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
CORES = os.cpu_count() or 1
UNIT_JOBS = 2 * CORES  # most of them wait: for leases, for a Redis, for time limits
SYSTEM_JOBS = CORES + 3
WHY_LINES = 5    # of one failure, where all are told again at the end
TOLD_LINES = 32  # of all failures
# What tells most in the output of a unit test program.
TELLING = re.compile("ERROR|LINE  |FAILED  |in vain|SUMMARY:|runtime error|\"event\":\"bug\"|"
                     "no end after|ended by signal")
IN_CI = os.environ.get("CI") == "true"
# Numbers, names of what was skipped, and (name, [why]) of what failed.
Result = collections.namedtuple("Result", "passed failed skips failures")


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
    subprocess.run(["make", "-s", "-j", str(CORES), "WERROR=1"] + targets, cwd=ROOT, check=True)


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


def run_program(program, long_run):
    """(output, exit code) of a unit test program; one that does not end is ended, and failed."""
    env = dict(os.environ, CMOCKA_MESSAGE_OUTPUT="STDOUT", STAGEPOST_TEST_LONG="1" if long_run else "0")
    limit_s = LONG_TIMEOUT_S if long_run else UNIT_TIMEOUT_S
    try:
        done = subprocess.run([program], cwd=ROOT, env=env, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=limit_s)
    except subprocess.TimeoutExpired as e:
        return (e.stdout or b"").decode(errors="replace") + f"\nno end after {limit_s} s", 1
    out = done.stdout.decode(errors="replace")
    return out + (f"\nended by signal {-done.returncode}" if done.returncode < 0 else ""), done.returncode


def run_unit(source, program, long_run):
    start = time.monotonic()
    out, code = run_program(program, long_run)
    passed = sum(int(n) for n in re.findall(r"\[  PASSED  \] (\d+) test", out))
    failed = sum(int(n) for n in re.findall(r"\[  FAILED  \] (\d+) test", out))
    skipped = [f"{source}: {name}" for name in re.findall(r"\[  SKIPPED \] (\w+)", out)]
    if code != 0 and failed == 0:
        failed = 1  # a crash or a sanitizer report
    if code == 0 and passed == 0:
        failed = 1  # a test program without tests
    if failed:
        print(f"== {source}, {time.monotonic() - start:.0f} s\n{out}", flush=True)
    return Result(passed, failed, skipped, [(source, why_of(out.splitlines()))] if failed else [])


def why_of(lines):
    """The lines of a failed program's output that tell most: at first what looks like an error."""
    telling = [line for line in lines if TELLING.search(line)]
    return (telling or lines)[-WHY_LINES:]


def unit(variant, long_run):
    with concurrent.futures.ThreadPoolExecutor(UNIT_JOBS) as pool:
        return sum_of(pool.map(lambda x: run_unit(*x, long_run), unit_programs(variant)))


def pytest_command(variant, args, report):
    marks = [] if args.long else ["not long"]
    marks += ["not release_only"] if variant == "asan" else []
    command = [PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", str(SYSTEM_JOBS),
               f"--junitxml={report}", "tests/system", "tests/fault"]
    command += ["-m", " and ".join(marks)] if marks else []
    return command + (["-k", args.k] if args.k else [])


def system(variant, args):
    report = os.path.join(ROOT, "build", f"system-{variant}.xml")
    test_build = "asan" if variant == "asan" else "test"
    env = dict(os.environ,
               STAGEPOST_BIN=os.path.join(ROOT, "build", variant, "stagepost"),
               STAGEPOST_TEST_BIN=os.path.join(ROOT, "build", test_build, "stagepost"),
               PYTHONDONTWRITEBYTECODE="1")
    code = subprocess.run(pytest_command(variant, args, report), cwd=ROOT, env=env).returncode
    if code not in (0, 1, 5) or not os.path.exists(report):
        return Result(0, 1, [], [("pytest", [f"exit code {code}"])])
    return sum_of(result_of_case(case) for case in ET.parse(report).getroot().iter("testcase"))


def result_of_case(case):
    """Of one test case in pytest's report."""
    name = f"{case.get('classname')}.{case.get('name')}"
    wrong = [e for e in case if e.tag in ("failure", "error")]
    if wrong:
        lines = (wrong[0].text or "").splitlines()
        said = [line for line in lines if line.startswith("E  ")]
        return Result(0, 1, [], [(name, (said or lines[-WHY_LINES:])[:WHY_LINES])])
    if case.find("skipped") is not None:
        return Result(0, 0, [name], [])
    return Result(1, 0, [], [])


def sum_of(results):
    total = Result(0, 0, [], [])
    for r in results:
        total = Result(*(a + b for a, b in zip(total, r)))
    return total


def tell_failures(failures):
    """Once more and briefly, where whoever sees only the end of the output finds them."""
    lines = []
    for name, why in failures:
        lines += [f"failed: {name}"] + [f"    {line.strip()[:150]}" for line in why]
    for line in lines[:TOLD_LINES]:
        print(line)
    if len(lines) > TOLD_LINES:
        print(f"    and more: {len(failures)} programs or tests failed")


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
    results = []
    for wanted, run, name in ((want_unit, lambda: unit(args.variant, args.long), "unit"),
                              (want_system, lambda: system(args.variant, args), "system")):
        if not wanted:
            continue
        start = time.monotonic()
        r = run()
        step(f"{name} tests {args.variant}: {r.passed} passed, {r.failed} failed", start)
        results.append(r)
    total = sum_of(results)
    for name in total.skips:
        print(f"skipped: {name}")
    if IN_CI and args.variant == "release":  # some skip what a sanitizer cannot do
        missed = [(name, ["skipped, where nothing may be"]) for name in total.skips]
        total = sum_of([total, Result(0, len(missed), [], missed)])
    tell_failures(total.failures)
    print(f"{total.passed} passed, {total.failed} failed")
    return 1 if total.failed or not total.passed else 0


sys.exit(main())
