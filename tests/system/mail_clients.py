"""Mail clients that the world uses, each as a function that does a job and says what the client saw.

A job is {host, port, implicit, user, password, ca, auth (a mechanism, None: the client's choice), messages}, a
message {from, name, to, cc, bcc, subject, text, html, attachment: {path, name}}. The answer is one (kind, text)
for each message: `reply` and the server's last words, as far as the client hands them out, or `error` and what
the client says. Libraries send all messages on one connection, by the programs in clients/; commands have one
for each.
"""
import email.headerregistry
import email.message
import email.policy
import functools
import json
import os
import shutil
import smtplib
import ssl
import subprocess
import sys
import tempfile

from support import LIMIT_S, ROOT

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "clients")
NODE_MODULES = os.path.join(ROOT, "build/node/node_modules")
JAVA_CLASSES = "/usr/share/java/javax.mail.jar:/usr/share/java/javax.activation.jar"


def run(command, where, stdin=b"", env=None):
    """(exit code, all that it said)"""
    done = subprocess.run(command, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=where,
                          timeout=LIMIT_S, env={**os.environ, "LC_ALL": "C.UTF-8", "HOME": where, **(env or {})})
    return done.returncode, done.stdout.decode("utf-8", "replace")


def said(output):
    """What a program in clients/ printed. Other lines are the reason of a test that fails."""
    lines = [tuple(line.split(" ", 1)) for line in output.splitlines() if line]
    assert all(len(x) == 2 and x[0] in ("reply", "error") for x in lines), output
    return lines


def by_program(command, job, where, env=None):
    path = os.path.join(where, "job.json")
    with open(path, "w", encoding="utf-8") as f:
        json.dump(job, f)
    code, output = run([*command, path], where, env=env)
    assert code == 0, output
    return said(output)


# ---- libraries ----------------------------------------------------------------

def nodemailer(job, where):
    return by_program(["node", f"{HERE}/nodemailer.js"], job, where, {"NODE_PATH": NODE_MODULES})


def phpmailer(job, where):
    return by_program(["php", f"{HERE}/phpmailer.php"], job, where)


def rubymail(job, where):
    return by_program(["ruby", f"{HERE}/rubymail.rb"], job, where)


def django(job, where):
    return by_program([sys.executable, f"{HERE}/django_mail.py"], job, where)


@functools.lru_cache(None)
def compiled():
    """A directory, removed at the end of this process."""
    classes = tempfile.TemporaryDirectory(prefix="sp-java-")
    code, output = run(["javac", "-cp", JAVA_CLASSES, "-d", classes.name, f"{HERE}/JavaMail.java"], classes.name)
    assert code == 0, output
    return classes


def javamail(job, where):
    path = os.path.join(where, "job.properties")
    with open(path, "w", encoding="ascii") as f:
        for key, value in properties(job):
            f.write(f"{key}={value}\n")
    code, output = run(["java", "-cp", f"{compiled().name}:{JAVA_CLASSES}", "JavaMail", path], where)
    assert code == 0, output
    return said(output)


def properties(value, key=""):
    """The job as lines of a .properties file: 0.from=..."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for name, x in items:
        at = f"{key}.{name}" if key else str(name)
        if name == "messages":
            yield from properties(x)
        elif isinstance(x, dict):
            yield from properties(x, at)
        elif x is not None:
            text = ", ".join(x) if isinstance(x, list) else str(x).lower() if isinstance(x, bool) else str(x)
            units = text.encode("utf-16-be")
            yield at, "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


class Telling(smtplib.SMTP):
    """Keeps the reply to a message, which sendmail() drops."""
    def data(self, msg):
        self.last = super().data(msg)
        return self.last


class TellingTls(smtplib.SMTP_SSL, Telling):
    pass


def python(job, where):
    del where
    context = ssl.create_default_context(cafile=job["ca"])
    out = []
    if job["implicit"]:
        s = TellingTls(job["host"], job["port"], context=context, timeout=LIMIT_S)
    else:
        s = Telling(job["host"], job["port"], timeout=LIMIT_S)
        s.starttls(context=context)
    with s:
        try:
            if job["auth"]:
                s.user, s.password = job["user"], job["password"]
                s.ehlo()
                s.auth(job["auth"], getattr(s, "auth_" + job["auth"].lower()))
            else:
                s.login(job["user"], job["password"])
        except smtplib.SMTPException as e:
            return [("error", str(e))] * len(job["messages"])
        for m in job["messages"]:
            try:
                s.send_message(composed(m), to_addrs=m["to"] + m["cc"] + m["bcc"])
                out.append(("reply", f"{s.last[0]} {s.last[1].decode()}"))
            except smtplib.SMTPException as e:
                out.append(("error", str(e)))
    return out


# ---- commands -----------------------------------------------------------------

def composed(m):
    message = email.message.EmailMessage(policy=email.policy.SMTP)
    message["From"] = email.headerregistry.Address(m["name"], addr_spec=m["from"])
    for field in ("to", "cc", "bcc"):
        message[field.capitalize()] = ", ".join(m[field])
    message["Subject"] = m["subject"]
    message.set_content(m["text"])
    message.add_alternative(m["html"], subtype="html")
    with open(m["attachment"]["path"], "rb") as f:
        message.add_attachment(f.read(), maintype="application", subtype="octet-stream",
                               filename=m["attachment"]["name"])
    return message


def without_bcc(m):
    message = composed(m)
    del message["Bcc"]
    return bytes(message)


def by_command(job, where, send):
    """send(message) is (exit code, what was said)."""
    out = []
    for m in job["messages"]:
        code, output = send(m)
        text = " ".join(output.split())
        if code != 0:
            out.append(("error", f"exit code {code}: {text}"))
        else:
            lines = [line for line in output.splitlines() if "queued as" in line]
            out.append(("reply", lines[-1]) if lines else ("error", text))
    return out


def swaks(job, where):
    def send(m):
        with open(os.path.join(where, "mail.eml"), "wb") as f:
            f.write(without_bcc(m))
        mechanism = ["--auth", job["auth"]] if job["auth"] else ["--auth"]
        return run(["swaks", "--server", job["host"], "--port", str(job["port"]), *mechanism,
                    "--tls-on-connect" if job["implicit"] else "--tls", "--tls-verify",
                    "--tls-ca-path", job["ca"], "--auth-user", job["user"], "--auth-password", job["password"],
                    "--from", m["from"], "--to", ",".join(m["to"] + m["cc"] + m["bcc"]),
                    "--data", "@mail.eml"], where)
    return by_command(job, where, send)


def curl(job, where):
    def send(m):
        url = f"{'smtps' if job['implicit'] else 'smtp'}://{job['host']}:{job['port']}/client.example"
        to = [x for address in m["to"] + m["cc"] + m["bcc"] for x in ("--mail-rcpt", address)]
        return run(["curl", "--silent", "--show-error", "--verbose", "--ssl-reqd", "--cacert", job["ca"], "--user",
                    f"{job['user']}:{job['password']}", "--mail-from", m["from"], *to, "--upload-file", "-",
                    *(["--login-options", f"AUTH={job['auth']}"] if job["auth"] else []), url],
                   where, stdin=without_bcc(m))
    return by_command(job, where, send)


def msmtp(job, where):
    path = os.path.join(where, "msmtprc")
    with open(path, "w", encoding="utf-8") as f:
        f.write(f"account default\nhost {job['host']}\nport {job['port']}\ntls on\n"
                f"tls_starttls {'off' if job['implicit'] else 'on'}\ntls_trust_file {job['ca']}\n"
                f"auth {(job['auth'] or 'on').lower()}\nuser {job['user']}\npassword {job['password']}\n"
                "logfile -\nlogfile_time_format -\n")
    os.chmod(path, 0o600)

    def send(m):  # it takes Bcc out itself
        text = bytes(composed(m)).replace(b"\r\n", b"\n")
        return run(["msmtp", "-C", path, "-f", m["from"], "-t"], where, stdin=text)
    return by_command(job, where, send)


# ---- all ------------------------------------------------------------------------

# What it needs, which mechanisms it can be told to use, and whether it hands the reply out.
CLIENTS = {
    "smtplib": (python, None, ["PLAIN", "LOGIN"], True),
    "django": (django, "/usr/lib/python3/dist-packages/django", [], False),
    "nodemailer": (nodemailer, f"{NODE_MODULES}/nodemailer", ["PLAIN", "LOGIN"], True),
    "phpmailer": (phpmailer, "/usr/share/php/libphp-phpmailer", ["PLAIN", "LOGIN"], True),
    "javamail": (javamail, "/usr/share/java/javax.mail.jar", ["PLAIN", "LOGIN"], True),
    "rubymail": (rubymail, "/usr/share/doc/ruby-mail", ["PLAIN", "LOGIN"], True),
    "swaks": (swaks, "/usr/bin/swaks", ["PLAIN", "LOGIN"], True),
    "curl": (curl, "/usr/bin/curl", ["PLAIN", "LOGIN"], True),
    "msmtp": (msmtp, "/usr/bin/msmtp", ["PLAIN", "LOGIN", "SCRAM-SHA-256"], True),
}


def is_there(client):
    needs = CLIENTS[client][1]
    return needs is None or os.path.exists(needs)


def do(client, job):
    """What the client saw of each message."""
    where = tempfile.mkdtemp(prefix="sp-client-")
    try:
        return CLIENTS[client][0](job, where)
    finally:
        shutil.rmtree(where, ignore_errors=True)
