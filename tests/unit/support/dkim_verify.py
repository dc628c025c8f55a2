#!/usr/bin/python3
"""Verifies DKIM signatures with dkimpy, an implementation that is not ours.

usage: dkim_verify.py RECORDS MESSAGE...

RECORDS holds lines "NAME<TAB>TXT value". One line per message on standard
output: the file's base name and, for each of its signatures from the top,
ALGORITHM=ok, ALGORITHM=bad or ALGORITHM=error:TEXT.
"""
import os
import sys

import dkim


def read_records(path):
    with open(path, encoding="ascii") as file:
        pairs = (line.rstrip("\n").split("\t", 1) for line in file if line.strip())
        return {name.lower(): value for name, value in pairs}


def judge(message, index, lookup):
    verifier = dkim.DKIM(message)
    try:
        passed = verifier.verify(idx=index, dnsfunc=lookup)
        word = "ok" if passed else "bad"
    except dkim.DKIMException as error:
        word = "error:" + str(error).replace(" ", "_")
    fields = verifier.signature_fields or {}
    return "%s=%s" % (fields.get(b"a", b"?").decode("ascii", "replace"), word)


def main():
    records = read_records(sys.argv[1])

    def lookup(name, timeout=5):
        text = records.get(name.decode("ascii").rstrip(".").lower())
        return text.encode("ascii") if text is not None else None

    for path in sys.argv[2:]:
        with open(path, "rb") as file:
            message = file.read()
        headers, _ = dkim.rfc822_parse(message)
        count = sum(1 for name, _ in headers if name.lower() == b"dkim-signature")
        words = [judge(message, index, lookup) for index in range(count)]
        print(os.path.basename(path), *words)


if __name__ == "__main__":
    main()
