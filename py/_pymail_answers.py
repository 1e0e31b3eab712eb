"""What an IMAP server's answers say: plain values out of what imaplib makes of them.

What can't be an answer to the question is raised as imaplib's abort, which ends the connection.
"""

from __future__ import annotations

import imaplib
import re
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from _pymail_fetched import MOST as MOST
from _pymail_fetched import PARTS_OF_A_MAIL, Attributes, is_mail
from _pymail_fetched import Mail as Mail
from _pymail_fetched import Table as Table
from _pymail_wire import Refused

# More UIDs than one SEARCH is asked for, by far: mail may come meanwhile.
MOST_FOUND_AT_ONCE = 100_000
# Ranges are short: a line of them can say more than there is room for.
MOST_IN_SETS = 1_000_000
# Each is an object until then, of which a free-threaded Python makes half as much again.
PACKED_AT_ONCE = 10_000
# So many Message-IDs of 200 octets fit on a command line (RFC 7162, section 4).
IDS_AT_ONCE = 30

# As text, compiled by `re` on first use: compiling costs a process's start more than all its other work here.
_CODE = r"\[([A-Z][A-Z0-9-]{0,63})(?![A-Z0-9-])[^\]]*\]"
_CODE_AHEAD = r"(?i)\s*\[\s*([A-Z][A-Z0-9-]{0,63})(?=[\s\]])[^\]]*\]"
_RANGE = rb"\d{1,10}(?::\d{1,10})?"
_ALL = rb"(?i)\bALL\s+(" + _RANGE + rb"(?:\s*,\s*" + _RANGE + rb")*)(?!\S)"
_DELIVERY = rb"(?i)\$PymailDelivery(\d{1,3})\b"
_MESSAGE_ID = rb"(?im)^Message-ID:\s*<([!#-;=?-\[\]-~]{1,200})>"
_NO_MESSAGES = r"(?i)\(\s*MESSAGES\s+0\s*\)\s*$"
_NAMESPACE = r'\(\s*"([ !#-\[\]-~]{0,255})"\s+(?:"\\?([!-~])"|NIL)'
_UIDNEXT = r"(?i)\bUIDNEXT\s+(\d{1,10})\b"
_MAILBOX = r'\([^()]*\)\s*(?:"[^"]*"|NIL)\s+(?:"([^"\\]*)"|([^" ]+))'
_LISTED = r'\([^()]*\)\s*"\\?([!-~])"\s'


def refusal(text: str) -> Refused:
    """The server's no, with its code, in whatever case it is written."""
    # Whole it goes to where secrets are hidden in it; a code is at its beginning, more or less.
    code = re.match(_CODE_AHEAD, text[:1_000]) or re.search(_CODE, text[:1_000])
    return Refused(code.group(1).upper() if code else None, text)


def as_text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def announced_limit(capabilities: list[str]) -> int:
    """The most messages that one command may be about, as the server announces it (RFC 9738); 0 for no limit."""
    told = [re.fullmatch(r"(?:MESSAGE|SAVE)LIMIT=([1-9]\d{0,9})", name) for name in capabilities]
    return min((int(limit.group(1)) for limit in told if limit), default=0)


def limited(told: dict[str, list[Any]]) -> tuple[int, int] | None:
    """The limit that a command met, and the lowest UID that it came to, or 0 (RFC 9738)."""
    said = re.fullmatch(r"(\d{1,10})(?: (\d{1,10}))?", as_text((told.get("MESSAGELIMIT") or [b""])[-1]))
    return (min(int(said.group(1)), MOST), min(int(said.group(2) or 0), MOST)) if said else None


def namespaces(told: dict[str, list[Any]]) -> list[tuple[str, str]]:
    """Prefixes and delimiters (RFC 2342), our own first; "" for no delimiter."""
    text = as_text(told["NAMESPACE"][-1]) if told.get("NAMESPACE") else ""
    # Who has none of one's own, or tells it in a way that is unknown, wants no prefix.
    ours = [] if re.match(r"\s*\(\s*" + _NAMESPACE, text, re.IGNORECASE) else [("", "")]
    return ours + re.findall(_NAMESPACE, text, re.IGNORECASE)


def archive_names(name: str, namespaces: list[tuple[str, str]], delimiter: str) -> list[str]:
    """The names that an archive may have: as it should be, in INBOX, on one level."""
    names = [in_namespace(name, namespaces)]
    if delimiter:
        inner = "INBOX" + delimiter
        if not names[0].upper().startswith(inner):
            names.append(inner + name)
        names += [in_namespace(name.replace(delimiter, "-"), namespaces)] if delimiter in name else []
    return list(dict.fromkeys(names))


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
    """UID and the section that was asked for of each mail; where a server sends the whole mail instead, that."""
    return [(it.known_uid(), part) for it, part in _parts(data)]


def named_literals(data: list[Any]) -> list[tuple[int, bytes]]:
    """The same of each mail that has a UID."""
    return [(it.uid, part) for it, part in _parts(data) if it.uid]


def _parts(data: list[Any]) -> list[tuple[Attributes, bytes]]:
    table = Table()
    told = [*_told(data, table, lambda told: told.part is not None), *table.rest()]
    parts = [(it, it.mail if it.part is None else it.part) for it in told]
    return [(it, part) for it, part in parts if part is not None]


def prints(data: list[Any]) -> dict[int, tuple[int | None, bytes]]:
    """Size and headers of each mail that has a UID."""
    table = Table()
    told = [*_told(data, table, lambda _: False), *table.rest()]
    parts = [(it, it.mail if it.part is None else it.part) for it in told]
    return {it.uid: (it.size, part) for it, part in parts if it.uid and part is not None}


def searches(wanted: Iterable[tuple[int | None, bytes]]) -> Iterator[str]:
    """Criteria that find these mails by their Message-IDs, some at a time."""
    ids = [found.group(1).decode() for _, headers in wanted if (found := re.search(_MESSAGE_ID, headers))]
    for at in range(0, len(ids), IDS_AT_ONCE):
        some = [f'HEADER MESSAGE-ID "{message_id}"' for message_id in ids[at : at + IDS_AT_ONCE]]
        yield "OR " * (len(some) - 1) + " ".join(some)


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
        first, _, last = words.strip().partition(b":")
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
    told = _told(data, Table(), lambda told: told.flags is not None)
    counts = [(it.known_uid(), re.findall(_DELIVERY, it.flags or b"")) for it in told if it.uid]
    return [(uid, max(map(int, count), default=0)) for uid, count in counts]


def sizes(data: list[Any]) -> list[tuple[int, int]]:
    """UID and size on the server of each mail."""
    table = Table()
    told = [*_told(data, table, lambda told: told.size is not None), *table.rest()]
    return [(it.known_uid(), it.size) for it in told if it.size is not None]


def mails(data: list[Any], table: Table, is_last: bool) -> list[Mail]:
    """The mails that are complete; behind a command's last response, those too that lack nothing but a size.

    The others wait in the table for what later responses tell of them. What is complete before a response that can't be
    read is returned, and the table is broken.
    """
    # Without a call for each: there are many.
    whole = [item for item in data if type(item) is tuple and len(item) == PARTS_OF_A_MAIL]
    rest = [item for item in data if not is_mail(item)] if len(whole) < len(data) else []
    told = _until_broken(rest, table, bool(whole), lambda told: told.size is not None and told.mail is not None)
    if is_last and not whole and not told:  # What is complete goes first.
        told = _unsized(table)
    return whole + [it.as_mail() for it in told]


def headers(data: list[Any], table: Table, is_last: bool) -> list[Mail]:
    """The same for headers that were asked for; some servers send the whole mail in their place."""
    told = _until_broken(data, table, False, lambda told: told.part is not None)
    if is_last and not told:
        told = _unsized(table)
    return [it.as_headers() for it in told]


def _until_broken(
    data: list[Any], table: Table, has_more: bool, is_complete: Callable[[Attributes], bool]
) -> list[Attributes]:
    told: list[Attributes] = []
    try:
        for it in _told(data, table, is_complete):
            told.append(it)  # noqa: PERF402: each counts, whatever comes after it
    except imaplib.IMAP4.abort as error:
        if not (told or has_more):
            raise
        table.broken = error.with_traceback(None)
    return told


def _unsized(table: Table) -> list[Attributes]:
    """The mails whose sizes the server does not tell. One without a UID can be any, and is left out."""
    named = [it for it in table.rest() if it.mail is not None and it.uid]
    for it in named:
        table.forget(it)
    return named


def _told(data: list[Any], table: Table, is_complete: Callable[[Attributes], bool]) -> Iterator[Attributes]:
    """What FETCH's responses tell of mails that are complete, UID and all; the others stay in the table."""
    for item in data:
        if is_mail(item):  # It has all that it will have, whatever was asked for.
            if item[0]:
                yield Attributes.of(item)
            continue
        known = table.add(item)
        if known.uid and is_complete(known):
            table.forget(known)
            yield known
