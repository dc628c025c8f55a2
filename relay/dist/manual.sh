#!/bin/sh
# Writes the manual pages from what the program says about itself, so that they
# cannot be stale: manual.sh PROGRAM FOLDER
set -eu
program=$1 folder=$2
mkdir -p "$folder"
head=$(dirname "$0")/man/head.roff tail=$(dirname "$0")/man/tail.roff

# Text as roff reads it, in a block whose lines stay as they are.
block() {
    printf '.nf\n'
    sed -e 's/\\/\\e/g' -e 's/-/\\-/g' -e "s/^\\([.']\\)/\\\\\&\\1/"
    printf '.fi\n'
}

version=$("$program" --version | cut -d' ' -f2)
{
    sed -e "s/@VERSION@/$version/" "$head"
    # Two spaces and a name begin each row of the table.
    for command in $("$program" --help | sed -n 's/^  \([a-z][a-z]*\) .*/\1/p'); do
        if [ "$command" = check ]; then
            for what in $("$program" check --help | sed -n 's/^  check \([a-z]*\) .*/\1/p'); do
                printf '.SS check %s\n' "$what"
                "$program" check "$what" --help | block
            done
        else
            printf '.SS %s\n' "$command"
            "$program" "$command" --help | block
        fi
    done
    cat "$tail"
} >"$folder/stagepost.1.new"
mv "$folder/stagepost.1.new" "$folder/stagepost.1"
"$program" check config --manual >"$folder/stagepost.conf.5.new"
mv "$folder/stagepost.conf.5.new" "$folder/stagepost.conf.5"
