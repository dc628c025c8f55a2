"""The top level holds what the project decided and nothing else."""
import subprocess
import sys

ALLOWED = {"relay", "dkim", "api", "queue", "tests", "bench", "Makefile", "README.md",
           "config.example", "LICENSE"}


def main():
    files = subprocess.run(["git", "ls-files"], capture_output=True, text=True,
                           check=True).stdout.split("\n")
    top = {f.split("/")[0] for f in files if f}
    extra = sorted(t for t in top - ALLOWED if not t.startswith("."))
    print("\n".join(f"{t}: does not belong on the top level" for t in extra))
    return 1 if extra else 0


sys.exit(main())
