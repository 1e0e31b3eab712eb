"""imaplib on a connection that Rust made and watches: metered, without a memory of its own for what was said."""

from __future__ import annotations

import imaplib
import socket
from typing import Any

from _pymail_answers import as_text
from _pymail_wire import Meter

# Known to UID commands since RFC 6851; imaplib learnt the name in 2026.
imaplib.Commands.setdefault("MOVE", ("SELECTED",))
# More kinds of answers are no server's.
MOST_KINDS = 1_000


class Bad(imaplib.IMAP4.error):
    """The server's BAD: its text, which imaplib would show as Python writes it."""


class Metered(imaplib.IMAP4):
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

    def forget_words(self) -> None:
        """Keeps nothing that a server says in words of its own: they may repeat the password."""
        self.answer = None
        self.continuation_response, self.mo = "", None
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
