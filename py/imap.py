"""The IMAP dialogue on imaplib: plain values in, plain values out.

Arguments come checked and quoted (no CR, LF or NUL); UID sets come as text. What the server refuses is
raised as Refused; whatever else is raised ends the connection.
"""

from __future__ import annotations

import imaplib
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from _pymail_wire import ANSWER, Meter, Refused, adopt, forget, tls_context

# Known to UID commands since RFC 6851; imaplib learnt the name in 2026.
imaplib.Commands.setdefault("MOVE", ("SELECTED",))

# imaplib gives up on lines of 1 MB; this many UIDs of ten digits stay well below.
SEARCH_WINDOW = 50_000
# What one window may have; mail that has come meanwhile is found in the last one.
FOUND = 2 * SEARCH_WINDOW
# A larger result does not fit into what a client has to spare, and is no use either.
MOST_FOUND = 4_000_000
# More kinds of answers are no server's.
MOST_KINDS = 1_000
# What may follow a mail's data; more takes `re` a hundred times its size.
LONGEST_TAIL = 10_000
# A mail on one line, without a literal; servers do that for next to nothing.
LONGEST_SHORT = 64 << 10
# UIDs, UIDVALIDITY, how many mails: all have 32 bits (RFC 3501, section 9).
MOST = (1 << 32) - 1

# How many mails are asked at a time who they are, and how much each may say.
RECALL_WINDOW = 1_000
IDENTITY_OCTETS = 16 << 10
IDENTITY = f"BODY.PEEK[HEADER.FIELDS (MESSAGE-ID SUBJECT FROM)]<0.{IDENTITY_OCTETS}>"

# The largest entry of a log that is read whole.
ENTRY_OCTETS = 64 << 10

# As text, compiled by `re` on first use: compiling costs a process's start more than all its other work here.
_CODE = r"\[([A-Z][A-Z0-9-]{0,63})(?![A-Z0-9-])[^\]]*\]"
_UID = rb"\bUID (\d{1,10})\b"
_SIZE = rb"\bRFC822\.SIZE (\d{1,19})\b"
_SHORT_BODY = rb'(?:<0>)? (?:NIL|")'
_QUOTE = rb'(?<!\\)"'
_DELIVERY = rb"(?i)\$PymailDelivery(\d{1,3})\b"
_TAIL = rb'(?: [A-Za-z0-9.-]+ (?:\d+|NIL|\([^()]*\)|"[^"]*"))*\)'
_NAMESPACE = r'\("([ !#-\[\]-~]{0,255})" (?:"\\?([!-~])"|NIL)'
_LISTED = r'\([^()]*\) "\\?([!-~])" '


def quoted(text: str) -> str:
    """An IMAP quoted string (RFC 3501, section 4.3), which every version of imaplib passes on unchanged."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class _Bad(imaplib.IMAP4.error):
    """The server's BAD: its text, which imaplib would show as Python writes it."""


class _Imap(imaplib.IMAP4):
    """On a connected socket, encrypted or not yet; metered."""

    # The last tagged answer.
    answer: tuple[str, list[Any]] | None = None

    def __init__(self, sock: socket.socket, host: str, port: int, seconds: float) -> None:
        self.meter = Meter(seconds)
        self._adopted = sock
        super().__init__(host, port)

    def _create_socket(self, timeout: float | None) -> socket.socket:
        return self._adopted

    def read(self, size: int) -> bytes:
        self._take(size)
        return super().read(size)

    def readline(self) -> bytes:
        try:
            line = super().readline()
        except imaplib.IMAP4.error as error:  # too long; the rest of it would be taken for an answer
            raise self.abort(str(error)) from None
        self._take(len(line), 1)
        return line

    def _take(self, octets: int, objects: int = 0) -> None:
        if not self.meter.take(octets, objects):
            raise self.abort(self.meter.refusal())

    def send(self, data: Any) -> None:
        super().send(data)
        self.meter.sent += len(data)

    def _log(self, line: bytes) -> None:
        """Keeps nothing: imaplib would keep ten lines of up to a megabyte, LOGIN among them."""

    def _append_untagged(self, typ: str, dat: Any) -> None:
        super()._append_untagged(typ, dat)
        if len(self.untagged_responses) > MOST_KINDS:
            raise self.abort("the server's answers are of too many kinds")

    def _get_tagged_response(self, tag: bytes, *args: Any, **kwargs: Any) -> tuple[str, list[Any]]:
        self.answer = None
        self.answer = super()._get_tagged_response(tag, *args, **kwargs)
        return self.answer

    def _command_complete(self, name: str, tag: bytes) -> tuple[str, list[Any]]:
        try:
            return super()._command_complete(name, tag)
        except imaplib.IMAP4.abort:
            raise
        except imaplib.IMAP4.error:
            if self.answer is None or self.answer[0] != "BAD":
                raise
            raise _Bad(_text(self.answer[1][-1])) from None


class Session:
    """One connection."""

    def __init__(
        self, descriptor: int, host: str, port: int, security: str, roots: list[str], seconds: float
    ) -> None:
        self.exists = 0
        self.inbox = ""
        self.validity = 0
        self.has_uidplus = False
        self.has_keywords = False
        self.imap = _Imap(adopt(descriptor, host, security, roots), host, port, seconds)
        if security == "starttls":
            self._starttls(roots)
        if self.imap.state != "NONAUTH":
            self.abandon()
            raise ssl.SSLError("the server greets as if logged in already")

    def hurry(self, seconds: float) -> None:
        """What is called next has this long."""
        self.imap.meter.hurry(seconds)

    def traffic(self) -> tuple[int, int, int]:
        """Commands, octets sent, octets received so far."""
        return self.imap.tagnum, self.imap.meter.sent, self.imap.meter.received

    def _starttls(self, roots: list[str]) -> None:
        if self.imap.state != "NONAUTH" or "STARTTLS" not in self.imap.capabilities:
            self.abandon()
            raise ssl.SSLError("the server offers no STARTTLS")
        self.imap.starttls(tls_context(roots))
        # What came before the encryption may come from anybody.
        self.imap.untagged_responses.clear()

    def login(self, user: str, password: str) -> list[str]:
        """Logs in and returns the capabilities of after it: servers show most of them only then."""
        try:
            return self._login(user, password)
        except BaseException as error:
            forget(error)
            raise

    def _login(self, user: str, password: str) -> list[str]:
        self._absorb()
        try:
            if (user + password).isascii() and "LOGINDISABLED" not in self.imap.capabilities:
                self.imap.login(quoted(user), password)
            else:
                secret = f"\0{user}\0{password}".encode()
                self.imap.authenticate("PLAIN", lambda _: secret)
        except imaplib.IMAP4.abort:
            raise
        except imaplib.IMAP4.error as error:
            raise self._login_refusal(error) from None
        finally:
            # It may repeat the password.
            self.imap.answer = None
        # Many servers tell them with their yes, which is as good as asking (RFC 3501, section 6.2.3).
        told = self.imap.untagged_responses.get("CAPABILITY")
        with suppress(Refused):  # which says nothing of the password
            told = told or self._tagged(self.imap.capability)
        capabilities = _text(told[-1]).upper().split() if told else list(self.imap.capabilities)
        self.has_uidplus = "UIDPLUS" in capabilities
        return capabilities

    def _login_refusal(self, error: imaplib.IMAP4.error) -> Exception:
        """imaplib raises a tagged NO to a login as well, and everything that is no answer."""
        if isinstance(error, _Bad) or self.imap.answer is None:
            return _bad(error)
        return _refusal(_text(self.imap.answer[1][-1]))

    def prepare(self, inbox: str, archive: str, has_namespace: bool) -> tuple[int, str, str]:
        """Selects the inbox, and makes the archive if it is missing.

        Returns the inbox's UIDVALIDITY, the archive's name as this server wants it, and what it puts between a
        mailbox's name and those of the mailboxes within it: "" for nothing.
        """
        told = self._select(inbox, ("NAMESPACE",) if has_namespace else ("LIST", '""', '""'))
        validity = _number32(told["UIDVALIDITY"][-1]) if told.get("UIDVALIDITY") else None
        if not validity:
            raise Refused("UIDVALIDITY", f"the server says no UIDVALIDITY of {inbox}: UIDs mean nothing")
        # RFC 3501, section 7.1: whether new keywords can be made.
        self.has_keywords = rb"\*" in (told.get("PERMANENTFLAGS") or [b""])[-1]
        namespaces = _namespaces(told)
        archive = _in_namespace(archive, namespaces)
        if archive.upper() == inbox.upper():
            raise Refused(None, f"messages can't be archived in {inbox}, which is watched")
        self.create(archive)
        self.inbox, self.validity = inbox, validity
        return validity, archive, _delimiter(told, namespaces)

    def _select(self, inbox: str, question: tuple[str, ...]) -> dict[str, list[Any]]:
        """Asks and selects in one flight, so that asking costs no time; what the server told of both."""
        self._absorb()
        tag = self.imap._command(*question)
        try:
            self._tagged(self.imap.select, quoted(inbox))
        except imaplib.IMAP4.readonly:
            raise Refused("READ-ONLY", f"{inbox} is read-only") from None
        told = dict(self.imap.untagged_responses)
        # Whoever refuses the question has told nothing, and can be used all the same.
        with suppress(Refused):
            self._tagged(self.imap._command_complete, question[0], tag)
        return told

    def create(self, name: str) -> None:
        """Makes a mailbox, unless it is there."""
        mailbox = quoted(name)
        try:
            self._tagged(self.imap.create, mailbox)
        except Refused as refusal:
            if refusal.args[0] == "ALREADYEXISTS":
                return
            # Not every server says why. One that has the mailbox can tell about it.
            try:
                self._tagged(self.imap.status, mailbox, "(UIDVALIDITY)")
            except Refused:
                raise refusal from None

    def search(self, criteria: str) -> bytes:
        """The UIDs that match, four octets each, the least significant first.

        A large mailbox is asked in windows, so that no answer is too long.
        """
        if self.exists <= SEARCH_WINDOW:
            return _found(self._tagged(self._fresh_search, criteria))
        self._tagged(self.imap.noop)
        self._absorb()
        found = b""
        for window in self._windows():
            found += _found(self._uid("SEARCH", window + criteria))
            if len(found) > 4 * MOST_FOUND:
                raise Refused(None, f"more than {MOST_FOUND} mails match: search for less")
        return found

    def _fresh_search(self, criteria: str) -> tuple[str, list[Any]]:
        """NOOP and SEARCH in one flight: a server searches what it has announced, and announces by NOOP."""
        noop, search = self.imap._command("NOOP"), self.imap._command("UID", "SEARCH", criteria)
        try:
            self.imap._command_complete("NOOP", noop)
        except imaplib.IMAP4.abort:
            raise
        except imaplib.IMAP4.error:
            # The second answer is on its way, and must not be taken for a later one's.
            self.imap._command_complete("UID", search)
            raise
        typ, data = self.imap._command_complete("UID", search)
        found: tuple[str, list[Any]] = self.imap._untagged_response(typ, data, "SEARCH")
        return found

    def _windows(self) -> Iterator[str]:
        # One at a time: a server may say that there are billions.
        last = 0
        for end in range(SEARCH_WINDOW, self.exists, SEARCH_WINDOW):
            yield f"{last + 1}:{end} "
            last = end
        yield f"{last + 1}:* "

    def fetch(self, uids: str, most: int, room: int) -> list[tuple[int, int, bytes]]:
        """UID, size on the server and the first `most` octets of each mail, without marking it seen.

        An answer of more than `room` octets, beside what any answer may have, ends the connection.
        """
        data = self._uid("FETCH", uids, f"(UID RFC822.SIZE BODY.PEEK[]<0.{most}>)", room=room)
        mails = []
        for at, item in enumerate(data):
            if isinstance(item, tuple):
                tail = data[at + 1] if at + 1 < len(data) else b""
                mails.append(_mail(item[0], item[1], tail))
            elif item and b"BODY[]" in item and item.endswith(b")"):
                mails.append(_mail(item, _short_body(item), b")"))
        return mails

    def deliveries(self, uids: str) -> list[tuple[int, int]]:
        """UID and count of deliveries of each mail, as it is marked."""
        data = self._uid("FETCH", uids, "(UID FLAGS)")
        items = [item for item in data if isinstance(item, bytes) and re.search(_UID, item)]
        return [(_number(_UID, item), max(map(int, re.findall(_DELIVERY, item)), default=0)) for item in items]

    def mark_delivery(self, uids: str, nth: int) -> None:
        """Marks these mails as delivered for the nth time, where there are keywords."""
        if self.has_keywords:
            self._uid("STORE", uids, "+FLAGS.SILENT", f"($PymailDelivery{nth})")

    def identities(self, uids: str, count: int) -> list[tuple[int, bytes]]:
        """UID and the headers that tell who it is, of each mail."""
        return _literals(self._uid("FETCH", uids, f"(UID {IDENTITY})", room=count * IDENTITY_OCTETS))

    def recall(self, mailbox: str, most: int, since: tuple[int, int]) -> tuple[tuple[int, int], list[bytes]]:
        """The same headers of the newest mails in another mailbox; the inbox is selected again after that.

        Those after `since`, a UIDVALIDITY and a UID, if it is still the same mailbox, and else the last ones, at
        most `most`. Returns with them since when to ask the next time.
        """
        headers: list[bytes] = []
        with self._visiting(mailbox, readonly=True) as validity:
            last = since[1] if since[0] == validity else 0
            criteria = f"UID {last + 1}:*" if last else f"{max(1, self.exists - most + 1)}:*"
            found = _uids(self.search(criteria)) if self.exists else []
            newer = sorted(uid for uid in found if uid > last)[-most:]
            for at in range(0, len(newer), RECALL_WINDOW):
                window = newer[at : at + RECALL_WINDOW]
                # Others archive too: what comes between two of these is new to us, and wanted.
                headers.extend(header for _, header in self.identities(f"{window[0]}:{window[-1]}", len(window)))
        return (validity, newer[-1] if newer else last), headers

    def append(self, mailbox: str, mail: bytes) -> None:
        """Adds a mail to a mailbox, marked as seen."""
        self._tagged(self.imap.append, quoted(mailbox), r"(\Seen)", None, mail)

    def log(self, mailbox: str, drop: str) -> list[tuple[int, bytes]]:
        """UID and text of every entry in a mailbox that is a log; before that, removes these entries."""
        with self._visiting(mailbox, readonly=False):
            if drop:
                self.flag_deleted(drop)
                # All that is in there is ours: without UIDPLUS, everything that is flagged may go.
                self.expunge(drop) if self.has_uidplus else self._tagged(self.imap.expunge)
            data = self._uid("FETCH", "1:*", f"(UID BODY.PEEK[TEXT]<0.{ENTRY_OCTETS}>)") if self.exists else []
            return _literals(data)

    @contextmanager
    def _visiting(self, mailbox: str, *, readonly: bool) -> Iterator[int]:
        """Selects another mailbox, whose UIDVALIDITY it is, and then the inbox again."""
        try:
            self._tagged(self.imap.select, quoted(mailbox), readonly)
            validity = self.imap.untagged_responses.get("UIDVALIDITY")
            self._absorb()
            yield (_number32(validity[-1]) if validity else None) or 0
        except Refused:
            self._return()
            raise
        self._return()

    def _return(self) -> None:
        """Selects the inbox again, as it was; a refused SELECT leaves nothing selected."""
        try:
            self._tagged(self.imap.select, quoted(self.inbox))
        except (Refused, imaplib.IMAP4.readonly) as error:
            raise imaplib.IMAP4.abort(f"{self.inbox} can't be selected again: {error}") from None
        validity = self.imap.untagged_responses.get("UIDVALIDITY")
        self._absorb()
        if not validity or _number32(validity[-1]) != self.validity:
            raise imaplib.IMAP4.abort(f"{self.inbox} was made anew meanwhile")

    def sizes(self, uids: str) -> list[tuple[int, int]]:
        """UID and size on the server of each mail."""
        data = self._uid("FETCH", uids, "(UID RFC822.SIZE)")
        lines = [item for item in data if isinstance(item, bytes)]
        return [(_number(_UID, line), _number(_SIZE, line)) for line in lines if re.search(_SIZE, line)]

    def copy(self, uids: str, mailbox: str) -> str | None:
        """Copies; returns COPYUID's three words (RFC 4315) where the server says them."""
        return self._copying("COPY", uids, mailbox)

    def move(self, uids: str, mailbox: str) -> str | None:
        """Moves (RFC 6851); returns COPYUID's three words where the server says them."""
        return self._copying("MOVE", uids, mailbox)

    def _copying(self, command: str, uids: str, mailbox: str) -> str | None:
        self._uid(command, uids, quoted(mailbox))
        told = self.imap.untagged_responses.get("COPYUID")
        return _text(told[-1]) if told else None

    def flag_deleted(self, uids: str) -> None:
        """Flags exactly these mails."""
        self._uid("STORE", uids, "+FLAGS.SILENT", r"(\Deleted)")

    def expunge(self, uids: str) -> None:
        """Removes those of exactly these mails that are flagged (UIDPLUS, RFC 4315)."""
        self._uid("EXPUNGE", uids)

    def noop(self) -> None:
        """A sign of life; takes in what the server said unasked."""
        self._tagged(self.imap.noop)
        self._absorb()

    def logout(self) -> None:
        """A bare LOGOUT: CLOSE would expunge what other clients have flagged."""
        self.imap.meter.room = ANSWER
        self.imap.logout()

    def abandon(self) -> None:
        """Closes the socket, says nothing."""
        self.imap.shutdown()

    def _uid(self, command: str, *args: str, room: int = 0) -> list[Any]:
        return self._tagged(self.imap.uid, command, *args, room=room)

    def _tagged(
        self, command: Callable[..., tuple[str, list[Any]]], *args: Any, room: int = 0
    ) -> list[Any]:
        # imaplib keeps untagged answers for ever, and would give old ones for new.
        self._absorb()
        self.imap.meter.room = ANSWER + room
        try:
            typ, data = command(*args)
        except (imaplib.IMAP4.abort, imaplib.IMAP4.readonly):
            raise
        except imaplib.IMAP4.error as error:
            raise _bad(error) from None
        if typ != "OK":
            raise _refusal(_text(data[-1]))
        return [item for item in data if item is not None]

    def _absorb(self) -> None:
        untagged = self.imap.untagged_responses
        exists = _number32(untagged["EXISTS"][-1]) if "EXISTS" in untagged else self.exists
        untagged.clear()
        if exists is None:
            raise imaplib.IMAP4.abort("the server says no number of mails that there can be")
        self.exists = exists


def _bad(error: imaplib.IMAP4.error) -> Exception:
    """The refusal that a tagged BAD is; anything else stays what it was."""
    if not isinstance(error, _Bad):
        return error
    refusal = _refusal(str(error))
    return Refused(refusal.args[0] or "BAD", refusal.args[1])


def _refusal(text: str) -> Refused:
    # Whole it goes to where secrets are hidden in it; a code is at its beginning, more or less.
    code = re.search(_CODE, text[:1_000])
    return Refused(code.group(1) if code else None, text)


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _namespaces(told: dict[str, list[Any]]) -> list[tuple[str, str]]:
    """Prefixes and delimiters (RFC 2342), our own first; "" for no delimiter."""
    text = _text(told["NAMESPACE"][-1]) if told.get("NAMESPACE") else ""
    # Who has none of one's own, or tells it in a way that is unknown, wants no prefix.
    ours = [] if re.match(r"\(" + _NAMESPACE, text) else [("", "")]
    return ours + re.findall(_NAMESPACE, text)


def _in_namespace(name: str, namespaces: list[tuple[str, str]]) -> str:
    """A mailbox's name behind our own namespace's prefix, unless it is in a namespace as it stands."""
    prefixes = [prefix.upper() for prefix, _ in namespaces if prefix]
    if name.upper() == "INBOX" or name.upper().startswith(tuple(prefixes)):
        return name
    return namespaces[0][0] + name


def _delimiter(told: dict[str, list[Any]], namespaces: list[tuple[str, str]]) -> str:
    listed = re.match(_LISTED, _text(told["LIST"][-1])) if told.get("LIST") else None
    return listed.group(1) if listed else namespaces[0][1]


def _literals(data: list[Any]) -> list[tuple[int, bytes]]:
    """UID and literal of each mail, wherever in the answer its UID stands."""
    found = [(item, data[at + 1 : at + 2]) for at, item in enumerate(data) if isinstance(item, tuple)]
    return [(_number(_UID, b" ".join([item[0], *tail])), item[1]) for item, tail in found]


def _number32(text: object) -> int | None:
    """A number of 32 bits, or nothing where a server says anything else."""
    digits = isinstance(text, bytes) and re.fullmatch(rb"\d{1,10}", text)
    return int(text) if digits and int(text) <= MOST else None


def _found(lines: list[Any]) -> bytes:
    """The UIDs in SEARCH's answers, four octets each; words that are none say something else."""
    found = bytearray()
    for line in lines:
        if not isinstance(line, bytes):
            raise imaplib.IMAP4.abort("a literal is no answer to SEARCH")
        # CONDSTORE may put "(MODSEQ 5)" behind the UIDs (RFC 7162, section 3.1.5).
        for word in re.finditer(rb"(?<!\S)\d{1,10}(?!\S)", line.partition(b"(")[0]):
            uid = int(word.group())
            if 0 < uid <= MOST:
                found += uid.to_bytes(4, "little")
            if len(found) > 4 * FOUND:
                raise imaplib.IMAP4.abort("the server finds more than there can be")
    return bytes(found)


def _uids(found: bytes) -> list[int]:
    return [int.from_bytes(found[at : at + 4], "little") for at in range(0, len(found), 4)]


def _mail(head: bytes, octets: bytes, tail: object) -> tuple[int, int, bytes]:
    if not isinstance(tail, bytes) or len(tail) > LONGEST_TAIL or not re.fullmatch(_TAIL, tail):
        raise imaplib.IMAP4.abort("a mail's data goes on where it should end")
    attributes = head + b" " + tail
    return _number(_UID, attributes), _number(_SIZE, attributes), octets


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
