"""The subprocess version, receiving: each line on stdin is answered with the mail that has arrived since.

Usage: imap_server.py HOST PORT USER PASSWORD (implicit TLS; SSL_CERT_FILE is honoured, PYMAIL_TAG names the tag).
An answer is one JSON line a message, then an empty line; `noop` is answered by an empty line once the server has
answered; `quit` or the end of stdin logs out.
"""

from __future__ import annotations

import email
import email.policy
import imaplib
import json
import os
import select
import ssl
import sys
from collections.abc import Callable, Iterator
from typing import Any

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


def connect(host: str, port: int, user: str, password: str) -> imaplib.IMAP4_SSL:
    """Log in, make sure that the tag mailbox exists, and select INBOX."""
    imap = imaplib.IMAP4_SSL(host, port, ssl_context=ssl.create_default_context(), timeout=TIMEOUT)
    imap.login(user, password)
    imap.create(f'"{TAG}"')  # answers NO where it exists
    check(imap.select("INBOX"))
    return imap


def check(answer: tuple[str, Any]) -> Any:  # noqa: ANN401
    """Return the data of an OK answer, raise any other."""
    status, data = answer
    if status != "OK":
        raise imaplib.IMAP4.error(f"{status} {data!r}")
    return data


def read(imap: imaplib.IMAP4_SSL, number: str) -> dict[str, str] | None:
    """Fetch and parse one message; None when it only looks like one of ours."""
    _, raw = check(imap.fetch(number, "(RFC822)"))[0]
    message: Any = email.message_from_bytes(raw, policy=email.policy.default)
    tag, _, identifier = str(message["Subject"]).partition(" ")
    if tag != TAG:
        return None
    body = message.get_payload(decode=True).decode("utf-8")
    return {"Id": identifier, "SentBy": str(message["From"]), "Body": body}


def receive(imap: imaplib.IMAP4_SSL) -> Iterator[dict[str, str]]:
    """Yield each new message of ours once it is archived; a bad one yields its error and stays."""
    found = check(imap.search(None, "SUBJECT", f'"{TAG}"'))[0]
    for number in found.decode().split():
        try:
            if message := read(imap, number):
                check(imap.copy(number, f'"{TAG}"'))
                check(imap.store(number, "+FLAGS", "\\Deleted"))
                yield message
        except (imaplib.IMAP4.abort, OSError):
            raise  # the connection is lost: the parent starts another process
        except Exception as error:  # noqa: BLE001
            yield {"Error": f"{type(error).__name__}: {error}"}
    check(imap.expunge())


def main() -> None:
    """Answer stdin until it says quit."""
    host, port, user, password = sys.argv[1:]
    imap = connect(host, int(port), user, password)
    for line in lines(imap.noop):
        if line.strip() == b"quit":
            break
        if line.strip() == b"noop":
            check(imap.noop())
        else:
            for message in receive(imap):
                sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.write("\n")
        sys.stdout.flush()
    imap.close()
    imap.logout()


if __name__ == "__main__":
    main()
