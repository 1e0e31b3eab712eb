"""The IMAP commands that Rust calls: plain values in, plain values out.

Rust has checked the arguments (no CR, LF or NUL) and passes UID sets as text. The server's NO and BAD are raised
as Refused; any other exception ends the connection.
"""

from __future__ import annotations

import imaplib
from contextlib import suppress

from _pymail_connection import Untagged, quoted
from _pymail_idle import Idling
from _pymail_imap_parse import (
    add_prefix,
    archive_names,
    as_text,
    is_status_empty,
    parse_count,
    parse_delimiter,
    parse_list,
    parse_messages,
    parse_namespaces,
    parse_uidnext,
    parse_uint32,
)
from _pymail_receive import Ahead
from _pymail_transport import Refused


def copied(untagged: Untagged) -> str | None:
    """Returns the three words of COPYUID (RFC 4315); None if the server has not sent it."""
    copyuid = untagged.get("COPYUID")
    return as_text(copyuid[-1]) if copyuid else None


class Session(Idling):
    """An IMAP connection with its inbox selected."""

    # The inbox's name, UIDVALIDITY and counts of messages while another mailbox is selected in its place; True if
    # messages may be moved to it.
    replaced: tuple[str, int, tuple[int, int, int], bool] | None = None

    def prepare(
        self, inbox: str, archive: str, has_namespace: bool, version: str
    ) -> tuple[int, list[str], str, tuple[str | None, str] | None]:
        """Selects the inbox.

        Returns its UIDVALIDITY, the names to try for the archive in order, the hierarchy delimiter or "", and the
        code and text of a refusal of NAMESPACE or LIST, without which names and delimiter may be others.
        """
        untagged, refusal = self._select(inbox, has_namespace, version)
        validity = parse_uint32(untagged["UIDVALIDITY"][-1]) if untagged.get("UIDVALIDITY") else None
        if not validity:
            raise Refused("UIDVALIDITY", f"the server sends no UIDVALIDITY for {inbox}: UIDs can't be used")
        # "\*" means that clients may create keywords (RFC 3501, section 7.1).
        self.has_keywords = rb"\*" in (untagged.get("PERMANENTFLAGS") or [b""])[-1]
        namespaces = parse_namespaces(untagged)
        if add_prefix(archive, namespaces).upper() == inbox.upper():
            raise Refused(None, f"messages can't be archived in {inbox}, from which they are received")
        self.inbox, self.validity = inbox, validity
        self._selected(untagged)
        self.next_uid = self.uidnext
        self.searched = not self.exists
        delimiter = parse_delimiter(untagged, namespaces)
        names = archive_names(archive, namespaces, delimiter)
        return validity, [name for name in names if name.upper() != inbox.upper()], delimiter, refusal

    def _select(
        self, inbox: str, has_namespace: bool, version: str
    ) -> tuple[Untagged, tuple[str | None, str] | None]:
        """Sends ID, NAMESPACE or LIST, and SELECT in one flight.

        Returns all untagged responses, and the refusal of NAMESPACE or LIST.

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
        refusal = None
        for name, tag in in_flight:
            try:
                self._tagged(self.imap._command_complete, name, tag)
            except Refused as error:
                # A server that refuses ID can be used all the same.
                refusal = None if name == "ID" else error.args
        return untagged, refusal

    def count_in(self, mailbox: str, criteria: str) -> int | None:
        """Returns how many messages match in another mailbox; None if the count may be that of a part.

        The mailbox is opened, searched and left in one flight.
        """
        self._leave()
        count = f"RETURN (COUNT) {criteria}" if self.has_esearch else criteria
        for command in (("EXAMINE", quoted(mailbox)), ("UID", "SEARCH", count), ("SELECT", quoted(self.inbox))):
            self._send(*command)
        untagged: Untagged = {}
        limits = []
        refusals: list[Refused] = []
        for _ in range(2):
            try:
                untagged = self._next()
            except Refused as error:
                refusals.append(error)
            limits.append(self.limit_reached)
        found = parse_count([untagged]) if self.has_esearch else len(self._found([untagged])) // 4
        self._next_selected()
        self._came_back()
        if refusals:
            raise refusals.pop(0)  # and no reference stays in this frame, which its traceback refers to
        return found if limits[-1] is None else None

    def replace_inbox(self, mailbox: str, readonly: bool) -> int:
        """Selects another mailbox in place of the inbox, up to `restore_inbox`; returns its UIDVALIDITY.

        Visits come back to it meanwhile.
        """
        try:
            validity, _, _ = self.visit(mailbox, readonly)
        except imaplib.IMAP4.readonly:
            self.come_back()
            raise Refused("READ-ONLY", f"{mailbox} is read-only") from None
        if not validity:
            self.come_back()
            raise Refused("UIDVALIDITY", f"the server sends no UIDVALIDITY for {mailbox}: UIDs can't be used")
        self.replaced = (self.inbox, self.validity, self.left_with, not readonly)
        self.inbox, self.validity = mailbox, validity
        return validity

    def restore_inbox(self) -> None:
        """Selects the inbox again, all of which counts as not searched yet; raises like `come_back`."""
        may_have_new = False
        if self.replaced is not None:
            self.inbox, self.validity, self.left_with, may_have_new = self.replaced
            self.replaced = None
        self.come_back()
        self.next_uid, self.searched = 0, False
        if may_have_new:
            # The count of messages does not show it if others were expunged meanwhile.
            self.imap.arrived, self.listed = max(1, self.imap.arrived), 0

    def messages_in(self, name: str) -> int | None:
        """Returns the count of messages in another mailbox (STATUS), None if it can't be read.

        Raises Refused if the mailbox does not exist.
        """
        status = self._tagged(self.imap.status, quoted(name), "(MESSAGES)")
        if not status:
            raise Refused("NONEXISTENT", f"the server sends no STATUS for {name}")
        return parse_messages(status)

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

    def mark_delivery(self, uids: str, nth: int) -> None:
        """Marks these messages as delivered for the nth time, if the server has keywords."""
        if self.has_keywords:
            self._uid("STORE", uids, "+FLAGS.SILENT", f"($PymailDelivery{nth})")

    def change_keywords(self, uids: str, sign: str, keywords: str) -> None:
        """Adds keywords to these messages, or removes them, by the sign, if the server has keywords."""
        if self.has_keywords:
            self._uid("STORE", uids, f"{sign}FLAGS.SILENT", f"({keywords})")

    def append(self, mailbox: str, mail: bytes) -> None:
        """Appends a message to a mailbox, with `\\Seen`."""
        self._tagged(self.imap.append, quoted(mailbox), r"(\Seen)", None, mail)

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

    def copy(self, uids: str, mailbox: str) -> str | None:
        """Sends COPY; returns COPYUID's three words (RFC 4315) if the server sends them."""
        self._uid("COPY", uids, quoted(mailbox))
        return copied(self.imap.untagged_responses)

    def move(self, uids: str, mailbox: str, ahead: Ahead | None) -> str | None:
        """Sends MOVE (RFC 6851); returns COPYUID's three words if the server sends them.

        Sends the commands of the next fetch behind it, if they are known.
        """
        self._send("UID", "MOVE", uids, quoted(mailbox))
        if ahead is not None:
            self._request_ahead(*ahead)
        try:
            untagged = self._next(self._ahead_limit if self._ahead else 0)
        except Refused:
            limit_reached = self.limit_reached
            try:
                self._drop_ahead()
            except (imaplib.IMAP4.abort, OSError):
                self.close()  # the loss comes again at the next command
            self.limit_reached = limit_reached
            raise
        if self._ahead:
            # Dovecot may run the other commands before it completes MOVE.
            self.moved = {kind: untagged[kind] for kind in ("EXISTS", "SEARCH", "ESEARCH") if kind in untagged}
        return copied(untagged)

    def flag_deleted(self, uids: str) -> None:
        """Flags exactly these messages `\\Deleted`."""
        self._uid("STORE", uids, "+FLAGS.SILENT", r"(\Deleted)")

    def expunge(self, uids: str) -> None:
        """Removes those of exactly these messages that are flagged `\\Deleted` (UIDPLUS, RFC 4315)."""
        self._uid("EXPUNGE", uids)

    def count(self) -> int:
        """Returns the count of messages in the selected mailbox."""
        return self.exists

    def expunge_all(self) -> None:
        """Removes all messages that are flagged `\\Deleted`: for mailboxes of pymail's own, without UIDPLUS."""
        self._tagged(self.imap.expunge)
