#!/bin/sh
# Prints every file given as one C string constant CONSOLE_<NAME> ($PREFIX_<NAME>). A "?" is
# escaped because C11 reads some pairs of them as trigraphs.
set -eu
for f in "$@"; do
    name=$(basename "$f" | tr 'a-z.-' 'A-Z__')
    printf 'static const char %s_%s[] =\n' "${PREFIX:-CONSOLE}" "$name"
    sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/?/\\?/g' -e 's/^/    "/' -e 's/$/\\n"/' "$f"
    printf '    ;\n'
done
