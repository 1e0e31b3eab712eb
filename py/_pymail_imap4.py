"""imaplib on a connection that Rust made and watches: metered, without a memory of its own for what was said."""

from __future__ import annotations

import imaplib
import socket
from typing import Any

from _pymail_answers import as_text, number32
from _pymail_fetched import attributes
from _pymail_wire import Meter, pattern

# Known to UID commands since RFC 6851; imaplib learnt the name in 2026.
imaplib.Commands.setdefault("MOVE", ("SELECTED",))
# The longest line that is read: imaplib's own limit.
MAXLINE = 1_000_000
# So much is taken from the socket at a time; TLS gives 16 KiB.
CHUNK = 64 << 10
# Mails up to this size are read together.
SMALL = 64 << 10
# When so much has come, it is handed over.
ENOUGH = 4 << 20
TAIL = b")\r\n"
LENGTH_OF_TAIL = len(TAIL)
LONGEST_HEAD = 1_200
OBJECTS_OF_A_MAIL = 3
SHORTEST_EXPUNGED = len("* 1 EXPUNGE\r\n")
# As text, compiled by `re` on first use.
_EXPUNGED = rb"(?:\* \d{1,10} EXPUNGE\r\n)+"
_UNTAGGED = rb'(?s)\*[ \t]+(?:(\d+)[ \t]+)?([^\s\d\[\](){}"][^\s\[\](){}"]*)[ \t]*(.*)'
_TAGGED = rb"(?s)([A-Za-z]+\d+)[ \t]+([A-Za-z]+)(?![^\s\[])[ \t]*(.*)"
_CODE = rb"\[[ \t]*([A-Za-z][A-Za-z0-9-]{0,63})(?=[\s\]])"
_BASE64 = rb"[A-Za-z0-9+/]*={0,2}"
_MAIL = (
    rb"\* \d{1,10} FETCH \(UID (\d{1,10}) FLAGS \(([^()\r\n]{0,1000})\) "
    rb"RFC822\.SIZE (\d{1,19}) BODY\[\]<0> \{(\d{1,10})\}\r\n"
)
# More kinds of answers are no server's.
MOST_KINDS = 1_000
LONGEST_NUMBER = 10
# Their text is for people, but for a code at its beginning.
STATUS = ("OK", "NO", "BAD", "BYE", "PREAUTH")


class Bad(imaplib.IMAP4.error):
    """The server's BAD: its text, which imaplib would show as Python writes it."""


class Metered(imaplib.IMAP4):
    """On a connected socket, encrypted or not yet; metered."""

    # Not asked for yet.
    capabilities: tuple[str, ...] = ()

    # The last tagged answer.
    answer: tuple[str, list[Any]] | None = None

    # So many mails of a FETCH are waited for.
    awaited = 0

    # How many mails the selected mailbox has, and how many have arrived since somebody last looked.
    exists = 0
    arrived = 0

    # How often sequence numbers have changed.
    expunged = 0

    # The end of the connection, which is told when what came before it was handed over.
    lost: Exception | None = None

    def __init__(self, sock: socket.socket, host: str, port: int, seconds: float) -> None:
        self.meter = Meter(seconds)
        self._adopted = sock
        # What has come and was not read, and where in it to go on.
        self._come = b""
        self._at = 0
        self._come_from: Any = None
        super().__init__(host, port)

    def _create_socket(self, timeout: float | None) -> socket.socket:
        return self._adopted

    def _refresh_capabilities(self) -> None:
        """After a login, imaplib, from 2026 on, would take away what the server told, or ask what we ask."""
        if self.state != "NONAUTH" and self.capabilities:
            return
        if self._tls_established:  # what came before the encryption may come from anybody
            self.untagged_responses.pop("CAPABILITY", None)
        super()._refresh_capabilities()  # type: ignore[misc]

    def _receive(self, most: int = CHUNK) -> bytes:
        """What comes next, an octet at least: the connection's end is raised, so that no loop waits for more."""
        octets: bytes = self.sock.recv(most)
        if not self.meter.come(len(octets)):
            raise self.abort(self.meter.refusal())
        if not octets:
            raise self.abort("the connection was closed")
        return octets

    def _forget_the_unencrypted(self) -> None:
        """What came before the encryption may come from anybody."""
        if self.sock is not self._come_from:
            self._come, self._at, self._come_from = b"", 0, self.sock

    def _receive_all(self, size: int, pieces: list[bytes], spare: int = 0) -> bytes:
        """These pieces and so many octets more, up to that many to spare."""
        while size > 0:
            octets = self._receive(min(size + spare, CHUNK))
            pieces.append(octets)
            size -= len(octets)
            _few(pieces)
        return b"".join(pieces)

    def read(self, size: int) -> bytes:
        self._spend(size)
        piece = self._come[self._at : self._at + size]
        self._at += len(piece)
        return piece if len(piece) == size else self._receive_all(size - len(piece), [piece])

    def readline(self) -> bytes:
        self._forget_the_unencrypted()
        pieces: list[bytes] = []
        length = 0
        while not (end := self._come.find(b"\n", self._at) + 1):
            pieces.append(self._come[self._at :])
            length += len(pieces[-1])
            if length > MAXLINE:  # the rest of it would be taken for an answer
                raise self.abort(f"got more than {MAXLINE} bytes")
            self._come, self._at = self._receive(), 0
            _few(pieces)
        pieces.append(self._come[self._at : end])
        self._at = end
        line = b"".join(pieces)
        if len(line) > MAXLINE:
            raise self.abort(f"got more than {MAXLINE} bytes")
        self._spend(len(line), 1)
        return line

    def _spend(self, octets: int, objects: int = 0) -> None:
        if not self.meter.spend(octets, objects):
            raise self.abort(self.meter.refusal())

    def _get_response(self, *args: Any, **kwargs: Any) -> Any:
        """One answer; those of two kinds, of which many come, imaplib takes long for. None is the server's +."""
        self._forget_the_unencrypted()
        if (self.awaited and self._take_mails()) or self._skip_expunged():
            return True
        response = self._response()
        while not self.tagnum and self.untagged_responses.keys().isdisjoint(STATUS):  # no greeting yet
            response = self._response()
        return response

    def _response(self) -> bytes | None:
        """Reads one response; imaplib's own reading is stricter, and another one in each version of Python.

        Servers write letters in any case, too many blanks and blank lines, a bare LF, and no text behind OK.
        """
        line = self._line()
        while not line:
            line = self._line()
        if line.startswith(b"+"):
            self.continuation_response = _challenge(line[1:].strip())  # type: ignore[assignment]
            return None
        if line.startswith(b"["):  # Exchange 2013 leaves out "* OK" before COPYUID
            self._take_code(line)
        elif untagged := pattern(_UNTAGGED).match(line):
            self._take_untagged(untagged[1], untagged[2].upper().decode("latin-1"), untagged[3])
        elif tagged := pattern(_TAGGED).match(line):
            self._take_tagged(tagged[1].upper(), tagged[2].upper().decode(), tagged[3])
        else:
            raise self.abort(f"unexpected response: {line[:100]!r}")
        return line

    def _line(self) -> bytes:
        return self.readline().strip(b" \t\r\n")

    def _take_tagged(self, tag: bytes, typ: str, text: bytes) -> None:
        if tag not in self.tagged_commands:
            raise self.abort(f"unexpected tagged response: {tag[:100]!r}")
        self.tagged_commands[tag] = (typ, [text])  # type: ignore[assignment]
        if typ in STATUS:
            self._take_code(text)

    def _take_untagged(self, number: bytes | None, typ: str, text: bytes) -> None:
        if typ in STATUS:  # whose text may end as if a literal came
            self._append_untagged(typ, text)
            self._take_code(text)
        elif typ == "FETCH":
            sequence = number32(number)
            if sequence is None:
                raise self.abort("the server says no number of a mail that there can be")
            self._append_untagged(typ, self._fetched(text, (self.expunged, sequence)))
        else:
            *pieces, last = self._pieces(text if number is None else b" ".join([number, text]).rstrip())
            for at in range(0, len(pieces), 2):  # as imaplib has them
                self._append_untagged(typ, (pieces[at], pieces[at + 1]))
            self._append_untagged(typ, last)

    def _fetched(self, text: bytes, place: tuple[int, int]) -> Any:
        """Reads it at once if it has literals: behind what can't be read, the answer's end may never be found."""
        pieces = self._pieces(text, is_list=True)
        self._spend(0, 1)
        return attributes(pieces, place) if len(pieces) > 1 else (place, text)

    def _pieces(self, text: bytes, *, is_list: bool = False) -> list[bytes]:
        """A response's text, and with each literal in it the literal and the text behind that."""
        pieces = [text]
        while (literal := self._announced(pieces[-1])) is not None:
            begin, octets = literal
            pieces[-1] = pieces[-1][:begin]
            pieces.append(self.read(octets))
            pieces.append(self._line())
            while is_list and not pieces[-1]:  # a list ends with its parenthesis, not with a blank line
                pieces[-1] = self._line()
        return pieces

    def _announced(self, text: bytes) -> tuple[int, int] | None:
        """Where a text announces a literal, `{3}`, `{3+}` or `~{3}`, and how many octets that one has."""
        begin = text.rfind(b"{") if text.endswith(b"}") else -1
        number = text[begin + 1 : -1].strip(b" \t+")
        if begin < 0 or not number.isdigit():
            return None
        if len(number) > LONGEST_NUMBER:
            raise self.abort("a literal has more octets than there can be")
        return begin - text.startswith(b"~{", max(0, begin - 1)), int(number)

    def _take_code(self, text: bytes) -> None:
        """What stands in brackets at the beginning of a text: `[UIDVALIDITY 7]`."""
        code = pattern(_CODE).match(text)
        end = text.find(b"]")
        if -1 < text.find(b"(") < end:  # flags may have brackets in them
            end = text.find(b"]", text.find(b")"))
        if code is not None and end >= code.end():
            self._append_untagged(code[1].upper().decode(), text[code.end() : end].strip())

    def take_mails(self, tag: Any, most: int) -> bool:
        """Takes in some mails, at most so many; whether the command is done.

        What came whole before the connection ended, or before what can't be read, is handed over first.
        """
        if self.lost is not None:
            raise self.lost
        self.awaited, enough = most, self.meter.received + ENOUGH
        try:
            while self.awaited > 0 and self.meter.received < enough:
                if self.tagged_commands[tag] is not None or "BYE" in self.untagged_responses:
                    return True
                self._get_response()
                self.awaited -= 1
        except (self.abort, OSError) as error:
            if not self.untagged_responses.get("FETCH"):
                raise
            self.lost = error.with_traceback(None)
        finally:
            self.awaited = 0
        return False

    def _skip_expunged(self) -> bool:
        """Nobody asks which sequence numbers are gone: UIDs stay."""
        expunged = pattern(_EXPUNGED).match(self._come, self._at)
        if expunged is None:
            return False
        self.expunged += 1
        octets = expunged.end() - self._at
        self.exists = max(0, self.exists - self._come.count(b"\n", self._at, expunged.end()))
        self._at += octets
        self._spend(octets, octets // SHORTEST_EXPUNGED)
        return True

    def _take_mails(self) -> bool:
        """Small mails, as most servers send them; what is sent in any other way is read as a response."""
        come, at, match = self._come, self._at, pattern(_MAIL).match
        mails: list[Any] = []
        octets = 0
        try:
            while len(mails) < self.awaited and octets < ENOUGH:
                head = match(come, at)
                if head is None:
                    if len(come) - at > LONGEST_HEAD or b"\n" in come[at:]:
                        break
                    come, at = come[at:] + self._receive(), 0
                    continue
                uid, flags, size, length = head.groups()
                begin = head.end()
                end = begin + int(length)
                tail = end + LENGTH_OF_TAIL
                if tail > len(come):
                    if end - begin > SMALL:
                        break
                    come, at = self._receive_all(tail - len(come), [come[at:]], CHUNK), 0
                    continue
                if come[end:tail] != TAIL:
                    break
                is_deleted = flags != b"" and b"\\deleted" in flags.lower()
                # Not cut out: that would be an object more for each.
                mails.append((int(uid), int(size), is_deleted, come, begin, end))
                octets += tail - at
                at = tail
        finally:
            self._come, self._at = come, at
            self.untagged_responses.setdefault("FETCH", []).extend(mails)
            self.awaited -= len(mails)
        self._spend(octets, OBJECTS_OF_A_MAIL * len(mails))
        return bool(mails)

    def send(self, data: Any) -> None:
        super().send(data)
        self.meter.sent += len(data)

    def _log(self, line: bytes) -> None:
        """Keeps nothing: imaplib would keep ten lines of up to a megabyte, LOGIN among them."""

    def forget_words(self) -> None:
        """Keeps nothing that a server says in words of its own: they may repeat the password."""
        self.answer = None
        self.continuation_response, self.mo = "", None
        self._come, self._at = self._come[self._at :], 0
        for kind in ("OK", "NO", "BAD"):
            self.untagged_responses.pop(kind, None)

    def _offered(self, told: bytes) -> bytes:
        """All that the server offers, in however many responses it tells that; imaplib takes nothing but ASCII."""
        before = self.untagged_responses.pop("CAPABILITY", [b""])[-1]
        told = before + b" " + told if isinstance(before, bytes) else told
        words = told.decode("ascii", "ignore").upper().encode().split()
        if b"IMAP4REV2" in words:  # whose commands are those of IMAP4rev1 that are used here (RFC 9051, appendix E)
            words.append(b"IMAP4REV1")
        return b" ".join(dict.fromkeys(words))

    def _append_untagged(self, typ: str, dat: Any) -> None:
        if typ == "CAPABILITY" and isinstance(dat, bytes):
            dat = self._offered(dat)
        super()._append_untagged(typ, dat)  # type: ignore[misc]
        if len(self.untagged_responses) > MOST_KINDS:
            raise self.abort("the server's answers are of too many kinds")
        if typ in ("EXPUNGE", "VANISHED"):
            self.expunged += 1
        if typ == "EXPUNGE":
            self.exists = max(0, self.exists - 1)
        elif typ == "EXISTS":
            exists = number32(dat)
            if exists is None:
                raise self.abort("the server says no number of mails that there can be")
            self.arrived += max(0, exists - self.exists)
            self.exists = exists

    def _get_tagged_response(self, tag: bytes, *args: Any, **kwargs: Any) -> tuple[str, list[Any]]:
        self.answer = None
        answer: tuple[str, list[Any]] = super()._get_tagged_response(tag, *args, **kwargs)  # type: ignore[misc]
        self.answer = answer
        return answer

    def _command_complete(self, name: str, tag: bytes) -> tuple[str, list[Any]]:
        try:
            done: tuple[str, list[Any]] = super()._command_complete(name, tag)  # type: ignore[misc]
            return done
        except imaplib.IMAP4.abort:
            raise
        except imaplib.IMAP4.error:
            if self.answer is None or self.answer[0] != "BAD":
                raise
            raise Bad(as_text(self.answer[1][-1])) from None


def _challenge(text: bytes) -> bytes:
    """What a server asks in base64; words for people ask nothing that can be decoded."""
    return text if len(text) % 4 == 0 and pattern(_BASE64).fullmatch(text) else b""


def _few(pieces: list[bytes]) -> None:
    """A server that sends an octet at a time makes no objects without end."""
    if len(pieces) > 1_000:
        pieces[:] = [b"".join(pieces)]
