#!/bin/sh
# The habits that a machine can check. Each check prints what it found; the
# script fails when any did.
set -u
cd "$(dirname "$0")/../.."
failed=0
check() {
    name=$1
    shift
    if "$@"; then
        echo "lint: $name: ok"
    else
        echo "lint: $name: FAILED"
        failed=1
    fi
}

sources() {
    git ls-files --cached --others --exclude-standard -- 'relay/*.[ch]' 'dkim/*.[ch]' 'api/*.[ch]' \
        'queue/*.[ch]' 'tests/*.[ch]' 'bench/*.[ch]'
}

format() { sources | xargs clang-format --dry-run --Werror; }
include_direction() { /usr/bin/python3 tests/lint/includes.py; }
function_length() { /usr/bin/python3 tests/lint/functions.py; }
banned_calls() { /usr/bin/python3 tests/lint/banned.py; }
top_level() { /usr/bin/python3 tests/lint/toplevel.py; }
fault_points() { /usr/bin/python3 tests/lint/failpoints.py; }
cases() { /usr/bin/python3 tests/lint/cases.py; }

# clang-tidy is slow: only what changed against the base (default: the whole
# tree when there is no earlier commit).
tidy() {
    base=${LINT_BASE:-$(git rev-parse -q --verify HEAD~1 || true)}
    if [ -n "$base" ]; then
        files=$(git diff --name-only --diff-filter=d "$base" -- 'relay/*.c' 'dkim/*.c' 'api/*.c' 'queue/*.c')
    else
        files=$(git ls-files 'relay/*.c' 'dkim/*.c' 'api/*.c' 'queue/*.c')
    fi
    [ -n "$files" ] || return 0
    make -s build/gen/queue/scripts.inc build/gen/api/console/files.inc build/gen/api/openapi.inc || return 1
    # The compiler's "N warnings generated" is noise; anything else on standard
    # error (a file that does not parse, a crash of clang-tidy) is a finding.
    # shellcheck disable=SC2046,SC2086
    echo "$files" | xargs -n 8 -P 2 sh -c '
        said=$(mktemp) && clang-tidy --quiet "$@" -- -std=c11 -D_GNU_SOURCE -I. -Ibuild/gen \
            $(pkg-config --cflags libuv openssl hiredis jansson gmime-3.0) 2>"$said"
        code=$?
        grep -vE "^([0-9]+ (warnings?|errors?)( and [0-9]+ errors?)? (generated|treated as errors?)\.?|)$" "$said" >&2
        rm -f "$said"
        [ $code = 0 ] || echo "clang-tidy: exit code $code for: $*" >&2
        exit $code' sh
}

check "clang-format" format
check "include direction" include_direction
check "function length" function_length
check "banned calls" banned_calls
check "top level" top_level
check "cases" cases
check "fault points" fault_points
[ "${LINT_TIDY:-yes}" = no ] || check "clang-tidy (changed files)" tidy
exit $failed
