"""tests/CASES.md agrees with the tests: each row names files and functions that exist, an id stands once
in a row, no two rows say the same, ids cited by tests are in the file, and nothing cites documents that
are not part of the project."""
import os
import re
import subprocess
import sys

CASES = "tests/CASES.md"
FOLDERS = {"unit": ("tests/unit", ".c"), "fuzz": ("tests/fuzz", ".c"),
           "system": ("tests/system", ".py"), "fault": ("tests/fault", ".py")}
ID = re.compile(r"\b([A-Z]{2,3})-([0-9]{2})\b")
RANGE = re.compile(r"\b([A-Z]{2,3})-([0-9]{2}) to (?:[A-Z]{2,3}-)?([0-9]{2})\b")
TOKEN = re.compile(r"(?P<kind>unit|fuzz|system|fault)/(?P<path>[\w./-]*\w)(?P<slash>/?)|`(?P<name>\w+)`")
DOCUMENT = re.compile(r"\b([A-Z_]{3,}\.md)\b")
OURS = {"README.md", "CASES.md"}


def ids_of(cell):
    found = []
    for prefix, first, last in RANGE.findall(cell):
        found += [f"{prefix}-{n:02d}" for n in range(int(first), int(last) + 1)]
    return found + ["-".join(m) for m in ID.findall(RANGE.sub("", cell))]


def functions_of(path):
    with open(path, encoding="utf-8") as f:
        return set(re.findall(r"^(?:def )?(\w+)\(", f.read(), flags=re.M))


def check_tests(cell):
    """What is wrong with the tests that a row names."""
    functions, seen = None, False
    for m in TOKEN.finditer(cell):
        if m["name"]:
            if functions is None:
                yield f"`{m['name']}` belongs to no file"
            elif m["name"] not in functions:
                yield f"there is no {m['name']}() in {path}"
            continue
        seen = True
        folder, ending = FOLDERS[m["kind"]]
        path = os.path.join(folder, m["path"]) + ("" if m["slash"] else ending)
        if not os.path.exists(path):
            yield f"there is no {path}"
        functions = functions_of(path) if os.path.isfile(path) else set()
    if not seen:
        yield "no test is named"


def check_rows():
    said, known = {}, set()
    with open(CASES, encoding="utf-8") as f:
        for number, line in enumerate(f, 1):
            if not line.startswith("| ") or line.startswith("| id |"):
                continue
            cells = [c.strip() for c in line.strip().strip("|").split(" | ")]
            if len(cells) != 3:
                yield number, f"{len(cells)} columns, not 3"
                continue
            ids = ids_of(cells[0])
            known.update(ids)
            if not ids:
                yield number, f"no id in '{cells[0]}'"
            if len(ids) != len(set(ids)):
                yield number, f"an id stands twice in '{cells[0]}'"
            first = said.setdefault((tuple(ids), cells[1]), number)
            if first != number:
                yield number, f"says the same as line {first}"
            for what in check_tests(cells[2]):
                yield number, what
    yield None, known


def check_citations(known):
    """Ids in tests that the file does not have; documents that are not ours."""
    prefixes = {i.split("-")[0] for i in known}
    files = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"],
                           capture_output=True, text=True, check=True).stdout.split()
    for path in files:
        if path.endswith((".eml", ".json")) or path == "tests/lint/cases.py" or not os.path.isfile(path):
            continue
        with open(path, encoding="utf-8", errors="replace") as f:
            for number, line in enumerate(f, 1):
                if set(DOCUMENT.findall(line)) - OURS:
                    yield f"{path}:{number}: cites a document that is not part of the project"
                if path.startswith("tests/") and path != CASES:
                    for i in ids_of(line):
                        if i.split("-")[0] in prefixes and i not in known:
                            yield f"{path}:{number}: {i} is not in {CASES}"


def main():
    bad = []
    for number, what in check_rows():
        if number is None:
            bad += check_citations(what)
        else:
            bad.append(f"{CASES}:{number}: {what}")
    print("\n".join(bad), end="\n" if bad else "")
    return 1 if bad else 0


sys.exit(main())
