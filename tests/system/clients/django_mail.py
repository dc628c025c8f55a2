"""Sends what a job (see test_interop_clients.py) says with Django, over one connection."""
import json
import sys

from django.conf import settings
from django.core import mail

with open(sys.argv[1], encoding="utf-8") as f:
    job = json.load(f)
settings.configure(EMAIL_HOST=job["host"], EMAIL_PORT=job["port"], EMAIL_HOST_USER=job["user"],
                   EMAIL_HOST_PASSWORD=job["password"], EMAIL_USE_TLS=not job["implicit"],
                   EMAIL_USE_SSL=job["implicit"])
connection = mail.get_connection()
for m in job["messages"]:
    message = mail.EmailMultiAlternatives(m["subject"], m["text"], f"{m['name']} <{m['from']}>", m["to"],
                                          cc=m["cc"], bcc=m["bcc"], connection=connection)
    message.attach_alternative(m["html"], "text/html")
    with open(m["attachment"]["path"], "rb") as f:
        message.attach(m["attachment"]["name"], f.read(), "application/octet-stream")
    try:
        connection.open()
        message.send()
        print("reply (Django does not tell)")
    except OSError as e:
        print("error", " ".join(str(e).split()))
connection.close()
