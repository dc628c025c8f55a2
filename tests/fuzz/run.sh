#!/bin/sh
# Runs each fuzzer given for FUZZ_SECONDS (default 5) from an empty corpus in a
# folder of its own; a crash leaves its input there and fails the run.
set -u
seconds=${FUZZ_SECONDS:-5}
failed=0
for f in "$@"; do
    work=$(mktemp -d)
    if "$f" -max_total_time="$seconds" -max_len=65536 -rss_limit_mb=2048 -artifact_prefix="$work/" \
        "$work" >"$work.log" 2>&1; then
        echo "fuzz: $(basename "$f"): ok, $(grep -c . "$work.log") lines, $(tail -1 "$work.log")"
        rm -rf "$work" "$work.log"
    else
        echo "fuzz: $(basename "$f"): FAILED, see $work.log and $work/"
        tail -30 "$work.log"
        failed=1
    fi
done
exit $failed
