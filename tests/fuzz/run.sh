#!/bin/sh
# Runs each fuzzer given for FUZZ_SECONDS (default 5) from an empty corpus in a
# folder of its own, as many at once as there are cores; a crash leaves its input
# there and fails the run.
set -u
export FUZZ_SECONDS="${FUZZ_SECONDS:-5}"
printf '%s\n' "$@" | xargs -P "$(nproc)" -I '{}' sh -c '
    work=$(mktemp -d)
    name=$(basename "$0")
    if "$0" -max_total_time="$FUZZ_SECONDS" -max_len=65536 -rss_limit_mb=2048 \
        -artifact_prefix="$work/" "$work" >"$work.log" 2>&1; then
        echo "fuzz: $name: ok, $(tail -1 "$work.log")"
        rm -rf "$work" "$work.log"
        exit 0
    fi
    { tail -30 "$work.log"; echo "fuzz: $name: FAILED, see $work.log and $work/"; } >"$work.said"
    cat "$work.said"
    exit 1' '{}'
