"""The subprocess version, sending: each JSON line on stdin is sent as one mail.

Usage: smtp_server.py HOST PORT USER PASSWORD (STARTTLS and AUTH, neither with BENCH_PLAIN=1; SSL_CERT_FILE is
honoured, PYMAIL_TAG names the tag). The answer is an empty line, or the error; `quit` or the end of stdin ends it.
"""

from __future__ import annotations

import json
import os
import select
import smtplib
import ssl
import sys
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from email.policy import SMTP

HEARTBEAT = 10.0  # seconds of silence on stdin before a NOOP
TIMEOUT = 60.0  # seconds a socket operation may take
TAG = os.environ.get("PYMAIL_TAG", "__SNACKIS__")


def lines(idle: Callable[[], object]) -> Iterator[bytes]:
    """Yield the lines of stdin; call `idle` after each stretch of silence."""
    rest = b""
    while True:
        while not select.select([0], [], [], HEARTBEAT)[0]:
            idle()
        chunk = os.read(0, 1 << 16)
        if not chunk:
            return
        *complete, rest = (rest + chunk).split(b"\n")
        yield from complete


def connect(host: str, port: int, user: str, password: str) -> smtplib.SMTP:
    """Connect, and log in over TLS unless told to stay plain."""
    smtp = smtplib.SMTP(host, port, local_hostname="localhost", timeout=TIMEOUT)
    if os.environ.get("BENCH_PLAIN") == "1":
        smtp.ehlo()
    else:
        smtp.starttls(context=ssl.create_default_context())
        smtp.login(user, password)
    return smtp


def send(smtp: smtplib.SMTP, line: bytes) -> None:
    """Send the message that a JSON line describes."""
    request = json.loads(line)
    message = EmailMessage(policy=SMTP)
    message["Subject"] = f"{TAG} {request['Id']}"
    message["From"] = request["SentBy"]
    message["To"] = request["SentTo"]
    body = request["Body"].encode("utf-8")  # as bytes: set_content(str) would rewrite line ends
    message.set_content(body, "text", "plain", cte="base64", params={"charset": "utf-8"})
    smtp.sendmail(request["SentBy"], [request["SentTo"]], message.as_bytes())


def attempt(smtp: smtplib.SMTP, line: bytes) -> str:
    """Send, and return the answer: empty, or the error on one line."""
    try:
        send(smtp, line)
    except smtplib.SMTPServerDisconnected:
        raise  # the connection is lost: the parent starts another process
    except Exception as error:  # noqa: BLE001
        return " ".join(f"{type(error).__name__}: {error}".split())
    return ""


def main() -> None:
    """Answer stdin until it says quit."""
    host, port, user, password = sys.argv[1:]
    smtp = connect(host, int(port), user, password)
    for line in lines(smtp.noop):
        if line.strip() == b"quit":
            break
        sys.stdout.write(attempt(smtp, line) + "\n")
        sys.stdout.flush()
    smtp.quit()


if __name__ == "__main__":
    main()
