"""FETCH responses: the attributes that they tell, however a server writes them, put together by mail.

What can't be read is raised as imaplib's abort, which ends the connection: what follows it can't be trusted.
"""

from __future__ import annotations

import imaplib
from typing import Any

from _pymail_wire import pattern

# UIDs have 32 bits (RFC 3501, section 9), sizes 63 (RFC 9051).
MOST = (1 << 32) - 1
MOST_OCTETS = (1 << 64) - 1
# The text of one response without its literals: short mails are in it, and flags. More takes `re` too much memory.
LONGEST_TEXT = 128 << 10
MOST_TOKENS = 10_000

_TOKEN = (
    rb'[ \t]*(?:(?P<open>\()|(?P<close>\))|"(?P<string>(?:[^"\\]|\\.)*)"'
    rb'|\[(?P<section>[^\]]*)\][ \t]*(?:<[ \t]*(?P<origin>\d{1,10})[ \t]*>)?|(?P<atom>[^\s()"\[]+|\[))'
)
_ESCAPED = rb"\\(.)"
_NUMBER = rb"\d{1,20}"
# What may follow a mail. A word and a number may as well be the end of a mail whose announced length is too short.
_BEHIND_A_MAIL = (
    rb"UID|FLAGS|RFC822(?:\.\w+)?|INTERNALDATE|MODSEQ|EMAILID|THREADID|SAVEDATE|PREVIEW|ENVELOPE|BODYSTRUCTURE"
    rb"|BODY|BODY\.PEEK|BINARY(?:\.\w+)?|ANNOTATION|X-[\w.-]+"
)
_PLAIN = rb"\d+|NIL"

# How often sequence numbers have changed before a response, and its own; and its text, if it has no literals.
Place = tuple[int, int]
Unread = tuple[Place, bytes]
# UID, size on the server, whether it is flagged deleted, octets of a mail and where in them it begins and ends.
Mail = tuple[int, int, bool, bytes, int, int]
PARTS_OF_A_MAIL = 6
Token = tuple[Any, bytes, int]


class Attributes:
    """What FETCH responses tell of one mail."""

    __slots__ = ("flags", "mail", "part", "place", "size", "uid")

    def __init__(self, place: Place) -> None:
        self.place = place
        self.uid: int | None = None
        self.size: int | None = None
        self.flags: bytes | None = None
        # The mail from its first octet on, and one of its sections.
        self.mail: bytes | None = None
        self.part: bytes | None = None

    @classmethod
    def of(cls, mail: Mail) -> Attributes:
        """Those of a mail that was read already."""
        told = cls((0, 0))
        told.uid, told.size, is_deleted, octets, begin, end = mail
        told.flags, told.mail = b"\\Deleted" if is_deleted else b"", octets[begin:end]
        return told

    def tell(self, name: bytes, section: bytes | None, origin: int, value: bytes) -> None:
        """Takes in one attribute; drops what is never asked for."""
        if name == b"UID":
            self.uid = _once(self.uid, _number(value, MOST))
        elif name == b"RFC822.SIZE":
            self.size = _once(self.size, _number(value, MOST_OCTETS))
        elif name == b"FLAGS":
            self.flags = (self.flags or b"") + b" " + value
        elif name == b"RFC822" or (name in (b"BODY", b"BODY.PEEK") and section == b"" and not origin):
            if self.mail is not None:
                raise imaplib.IMAP4.abort("a mail comes twice in one answer")
            self.mail = value
        elif name in (b"BODY", b"BODY.PEEK") and section and self.part is None:
            self.part = value

    def add(self, later: Attributes) -> None:
        """Takes in what a later response tells of the same mail."""
        for name in ("uid", "size", "flags", "mail", "part"):
            value = getattr(later, name)
            if value is not None:
                setattr(self, name, value)

    def known_uid(self) -> int:
        """Its UID; data of a mail without one is nobody's."""
        if not self.uid:
            raise imaplib.IMAP4.abort("the server left out a mail's UID")
        return self.uid

    def as_mail(self) -> Mail:
        """The mail; where no size was told, its octets are all that there is."""
        octets = self.mail or b""
        is_deleted = b"\\deleted" in (self.flags or b"").lower()
        return self.known_uid(), self.size or 0, is_deleted, octets, 0, len(octets)

    def as_headers(self) -> Mail:
        """The headers as a mail of unknown size; the mail itself where the server sent that in their place."""
        octets = (self.mail if self.part is None else self.part) or b""
        return self.known_uid(), 0, False, octets, 0, len(octets)


class Table:
    """Attributes by mail, by UID or else by sequence number, from however many responses tell them."""

    def __init__(self) -> None:
        # Why what follows can't be read.
        self.broken: imaplib.IMAP4.abort | None = None
        self._by_place: dict[Place, Attributes] = {}
        self._by_uid: dict[int, Attributes] = {}

    def add(self, response: Attributes | Unread) -> Attributes:
        """All that is known of a response's mail by now."""
        told = response if isinstance(response, Attributes) else attributes([response[1]], response[0])
        known = (self._by_uid.get(told.uid) if told.uid else None) or self._by_place.get(told.place)
        if known is None or (known.uid and told.uid and known.uid != told.uid):
            known = self._by_place[told.place] = told
        else:
            known.add(told)
        if known.uid:
            self._by_uid[known.uid] = known
        return known

    def forget(self, known: Attributes) -> None:
        """Drops what is complete: another response with the same UID begins anew."""
        self._by_place.pop(known.place, None)
        self._by_uid.pop(known.uid or 0, None)

    def rest(self) -> list[Attributes]:
        """What is in there, in the order of the first responses."""
        return list(self._by_place.values())

    def clear(self) -> None:
        """Forgets everything."""
        self._by_place.clear()
        self._by_uid.clear()


def is_mail(item: Any) -> bool:
    """Whether it is a mail that was read with many others."""
    return isinstance(item, tuple) and len(item) == PARTS_OF_A_MAIL


def attributes(pieces: list[bytes], place: Place) -> Attributes:
    """The attributes in one response, `(name value name value ...)`: its text, a literal, text, ..."""
    told = Attributes(place)
    tokens = _tokens(pieces)
    at = depth = 0
    while at < len(tokens):
        kind, value, _ = tokens[at]
        at += 1
        if kind == "close":
            depth -= 1
            if depth == 0:
                break
        elif kind == "open" and told.mail is None:  # some servers have too many
            depth += 1
        elif kind == "atom" and depth:
            at = _attribute(told, value.upper(), tokens, at)
        else:
            raise _unreadable()
    if depth or not at or at != len(tokens):
        raise _unreadable()
    return told


def _attribute(told: Attributes, name: bytes, tokens: list[Token], at: int) -> int:
    """Takes in the attribute whose name was read; where the next one begins."""
    section, origin = None, 0
    if tokens[at][0] == "section":
        section, origin = tokens[at][1].strip(), tokens[at][2]
        at += 1
    kind, value, _ = tokens[at] if at < len(tokens) else (None, b"", 0)
    at += 1
    if kind == "open":
        value, at = _list(tokens, at)
    elif kind == "atom" and value.upper() == b"NIL":
        value = b""
    elif kind not in ("atom", "string"):
        raise _unreadable()
    is_plain = kind != "atom" or not value or value.removeprefix(b"-").isdigit()
    if told.mail is not None and not (is_plain and pattern(_BEHIND_A_MAIL).fullmatch(name)):
        raise imaplib.IMAP4.abort("a mail's data goes on where it should end")
    told.tell(name, section, origin, value)
    return at


def _list(tokens: list[Token], at: int) -> tuple[bytes, int]:
    """The words of a list whose parenthesis was read, and where it ends."""
    words, depth = [], 1
    while depth:
        if at == len(tokens):
            raise _unreadable()
        kind, word, _ = tokens[at]
        at += 1
        depth += (kind == "open") - (kind == "close")
        words.append(word)
    return b" ".join(words), at


def _tokens(pieces: list[bytes]) -> list[Token]:
    """Text in tokens, and each literal as one."""
    if sum(map(len, pieces[::2])) > LONGEST_TEXT:
        raise _unreadable()
    tokens: list[Token] = []
    for nth, piece in enumerate(pieces):
        if nth % 2:
            tokens.append(("string", piece, 0))
            continue
        at, text = 0, piece.rstrip()
        while at < len(text):
            token = pattern(_TOKEN).match(text, at)
            if token is None or len(tokens) > MOST_TOKENS:
                raise _unreadable()
            tokens.append(_token(token.lastgroup, token))
            at = token.end()
    return tokens


def _token(kind: str | None, token: Any) -> Token:
    if kind in ("section", "origin"):
        return "section", token["section"], int(token["origin"] or 0)
    value: bytes = token[kind]
    return kind, pattern(_ESCAPED).sub(rb"\1", value) if kind == "string" else value, 0


def _number(text: bytes, most: int) -> int | None:
    """A number, or nothing where there is none that there can be: the mail is one without it then."""
    return int(text) if pattern(_NUMBER).fullmatch(text) and int(text) <= most else None


def _once(before: int | None, now: int | None) -> int | None:
    if before is not None and before != now:
        raise imaplib.IMAP4.abort("the server tells two things of one mail")
    return now


def _unreadable() -> Exception:
    return imaplib.IMAP4.abort("a mail's data has a shape that is unknown")
