"""Every fault point is in the list of tests/fault/README.md, and some test names it; and the list has no
point that is not there."""
import re
import subprocess
import sys

README = "tests/fault/README.md"


def text_of(*patterns):
    files = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns],
                           capture_output=True, text=True, check=True).stdout.split()
    out = []
    for path in files:
        with open(path, encoding="utf-8") as f:
            out.append(f.read())
    return "\n".join(out)


def main():
    code = text_of("relay/*.c", "dkim/*.c", "api/*.c", "queue/*.c")
    points = set(re.findall(r'FAILPOINT\("([^"]+)"\)', code))
    listed = set(re.findall(r"^\| `([a-z.-]+)` \|", text_of(README), flags=re.M))
    tested = set(re.findall(r'"([a-z]+\.[a-z-]+)[":]', text_of("tests/fault/*.py", "tests/system/*.py", "tests/unit/*.c")))
    bad = [f"{README}: {p} is not in the list" for p in sorted(points - listed)]
    bad += [f"{README}: there is no point {p}" for p in sorted(listed - points)]
    bad += [f"{p}: no test in tests/fault, tests/system or tests/unit names it" for p in sorted(points - tested)]
    print("\n".join(bad), end="\n" if bad else "")
    return 1 if bad or not points else 0


sys.exit(main())
