#!/bin/sh
# embed.sh PREFIX FILE...: prints every file as one C string constant PREFIX_<NAME>. A "?" is
# escaped because C11 reads some pairs of them as trigraphs.
set -eu
prefix=$1
shift
for f in "$@"; do
    name=$(basename "$f" | tr 'a-z.-' 'A-Z__')
    printf 'static const char %s_%s[] =\n' "$prefix" "$name"
    sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/?/\\?/g' -e 's/^/    "/' -e 's/$/\\n"/' "$f"
    printf '    ;\n'
done
