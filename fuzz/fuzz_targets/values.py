"""A session whose methods return values built from the fuzzer's octets."""

from __future__ import annotations

import imaplib
import smtplib
import socket
import ssl
import sys
from collections.abc import Callable
from typing import Any

from _pymail_transport import Refused


class Odd(str):
    """A subclass of str."""


class Number:
    """A number whose conversion raises."""

    def __index__(self) -> int:
        raise OverflowError("no number")


OCTETS = iter(b"")


def feed(octets: bytes, _: int) -> None:
    """Sets the octets that decide the sessions' return values from now on."""
    global OCTETS
    OCTETS = iter(octets)
    for module in ("_pymail_imap", "_pymail_smtp"):
        sys.modules[module].Session = Session  # type: ignore[attr-defined]


class Session:
    """Stands in for `Session` in py/."""

    def __init__(self, descriptor: int, *_: object) -> None:
        self.socket = socket.socket(fileno=descriptor)
        if self.next() % 8 == 7:
            raise self.exception()

    def close(self) -> None:
        """Closes the socket; may be called twice."""
        self.socket.close()

    def call(self, _seconds: float, method: str, _args: tuple[Any, ...]) -> Any:
        """Calls a method: returns a value of its own and the traffic."""
        return self.answer(method), self.answer("traffic")

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *_: self.answer(name)

    def answer(self, verb: str) -> Any:
        """Returns a value of the expected type most of the time, else raises or returns any value."""
        kind = self.next() % 10
        if kind == 9:
            raise self.exception()
        if kind == 8:
            return self.value(0)
        many = range(self.next() % 6)
        likely: dict[str, Callable[[], Any]] = {
            "login": lambda: [["MOVE"], ["UIDPLUS", "NAMESPACE"], []][self.next() % 3],
            "used_method": lambda: "LOGIN",
            "prepare": lambda: (self.number(), [self.text() for _ in many] or ["OURS"], self.delimiter()),
            "search": lambda: self.uids(many),
            "prefetch": lambda: None if self.next() % 2 else self.uids(many),
            "remaining_matches": lambda: None if self.next() % 2 else self.uids(many),
            "next_chunk": lambda: (self.responses(many), self.number(), self.next() % 4 == 0),
            "last_limit": lambda: (self.number(), self.number()) if self.next() % 8 == 1 else None,
            "visit": lambda: (self.number(), self.number(), self.number(), self.number()),
            "count": lambda: self.number(),
            "mailboxes": lambda: [self.text() for _ in many],
            "create": lambda: self.next() % 2 == 0,
            "copy": lambda: f"7 {self.text()} {self.text()}",
            "move": lambda: f"7 {self.text()} {self.text()}",
            "size_limit": lambda: self.next() % 2 * self.number(),
            "traffic": lambda: (self.number(), self.number(), self.number()),
            "send": lambda: [self.outcome() for _ in many],
        }
        return likely.get(verb, lambda: None)()

    def uids(self, many: range) -> bytes:
        return b"".join(self.octet_string() if self.next() % 8 == 0 else bytes([n + 1, 0, 0, 0]) for n in many)

    def responses(self, many: range) -> Any:
        """Returns FETCH responses, mostly."""
        if self.next() % 4 == 0:
            return self.octet_string()
        response = b"* 1 FETCH (UID %d RFC822.SIZE 24 BODY[]<0> {%d}\r\n%b)\r\n"
        mail = b"Subject: OURS 1\r\n\r\nhello"
        return b"".join(response % (n + 1, len(mail) - self.next() % 2, mail) for n in many)

    def delimiter(self) -> Any:
        """Returns a hierarchy delimiter, mostly."""
        return self.text() if self.next() % 8 == 1 else "/"

    def outcome(self) -> Any:
        """Returns the outcome of one message, as smtp.py does."""
        answers = [(self.number(), self.text()) for _ in range(self.next() % 3)]
        kind = self.next() % 5
        if kind == 0:
            return ("", (self.number(), self.text()), answers, None, False)
        if kind == 1:
            return (self.text(), (self.number(), self.text()), answers, None, False)
        if kind == 2:
            return ("", None, answers, self.exception(), True)
        if kind == 3:
            return ("", None, answers, self.exception(), False)
        return (self.text(), self.value(0), answers, self.value(0), self.value(0))

    def next(self) -> int:
        return next(OCTETS, 0)

    def number(self) -> Any:
        kind = self.next() % 10
        if kind < 6:
            return self.next()
        return [(1 << 32) - 1, 1 << 32, 1 << 64, self.value(1)][kind - 6]

    def octet_string(self) -> Any:
        kind = self.next() % 8
        return self.value(1) if kind == 0 else bytes(self.next() for _ in range(self.next() % 20))

    def text(self) -> Any:
        kind = self.next() % 8
        if kind == 0:
            return self.value(1)
        if kind == 1:
            return "RCPT"
        letters = "0123456789:,* -\udcff\0\u20ac"
        return "".join(letters[self.next() % len(letters)] for _ in range(self.next() % 12))

    def value(self, depth: int) -> Any:
        kind = self.next() % 18
        if kind < 10 or depth > 4:
            plain = [None, True, -1, 1 << 200, 1.5, "", b"", bytearray(b"x"), memoryview(b"x"), "\ud800"]
            return plain[kind % 10]
        if kind == 10:
            return Odd("text")
        if kind == 11:
            return Number()
        if kind == 12:
            return self.exception()
        if kind == 13:
            return {self.next(): self.value(depth + 1)}
        inner = [self.value(depth + 1) for _ in range(self.next() % 5)]
        return [inner, tuple(inner), iter(inner), object()][kind - 14]

    def exception(self) -> BaseException:
        """Returns an exception with arguments of any kind, perhaps with another as its context."""
        classes: list[Callable[..., BaseException]] = [
            Refused,
            imaplib.IMAP4.abort,
            smtplib.SMTPServerDisconnected,
            smtplib.SMTPResponseException,
            ssl.SSLError,
            TimeoutError,
            KeyError,
            UnicodeError,
            MemoryError,
            RecursionError,
            GeneratorExit,
        ]
        made = classes[self.next() % len(classes)]
        two = made in (Refused, smtplib.SMTPResponseException)
        error = made(self.text(), self.text()) if two else made(self.text())
        if self.next() % 2:
            error.args = (self.value(2),)
        if self.next() % 3 == 0:
            error.__context__ = TimeoutError("context")
        return error
