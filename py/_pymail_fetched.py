"""Parses FETCH responses, in every spelling that servers use, and merges their attributes by message.

A malformed response raises imaplib's abort, which ends the connection: what follows it can't be trusted.
"""

from __future__ import annotations

import imaplib
from typing import Any

from _pymail_transport import pattern

# UIDs have 32 bits (RFC 3501, section 9), sizes 63 (RFC 9051).
MAX_UINT32 = (1 << 32) - 1
MAX_SIZE = (1 << 64) - 1
# Octets of a response without its literals: flags, and short messages as strings. More costs `re` much memory.
MAX_TEXT = 128 << 10
MAX_TOKENS = 10_000

_TOKEN = (
    rb'[ \t]*(?:(?P<open>\()|(?P<close>\))|"(?P<string>(?:[^"\\]|\\.)*)"'
    rb'|\[(?P<section>[^\]]*)\][ \t]*(?:<[ \t]*(?P<origin>\d{1,10})[ \t]*>)?|(?P<atom>[^\s()"\[]+|\[))'
)
_ESCAPED = rb"\\(.)"
_NUMBER = rb"\d{1,20}"
# Attribute names that may follow a message. Any other word may be the end of a message whose literal is too short.
_NAME_AFTER_MAIL = (
    rb"UID|FLAGS|RFC822(?:\.\w+)?|INTERNALDATE|MODSEQ|EMAILID|THREADID|SAVEDATE|PREVIEW|ENVELOPE|BODYSTRUCTURE"
    rb"|BODY|BODY\.PEEK|BINARY(?:\.\w+)?|ANNOTATION|X-[\w.-]+"
)

# A message before its UID is known: the count of EXPUNGE responses so far, and the sequence number.
Place = tuple[int, int]
# A FETCH response without literals that is parsed later: its place and its text.
Unread = tuple[Place, bytes]
# UID, RFC822.SIZE, True if flagged deleted, a buffer, and where in the buffer the message begins and ends.
Mail = tuple[int, int, bool, bytes, int, int]
MAIL_FIELDS = 6
# Kind, value, and the origin of a partial section (`<0>`), else 0.
Token = tuple[Any, bytes, int]


class Attributes:
    """The attributes of one message, from one or more FETCH responses."""

    __slots__ = ("flags", "mail", "place", "section", "size", "uid")

    def __init__(self, place: Place) -> None:
        self.place = place
        self.uid: int | None = None
        self.size: int | None = None
        self.flags: bytes | None = None
        # The message from its first octet on, and one of its sections.
        self.mail: bytes | None = None
        self.section: bytes | None = None

    @classmethod
    def of(cls, mail: Mail) -> Attributes:
        """Returns the attributes of a message that the fast path has read."""
        known = cls((0, 0))
        known.uid, known.size, is_deleted, octets, begin, end = mail
        known.flags, known.mail = b"\\Deleted" if is_deleted else b"", octets[begin:end]
        return known

    def store(self, name: bytes, section: bytes | None, origin: int, value: bytes) -> None:
        """Stores one attribute; ignores those that are never requested."""
        if name == b"UID":
            self.uid = _once(self.uid, _number(value, MAX_UINT32))
        elif name == b"RFC822.SIZE":
            self.size = _once(self.size, _number(value, MAX_SIZE))
        elif name == b"FLAGS":
            self.flags = (self.flags or b"") + b" " + value
        elif name == b"RFC822" or (name in (b"BODY", b"BODY.PEEK") and section == b"" and not origin):
            if self.mail is not None:
                raise imaplib.IMAP4.abort("a FETCH response has a message twice")
            self.mail = value
        elif name in (b"BODY", b"BODY.PEEK") and section and self.section is None:
            self.section = value

    def add(self, later: Attributes) -> None:
        """Merges the attributes of a later response about the same message."""
        for name in ("uid", "size", "flags", "mail", "section"):
            value = getattr(later, name)
            if value is not None:
                setattr(self, name, value)

    def known_uid(self) -> int:
        """Returns the UID; without one, the data could be any message's."""
        if not self.uid:
            raise imaplib.IMAP4.abort("a FETCH response has no UID")
        return self.uid

    def as_mail(self) -> Mail:
        """Returns the message; the size is 0 when the server sent none."""
        octets = self.mail or b""
        is_deleted = b"\\deleted" in (self.flags or b"").lower()
        return self.known_uid(), self.size or 0, is_deleted, octets, 0, len(octets)

    def as_headers(self) -> Mail:
        """Returns the headers as a message of unknown size; the message itself if the server sent that instead."""
        octets = (self.mail if self.section is None else self.section) or b""
        return self.known_uid(), 0, False, octets, 0, len(octets)


class AttributeTable:
    """Attributes that were received so far, by UID or, before that is known, by sequence number."""

    def __init__(self) -> None:
        # The error of a response that could not be parsed; no later one can be.
        self.broken: imaplib.IMAP4.abort | None = None
        self._by_place: dict[Place, Attributes] = {}
        self._by_uid: dict[int, Attributes] = {}

    def add(self, response: Attributes | Unread) -> Attributes:
        """Merges a response into the table; returns everything known of its message."""
        new = response if isinstance(response, Attributes) else parse_attributes([response[1]], response[0])
        known = (self._by_uid.get(new.uid) if new.uid else None) or self._by_place.get(new.place)
        if known is None or (known.uid and new.uid and known.uid != new.uid):
            known = self._by_place[new.place] = new
        else:
            known.add(new)
        if known.uid:
            self._by_uid[known.uid] = known
        return known

    def forget(self, known: Attributes) -> None:
        """Removes a complete message: a later response with its UID starts a new entry."""
        self._by_place.pop(known.place, None)
        self._by_uid.pop(known.uid or 0, None)

    def rest(self) -> list[Attributes]:
        """Returns the messages in the table, in the order of their first responses."""
        return list(self._by_place.values())

    def clear(self) -> None:
        """Removes all messages."""
        self._by_place.clear()
        self._by_uid.clear()


def is_mail(item: Any) -> bool:
    """Returns True if the fast path has read it, as a whole message."""
    return isinstance(item, tuple) and len(item) == MAIL_FIELDS


def parse_attributes(pieces: list[bytes], place: Place) -> Attributes:
    """Parses one response, `(name value name value ...)`, from its pieces: text, a literal, text, ..."""
    known = Attributes(place)
    tokens = _tokens(pieces)
    at = depth = 0
    while at < len(tokens):
        kind, value, _ = tokens[at]
        at += 1
        if kind == "close":
            depth -= 1
            if depth == 0:
                break
        elif kind == "open" and known.mail is None:  # some servers write one too many
            depth += 1
        elif kind == "atom" and depth:
            at = _parse_attribute(known, value.upper(), tokens, at)
        else:
            raise _malformed()
    if depth or not at or at != len(tokens):
        raise _malformed()
    return known


def _parse_attribute(known: Attributes, name: bytes, tokens: list[Token], at: int) -> int:
    """Stores the attribute whose name has been read; returns where the next one begins."""
    section, origin = None, 0
    if tokens[at][0] == "section":
        section, origin = tokens[at][1].strip(), tokens[at][2]
        at += 1
    kind, value, _ = tokens[at] if at < len(tokens) else (None, b"", 0)
    at += 1
    if kind == "open":
        value, at = _parse_list(tokens, at)
    elif kind == "atom" and value.upper() == b"NIL":
        value = b""
    elif kind not in ("atom", "string"):
        raise _malformed()
    is_plain = kind != "atom" or not value or value.removeprefix(b"-").isdigit()
    if known.mail is not None and not (is_plain and pattern(_NAME_AFTER_MAIL).fullmatch(name)):
        raise imaplib.IMAP4.abort("a message continues after the end of its literal")
    known.store(name, section, origin, value)
    return at


def _parse_list(tokens: list[Token], at: int) -> tuple[bytes, int]:
    """Returns the words of a list whose opening parenthesis has been read, and where it ends."""
    words, depth = [], 1
    while depth:
        if at == len(tokens):
            raise _malformed()
        kind, word, _ = tokens[at]
        at += 1
        depth += (kind == "open") - (kind == "close")
        words.append(word)
    return b" ".join(words), at


def _tokens(pieces: list[bytes]) -> list[Token]:
    """Splits text into tokens; each literal is one token."""
    if sum(map(len, pieces[::2])) > MAX_TEXT:
        raise _malformed()
    tokens: list[Token] = []
    for nth, piece in enumerate(pieces):
        if nth % 2:
            tokens.append(("string", piece, 0))
            continue
        at, text = 0, piece.rstrip()
        while at < len(text):
            token = pattern(_TOKEN).match(text, at)
            if token is None or len(tokens) > MAX_TOKENS:
                raise _malformed()
            tokens.append(_token(token.lastgroup, token))
            at = token.end()
    return tokens


def _token(kind: str | None, token: Any) -> Token:
    """Converts a match; unescapes a quoted string."""
    if kind in ("section", "origin"):
        return "section", token["section"], int(token["origin"] or 0)
    value: bytes = token[kind]
    return kind, pattern(_ESCAPED).sub(rb"\1", value) if kind == "string" else value, 0


def _number(text: bytes, most: int) -> int | None:
    """Returns a number up to `most`; None for any other value, as if the server had not sent the attribute."""
    return int(text) if pattern(_NUMBER).fullmatch(text) and int(text) <= most else None


def _once(before: int | None, now: int | None) -> int | None:
    """Returns `now`; raises if the response had another value before."""
    if before is not None and before != now:
        raise imaplib.IMAP4.abort("a FETCH response contradicts itself")
    return now


def _malformed() -> Exception:
    return imaplib.IMAP4.abort("a FETCH response is malformed")
