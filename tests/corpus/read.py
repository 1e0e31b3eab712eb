"""Reads mails with Python's email package: a JSON list of mails in base64 in, a list of objects out."""

from __future__ import annotations

import json
import sys
from base64 import b64decode
from contextlib import suppress
from email import message_from_bytes, policy
from email.message import EmailMessage
from html.parser import HTMLParser


class Words(HTMLParser):
    """The words of an HTML page, without its head."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = 0
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.hidden += tag in ("head", "style", "script")

    def handle_endtag(self, tag: str) -> None:
        self.hidden -= tag in ("head", "style", "script") and self.hidden > 0

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.words += data.split()


def read(octets: bytes) -> dict[str, object]:
    """The text, or the words when there is HTML, and the sender; null for what can't be read."""
    mail = message_from_bytes(octets, policy=policy.default)
    assert isinstance(mail, EmailMessage)
    seen: dict[str, object] = {"text": None, "words": None, "sender": None}
    for what, how in (("text", text), ("words", words), ("sender", sender)):
        # Whatever it raises, it could not read this.
        with suppress(Exception):
            seen[what] = how(mail)
    return seen


def text(mail: EmailMessage) -> str | None:
    """The plain text, when no HTML is shown."""
    parts = shown(mail)
    if not parts or any(part.get_content_subtype() == "html" for part in parts):
        return None
    texts = [scalar(part.get_content()) for part in parts]
    return "".join(text if text.endswith("\n") or text is texts[-1] else text + "\n" for text in texts)


def words(mail: EmailMessage) -> list[str] | None:
    """The words of what is shown, HTML or not, in their order."""
    reader, parts = Words(), shown(mail)
    for part in parts:
        if part.get_content_subtype() == "html":
            reader.feed(scalar(part.get_content()))
            reader.close()
        else:
            reader.words += scalar(part.get_content()).split()
    return reader.words if parts else None


def shown(mail: EmailMessage) -> list[EmailMessage]:
    """The texts that a mail program shows, one after the other."""
    if mail.get_content_maintype() != "multipart" or mail.get_content_subtype() in ("alternative", "related"):
        # A part without headers is false.
        part = mail.get_body(("plain", "html"))
        return [] if part is None else [part]
    parts = [part for part in mail.iter_parts() if not part.is_attachment() and part.get_filename() is None]
    return [text for part in parts if isinstance(part, EmailMessage) for text in shown(part)]


def sender(mail: EmailMessage) -> str | None:
    """The first address of From."""
    addresses = mail["From"].addresses if mail["From"] else ()
    return scalar(addresses[0].addr_spec) if addresses else None


def scalar(value: str) -> str:
    """The value with U+FFFD for what is no character, as JSON wants it."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


json.dump([read(b64decode(mail)) for mail in json.load(sys.stdin)], sys.stdout)
