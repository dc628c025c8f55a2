#!/bin/sh
# Builds and runs the tests: see tests/README.md. Options go to tests/run.py.
set -eu
cd "$(dirname "$0")/.."
exec /usr/bin/python3 tests/run.py "$@"
