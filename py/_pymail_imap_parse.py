"""Parses the data of IMAP responses, as imaplib returns it, into plain values.

Data that can't belong to the command raises imaplib's abort, which ends the connection.
"""

from __future__ import annotations

import imaplib
import re
import struct
from collections.abc import Iterator
from typing import Any

from _pymail_transport import Refused

# UIDs have 32 bits (RFC 3501, section 9).
MAX_UINT32 = (1 << 32) - 1
# UIDs accepted from one SEARCH response: far more than a search window has, since mail may arrive meanwhile.
MAX_SEARCH_UIDS = 100_000
# UIDs accepted from ESEARCH responses, whose short ranges can name more UIDs than memory holds.
MAX_ESEARCH_UIDS = 1_000_000
# UIDs of a range that are packed at a time: each is an object until then, and a free-threaded Python takes half as
# much memory again for it.
PACK_CHUNK = 10_000

# As text, compiled by `re` on first use: at import, compiling would dominate the start of a process.
_CODE = r"\[([A-Z][A-Z0-9-]{0,63})(?![A-Z0-9-])[^\]]*\]"
_LEADING_CODE = r"(?i)\s*\[\s*([A-Z][A-Z0-9-]{0,63})(?=[\s\]])[^\]]*\]"
_RANGE = rb"\d{1,10}(?::\d{1,10})?"
_ALL = rb"(?i)\bALL\s+(" + _RANGE + rb"(?:\s*,\s*" + _RANGE + rb")*)(?!\S)"
_COUNT = rb"(?i)\bCOUNT\s+(\d{1,10})\b"
_NO_MESSAGES = r"(?i)\(\s*MESSAGES\s+0\s*\)\s*$"
_NAMESPACE = r'\(\s*"([ !#-\[\]-~]{0,255})"\s+(?:"\\?([!-~])"|NIL)'
_MESSAGES = r"(?i)\(\s*MESSAGES\s+(\d{1,10})\s*\)\s*$"
_UIDNEXT = r"(?i)\bUIDNEXT\s+(\d{1,10})\b"
_MAILBOX = r'\([^()]*\)\s*(?:"[^"]*"|NIL)\s+(?:"([^"\\]*)"|([^" ]+))'
_LISTED = r'\([^()]*\)\s*"\\?([!-~])"\s'


def parse_refusal(text: str) -> Refused:
    """Returns the exception for a NO or BAD: its response code in upper case, and its text."""
    # The text goes on whole: secrets are hidden in it later, and half a secret would not be recognised.
    code = re.match(_LEADING_CODE, text[:1_000]) or re.search(_CODE, text[:1_000])
    return Refused(code.group(1).upper() if code else None, text)


def as_text(value: object) -> str:
    """Decodes octets as UTF-8, with U+FFFD for what is invalid; returns other values as `str` shows them."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def parse_message_limit(capabilities: list[str]) -> int:
    """Returns the announced limit of messages that one command may name (RFC 9738); 0 for no limit."""
    matches = [re.fullmatch(r"(?:MESSAGE|SAVE)LIMIT=([1-9]\d{0,9})", name) for name in capabilities]
    return min((int(limit.group(1)) for limit in matches if limit), default=0)


def parse_limit_reached(untagged: dict[str, list[Any]]) -> tuple[int, int] | None:
    """Returns the limit that a command met, and the lowest UID that it processed, or 0 (RFC 9738)."""
    match = re.fullmatch(r"(\d{1,10})(?: (\d{1,10}))?", as_text((untagged.get("MESSAGELIMIT") or [b""])[-1]))
    return (min(int(match.group(1)), MAX_UINT32), min(int(match.group(2) or 0), MAX_UINT32)) if match else None


def parse_namespaces(untagged: dict[str, list[Any]]) -> list[tuple[str, str]]:
    """Returns prefixes and delimiters (RFC 2342), the personal namespace first; "" for no delimiter."""
    text = as_text(untagged["NAMESPACE"][-1]) if untagged.get("NAMESPACE") else ""
    # Without a personal namespace, or with one that can't be read, names get no prefix.
    personal = [] if re.match(r"\s*\(\s*" + _NAMESPACE, text, re.IGNORECASE) else [("", "")]
    return personal + re.findall(_NAMESPACE, text, re.IGNORECASE)


def archive_names(name: str, namespaces: list[tuple[str, str]], delimiter: str) -> list[str]:
    """Returns the names to try for the archive, in order: with the prefix, within INBOX, without hierarchy.

    The last one is within `Folders`, where alone Proton Mail Bridge creates mailboxes.
    """
    names = [add_prefix(name, namespaces)]
    if delimiter:
        inner = "INBOX" + delimiter
        if not names[0].upper().startswith(inner):
            names.append(inner + name)
        flat = name.replace(delimiter, "-")
        names += [add_prefix(flat, namespaces)] if delimiter in name else []
        names.append("Folders" + delimiter + flat)
    return list(dict.fromkeys(names))


def add_prefix(name: str, namespaces: list[tuple[str, str]]) -> str:
    """Returns a mailbox's name with the personal namespace's prefix, unless it has a prefix already."""
    prefixes = [prefix.upper() for prefix, _ in namespaces if prefix]
    if name.upper() == "INBOX" or name.upper().startswith(tuple(prefixes)):
        return name
    return namespaces[0][0] + name


def parse_delimiter(untagged: dict[str, list[Any]], namespaces: list[tuple[str, str]]) -> str:
    """Returns the hierarchy delimiter by LIST, else by the personal namespace; "" for none."""
    listed = re.match(_LISTED, as_text(untagged["LIST"][-1])) if untagged.get("LIST") else None
    return listed.group(1) if listed else namespaces[0][1]


def is_status_empty(status: list[Any]) -> bool:
    """Returns True if a STATUS response says that the mailbox has no messages."""
    return bool(status) and re.search(_NO_MESSAGES, as_text(status[-1])) is not None


def parse_uidnext(status: list[Any]) -> int | None:
    """Returns UIDNEXT from a STATUS response; None without one."""
    match = re.search(_UIDNEXT, as_text(status[-1])) if status else None
    return parse_uint32(match.group(1).encode()) if match else None


def parse_messages(status: list[Any]) -> int | None:
    """Returns MESSAGES from a STATUS response; None without one."""
    match = re.search(_MESSAGES, as_text(status[-1])) if status else None
    return parse_uint32(match.group(1).encode()) if match else None


def parse_list(data: list[Any]) -> list[str]:
    """Returns the mailbox names in LIST responses; skips names that are literals."""
    lines = [re.fullmatch(_MAILBOX, as_text(line)) for line in data if isinstance(line, bytes)]
    return [line.group(1) or line.group(2) for line in lines if line]


def parse_uint32(text: object) -> int | None:
    """Returns a number of 32 bits; None for anything else."""
    if not isinstance(text, bytes) or not re.fullmatch(rb"\d{1,10}", text):
        return None
    return int(text) if int(text) <= MAX_UINT32 else None


def parse_search(lines: list[Any], esearch_lines: list[Any]) -> bytes:
    """Returns the UIDs in SEARCH and ESEARCH responses, four octets each; skips words that are no UIDs."""
    if not all(isinstance(line, bytes) for line in lines + esearch_lines):
        raise imaplib.IMAP4.abort("the server sent a literal in a SEARCH response")
    found = bytearray()
    for line in lines:
        # CONDSTORE may put "(MODSEQ 5)" after the UIDs (RFC 7162, section 3.1.5).
        for word in re.finditer(rb"(?<!\S)\d{1,10}(?!\S)", line.partition(b"(")[0]):
            uid = int(word.group())
            if 0 < uid <= MAX_UINT32:
                found += uid.to_bytes(4, "little")
            if len(found) > 4 * MAX_SEARCH_UIDS:
                raise imaplib.IMAP4.abort("the SEARCH response has more UIDs than the mailbox can have")
    for line in esearch_lines:
        for low, high in _parse_ranges(line):
            if high - low >= MAX_ESEARCH_UIDS - len(found) // 4:
                raise imaplib.IMAP4.abort("the ESEARCH response has more UIDs than the mailbox can have")
            for first in range(low, high + 1, PACK_CHUNK):
                chunk = range(first, min(first + PACK_CHUNK, high + 1))
                found += struct.pack(f"<{len(chunk)}I", *chunk)
    return bytes(found)


def parse_count(responses: list[dict[str, list[Any]]]) -> int | None:
    """Returns the COUNT of the last ESEARCH response (RFC 4731, section 3.1); None without one."""
    lines = [line for it in responses for line in it.get("ESEARCH", []) if isinstance(line, bytes)]
    match = re.search(_COUNT, lines[-1]) if lines else None
    return parse_uint32(match.group(1)) if match else None


def _parse_ranges(line: bytes) -> Iterator[tuple[int, int]]:
    """Yields first and last UID of each range in an ESEARCH response's ALL (RFC 4731, section 3.1)."""
    match = re.search(_ALL, line)
    for words in match.group(1).split(b",") if match else []:
        first, _, last = words.strip().partition(b":")
        low, high = sorted((int(first), int(last or first)))
        if low and high <= MAX_UINT32:
            yield low, high


def highest_uid(found: bytes) -> int:
    """Returns the highest of these packed UIDs; 0 for none."""
    return max(unpack_uids(found), default=0)


def unpack_uids(found: bytes) -> list[int]:
    """Returns the UIDs that `parse_search` has packed."""
    return list(struct.unpack(f"<{len(found) // 4}I", found))


def split_range(found: bytes, first: int, last: int) -> tuple[bytes, bytes]:
    """Returns the packed UIDs from `first` to `last`, and the others."""
    within = [uid for uid in unpack_uids(found) if first <= uid <= last]
    others = [uid for uid in unpack_uids(found) if not first <= uid <= last]
    return struct.pack(f"<{len(within)}I", *within), struct.pack(f"<{len(others)}I", *others)
