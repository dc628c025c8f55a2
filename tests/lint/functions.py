"""Function length: none above 100 lines, at most 5 % above 60."""
import json
import subprocess
import sys

HARD, SOFT, SOFT_SHARE = 100, 60, 0.05


def main():
    files = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--",
         "relay/*.c", "dkim/*.c", "api/*.c", "queue/*.c", "bench/*.c"],
        capture_output=True, text=True, check=True).stdout
    tags = subprocess.run(
        ["ctags", "-L", "-", "--c-kinds=f", "--fields=+ne", "--output-format=json", "-f", "-"],
        input=files, capture_output=True, text=True, check=True).stdout
    lengths = []
    for line in tags.splitlines():
        t = json.loads(line)
        if "end" in t:
            lengths.append((t["end"] - t["line"] + 1, f"{t['path']}:{t['line']}: {t['name']}"))
    lengths.sort(reverse=True)
    if not lengths:
        print("no functions found: is ctags the universal one?")
        return 1
    over_hard = [x for x in lengths if x[0] > HARD]
    over_soft = [x for x in lengths if x[0] > SOFT]
    median = lengths[len(lengths) // 2][0]
    print(f"functions: {len(lengths)}, median {median} lines, "
          f"{len(over_soft)} over {SOFT}, {len(over_hard)} over {HARD}")
    for n, where in over_hard:
        print(f"{where}: {n} lines")
    if len(over_soft) > SOFT_SHARE * len(lengths):
        for n, where in over_soft:
            print(f"{where}: {n} lines")
        return 1
    return 1 if over_hard else 0


sys.exit(main())
