"""Receiving mail from the selected mailbox: which there are, and what is in them.

A search is cut where its answer would be too long, and new mail comes in one flight with the search that finds it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Optional

import _pymail_answers as answers
from _pymail_connection import Told, quoted
from _pymail_login import LoggingIn
from _pymail_wire import ANSWER, Refused

# A larger result does not fit into what a client has to spare, and is no use either.
MOST_FOUND = 4_000_000

# An inbox with more is not selected again just to see what is new: that takes some servers their time.
FEW = 200

# So many mails are handed over at a time, which are read while others come.
PORTION = 200

# The code and the text of a server's no, if there was one.
Refusal = Optional[tuple[Optional[str], str]]


class Receiving(LoggingIn):
    """A connection that receives."""

    # Where the UIDs of new mail begin, as far as is known.
    next_uid = 0
    # Whether older mail than that was looked for.
    searched = False
    # What was found besides new mails so far, when it was looked ahead.
    others: bytes | None = None
    # The command whose mails are being taken.
    metered: Any = None

    def __init__(self, *args: Any) -> None:
        # Mails that have not been told whole yet.
        self.told = answers.Table()
        super().__init__(*args)

    def search(self, criteria: str) -> bytes:
        """The UIDs that match, four octets each, the least significant first.

        A large mailbox is asked in windows, so that no answer is too long.
        """
        if self.exists > self.portion:
            return self._search_windows(criteria)
        try:
            return self._search_all(criteria)
        except Refused:
            if self.limited is None or self.limited[0] >= self.exists:
                raise
            self.portion = max(1, self.limited[0])
            return self._search_windows(criteria)

    def _search_all(self, criteria: str) -> bytes:
        # A server searches what it has announced, and announces by NOOP: both in one flight.
        self._ask("NOOP")
        self._ask_for(criteria)
        told = self._all()
        if told[0].keys() & {"SEARCH", "ESEARCH"} and "EXISTS" in told[0]:
            # Dovecot announces when it has answered everything that it has read.
            self._ask_for(criteria)
            told = self._all()
        return self._found(told) + self._search_below(criteria)

    def _search_below(self, criteria: str) -> bytes:
        """What else matches, where the server has looked at the newest mails only (RFC 9738)."""
        found = b""
        while self.limited is not None and self.limited[1] > 1:
            lowest = self.limited[1]
            self._ask_for(f"UID 1:{lowest - 1} {criteria}")
            found += self._found(self._all())
            if self.limited is not None and self.limited[1] >= lowest:
                raise Refused("MESSAGELIMIT", "the server does not come to the end of a search")
        return found

    def _ask_for(self, criteria: str) -> None:
        # Ranges are shorter than a list (ESEARCH, RFC 4731), which whoever has SEARCHRES has, too.
        self._ask("UID", "SEARCH", f"RETURN (ALL) {criteria}" if self.has_searchres else criteria)

    def _search_windows(self, criteria: str) -> bytes:
        self._tagged(self.imap.noop)
        self._absorb()
        found = b""
        for window in self._windows():
            self._ask_for(window + criteria)
            found += self._found(self._all()) + self._search_below(window + criteria)
            if len(found) > 4 * MOST_FOUND:
                raise Refused(None, f"more than {MOST_FOUND} mails match: search for less")
        return found

    def _found(self, told: list[Told]) -> bytes:
        found = b"".join(answers.found(it.get("SEARCH", []), it.get("ESEARCH", [])) for it in told)
        if not self.is_away:
            self.next_uid = max(self.next_uid, answers.last(found) + 1)
            self.searched, self.imap.arrived = True, 0
        return found

    def look_ahead(self, criteria: str, count: int, most: int) -> bytes | None:
        """As `search` for what is new, and asks for it too, in one flight (SEARCHRES, RFC 5182); None if it can't.

        What is new has a UID of the next `count` ones: no more can come than was asked for, nor is it worth it.
        Take the mails then, and then what else there is.
        """
        if not (self.has_searchres and self.next_uid and self.searched):
            return None
        if self.exists > self.portion or self.imap.arrived > count:
            return None
        first, last = self.next_uid, min(self.next_uid + count - 1, answers.MOST)
        new = f"UID {first}:{last}"
        # What follows on a SELECT is done when new mail is announced, which with NOOP is not certain.
        is_sure = self.exists <= FEW
        self._ask(*(("SELECT", quoted(self.inbox)) if is_sure else ("NOOP",)))
        self._ask("UID", "SEARCH", f"RETURN (SAVE ALL) {new} {criteria}")
        self._ask("UID", "FETCH", "$", _items(most))
        self._ask("UID", "SEARCH", f"RETURN (ALL) NOT {new} {criteria}")
        try:
            announced = self._next_selected() if is_sure else self._next()
            # Dovecot answers a search before it has done with what was asked before it.
            found = self._found([announced, self._next()])
        except Refused:
            self.what_else(count * most, worked=False)
            return None
        if not is_sure and "EXISTS" in announced:
            self.what_else(count * most, worked=True)
            return None
        found, self.others = answers.divided(found, first, last)
        return found

    def what_else(self, room: int, worked: bool) -> bytes | None:
        """What was found besides the new mails of a look ahead, if that has worked so far."""
        try:
            others = (self.others or b"") + self._found(self._all(room))
            worked = worked and self.limited is None
        except Refused:
            worked = False
        finally:
            self.others = None
        if not worked:
            self.has_searchres = False  # It says so, but it can't.
            return None
        return others

    def _windows(self) -> Iterator[str]:
        """From the newest mail down: when some are expunged, others move into windows that are still to come."""
        # One at a time: a server may say that there are billions.
        size = self.portion
        last = max(0, self.exists - 1) // size * size
        yield f"{last + 1}:* " if last else ""
        for first in range(last - size + 1, 0, -size):
            if first <= self.exists:
                yield f"{first}:{min(first + size - 1, self.exists)} "

    def ask_for_mails(self, uids: str, most: int) -> None:
        """Asks for the first `most` octets of each mail, or for all with 0, without marking it seen."""
        self._ask("UID", "FETCH", uids, _items(most))

    def ask_for_headers(self, uids: str, most: int) -> None:
        """Asks for the first `most` octets of the headers that tell who each mail is."""
        self._ask("UID", "FETCH", uids, f"(UID {identity(most)})")

    def what_comes(self, uids: str, items: str, room: int) -> tuple[list[Any], Refusal]:
        """What the server tells of these mails, and its refusal of some."""
        self._ask("UID", "FETCH", uids, items)
        self.imap.meter.room = ANSWER + room
        while not self.imap.take_mails(self._asked[0][1], PORTION):
            pass
        told: list[Any] = self.imap.untagged_responses.pop("FETCH", [])
        try:
            self._next(None)
        except Refused as error:
            return told, error.args
        return told, None

    def next_mails(self, room: int, are_headers: bool) -> tuple[list[answers.Mail], bool]:
        """Some of the mails that were asked for first, and whether these are all.

        An answer of more than `room` octets, beside what any answer may have, ends the connection.
        """
        if self.told.broken is not None:
            raise self.told.broken
        tag = self._asked[0][1]
        if tag != self.metered:
            self.metered = tag
            self.imap.meter.room = ANSWER + room
        is_done = self.imap.take_mails(tag, PORTION)
        read = answers.headers if are_headers else answers.mails
        mails = read(self.imap.untagged_responses.pop("FETCH", []), self.told, is_done)
        if mails or not is_done:
            return mails, False  # Should the server refuse the rest, these have come.
        self.told.clear()
        told = self._next(None)
        if self.others is not None:
            # The answer to the search behind it may have come already.
            self.others += answers.found(told.get("SEARCH", []), told.get("ESEARCH", []))
        if self.limited is not None:
            raise Refused("MESSAGELIMIT", f"the server gives out {self.limited[0]} mails at most")
        return [], True


def identity(most: int) -> str:
    """The headers that tell who a mail is."""
    return f"BODY.PEEK[HEADER.FIELDS (MESSAGE-ID SUBJECT FROM)]<0.{most}>"


def _items(most: int) -> str:
    return f"(UID FLAGS RFC822.SIZE BODY.PEEK[]{f'<0.{most}>' if most else ''})"
