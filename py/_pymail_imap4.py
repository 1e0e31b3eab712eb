"""imaplib on a connection that Rust made and watches: metered, without a memory of its own for what was said."""

from __future__ import annotations

import imaplib
import re
import socket
from typing import Any

from _pymail_answers import as_text
from _pymail_wire import Meter

# Known to UID commands since RFC 6851; imaplib learnt the name in 2026.
imaplib.Commands.setdefault("MOVE", ("SELECTED",))
# The longest line that is read: imaplib's own limit.
MAXLINE = 1_000_000
# So much is taken from the socket at a time; TLS gives 16 KiB.
CHUNK = 64 << 10
# Mails up to this size are read together.
SMALL = 64 << 10
TAIL = b")\r\n"
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

    # The last tagged answer.
    answer: tuple[str, list[Any]] | None = None

    # Whether the mails of a FETCH are waited for.
    awaits_mails = False

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

    def _receive(self) -> bytes:
        """What comes next; nothing at the end."""
        octets: bytes = self.sock.recv(CHUNK)
        if not self.meter.come(len(octets)):
            raise self.abort(self.meter.refusal())
        return octets

    def _forget_the_unencrypted(self) -> None:
        """What came before the encryption may come from anybody."""
        if self.sock is not self._come_from:
            self._come, self._at, self._come_from = b"", 0, self.sock

    def read(self, size: int) -> bytes:
        self._spend(size)
        pieces = [self._come[self._at : self._at + size]]
        self._at += len(pieces[0])
        missing = size - len(pieces[0])
        while missing > 0:
            self._come = self._receive()
            self._at = min(missing, len(self._come))
            if not self._at:
                break
            pieces.append(self._come[: self._at])
            missing -= self._at
            _few(pieces)
        return b"".join(pieces)

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
        """One answer; those of two kinds, of which many come, imaplib takes long for."""
        self._forget_the_unencrypted()
        if self._skip_expunged() or (self.awaits_mails and self._take_mail()):
            return None
        return super()._get_response(*args, **kwargs)  # type: ignore[misc]

    def take_mails(self, tag: Any, most: int) -> bool:
        """Takes in at most so many mails; whether the command is done."""
        self.awaits_mails = True
        try:
            for _ in range(most):
                if self.tagged_commands[tag] is not None or "BYE" in self.untagged_responses:
                    return True
                self._get_response()
            return False
        finally:
            self.awaits_mails = False

    def _skip_expunged(self) -> bool:
        """Nobody asks which sequence numbers are gone: UIDs stay."""
        expunged = re.compile(_EXPUNGED).match(self._come, self._at)
        if expunged is None:
            return False
        self._at = expunged.end()
        self._spend(self._at - expunged.start(), (self._at - expunged.start()) // SHORTEST_EXPUNGED)
        return True

    def _take_mail(self) -> bool:
        """A small mail, as most servers send it; what is sent in any other way is left to imaplib."""
        head = re.compile(_MAIL).match(self._come, self._at)
        if head is None or (size := int(head[4])) > SMALL:
            return False
        begin, end = head.end() - self._at, head.end() - self._at + size
        while len(self._come) < self._at + end + len(TAIL):
            octets = self._receive()
            if not octets:
                return False
            self._come, self._at = self._come[self._at :] + octets, 0
        begin, end = begin + self._at, end + self._at
        if not self._come.startswith(TAIL, end):
            return False
        self._spend(end - self._at, OBJECTS_OF_A_MAIL)
        mail: Any = (int(head[1]), int(head[3]), b"\\deleted" in head[2].lower(), self._come[begin:end])
        self.untagged_responses.setdefault("FETCH", []).append(mail)
        self._at = end + len(TAIL)
        return True

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
