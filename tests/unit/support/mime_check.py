"""Reads messages that api/ built with python's email package: what was asked for comes back.

    mime_check.py DIR      N.json is the request, N.eml the message
"""
import base64
import email
import email.policy
import json
import pathlib
import sys


def squeezed(text):
    """Python 3.11 puts a space between adjacent encoded words of a name and drops doubled ones."""
    return "".join(text.split())


def content(m, kind):
    return m.get_body((kind,)).get_payload(decode=True).decode().replace("\r\n", "\n").replace("\n", "\r\n")


def same(what, read, meant):
    assert read == meant, f"{what}: meant {meant!r}, read {read!r}"


def check(request, raw):
    m = email.message_from_bytes(raw, policy=email.policy.default)
    same("subject", str(m["Subject"]).strip(), request["subject"].strip())
    same("to", [a.addr_spec for a in m["To"].addresses], ["c@d.example"])
    author, = m["From"].addresses
    same("from", author.addr_spec, "a@b.example")
    same("name", squeezed(author.display_name), squeezed(request["from"]["name"]))
    files = {p.get_content_disposition(): p for p in m.walk() if p.get_filename()}
    same("parts", set(files), {"attachment", "inline"})
    want = request["attachments"][0]
    same("file name", squeezed(files["attachment"].get_filename()), squeezed(want["filename"]))
    same("content", files["attachment"].get_content(), base64.b64decode(want["content"]))
    same("content id", files["inline"]["Content-ID"], "<logo>")
    same("inline", files["inline"].get_content(), b"\xff" * 4)
    same("text", content(m, "plain"), request["text"] + "\r\n")
    same("html", content(m, "html"), request["headers"]["X-Custom"] + "\r\n")
    same("defects", m.defects, [])


def main():
    requests = sorted(pathlib.Path(sys.argv[1]).glob("*.json"))
    assert requests
    failed = 0
    for path in requests:
        request = json.loads(path.read_text(encoding="utf-8"))
        try:
            check(request, path.with_suffix(".eml").read_bytes())
        except AssertionError as e:
            failed += 1
            print(path.name, e)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
