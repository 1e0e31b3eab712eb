"""The IMAP commands that Rust calls: plain values in, plain values out.

Rust has checked the arguments (no CR, LF or NUL) and passes UID sets as text. The server's NO and BAD are raised
as Refused; any other exception ends the connection.
"""

from __future__ import annotations

import imaplib
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Optional

from _pymail_connection import Untagged, Visit, quoted
from _pymail_imap_parse import (
    add_prefix,
    archive_names,
    as_text,
    is_status_empty,
    message_id_searches,
    parse_delimiter,
    parse_delivery_counts,
    parse_fingerprints,
    parse_list,
    parse_namespaces,
    parse_sections,
    parse_sections_with_uid,
    parse_sizes,
    parse_uidnext,
    parse_uint32,
    unpack_uids,
)
from _pymail_receive import Receiving, Refusal, identifying_headers
from _pymail_transport import Refused

# Messages whose identifying headers are fetched with one command, and octets of headers for each.
HEADERS_WINDOW = 1_000
HEADER_OCTETS = 16 << 10

# Two messages with the same size and the same first octets of their headers are copies of each other.
FINGERPRINT_OCTETS = 4 << 10
FINGERPRINT = f"RFC822.SIZE BODY.PEEK[HEADER]<0.{FINGERPRINT_OCTETS}>"
# Messages of other clients that a mailbox may have received after the copies that are searched for.
OTHERS_COPIES = 200
# The most messages of one search whose fingerprints are fetched.
MAX_FINGERPRINTS = 20_000
# UIDs that fit on a command line.
FINGERPRINTS_WINDOW = 500
Fingerprint = tuple[Optional[int], bytes]

# The largest entry of the log that is read whole, entries read at a time, and the largest log.
ENTRY_OCTETS = 64 << 10
LOG_WINDOW = 200
LOG_OCTETS = 128 << 20


class Session(Receiving):
    """An IMAP connection with its inbox selected."""

    # The refusals of the last `copies`.
    refusals: list[tuple[str | None, str]]

    def prepare(self, inbox: str, archive: str, has_namespace: bool, version: str) -> tuple[int, list[str], str]:
        """Selects the inbox.

        Returns its UIDVALIDITY, the names to try for the archive in order, and the hierarchy delimiter or "".
        """
        untagged = self._select(inbox, has_namespace, version)
        validity = parse_uint32(untagged["UIDVALIDITY"][-1]) if untagged.get("UIDVALIDITY") else None
        if not validity:
            raise Refused("UIDVALIDITY", f"the server sends no UIDVALIDITY for {inbox}: UIDs can't be used")
        # "\*" means that clients may create keywords (RFC 3501, section 7.1).
        self.has_keywords = rb"\*" in (untagged.get("PERMANENTFLAGS") or [b""])[-1]
        namespaces = parse_namespaces(untagged)
        if add_prefix(archive, namespaces).upper() == inbox.upper():
            raise Refused(None, f"messages can't be archived in {inbox}, from which they are received")
        self.inbox, self.validity = inbox, validity
        self.next_uid = parse_uint32((untagged.get("UIDNEXT") or [None])[-1]) or 0
        self.searched = not self.exists
        delimiter = parse_delimiter(untagged, namespaces)
        names = archive_names(archive, namespaces, delimiter)
        return validity, [name for name in names if name.upper() != inbox.upper()], delimiter

    def _select(self, inbox: str, has_namespace: bool, version: str) -> Untagged:
        """Sends ID, NAMESPACE or LIST, and SELECT in one flight; returns all untagged responses.

        Some servers refuse SELECT to a client that has not sent ID (NetEase, RFC 2971).
        """
        self.clear_untagged()
        commands: list[tuple[str, ...]] = [("NAMESPACE",) if has_namespace else ("LIST", '""', '""')]
        if self.has_id:
            commands.insert(0, ("ID", f'("name" "pymail" "version" {quoted(version)})'))
        in_flight = [(command[0], self.imap._command(*command)) for command in commands]
        try:
            self._tagged(self.imap.select, quoted(inbox))
        except imaplib.IMAP4.readonly:
            raise Refused("READ-ONLY", f"{inbox} is read-only") from None
        untagged = dict(self.imap.untagged_responses)
        # A server that refuses ID, NAMESPACE or LIST can be used all the same.
        for name, tag in in_flight:
            with suppress(Refused):
                self._tagged(self.imap._command_complete, name, tag)
        return untagged

    def check_mailbox(self, name: str) -> None:
        """Sends STATUS; raises Refused if the mailbox does not exist."""
        if not self._tagged(self.imap.status, quoted(name), "(MESSAGES)"):
            raise Refused("NONEXISTENT", f"the server sends no STATUS for {name}")

    def create(self, name: str) -> bool:
        """Creates a mailbox unless it exists; returns True if it is known to be empty."""
        self._send("CREATE", quoted(name))
        self._send("STATUS", quoted(name), "(MESSAGES)")
        refusal: Refused | None = None
        try:
            self._next()
        except Refused as error:
            refusal = error
        try:
            # Not every server sends ALREADYEXISTS. A STATUS that succeeds proves that the mailbox exists.
            return is_status_empty(self._next().get("STATUS", []))
        except Refused:
            if refusal is not None and refusal.args[0] != "ALREADYEXISTS":
                raise refusal from None
            return False
        finally:
            # The exception's traceback refers to this frame: the cycle would keep the server's text alive.
            refusal = None

    def delivery_counts(self, uids: str) -> list[tuple[int, int]]:
        """Returns UID and count of deliveries of each message, by its keywords."""
        data = self._uid("FETCH", uids, "(UID FLAGS)")
        return parse_delivery_counts(data)

    def mark_delivery(self, uids: str, nth: int) -> None:
        """Marks these messages as delivered for the nth time, if the server has keywords."""
        if self.has_keywords:
            self._uid("STORE", uids, "+FLAGS.SILENT", f"($PymailDelivery{nth})")

    def identifying_headers(self, uids: str, count: int) -> tuple[list[tuple[int, bytes]], Refusal]:
        """Returns UID and identifying headers of each message, and the refusal if the server refused some."""
        items = f"(UID {identifying_headers(HEADER_OCTETS)})"
        responses, refusal = self.fetch_some(uids, items, count * HEADER_OCTETS)
        return parse_sections_with_uid(responses), refusal

    def newest_headers(
        self, mailbox: str, most: int, since: tuple[int, int]
    ) -> tuple[tuple[int, int], list[bytes], Refusal]:
        """Returns the identifying headers of the newest messages in another mailbox.

        `since` is a UIDVALIDITY and a UID: only later messages are read if the UIDVALIDITY is still the same, else
        the newest ones; at most `most`. Returns the `since` for the next call, the headers, and the refusal if the
        server refused some. The inbox is selected again afterwards.
        """
        headers: list[bytes] = []
        refusal: Refusal = None
        with Visit(self, mailbox, readonly=True) as validity:
            last = since[1] if since[0] == validity else 0
            criteria = f"UID {last + 1}:*" if last else f"{max(1, self.exists - most + 1)}:*"
            found = unpack_uids(self.search(criteria)) if self.exists else []
            newer = sorted(uid for uid in found if uid > last)[-most:]
            size = min(HEADERS_WINDOW, self.portion)
            for at in range(0, len(newer), size):
                window = newer[at : at + size]
                # A range, since other consumers archive too: messages between two of these are wanted.
                read, refused = self.identifying_headers(f"{window[0]}:{window[-1]}", len(window))
                refusal = refusal or refused
                headers.extend(header for _, header in read)
        return (validity, newer[-1] if newer else last), headers, refusal

    def append(self, mailbox: str, mail: bytes) -> None:
        """Appends a message to a mailbox, with `\\Seen`."""
        self._tagged(self.imap.append, quoted(mailbox), r"(\Seen)", None, mail)

    def read_log(self, mailbox: str, drop: list[str]) -> tuple[int, list[tuple[int, bytes]]]:
        """Removes some entries of a log; returns its UIDNEXT and the other entries, each a UID and a message.

        A log is a mailbox with a message for each entry.
        """
        mails: list[tuple[int, bytes]] = []
        octets = 0
        with Visit(self, mailbox, readonly=False):
            next_uid = self.visited_next
            for uids in drop:
                self.flag_deleted(uids)
                if self.has_uidplus:
                    self.expunge(uids)
            if drop and not self.has_uidplus:
                # The log has no messages of other clients: everything that is flagged may go.
                self._tagged(self.imap.expunge)
            for window in self._log_windows():
                items = f"(UID BODY.PEEK[]<0.{ENTRY_OCTETS}>)"
                data = self._uid("FETCH", window, items, data_limit=LOG_WINDOW * ENTRY_OCTETS)
                read = parse_sections(data)
                if self.limit_reached:
                    limit = self.limit_reached[0]
                    raise Refused("MESSAGELIMIT", f"the server returns at most {limit} of the log's entries")
                mails.extend(read)
                octets += sum(len(mail) for _, mail in read)
                if octets > LOG_OCTETS:
                    raise Refused(None, f"the log in {mailbox} has more than {LOG_OCTETS} octets")
        return next_uid, mails

    def _log_windows(self) -> Iterator[str]:
        """Yields sets of the log's UIDs, small enough for one FETCH each."""
        size = min(LOG_WINDOW, self.portion)
        if 0 < self.exists <= size:
            yield "1:*"
        elif self.exists:
            found = sorted(unpack_uids(self.search("ALL")))
            for at in range(0, len(found), size):
                yield f"{found[at]}:{found[at : at + size][-1]}"

    def next_uid_of(self, mailbox: str) -> int | None:
        """Returns UIDNEXT of a mailbox that is not selected; None when the server does not send it."""
        with suppress(Refused):
            return parse_uidnext(self._tagged(self.imap.status, quoted(mailbox), "(UIDNEXT)"))
        return None

    def mailboxes(self, pattern: str) -> list[str]:
        """Returns the names of the mailboxes that match; none when the server refuses LIST."""
        with suppress(Refused):
            return parse_list(self._tagged(self.imap.list, '""', quoted(pattern)))
        return []

    def sizes(self, uids: str) -> list[tuple[int, int]]:
        """Returns UID and RFC822.SIZE of each message."""
        data = self._uid("FETCH", uids, "(UID RFC822.SIZE)")
        return parse_sizes(data)

    def copies(
        self, uids: str, count: int, mailbox: str
    ) -> tuple[list[int], list[int], list[tuple[str | None, str]]]:
        """Returns the messages that are in the inbox, those that have a copy in another mailbox, and the refusals.

        A copy has the same size and the same headers, octet for octet. Of identical messages, as many count as
        copied as there are copies.
        """
        present = set(unpack_uids(self.search(f"UID {uids}")))
        self.refusals = []
        here = self._fingerprints(uids, count)
        there = self._fingerprints_there(set(here.values()), count, mailbox) if here else Counter()
        copied = []
        for uid, fingerprint in sorted(here.items()):
            if there[fingerprint]:
                there[fingerprint] -= 1
                copied.append(uid)
        # Both, since some servers' SEARCH or FETCH misses messages.
        return sorted(present.union(here)), copied, self.refusals

    def _fingerprints(self, uids: str, count: int) -> dict[int, Fingerprint]:
        """Fetches the fingerprints of these messages; notes a refusal and returns those that came."""
        responses, refusal = self.fetch_some(uids, f"(UID {FINGERPRINT})", count * FINGERPRINT_OCTETS)
        self.refusals.extend([refusal] if refusal else [])
        return parse_fingerprints(responses)

    def _fingerprints_there(self, wanted: set[Fingerprint], count: int, mailbox: str) -> Counter[Fingerprint]:
        """Counts the fingerprints of another mailbox's newest messages, and of those with a wanted Message-ID."""
        there: dict[int, Fingerprint] = {}
        # The mailbox may not exist, or not be readable.
        try:
            with Visit(self, mailbox, readonly=True):
                if self.exists:
                    newest = f"{max(1, self.exists - count - OTHERS_COPIES)}:*"
                    there.update(self._fingerprints_of(self.search(newest)))
                missing = wanted.difference(there.values()) if self.exists else ()
                for criteria in message_id_searches(missing):
                    there.update(self._fingerprints_of(self.search(criteria)))
        except Refused as error:
            self.refusals.append(error.args)
        return Counter(there.values())

    def _fingerprints_of(self, found: bytes) -> dict[int, Fingerprint]:
        """Fetches the fingerprints of the last of these messages."""
        there: dict[int, Fingerprint] = {}
        uids = unpack_uids(found)[-MAX_FINGERPRINTS:]
        for at in range(0, len(uids), FINGERPRINTS_WINDOW):
            window = uids[at : at + FINGERPRINTS_WINDOW]
            there.update(self._fingerprints(",".join(map(str, window)), len(window)))
        return there

    def copy(self, uids: str, mailbox: str) -> str | None:
        """Sends COPY; returns COPYUID's three words (RFC 4315) if the server sends them."""
        return self._copying("COPY", uids, mailbox)

    def move(self, uids: str, mailbox: str) -> str | None:
        """Sends MOVE (RFC 6851); returns COPYUID's three words if the server sends them."""
        return self._copying("MOVE", uids, mailbox)

    def _copying(self, command: str, uids: str, mailbox: str) -> str | None:
        self._uid(command, uids, quoted(mailbox))
        copyuid = self.imap.untagged_responses.get("COPYUID")
        return as_text(copyuid[-1]) if copyuid else None

    def flag_deleted(self, uids: str) -> None:
        """Flags exactly these messages `\\Deleted`."""
        self._uid("STORE", uids, "+FLAGS.SILENT", r"(\Deleted)")

    def expunge(self, uids: str) -> None:
        """Removes those of exactly these messages that are flagged `\\Deleted` (UIDPLUS, RFC 4315)."""
        self._uid("EXPUNGE", uids)
