"""What an IMAP server's answers say: plain values out of what imaplib makes of them.

What can't be an answer to the question is raised as imaplib's abort, which ends the connection.
"""

from __future__ import annotations

import imaplib
import re
import struct
from collections.abc import Iterator
from typing import Any

from _pymail_wire import Refused

# More UIDs than one SEARCH is asked for, by far: mail may come meanwhile.
MOST_FOUND_AT_ONCE = 100_000
# Ranges are short: a line of them can say more than there is room for.
MOST_IN_SETS = 1_000_000
# Each is an object until then, of which a free-threaded Python makes half as much again.
PACKED_AT_ONCE = 10_000
# What may follow a mail's data; more takes `re` a hundred times its size.
LONGEST_TAIL = 10_000
# A mail on one line, without a literal; servers do that for next to nothing.
LONGEST_SHORT = 64 << 10
# UIDs, UIDVALIDITY, how many mails: all have 32 bits (RFC 3501, section 9).
MOST = (1 << 32) - 1

# As text, compiled by `re` on first use: compiling costs a process's start more than all its other work here.
_CODE = r"\[([A-Z][A-Z0-9-]{0,63})(?![A-Z0-9-])[^\]]*\]"
_UID = rb"\bUID (\d{1,10})\b"
_SIZE = rb"\bRFC822\.SIZE (\d{1,19})\b"
_DELETED = rb"(?i)\bFLAGS \([^()]*\\Deleted\b"
_ALL = rb"\bALL (\d{1,10}(?::\d{1,10})?(?:,\d{1,10}(?::\d{1,10})?)*)(?!\S)"
_SHORT_BODY = rb'(?:<0>)? (?:NIL|")'
_QUOTE = rb'(?<!\\)"'
_DELIVERY = rb"(?i)\$PymailDelivery(\d{1,3})\b"
_TAIL = rb'(?: [A-Za-z0-9.-]+ (?:\d+|NIL|\([^()]*\)|"[^"]*"))*\)'
_NO_MESSAGES = r"\(MESSAGES 0\)\s*$"
_NAMESPACE = r'\("([ !#-\[\]-~]{0,255})" (?:"\\?([!-~])"|NIL)'
_UIDNEXT = r"(?i)\bUIDNEXT (\d{1,10})\b"
_MAILBOX = r'\([^()]*\) (?:"[^"]*"|NIL) (?:"([^"\\]*)"|([^" ]+))'
_LISTED = r'\([^()]*\) "\\?([!-~])" '


# UID, size on the server, whether it is flagged deleted, octets of a mail and where in them it begins and ends.
Mail = tuple[int, int, bool, bytes, int, int]
PARTS_OF_A_MAIL = 6


def refusal(text: str) -> Refused:
    # Whole it goes to where secrets are hidden in it; a code is at its beginning, more or less.
    code = re.search(_CODE, text[:1_000])
    return Refused(code.group(1) if code else None, text)


def as_text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def namespaces(told: dict[str, list[Any]]) -> list[tuple[str, str]]:
    """Prefixes and delimiters (RFC 2342), our own first; "" for no delimiter."""
    text = as_text(told["NAMESPACE"][-1]) if told.get("NAMESPACE") else ""
    # Who has none of one's own, or tells it in a way that is unknown, wants no prefix.
    ours = [] if re.match(r"\(" + _NAMESPACE, text) else [("", "")]
    return ours + re.findall(_NAMESPACE, text)


def in_namespace(name: str, namespaces: list[tuple[str, str]]) -> str:
    """A mailbox's name behind our own namespace's prefix, unless it is in a namespace as it stands."""
    prefixes = [prefix.upper() for prefix, _ in namespaces if prefix]
    if name.upper() == "INBOX" or name.upper().startswith(tuple(prefixes)):
        return name
    return namespaces[0][0] + name


def delimiter(told: dict[str, list[Any]], namespaces: list[tuple[str, str]]) -> str:
    listed = re.match(_LISTED, as_text(told["LIST"][-1])) if told.get("LIST") else None
    return listed.group(1) if listed else namespaces[0][1]


def is_empty(status: list[Any]) -> bool:
    """Whether a STATUS says that there are no mails."""
    return bool(status) and re.search(_NO_MESSAGES, as_text(status[-1])) is not None


def next_uid(status: list[Any]) -> int | None:
    """UIDNEXT, where a STATUS says it."""
    told = re.search(_UIDNEXT, as_text(status[-1])) if status else None
    return number32(told.group(1).encode()) if told else None


def listed(data: list[Any]) -> list[str]:
    """Names in LIST's answers; one that is a literal is passed over."""
    lines = [re.fullmatch(_MAILBOX, as_text(line)) for line in data if isinstance(line, bytes)]
    return [line.group(1) or line.group(2) for line in lines if line]


def literals(data: list[Any]) -> list[tuple[int, bytes]]:
    """UID and literal of each mail, wherever in the answer its UID stands."""
    found = [(item, data[at + 1 : at + 2]) for at, item in enumerate(data) if isinstance(item, tuple)]
    return [(_number(_UID, b" ".join([item[0], *tail])), item[1]) for item, tail in found]


def number32(text: object) -> int | None:
    """A number of 32 bits, or nothing where a server says anything else."""
    if not isinstance(text, bytes) or not re.fullmatch(rb"\d{1,10}", text):
        return None
    return int(text) if int(text) <= MOST else None


def found(lines: list[Any], sets: list[Any]) -> bytes:
    """The UIDs in SEARCH's and ESEARCH's answers, four octets each; words that are none say something else."""
    if not all(isinstance(line, bytes) for line in lines + sets):
        raise imaplib.IMAP4.abort("a literal is no answer to SEARCH")
    found = bytearray()
    for line in lines:
        # CONDSTORE may put "(MODSEQ 5)" behind the UIDs (RFC 7162, section 3.1.5).
        for word in re.finditer(rb"(?<!\S)\d{1,10}(?!\S)", line.partition(b"(")[0]):
            uid = int(word.group())
            if 0 < uid <= MOST:
                found += uid.to_bytes(4, "little")
            if len(found) > 4 * MOST_FOUND_AT_ONCE:
                raise imaplib.IMAP4.abort("the server finds more than there can be")
    for line in sets:
        for low, high in _ranges(line):
            if high - low >= MOST_IN_SETS - len(found) // 4:
                raise imaplib.IMAP4.abort("the server finds more than there can be")
            for first in range(low, high + 1, PACKED_AT_ONCE):
                some = range(first, min(first + PACKED_AT_ONCE, high + 1))
                found += struct.pack(f"<{len(some)}I", *some)
    return bytes(found)


def _ranges(line: bytes) -> Iterator[tuple[int, int]]:
    """First and last UID of each range in an ESEARCH's ALL (RFC 4731, section 3.1)."""
    told = re.search(_ALL, line)
    for words in told.group(1).split(b",") if told else []:
        first, _, last = words.partition(b":")
        low, high = sorted((int(first), int(last or first)))
        if low and high <= MOST:
            yield low, high


def last(found: bytes) -> int:
    """The highest of these UIDs; 0 when there is none."""
    return max(uids(found), default=0)


def uids(found: bytes) -> list[int]:
    return list(struct.unpack(f"<{len(found) // 4}I", found))


def divided(found: bytes, first: int, last: int) -> tuple[bytes, bytes]:
    """Those of these UIDs that are from the first to the last one, and the others."""
    within = [uid for uid in uids(found) if first <= uid <= last]
    others = [uid for uid in uids(found) if not first <= uid <= last]
    return struct.pack(f"<{len(within)}I", *within), struct.pack(f"<{len(others)}I", *others)


def deliveries(data: list[Any]) -> list[tuple[int, int]]:
    """UID and count of deliveries of each mail, by its flags."""
    lines = [item for item in data if isinstance(item, bytes) and re.search(_UID, item)]
    return [(_number(_UID, line), max(map(int, re.findall(_DELIVERY, line)), default=0)) for line in lines]


def sizes(data: list[Any]) -> list[tuple[int, int]]:
    """UID and size on the server of each mail."""
    lines = [item for item in data if isinstance(item, bytes)]
    return [(_number(_UID, line), _number(_SIZE, line)) for line in lines if re.search(_SIZE, line)]


def mails(data: list[Any]) -> list[Mail]:
    """Each mail in FETCH's answers."""
    found = []
    for at, item in enumerate(data):
        if isinstance(item, tuple) and len(item) == PARTS_OF_A_MAIL:
            found.append(item)  # read already
        elif isinstance(item, tuple):
            tail = data[at + 1] if at + 1 < len(data) else b""
            found.append(_mail(item[0], item[1], tail))
        elif item and b"BODY[]" in item and item.endswith(b")"):
            found.append(_mail(item, _short_body(item), b")"))
    return found


def _mail(head: bytes, octets: bytes, tail: object) -> Mail:
    if not isinstance(tail, bytes) or len(tail) > LONGEST_TAIL or not re.fullmatch(_TAIL, tail):
        raise imaplib.IMAP4.abort("a mail's data goes on where it should end")
    attributes = head + b" " + tail
    is_deleted = re.search(_DELETED, attributes) is not None
    return _number(_UID, attributes), _number(_SIZE, attributes), is_deleted, octets, 0, len(octets)


def _number(pattern: bytes, text: bytes) -> int:
    found = re.search(pattern, text)
    if found is None:
        raise imaplib.IMAP4.abort("the server left out what was asked for")
    return int(found.group(1))


def _short_body(line: bytes) -> bytes:
    # From the first one on: a line that has it a thousand times must not be read a thousand times.
    rest = line.partition(b"BODY[]")[2]
    start = re.match(_SHORT_BODY, rest)
    if start is not None and start.group().endswith(b"NIL"):
        return b""
    text = rest[start.end() :] if start is not None and len(rest) <= LONGEST_SHORT else b""
    # Without a repeated group, which takes `re` a hundred times the text's size: `\\` is out of the way first.
    end = re.search(_QUOTE, text.replace(rb"\\", b"  "))
    if end is None:
        raise imaplib.IMAP4.abort("a mail's data has a shape that is unknown")
    return b"\\".join(part.replace(b"\\", b"") for part in text[: end.start()].split(rb"\\"))
