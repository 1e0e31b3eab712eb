"""imaplib on a connection that Rust made and watches: metered, without a memory of its own for what was said."""

from __future__ import annotations

import imaplib
import socket
from typing import Any

from _pymail_answers import as_text, number32
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
_MAIL = (
    rb"\* \d{1,10} FETCH \(UID (\d{1,10}) FLAGS \(([^()\r\n]{0,1000})\) "
    rb"RFC822\.SIZE (\d{1,19}) BODY\[\]<0> \{(\d{1,10})\}\r\n"
)
# More kinds of answers are no server's.
MOST_KINDS = 1_000


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
        """What comes next; nothing at the end."""
        octets: bytes = self.sock.recv(most)
        if not self.meter.come(len(octets)):
            raise self.abort(self.meter.refusal())
        return octets

    def _forget_the_unencrypted(self) -> None:
        """What came before the encryption may come from anybody."""
        if self.sock is not self._come_from:
            self._come, self._at, self._come_from = b"", 0, self.sock

    def _receive_all(self, size: int, pieces: list[bytes], spare: int = 0) -> bytes:
        """These pieces and so many octets more, up to that many to spare; less at the end."""
        while size > 0 and (octets := self._receive(min(size + spare, CHUNK))):
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
            self._come, self._at = self._receive(), 0
            if not self._come or length > MAXLINE:
                break
            _few(pieces)
        pieces.append(self._come[self._at : end])
        self._at = end
        line = b"".join(pieces)
        if len(line) > MAXLINE:  # the rest of it would be taken for an answer
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
        return super()._get_response(*args, **kwargs)  # type: ignore[misc]

    def take_mails(self, tag: Any, most: int) -> bool:
        """Takes in some mails, at most so many; whether the command is done."""
        self.awaited, enough = most, self.meter.received + ENOUGH
        try:
            while self.awaited > 0 and self.meter.received < enough:
                if self.tagged_commands[tag] is not None or "BYE" in self.untagged_responses:
                    return True
                self._get_response()
                self.awaited -= 1
            return False
        finally:
            self.awaited = 0

    def _skip_expunged(self) -> bool:
        """Nobody asks which sequence numbers are gone: UIDs stay."""
        expunged = pattern(_EXPUNGED).match(self._come, self._at)
        if expunged is None:
            return False
        octets = expunged.end() - self._at
        self.exists = max(0, self.exists - self._come.count(b"\n", self._at, expunged.end()))
        self._at += octets
        self._spend(octets, octets // SHORTEST_EXPUNGED)
        return True

    def _take_mails(self) -> bool:
        """Small mails, as most servers send them; what is sent in any other way is left to imaplib."""
        come, at, match = self._come, self._at, pattern(_MAIL).match
        # Kept at once: they have come, whatever becomes of the connection.
        mails = self.untagged_responses.setdefault("FETCH", [])
        before, octets = len(mails), 0
        while len(mails) - before < self.awaited and octets < ENOUGH:
            head = match(come, at)
            if head is None:
                if len(come) - at > LONGEST_HEAD or b"\n" in come[at:] or not (more := self._receive()):
                    break
                come, at = come[at:] + more, 0
                continue
            uid, flags, size, length = head.groups()
            begin = head.end()
            end = begin + int(length)
            tail = end + LENGTH_OF_TAIL
            if tail > len(come):
                if end - begin > SMALL:
                    break
                come, at = self._receive_all(tail - len(come), [come[at:]], CHUNK), 0
                if tail - begin > len(come):
                    break
                continue
            if come[end:tail] != TAIL:
                break
            is_deleted = flags != b"" and b"\\deleted" in flags.lower()
            # Not cut out: that would be an object more for each.
            mails.append((int(uid), int(size), is_deleted, come, begin, end))
            octets += tail - at
            at = tail
        self._come, self._at = come, at
        taken = len(mails) - before
        self._spend(octets, OBJECTS_OF_A_MAIL * taken)
        self.awaited -= taken
        return taken > 0

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

    def _append_untagged(self, typ: str, dat: Any) -> None:
        super()._append_untagged(typ, dat)  # type: ignore[misc]
        if len(self.untagged_responses) > MOST_KINDS:
            raise self.abort("the server's answers are of too many kinds")
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


def _few(pieces: list[bytes]) -> None:
    """A server that sends an octet at a time makes no objects without end."""
    if len(pieces) > 1_000:
        pieces[:] = [b"".join(pieces)]
