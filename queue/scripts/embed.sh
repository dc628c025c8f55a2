#!/bin/sh
# Prints every Lua file given as one C string constant SCRIPT_<NAME>.
set -eu
for f in "$@"; do
    name=$(basename "$f" .lua | tr 'a-z-' 'A-Z_')
    printf 'static const char SCRIPT_%s[] =\n' "$name"
    sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/^/    "/' -e 's/$/\\n"/' "$f"
    printf '    ;\n'
done
