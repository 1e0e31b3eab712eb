"""Searches the selected mailbox and fetches messages from it.

A large mailbox is searched in windows. New messages are fetched in the same flight as the search that finds them.
"""

from __future__ import annotations

import imaplib
from collections.abc import Iterator
from typing import Any, Optional

from _pymail_connection import Untagged, quoted
from _pymail_imap_parse import (
    MAX_UINT32,
    highest_uid,
    parse_count,
    parse_search,
    split_range,
)
from _pymail_login import LoggingIn
from _pymail_transport import RESPONSE_LIMIT, Refused

# The most UIDs that a search may find: 16 MB.
MAX_FOUND = 4_000_000

# A larger inbox is not selected again just to see new messages: SELECT takes some servers their time.
SMALL_INBOX = 200

# A search for new mail that was sent ahead and has found none is relied on for so many seconds.
NONE_SECONDS = 1.0

# A part of the responses to a FETCH: octets to parse, in pieces; a count that grows with EXPUNGE responses; True
# if the FETCH is complete; and then, after a prefetch, the other UIDs that match.
Chunk = tuple[list[bytes], int, bool, Optional[bytes]]

# The next fetch, to be sent ahead: the UIDs, or the criteria of new messages; at most how many of these, 0 for
# UIDs; the items; the number of messages that are about to leave the mailbox; the octets of data in the responses.
Ahead = tuple[str, int, str, int, int]


class Receiving(LoggingIn):
    """A connection that searches and fetches."""

    # True once older messages have been searched.
    searched = False
    # True while messages are counted: those that a search finds still count as new.
    counting = False
    # True while all mail is listed.
    listing = False
    # How many of those that have arrived the last list has seen; True if some may have that no list has.
    listed, unlisted = 0, False
    # During a prefetch, the matches outside of its range so far.
    others: bytes | None = None
    # The tag of the FETCH whose responses are being read, for which the data limit is set.
    fetching: Any = None

    def search(self, criteria: str, for_new: bool) -> bytes:
        """Returns the UIDs that match, four octets each, little-endian; `for_new` if it finds all new messages.

        A large mailbox is searched in windows, so that no response line is too long for imaplib.
        """
        if self.exists > self.portion:
            return self._search_windows(criteria, for_new)
        try:
            return self._search_all(criteria, for_new)
        except Refused:
            if self.limit_reached is None or self.limit_reached[0] >= self.exists:
                raise
            self.portion = max(1, self.limit_reached[0])
            return self._search_windows(criteria, for_new)

    def list_all(self) -> bytes:
        """Returns the UIDs of all mail. What has arrived stays new up to `all_read`."""
        self.listing = self.unlisted = True
        try:
            return self.search("UNDELETED", True)
        finally:
            self.listing = False

    def all_read(self) -> None:
        """Takes what the last list has seen for searched."""
        self.unlisted = False
        if not self.counting:
            self.imap.arrived, self.listed = self.imap.arrived - self.listed, 0

    def has_unlisted(self) -> bool:
        """Returns True if messages may have arrived that no list has seen whose mail was read."""
        return self.unlisted

    def count_only(self, counting: bool) -> None:
        """Begins or ends the counting of messages."""
        self.counting = counting

    def count_matches(self, criteria: str) -> int | None:
        """Returns how many messages match (ESEARCH, RFC 4731); None where the server gives no count of all."""
        if not self.has_esearch:
            return None
        count = parse_count(self._searched("UID", "SEARCH", f"RETURN (COUNT) {criteria}"))
        # Under a message limit (RFC 9738), it is the count of a part.
        return count if self.limit_reached is None and count is not None and count <= self.exists else None

    def _search_all(self, criteria: str, for_new: bool) -> bytes:
        responses = self._searched(*self._search_command(criteria))
        return self._found(responses, for_new) + self._search_below(criteria)

    def _searched(self, *command: str) -> list[Untagged]:
        """Returns the responses to NOOP and to this SEARCH, which has seen all messages that have arrived."""
        # A server searches only messages that it has announced, which it does at NOOP: both go in one flight.
        self._send("NOOP")
        self._send(*command)
        responses = self._all()
        if responses[0].keys() & {"SEARCH", "ESEARCH"} and "EXISTS" in responses[0]:
            # Dovecot may run both commands before it announces new messages: the search has missed those.
            self._send(*command)
            responses = self._all()
        return responses

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
        self._send(*self._search_command(criteria))

    def _search_command(self, criteria: str) -> tuple[str, str, str]:
        # Ranges (ESEARCH, RFC 4731) are shorter than a list; a server with SEARCHRES has ESEARCH, too.
        return "UID", "SEARCH", f"RETURN (ALL) {criteria}" if self.has_searchres else criteria

    def _search_windows(self, criteria: str, for_new: bool) -> bytes:
        self._tagged(self.imap.noop)
        self.clear_untagged()
        found = b""
        for window in self._windows():
            self._send_search(window + criteria)
            found += self._found(self._all(), for_new) + self._search_below(window + criteria)
            for_new = False  # the first window has the newest messages
            if len(found) > 4 * MAX_FOUND:
                raise Refused(None, f"more than {MAX_FOUND} messages match: narrow the search")
        return found

    def _found(self, responses: list[Untagged], for_new: bool = False) -> bytes:
        """Returns the UIDs in SEARCH responses; in the inbox, notes that all messages up to them were searched.

        Notes nothing while messages are counted.
        Messages that a server announces behind the result of a search `for_new` ones may be missing from it.
        """
        found = b"".join(parse_search(it.get("SEARCH", []), it.get("ESEARCH", [])) for it in responses)
        if not (self.is_away or self.counting):
            self.next_uid = max(self.next_uid, highest_uid(found) + 1)
            self.searched = True
        if for_new and not self.is_away:
            has_result = any(it.keys() & {"SEARCH", "ESEARCH"} for it in responses)
            self._seen(self.imap.arrived_before_result if has_result else self.imap.arrived)
        return found

    def _seen(self, seen: int) -> None:
        """Notes that a search for new messages has seen so many of those that have arrived."""
        if self.listing:
            self.listed = seen
            return
        self.unlisted = self.unlisted or self.imap.arrived > self.listed
        if not self.counting:
            self.imap.arrived, self.listed = self.imap.arrived - seen, max(0, self.listed - seen)

    def prefetch(
        self, criteria: str, count: int, items: str, data_limit: int, trusts_none: bool
    ) -> tuple[bytes, Chunk] | None:
        """Searches for new messages and fetches them in one flight (SEARCHRES, RFC 5182).

        Returns their UIDs and the first chunk; `next_chunk` returns the others. Returns None where that is not
        possible. Only the next `count` UIDs are fetched, so that no more messages come than are wanted.

        If the commands were sent ahead and have found none, or may have missed some, sends them again, unless the
        caller `trusts_none`: messages that came later end its next wait.
        """
        commands = self._new_mail_commands(criteria, count, items, 0)
        if commands is None:
            return None
        first, last = self._new_uids(count)
        selects = commands[0][0] == "SELECT"
        was_ahead = self._send_all(commands)
        trusts_none = trusts_none and self._ahead_seconds() < NONE_SECONDS
        # Dovecot answers a search before it completes the commands before that.
        before = [self.moved] if was_ahead and self.moved else []
        is_late = any("EXISTS" in it and it.keys() & {"SEARCH", "ESEARCH"} for it in before)
        self.moved = None
        if not was_ahead:
            self.imap.expect_early(RESPONSE_LIMIT + data_limit)
        try:
            before.append(self._next_selected() if selects else self._next(data_limit))
            is_late = is_late or (not selects and "EXISTS" in before[-1])
            found = self._found([*before, self._next(data_limit)], for_new=True)
            found, others = split_range(found, first, last)
            is_again = was_ahead and (is_late or not (found or trusts_none))
            if not is_late and not is_again:
                self.others = others
                return found, self._first_chunk()
        except Refused:
            is_late = is_again = False
        remaining = self.remaining_matches(data_limit)
        if is_again and remaining is not None:
            return self.prefetch(criteria, count, items, data_limit, trusts_none)
        if not (is_late or is_again):
            self.stop_prefetching()
        return None

    def _new_uids(self, count: int) -> tuple[int, int]:
        """Returns the first and the last of the next `count` UIDs."""
        return self.next_uid, min(self.next_uid + count - 1, MAX_UINT32)

    def _new_mail_commands(
        self, criteria: str, count: int, items: str, leaving: int
    ) -> list[tuple[str, ...]] | None:
        """Returns the commands of a prefetch; None where it is not possible."""
        if not (self.has_searchres and self.next_uid and self.searched):
            return None
        if self.exists > self.portion or self.imap.arrived > count:
            return None
        new = "UID {}:{}".format(*self._new_uids(count))
        # A command after SELECT sees new messages for certain; after NOOP, only if they were announced in time.
        selects = self.exists - leaving <= SMALL_INBOX
        return [
            ("SELECT", quoted(self.inbox)) if selects else ("NOOP",),
            ("UID", "SEARCH", f"RETURN (SAVE ALL) {new} {criteria}"),
            ("UID", "FETCH", "$", items),
            ("UID", "SEARCH", f"RETURN (ALL) NOT {new} {criteria}"),
        ]

    def _request_ahead(self, text: str, count: int, items: str, leaving: int, data_limit: int) -> None:
        """Sends the commands of the next fetch, if it is possible by these alone."""
        fetch: list[tuple[str, ...]] = [("UID", "FETCH", text, items)]
        commands = self._new_mail_commands(text, count, items, leaving) if count else fetch
        if commands is not None:
            self._send_ahead(commands, data_limit)

    def _first_chunk(self) -> Chunk:
        try:
            return self.next_chunk(b"", b"", 1)
        except (imaplib.IMAP4.abort, OSError):
            # The loss comes again at the next call, which knows the messages.
            return [], self.imap.expunged, False, None

    def remaining_matches(self, data_limit: int = 0) -> bytes | None:
        """Returns the UIDs that match outside of a prefetch; None if one of the commands in flight is refused."""
        self.imap.early = None
        try:
            others = (self.others or b"") + self._found(self._all(data_limit))
            if self.limit_reached is None:
                return others
        except Refused:
            pass
        finally:
            self.others = None
        self.stop_prefetching()
        return None

    def stop_prefetching(self) -> None:
        """Ends prefetching on this connection: the server announces SEARCHRES and does not support it."""
        self.has_searchres = False

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

    def request(self, uids: str, items: str) -> None:
        """Sends a FETCH command; `next_chunk` returns its responses."""
        self._send_all([("UID", "FETCH", uids, items)])

    def next_chunk(self, others: bytes, rest: bytes, needed: int) -> Chunk:
        """Returns the next chunk of the responses to the first FETCH in flight.

        Takes back the responses that are no FETCH responses, and the octets behind a tagged one. At least `needed`
        octets are still to come; 0 if there are others to parse.
        """
        tag: Any = self._in_flight[0][1]
        if tag != self.fetching:
            self.fetching, self.imap.fetched = tag, 0
            self.imap.meter.remaining = RESPONSE_LIMIT
            if early := self.imap.take_early():
                return early, self.imap.expunged, False, None
        if others:
            self.imap.process(others, rest)
        if self.imap.tagged_commands[tag] is None and "BYE" not in self.imap.untagged_responses:
            pieces = self.imap.take_octets(needed) if needed else []
            return pieces, self.imap.expunged, False, None
        untagged = self._next(None)
        if self.others is not None:
            # The response to the search after the FETCH may have come before the FETCH's OK.
            self.others += parse_search(untagged.get("SEARCH", []), untagged.get("ESEARCH", []))
        if self.limit_reached is not None:
            limit = self.limit_reached[0]
            raise Refused("MESSAGELIMIT", f"the server returns at most {limit} messages to a FETCH")
        return [], self.imap.expunged, True, self._matches_if_prefetched()

    def _matches_if_prefetched(self) -> bytes | None:
        try:
            return None if self.others is None else self.remaining_matches()
        except (imaplib.IMAP4.abort, OSError):
            return None  # The FETCH is complete; the loss comes again at the next call.
