"""Python's own smtplib: sendmail over one connection, for messages that are known in advance.

Usage: smtp_batched.py HOST PORT USER PASSWORD (STARTTLS and AUTH, neither with BENCH_PLAIN=1; SSL_CERT_FILE is
honoured, PYMAIL_TAG names the tag). Each line on stdin is answered by a number: a JSON object, which says what to
send, by how much that is, `send` by how many were sent, `noop` by 0; `quit` ends it.
"""

from __future__ import annotations

import json
import os
import smtplib
import ssl
import sys
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any

TAG = os.environ.get("PYMAIL_TAG", "__SNACKIS__")


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
    """Return one message as bytes."""
    message = EmailMessage(policy=SMTP)
    message["Subject"] = f"{TAG} {number}"
    message["From"] = plan["from"]
    message["To"] = plan["to"]
    message.set_content(body.encode(), "text", "plain", cte="base64", params={"charset": "utf-8"})
    return message.as_bytes()


def send(smtp: smtplib.SMTP, plan: dict[str, Any], bodies: list[str]) -> int:
    """Send all bodies, each in a message of its own; return how many."""
    for number, body in enumerate(bodies):
        smtp.sendmail(plan["from"], [plan["to"]], compose(plan, number, body))
    return len(bodies)


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
