#!/bin/sh
# make bench: see bench/README.md
set -eu
cd "$(dirname "$0")/.."
make -s build/release/stagepost build/release/bench/load build/release/bench/sink
exec /usr/bin/python3 bench/run.py "$@"
