"""imaplib on a connection that Rust has made: metered, and tolerant of servers' spellings."""

from __future__ import annotations

import imaplib
import socket
from contextlib import suppress
from time import sleep
from typing import Any

from _pymail_imap_parse import as_text, parse_uint32
from _pymail_socket import SLEEPS_BRIEFLY, limit_wait
from _pymail_transport import Meter, NoGreeting, Wire, pattern

# imaplib knows the name only since its patch releases of 2026.
imaplib.Commands.setdefault("MOVE", ("SELECTED",))
# The longest line that is read: imaplib's own limit.
MAXLINE = 1_000_000
# Octets taken from the socket at a time; TLS returns 16 KiB at most.
CHUNK = 64 << 10
# The most octets that are waited for before they are handed over; and those to which none are added.
HANDOVER_OCTETS = 1 << 20
GATHERED_OCTETS = 256 << 10
# After so many octets of a FETCH, a few octets are not handed over before others had time to arrive: a client that
# is faster than its server would wake up and call Rust for each TLS record.
BULK_OCTETS = 512 << 10
FEW_OCTETS = 64 << 10
GATHER_SECONDS = 0.0003
# As text, compiled by `re` on first use.
_EXPUNGES = rb"(?:\* \d{1,10} EXPUNGE\r\n)+"
_UNTAGGED = rb'(?s)\*[ \t]+(?:(\d+)[ \t]+)?([^\s\d\[\](){}"][^\s\[\](){}"]*)[ \t]*(.*)'
_TAGGED = rb"(?s)([A-Za-z]+\d+)[ \t]+([A-Za-z]+)(?![^\s\[])[ \t]*(.*)"
_CODE = rb"\[[ \t]*([A-Za-z][A-Za-z0-9-]{0,63})(?=[\s\]])"
_STATUS = rb"(?i)[^\s(]+[ \t]+(?:OK|NO|BAD|BYE|PREAUTH)(?:[\s\[]|$)"
_BASE64 = rb"[A-Za-z0-9+/]*={0,2}"
# Kinds of untagged responses that are kept; no server has more.
MAX_KINDS = 1_000
# The most octets of a response that is not whole, in IDLE.
MAX_PARTIAL = 256 << 10
# Digits of a literal's length.
MAX_DIGITS = 10
# Status responses: a response code and text for people.
STATUS = ("OK", "NO", "BAD", "BYE", "PREAUTH")


class Bad(imaplib.IMAP4.error):
    """The text of the server's BAD as it was sent; imaplib's own error has it as `repr` writes it."""


class Metered(imaplib.IMAP4):
    """An IMAP client on a connected socket, with TLS or before STARTTLS, that counts and limits what it reads."""

    sock: Any  # a `Socket` or a `TlsSocket`

    # Not requested yet.
    capabilities: tuple[str, ...] = ()

    # The last tagged response.
    tagged_response: tuple[str, list[Any]] | None = None

    # How many messages the selected mailbox has; how many have arrived that no search for new messages has seen;
    # how many of these had been announced when the last search result came.
    exists = 0
    arrived = 0
    # How many were announced since the inbox was last selected.
    announced = 0
    arrived_before_result = 0

    # Grows with each EXPUNGE and VANISHED response, or run of them: they change sequence numbers.
    expunged = 0

    # Octets that were handed over since the begin of a FETCH.
    fetched = 0

    # The responses to a FETCH in flight that came before the end of a command before it; None where none may come.
    early: list[bytes] | None = None
    # The octets that may still come so.
    early_room = 0

    def __init__(
        self, sock: socket.socket, host: str, port: int, seconds: float, wire: Wire | None = None
    ) -> None:
        self.meter = Meter(seconds, wire)
        self._adopted = sock
        # Octets that were received and not all parsed, and where the unparsed ones begin.
        self._buffer = b""
        self._at = 0
        # The socket that filled the buffer.
        self._buffer_socket: Any = None
        super().__init__(host, port)

    def _create_socket(self, timeout: float | None) -> socket.socket:
        return self._adopted

    def _refresh_capabilities(self, *args: Any, **kwargs: Any) -> None:
        """Requests the capabilities before login only.

        From 2026 on, imaplib calls this after login too, where it would drop the capabilities that came with the
        OK, or request them a second time.
        """
        if self.state != "NONAUTH" and self.capabilities:
            return
        if self._tls_established:  # an attacker can forge what came before TLS
            self.untagged_responses.pop("CAPABILITY", None)
        super()._refresh_capabilities(*args, **kwargs)  # type: ignore[misc]

    def _receive(self, most: int = CHUNK) -> bytes:
        """Receives at least one octet; raises at the end of the connection, so that no loop waits for more."""
        if limit_wait:
            limit_wait(self.sock, self.meter.end)
        octets: bytes = self.sock.recv(most)
        is_in_time = self.meter.count_received(len(octets))
        if not self.meter.received:
            raise NoGreeting
        if not is_in_time:
            raise self.abort(self.meter.violation())
        if not octets:
            raise self.abort("the server closed the connection")
        return octets

    def _drop_unencrypted(self) -> None:
        """Empties the buffer after STARTTLS: an attacker can forge what came before TLS."""
        if self.sock is not self._buffer_socket:
            self._buffer, self._at, self._buffer_socket = b"", 0, self.sock

    def _receive_all(self, size: int, pieces: list[bytes], spare: int = 0) -> int:
        """Appends `size` more octets to the pieces, and up to `spare` beyond those; returns how many came."""
        received = 0
        while received < size:
            octets = self._receive(min(size - received + spare, CHUNK))
            pieces.append(octets)
            received += len(octets)
            _merge_many(pieces)
        return received

    def read(self, size: int) -> bytes:
        """Returns the next octets of a literal."""
        if self.meter.wire is not None:
            self.meter.wire(False, b"", size)
        self._charge(size)
        piece = self._buffer[self._at : self._at + size]
        self._at += len(piece)
        if len(piece) == size:
            return piece
        pieces = [piece]
        self._receive_all(size - len(piece), pieces)
        return b"".join(pieces)

    def readline(self) -> bytes:
        """Returns the next line with its end."""
        self._drop_unencrypted()
        pieces: list[bytes] = []
        length = 0
        while not (end := self._buffer.find(b"\n", self._at) + 1):
            pieces.append(self._buffer[self._at :])
            length += len(pieces[-1])
            if length > MAXLINE:  # the rest of the line would pass for a response
                raise self.abort(f"a response line exceeds {MAXLINE} bytes")
            self._buffer, self._at = self._receive(), 0
            _merge_many(pieces)
        pieces.append(self._buffer[self._at : end])
        self._at = end
        line = b"".join(pieces)
        if len(line) > MAXLINE:
            raise self.abort(f"a response line exceeds {MAXLINE} bytes")
        self._charge(len(line), 1)
        return line

    def _charge(self, octets: int, objects: int = 0) -> None:
        if not self.meter.charge(octets, objects):
            raise self.abort(self.meter.violation())

    def _get_response(self, *args: Any, **kwargs: Any) -> Any:
        """Reads one response, or several by a fast path; returns None for a continuation request (+).

        EXPUNGE responses come in great numbers, and imaplib takes long for each.
        """
        self._drop_unencrypted()
        if self._skip_expunges():
            return True
        response = self._response()
        while not self.tagnum and self.untagged_responses.keys().isdisjoint(STATUS):  # no greeting yet
            response = self._response()
        return response

    def _response(self) -> bytes | None:
        """Reads one response; imaplib's own parser is stricter, and differs from one Python to the next.

        Servers write letters in any case, extra blanks and blank lines, a bare LF, and no text after OK.
        """
        line = self._line()
        while not line:
            line = self._line()
        if self.meter.wire is not None:
            self.meter.wire(False, line, 0)
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
            # Whole: half a password would not be recognised. Rust shortens it.
            raise self.abort(f"unexpected response: {line!r}")
        return line

    def _line(self) -> bytes:
        return self.readline().strip(b" \t\r\n")

    def _take_tagged(self, tag: bytes, typ: str, text: bytes) -> None:
        """Stores a tagged response where imaplib looks for it."""
        if tag not in self.tagged_commands:
            raise self.abort(f"unexpected tagged response: {tag[:100]!r}")
        self.tagged_commands[tag] = (typ, [text])  # type: ignore[assignment]
        if typ in STATUS:
            self._take_code(text)

    def _take_untagged(self, number: bytes | None, typ: str, text: bytes) -> None:
        """Stores an untagged response as imaplib would, but a FETCH response only if one was requested."""
        if typ in STATUS:  # whose text may end as if a literal followed
            self._append_untagged(typ, text)
            self._take_code(text)
        elif typ == "FETCH":
            self._keep_early(number, self._pieces(text, is_list=True))
        else:
            *pieces, last = self._pieces(text if number is None else b" ".join([number, text]).rstrip())
            for at in range(0, len(pieces), 2):  # as imaplib stores literals
                self._append_untagged(typ, (pieces[at], pieces[at + 1]))
            self._append_untagged(typ, last)

    def _keep_early(self, number: bytes | None, pieces: list[bytes]) -> None:
        """Keeps a FETCH response that may be for a FETCH in flight: one that names its UID."""
        if self.early is None or not any(b"UID " in text.upper() for text in pieces[::2]):
            return
        octets = [b"* ", number or b"", b" FETCH ", pieces[0]]
        for literal, rest in zip(pieces[1::2], pieces[2::2]):
            octets += [b"{%d}\r\n" % len(literal), literal, rest]
        octets.append(b"\r\n")
        self.early_room -= sum(map(len, octets))
        if self.early_room < 0:
            raise self.abort("the responses to FETCH are longer than what was requested")
        self.early += octets

    def _pieces(self, text: bytes, *, is_list: bool = False) -> list[bytes]:
        """Returns a response's text; for each literal in it, the literal and the text after that follow."""
        pieces = [text]
        while (literal := self._announced_literal(pieces[-1])) is not None:
            begin, octets = literal
            pieces[-1] = pieces[-1][:begin]
            pieces.append(self.read(octets))
            pieces.append(self._line())
            while is_list and not pieces[-1]:  # a list ends with its parenthesis, not with a blank line
                pieces[-1] = self._line()
        return pieces

    def _announced_literal(self, text: bytes) -> tuple[int, int] | None:
        """Returns where a text announces a literal, as `{3}`, `{3+}` or `~{3}`, and the literal's length."""
        begin = text.rfind(b"{") if text.endswith(b"}") else -1
        number = text[begin + 1 : -1].strip(b" \t+")
        if begin < 0 or not number.isdigit():
            return None
        if len(number) > MAX_DIGITS:
            raise self.abort("a literal's announced length is out of range")
        return begin - text.startswith(b"~{", max(0, begin - 1)), int(number)

    def _take_code(self, text: bytes) -> None:
        """Stores the response code that a text begins with, such as `[UIDVALIDITY 7]`, as an untagged response."""
        code = pattern(_CODE).match(text)
        end = text.find(b"]")
        if -1 < text.find(b"(") < end:  # flags may contain brackets
            end = text.find(b"]", text.find(b")"))
        if code is not None and end >= code.end():
            self._append_untagged(code[1].upper().decode(), text[code.end() : end].strip())

    def process(self, responses: bytes, rest: bytes) -> None:
        """Processes complete responses, and keeps the octets behind them."""
        self._buffer, self._at = responses, 0
        while self._at < len(self._buffer):
            self._get_response()
        self._buffer, self._at = rest, 0

    def expect_early(self, room: int) -> None:
        """Keeps FETCH responses from now on, of so many octets."""
        self.early, self.early_room = [], room

    def take_early(self) -> list[bytes]:
        """Returns the early responses to a FETCH, which are complete."""
        early, self.early = self.early or [], None
        return early

    def take_octets(self, needed: int) -> list[bytes]:
        """Returns octets that are not processed yet; else receives `needed` ones, and all that are there."""
        octets, self._buffer, self._at = self._buffer[self._at :], b"", 0
        if octets:
            return [octets]
        pieces: list[bytes] = []
        length = self._receive_all(min(needed, HANDOVER_OCTETS), pieces, CHUNK)
        length += self._receive_available(GATHERED_OCTETS - length, pieces)
        if SLEEPS_BRIEFLY and self.fetched >= BULK_OCTETS and length < FEW_OCTETS:
            sleep(GATHER_SECONDS)
            length += self._receive_available(GATHERED_OCTETS - length, pieces)
        self.fetched += length
        return pieces

    def _receive_available(self, most: int, pieces: list[bytes]) -> int:
        """Appends octets that have arrived to the pieces, `most` or a few more; returns how many.

        An error is not lost: that of a connection that has ended comes again at the next wait.
        """
        # Many servers send TLS records of 2 KiB, and `recv` returns one: no other call for each.
        receive, received = self.sock.recv_arrived, 0
        with suppress(OSError):  # mostly since nothing is there
            while received < most and (octets := receive(CHUNK)):
                pieces.append(octets)
                received += len(octets)
        self.meter.count_received(received)
        return received

    def process_arrived(self) -> None:
        """Processes the responses that have arrived whole; raises at the end of the connection. Never waits."""
        while True:
            while self._has_response():
                self._get_response()
            try:
                octets = self.sock.recv_arrived(CHUNK)
            except BlockingIOError:
                return
            if not octets:
                raise self.abort("the server closed the connection")
            self._buffer, self._at = self._buffer[self._at :] + octets, 0
            if not self.meter.count_received(len(octets)) or len(self._buffer) > MAX_PARTIAL:
                raise self.abort("the responses to IDLE do not end")

    def _has_response(self) -> bool:
        """Returns True if the next response is in the buffer, with its literals. Skips blank lines before it."""
        begin = self._at
        while end := self._buffer.find(b"\n", begin) + 1:
            line = self._buffer[begin:end].strip(b" \t\r\n")
            if not line and begin == self._at:
                self._at = begin = end
                continue
            # The text of a status response may end as if a literal followed.
            is_text = begin == self._at and pattern(_STATUS).match(line)
            literal = None if is_text else self._announced_literal(line)
            if literal is None:
                return True
            begin = end + literal[1]
        return False

    def _skip_expunges(self) -> bool:
        """Counts EXPUNGE responses without storing their sequence numbers: commands name UIDs."""
        expunges = pattern(_EXPUNGES).match(self._buffer, self._at)
        if expunges is None:
            return False
        self.expunged += 1
        if self.meter.wire is not None:
            self.meter.wire(False, expunges[0], 0)
        octets = expunges.end() - self._at
        self.exists = max(0, self.exists - self._buffer.count(b"\n", self._at, expunges.end()))
        self._at += octets
        self._charge(octets)
        return True

    def send(self, data: Any) -> None:
        """Sends and counts octets."""
        if self.meter.wire is not None:
            self.meter.wire(True, data, 0)
        if limit_wait:
            limit_wait(self.sock, self.meter.end)
        super().send(data)
        self.meter.sent += len(data)

    def _log(self, line: bytes) -> None:
        """Keeps nothing: imaplib would keep the last ten lines, up to a megabyte each, LOGIN among them."""

    def forget_texts(self) -> None:
        """Drops the texts of status responses: a server may repeat the password in them."""
        self.tagged_response = None
        self.continuation_response, self.mo = "", None
        self._buffer, self._at = self._buffer[self._at :], 0
        for kind in ("OK", "NO", "BAD"):
            self.untagged_responses.pop(kind, None)

    def _merge_capabilities(self, data: bytes) -> bytes:
        """Returns the capabilities of all responses so far, in ASCII: imaplib raises on other octets."""
        before = self.untagged_responses.pop("CAPABILITY", [b""])[-1]
        data = before + b" " + data if isinstance(before, bytes) else data
        words = data.decode("ascii", "ignore").upper().encode().split()
        if b"IMAP4REV2" in words:  # which has all commands of IMAP4rev1 that are used here (RFC 9051, appendix E)
            words.append(b"IMAP4REV1")
        return b" ".join(dict.fromkeys(words))

    def _append_untagged(self, typ: str, dat: Any) -> None:
        """Stores an untagged response and keeps the counts of messages up to date."""
        if typ == "CAPABILITY" and isinstance(dat, bytes):
            dat = self._merge_capabilities(dat)
        super()._append_untagged(typ, dat)  # type: ignore[misc]
        if len(self.untagged_responses) > MAX_KINDS:
            raise self.abort(f"the server sent more than {MAX_KINDS} kinds of responses")
        if typ in ("EXPUNGE", "VANISHED"):
            self.expunged += 1
        if typ == "EXPUNGE":
            self.exists = max(0, self.exists - 1)
        elif typ == "EXISTS":
            exists = parse_uint32(dat)
            if exists is None:
                raise self.abort("an EXISTS response has an invalid number")
            more = max(0, exists - self.exists)
            self.arrived, self.announced = self.arrived + more, self.announced + more
            self.exists = exists
        elif typ in ("SEARCH", "ESEARCH"):
            self.arrived_before_result = self.arrived

    def _get_tagged_response(self, tag: bytes, *args: Any, **kwargs: Any) -> tuple[str, list[Any]]:
        self.tagged_response = None
        response: tuple[str, list[Any]] = super()._get_tagged_response(tag, *args, **kwargs)  # type: ignore[misc]
        self.tagged_response = response
        return response

    def _command_complete(self, name: str, tag: bytes) -> tuple[str, list[Any]]:
        """Waits for the tagged response; raises `Bad` for a BAD."""
        try:
            done: tuple[str, list[Any]] = super()._command_complete(name, tag)  # type: ignore[misc]
            return done
        except imaplib.IMAP4.abort:
            raise
        except imaplib.IMAP4.error:
            if self.tagged_response is None or self.tagged_response[0] != "BAD":
                raise
            raise Bad(as_text(self.tagged_response[1][-1])) from None


def _challenge(text: bytes) -> bytes:
    """Returns a continuation request's base64; empty for text that is not base64."""
    return text if len(text) % 4 == 0 and pattern(_BASE64).fullmatch(text) else b""


def _merge_many(pieces: list[bytes]) -> None:
    """Joins the pieces when there are many, so that a server that sends single octets costs no object for each."""
    if len(pieces) > 1_000:
        pieces[:] = [b"".join(pieces)]
