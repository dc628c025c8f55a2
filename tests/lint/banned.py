"""Calls that are never right here: unbounded copies, blocking waits, shells."""
import re
import subprocess
import sys

BANNED = {
    "strcpy": "unbounded", "strcat": "unbounded", "sprintf": "unbounded", "vsprintf": "unbounded",
    "gets": "unbounded", "strtok": "hidden state", "atoi": "no errors", "atol": "no errors",
    "system": "a shell", "popen": "a shell", "rand": "not random", "srand": "not random",
    "gethostbyname": "blocks", "getaddrinfo": "blocks", "time": "use clock.h",
    "gettimeofday": "use clock.h", "sleep": "blocks", "usleep": "blocks", "alloca": "stack",
}
# The keeper of Redis is a small blocking process; the clock module is the clock.
EXCEPT = {}
CALL = re.compile(r"(?<![A-Za-z0-9_.>])(" + "|".join(BANNED) + r")\s*\(")


def strip(text):
    text = re.sub(r"/\*.*?\*/", lambda m: "\n" * m.group(0).count("\n"), text, flags=re.S)
    text = re.sub(r"//[^\n]*", "", text)
    return re.sub(r'"(\\.|[^"\\\n])*"', '""', text)


def main():
    files = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--",
         "relay/*.[ch]", "dkim/*.[ch]", "api/*.[ch]", "queue/*.[ch]"],
        capture_output=True, text=True, check=True).stdout.split()
    bad = []
    for path in files:
        text = strip(open(path, encoding="utf-8").read())
        for number, line in enumerate(text.splitlines(), 1):
            for m in CALL.finditer(line):
                if m.group(1) not in EXCEPT.get(path, ()):
                    bad.append(f"{path}:{number}: {m.group(1)}(): {BANNED[m.group(1)]}")
    print("\n".join(bad), end="\n" if bad else "")
    return 1 if bad else 0


sys.exit(main())
