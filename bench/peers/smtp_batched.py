"""Python's own smtplib: PIPELINING (RFC 2920) over one connection, for messages that are known in advance.

A message's last write carries MAIL, RCPT and DATA of the next one, and that one is composed while the server has
them: one round trip a message. smtplib does not do so by itself, but its `send` and `getreply` let a script do it.
Where the server has no PIPELINING, it is `sendmail`.

Usage: smtp_batched.py HOST PORT USER PASSWORD (STARTTLS and AUTH, neither with BENCH_PLAIN=1; SSL_CERT_FILE is
honoured, PYMAIL_TAG names the tag). Each line on stdin is answered by a number: a JSON object, which says what to
send, by how much that is, `send` by how many were sent, `noop` by 0; `quit` ends it.
"""

from __future__ import annotations

import json
import os
import re
import smtplib
import ssl
import sys
from email.mime.text import MIMEText
from email.policy import compat32
from typing import Any

TAG = os.environ.get("PYMAIL_TAG", "__SNACKIS__")

# A dot that begins a line.
DOT = re.compile(rb"\.(?<![^\n]\.)")
END = b".\r\n"

CRLF = compat32.clone(linesep="\r\n")


def connect(host: str, port: int, user: str, password: str) -> smtplib.SMTP:
    """Connect, and log in over TLS unless told to stay plain."""
    smtp = smtplib.SMTP(host, port, local_hostname="localhost", timeout=600)
    if os.environ.get("BENCH_PLAIN") == "1":
        smtp.ehlo()
    else:
        smtp.starttls(context=ssl.create_default_context())
        smtp.login(user, password)
    return smtp


def compose(plan: dict[str, Any], number: int, body: str) -> bytes:
    """Return one message as bytes, of which every line ends with CRLF, the last one too."""
    message = MIMEText(body, "plain", "utf-8")
    message["Subject"] = f"{TAG} {number}"
    message["From"] = plan["from"]
    message["To"] = plan["to"]
    return message.as_bytes(policy=CRLF)


def send(smtp: smtplib.SMTP, plan: dict[str, Any], bodies: list[str]) -> int:
    """Send all bodies, each in a message of its own; return how many."""
    if smtp.has_extn("pipelining"):
        pipeline(smtp, plan, bodies)
    else:
        for number, body in enumerate(bodies):
            smtp.sendmail(plan["from"], [plan["to"]], compose(plan, number, body))
    return len(bodies)


def pipeline(smtp: smtplib.SMTP, plan: dict[str, Any], bodies: list[str]) -> None:
    """Send all bodies, so that a message's end and the next one's envelope are one write."""
    envelope = f"MAIL FROM:<{plan['from']}>\r\nRCPT TO:<{plan['to']}>\r\nDATA\r\n".encode("ascii")
    before = b""
    for number, body in enumerate(bodies):
        smtp.send(before + envelope)
        data = DOT.sub(b"..", compose(plan, number, body)) + END
        if before:
            expect(smtp, 250)
        expect(smtp, 250, 250, 354)
        before = data
    if before:
        smtp.send(before)
        expect(smtp, 250)


def expect(smtp: smtplib.SMTP, *codes: int) -> None:
    """Read a reply for each of these codes; raise any other."""
    for code in codes:
        reply, text = smtp.getreply()
        if reply != code:
            raise smtplib.SMTPResponseException(reply, text)


def main() -> None:
    """Answer stdin until it says quit."""
    host, port, user, password = sys.argv[1:]
    smtp = connect(host, int(port), user, password)
    plan: dict[str, Any] = {}
    bodies: list[str] = []
    for line in sys.stdin:
        order = line.strip()
        if order == "quit":
            break
        if order == "send":
            answer = send(smtp, plan, bodies)
        elif order == "noop":
            answer = 0
        else:
            plan = json.loads(order)
            bodies = [(plan["line"] * (size // len(plan["line"]) + 1))[:size] for size in plan["sizes"]]
            answer = len(bodies)
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()
    smtp.quit()


if __name__ == "__main__":
    main()
