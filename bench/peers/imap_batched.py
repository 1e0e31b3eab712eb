"""Python's own imaplib: one SEARCH, one UID FETCH and one UID MOVE for all waiting mail.

Usage: imap_batched.py HOST PORT USER PASSWORD (implicit TLS; SSL_CERT_FILE is honoured, PYMAIL_TAG names the tag).
Each line on stdin is answered by a number: `drain` by how many messages came, `noop` by 0, `account` by how many
there are to account for, and then an identifier and the size of its body a line; `quit` logs out.
"""

from __future__ import annotations

import email
import email.policy
import imaplib
import os
import ssl
import sys
from typing import Any

TAG = os.environ.get("PYMAIL_TAG", "__SNACKIS__")
imaplib.Commands.setdefault("MOVE", ("SELECTED",))


def connect(host: str, port: int, user: str, password: str) -> imaplib.IMAP4_SSL:
    """Log in, make sure that the tag mailbox exists, and select INBOX."""
    imap = imaplib.IMAP4_SSL(host, port, ssl_context=ssl.create_default_context(), timeout=600)
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


def decode(raw: bytes) -> tuple[str, bytes]:
    """Return a message's identifier and body: the older policy, compat32, is the faster one."""
    message = email.message_from_bytes(raw)
    _, _, identifier = str(message["Subject"]).partition(" ")
    body: Any = message.get_payload(decode=True)
    return identifier, body


def drain(imap: imaplib.IMAP4_SSL) -> list[tuple[str, bytes]]:
    """Receive and archive all waiting mail."""
    found = check(imap.uid("SEARCH", "SUBJECT", f'"{TAG}"'))[0].split()
    if not found:
        return []
    uids = ranges([int(uid) for uid in found])
    answers = check(imap.uid("FETCH", uids, "(UID BODY.PEEK[])"))
    messages = [decode(answer[1]) for answer in answers if isinstance(answer, tuple)]
    check(imap.uid("MOVE", uids, f'"{TAG}"'))
    return messages


def ranges(uids: list[int]) -> str:
    """Return ascending UIDs as a set."""
    parts: list[list[int]] = []
    for uid in uids:
        if parts and parts[-1][1] + 1 == uid:
            parts[-1][1] = uid
        else:
            parts.append([uid, uid])
    return ",".join(f"{first}:{last}" for first, last in parts)


def main() -> None:
    """Answer stdin until it says quit."""
    host, port, user, password = sys.argv[1:]
    imap = connect(host, int(port), user, password)
    came: list[tuple[str, int]] = []
    for line in sys.stdin:
        order = line.strip()
        if order == "quit":
            break
        if order == "account":
            answer = [str(len(came)), *(f"{identifier} {size}" for identifier, size in came)]
        elif order == "noop":
            check(imap.noop())
            answer = ["0"]
        else:
            messages = drain(imap)
            came += [(identifier, len(body)) for identifier, body in messages]
            answer = [str(len(messages))]
        sys.stdout.write("\n".join(answer) + "\n")
        sys.stdout.flush()
    imap.logout()


if __name__ == "__main__":
    main()
