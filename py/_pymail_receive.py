"""Searches the selected mailbox and fetches messages from it.

A large mailbox is searched in windows. New messages are fetched in the same flight as the search that finds them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Optional

from _pymail_connection import Untagged, quoted
from _pymail_imap_parse import (
    MAX_UINT32,
    AttributeTable,
    Mail,
    highest_uid,
    parse_search,
    split_range,
    take_headers,
    take_mails,
)
from _pymail_login import LoggingIn
from _pymail_transport import RESPONSE_LIMIT, Refused

# The most UIDs that a search may find: 16 MB.
MAX_FOUND = 4_000_000

# A larger inbox is not selected again just to see new messages: SELECT takes some servers their time.
SMALL_INBOX = 200

# Messages handed over at a time, so that Rust parses them while others arrive.
HANDOVER = 200

# The code and the text of a server's refusal, if there was one.
Refusal = Optional[tuple[Optional[str], str]]


class Receiving(LoggingIn):
    """A connection that searches and fetches."""

    # The lowest UID that a new message can have, as far as is known; 0 when it is not known.
    next_uid = 0
    # True once older messages have been searched.
    searched = False
    # During a prefetch, the matches outside of its range so far.
    others: bytes | None = None
    # The tag of the FETCH whose responses are being read, for which the data limit is set.
    fetching: Any = None

    def __init__(self, *args: Any) -> None:
        # Messages of which some attributes are still to come.
        self.table = AttributeTable()
        super().__init__(*args)

    def search(self, criteria: str) -> bytes:
        """Returns the UIDs that match, four octets each, little-endian.

        A large mailbox is searched in windows, so that no response line is too long for imaplib.
        """
        if self.exists > self.portion:
            return self._search_windows(criteria)
        try:
            return self._search_all(criteria)
        except Refused:
            if self.limit_reached is None or self.limit_reached[0] >= self.exists:
                raise
            self.portion = max(1, self.limit_reached[0])
            return self._search_windows(criteria)

    def _search_all(self, criteria: str) -> bytes:
        # A server searches only messages that it has announced, which it does at NOOP: both go in one flight.
        self._send("NOOP")
        self._send_search(criteria)
        responses = self._all()
        if responses[0].keys() & {"SEARCH", "ESEARCH"} and "EXISTS" in responses[0]:
            # Dovecot may run both commands before it announces new messages: the search has missed those.
            self._send_search(criteria)
            responses = self._all()
        return self._found(responses) + self._search_below(criteria)

    def _search_below(self, criteria: str) -> bytes:
        """Returns the other matches where the server has searched only the newest messages (RFC 9738)."""
        found = b""
        while self.limit_reached is not None and self.limit_reached[1] > 1:
            lowest = self.limit_reached[1]
            self._send_search(f"UID 1:{lowest - 1} {criteria}")
            found += self._found(self._all())
            if self.limit_reached is not None and self.limit_reached[1] >= lowest:
                raise Refused("MESSAGELIMIT", "the server does not continue a search below its message limit")
        return found

    def _send_search(self, criteria: str) -> None:
        # Ranges (ESEARCH, RFC 4731) are shorter than a list; a server with SEARCHRES has ESEARCH, too.
        self._send("UID", "SEARCH", f"RETURN (ALL) {criteria}" if self.has_searchres else criteria)

    def _search_windows(self, criteria: str) -> bytes:
        self._tagged(self.imap.noop)
        self.clear_untagged()
        found = b""
        for window in self._windows():
            self._send_search(window + criteria)
            found += self._found(self._all()) + self._search_below(window + criteria)
            if len(found) > 4 * MAX_FOUND:
                raise Refused(None, f"more than {MAX_FOUND} messages match: narrow the search")
        return found

    def _found(self, responses: list[Untagged]) -> bytes:
        """Returns the UIDs in SEARCH responses; in the inbox, notes that all messages up to them were searched."""
        found = b"".join(parse_search(it.get("SEARCH", []), it.get("ESEARCH", [])) for it in responses)
        if not self.is_away:
            self.next_uid = max(self.next_uid, highest_uid(found) + 1)
            self.searched, self.imap.arrived = True, 0
        return found

    def prefetch(self, criteria: str, count: int, most: int) -> bytes | None:
        """Searches for new messages and fetches them in one flight (SEARCHRES, RFC 5182); returns their UIDs.

        Returns None where that is not possible. Only the next `count` UIDs are fetched, so that no more messages
        come than are wanted. `next_mails` returns them, then `remaining_matches` the other UIDs that match.
        """
        if not (self.has_searchres and self.next_uid and self.searched):
            return None
        if self.exists > self.portion or self.imap.arrived > count:
            return None
        first, last = self.next_uid, min(self.next_uid + count - 1, MAX_UINT32)
        new = f"UID {first}:{last}"
        # A command after SELECT sees new messages for certain; after NOOP, only if they were announced in time.
        selects = self.exists <= SMALL_INBOX
        self._send(*(("SELECT", quoted(self.inbox)) if selects else ("NOOP",)))
        self._send("UID", "SEARCH", f"RETURN (SAVE ALL) {new} {criteria}")
        self._send("UID", "FETCH", "$", _items(most))
        self._send("UID", "SEARCH", f"RETURN (ALL) NOT {new} {criteria}")
        try:
            announced = self._next_selected() if selects else self._next()
            # Dovecot answers a search before it completes the command before that.
            found = self._found([announced, self._next()])
        except Refused:
            self.remaining_matches(count * most, worked=False)
            return None
        if not selects and "EXISTS" in announced:
            self.remaining_matches(count * most, worked=True)
            return None
        found, self.others = split_range(found, first, last)
        return found

    def remaining_matches(self, data_limit: int, worked: bool) -> bytes | None:
        """Returns the UIDs that match outside of a prefetch; None if the prefetch failed, here or before."""
        try:
            others = (self.others or b"") + self._found(self._all(data_limit))
            worked = worked and self.limit_reached is None
        except Refused:
            worked = False
        finally:
            self.others = None
        if not worked:
            self.has_searchres = False  # the server announces SEARCHRES and does not support it
            return None
        return others

    def _windows(self) -> Iterator[str]:
        """Yields the mailbox in windows of sequence numbers, newest first.

        When messages are expunged meanwhile, others move down into windows that are still to come.
        """
        # A generator: a server may announce billions of messages.
        size = self.portion
        last = max(0, self.exists - 1) // size * size
        yield f"{last + 1}:* " if last else ""
        for first in range(last - size + 1, 0, -size):
            if first <= self.exists:
                yield f"{first}:{min(first + size - 1, self.exists)} "

    def request_mails(self, uids: str, most: int) -> None:
        """Requests the first `most` octets of each message, or all of them for 0, without setting `\\Seen`."""
        self._send("UID", "FETCH", uids, _items(most))

    def request_headers(self, uids: str, most: int) -> None:
        """Requests the first `most` octets of each message's identifying headers."""
        self._send("UID", "FETCH", uids, f"(UID {identifying_headers(most)})")

    def fetch_some(self, uids: str, items: str, data_limit: int) -> tuple[list[Any], Refusal]:
        """Returns the FETCH responses for these messages, and the refusal if the server refused some of them."""
        self._send("UID", "FETCH", uids, items)
        self.imap.meter.remaining = RESPONSE_LIMIT + data_limit
        while not self.imap.take_mails(self._in_flight[0][1], HANDOVER):
            pass
        responses: list[Any] = self.imap.untagged_responses.pop("FETCH", [])
        try:
            self._next(None)
        except Refused as error:
            return responses, error.args
        return responses, None

    def next_mails(self, data_limit: int, are_headers: bool) -> tuple[list[Mail], bool]:
        """Returns some of the messages that were requested first, and True once there are no more.

        Responses with more than `data_limit` octets, beside RESPONSE_LIMIT, end the connection.
        """
        if self.table.broken is not None:
            raise self.table.broken
        tag = self._in_flight[0][1]
        if tag != self.fetching:
            self.fetching = tag
            self.imap.meter.remaining = RESPONSE_LIMIT + data_limit
        is_done = self.imap.take_mails(tag, HANDOVER)
        take = take_headers if are_headers else take_mails
        mails = take(self.imap.untagged_responses.pop("FETCH", []), self.table, is_done)
        if mails or not is_done:
            return mails, False  # handed over even if the server refuses the rest
        self.table.clear()
        untagged = self._next(None)
        if self.others is not None:
            # The response to the search after the FETCH may have come before the FETCH's OK.
            self.others += parse_search(untagged.get("SEARCH", []), untagged.get("ESEARCH", []))
        if self.limit_reached is not None:
            limit = self.limit_reached[0]
            raise Refused("MESSAGELIMIT", f"the server returns at most {limit} messages to a FETCH")
        return [], True


def identifying_headers(most: int) -> str:
    """Returns the FETCH item for the first `most` octets of the headers that identify a message."""
    return f"BODY.PEEK[HEADER.FIELDS (MESSAGE-ID SUBJECT FROM)]<0.{most}>"


def _items(most: int) -> str:
    return f"(UID FLAGS RFC822.SIZE BODY.PEEK[]{f'<0.{most}>' if most else ''})"
