"""The IMAP dialogue on imaplib: plain values in, plain values out.

Arguments come checked and quoted (no CR, LF or NUL); UID sets come as text. What the server refuses is
raised as Refused; whatever else is raised ends the connection.
"""

from __future__ import annotations

import imaplib
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Optional

import _pymail_answers as answers
from _pymail_connection import Told, Visit, quoted
from _pymail_receive import Receiving, Refusal, identity
from _pymail_wire import Refused

# How many mails are asked at a time who they are, and how much each may say.
RECALL_WINDOW = 1_000
IDENTITY_OCTETS = 16 << 10

# Two mails with the same size and the same first octets of their headers are the same mail.
PRINT_OCTETS = 4 << 10
PRINT = f"RFC822.SIZE BODY.PEEK[HEADER]<0.{PRINT_OCTETS}>"
# So many other mails may have come to a mailbox since the copies that are looked for.
OTHERS_COPIES = 200
MOST_COPIES = 20_000
# So many UIDs fit on a command line.
PRINTS_AT_ONCE = 500
Print = tuple[Optional[int], bytes]

# The largest entry of a log that is read whole; how many are read at a time, and how much all of them may be.
ENTRY_OCTETS = 64 << 10
LOG_WINDOW = 200
LOG_OCTETS = 128 << 20


class Session(Receiving):
    """One connection, with its inbox selected."""

    # What was refused while copies were looked for.
    refusals: list[tuple[Optional[str], str]]

    def prepare(self, inbox: str, archive: str, has_namespace: bool, version: str) -> tuple[int, list[str], str]:
        """Selects the inbox.

        Returns its UIDVALIDITY, the names that the archive may have on this server, the best first, and what the
        server puts between a mailbox's name and those of the mailboxes within it ("" for nothing).
        """
        told = self._select(inbox, has_namespace, version)
        validity = answers.number32(told["UIDVALIDITY"][-1]) if told.get("UIDVALIDITY") else None
        if not validity:
            raise Refused("UIDVALIDITY", f"the server says no UIDVALIDITY of {inbox}: UIDs mean nothing")
        # RFC 3501, section 7.1: whether new keywords can be made.
        self.has_keywords = rb"\*" in (told.get("PERMANENTFLAGS") or [b""])[-1]
        namespaces = answers.namespaces(told)
        if answers.in_namespace(archive, namespaces).upper() == inbox.upper():
            raise Refused(None, f"messages can't be archived in {inbox}, which is watched")
        self.inbox, self.validity = inbox, validity
        self.next_uid = answers.number32((told.get("UIDNEXT") or [None])[-1]) or 0
        self.searched = not self.exists
        delimiter = answers.delimiter(told, namespaces)
        names = answers.archive_names(archive, namespaces, delimiter)
        return validity, [name for name in names if name.upper() != inbox.upper()], delimiter

    def _select(self, inbox: str, has_namespace: bool, version: str) -> Told:
        """Asks and selects in one flight, so that asking costs no time; what the server told of both.

        Some servers select nothing for a client that has not said its name before (NetEase, RFC 2971).
        """
        self._absorb()
        questions: list[tuple[str, ...]] = [("NAMESPACE",) if has_namespace else ("LIST", '""', '""')]
        if self.has_id:
            questions.insert(0, ("ID", f'("name" "pymail" "version" {quoted(version)})'))
        asked = [(question[0], self.imap._command(*question)) for question in questions]
        try:
            self._tagged(self.imap.select, quoted(inbox))
        except imaplib.IMAP4.readonly:
            raise Refused("READ-ONLY", f"{inbox} is read-only") from None
        told = dict(self.imap.untagged_responses)
        # A server that refuses a question has told nothing, and can be used all the same.
        for name, tag in asked:
            with suppress(Refused):
                self._tagged(self.imap._command_complete, name, tag)
        return told

    def is_there(self, name: str) -> None:
        """Asks for a mailbox; it is refused when there is none."""
        if not self._tagged(self.imap.status, quoted(name), "(MESSAGES)"):
            raise Refused("NONEXISTENT", f"the server tells nothing of {name}")

    def create(self, name: str) -> bool:
        """Makes a mailbox, unless it is there; whether it is known to be empty."""
        self._ask("CREATE", quoted(name))
        self._ask("STATUS", quoted(name), "(MESSAGES)")
        refusal: Refused | None = None
        try:
            self._next()
        except Refused as error:
            refusal = error
        try:
            # Not every server says why it makes no mailbox. One that has it can tell about it.
            return answers.is_empty(self._next().get("STATUS", []))
        except Refused:
            if refusal is not None and refusal.args[0] != "ALREADYEXISTS":
                raise refusal from None
            return False
        finally:
            # With its traceback, it and this frame would keep each other, and what the server said.
            refusal = None

    def deliveries(self, uids: str) -> list[tuple[int, int]]:
        """UID and count of deliveries of each mail, as it is marked."""
        data = self._uid("FETCH", uids, "(UID FLAGS)")
        return answers.deliveries(data)

    def mark_delivery(self, uids: str, nth: int) -> None:
        """Marks these mails as delivered for the nth time, where there are keywords."""
        if self.has_keywords:
            self._uid("STORE", uids, "+FLAGS.SILENT", f"($PymailDelivery{nth})")

    def identities(self, uids: str, count: int) -> tuple[list[tuple[int, bytes]], Refusal]:
        """UID and the headers that tell who it is, of each mail that is given out; the refusal of the others."""
        told, refusal = self.what_comes(uids, f"(UID {identity(IDENTITY_OCTETS)})", count * IDENTITY_OCTETS)
        return answers.named_literals(told), refusal

    def recall(
        self, mailbox: str, most: int, since: tuple[int, int]
    ) -> tuple[tuple[int, int], list[bytes], Refusal]:
        """The same headers of the newest mails in another mailbox; the inbox is selected again after that.

        Those after `since`, a UIDVALIDITY and a UID, if it is still the same mailbox, and else the last ones, at
        most `most`. Returns with them since when to ask the next time, and the refusal of some.
        """
        headers: list[bytes] = []
        refusal: Refusal = None
        with Visit(self, mailbox, readonly=True) as validity:
            last = since[1] if since[0] == validity else 0
            criteria = f"UID {last + 1}:*" if last else f"{max(1, self.exists - most + 1)}:*"
            found = answers.uids(self.search(criteria)) if self.exists else []
            newer = sorted(uid for uid in found if uid > last)[-most:]
            at_once = min(RECALL_WINDOW, self.portion)
            for at in range(0, len(newer), at_once):
                window = newer[at : at + at_once]
                # Others archive too: what comes between two of these is new to us, and wanted.
                told, refused = self.identities(f"{window[0]}:{window[-1]}", len(window))
                refusal = refusal or refused
                headers.extend(header for _, header in told)
        return (validity, newer[-1] if newer else last), headers, refusal

    def append(self, mailbox: str, mail: bytes) -> None:
        """Adds a mail to a mailbox, marked as seen."""
        self._tagged(self.imap.append, quoted(mailbox), r"(\Seen)", None, mail)

    def log(self, mailbox: str, drop: list[str]) -> tuple[int, list[tuple[int, bytes]]]:
        """UIDNEXT of a mailbox that is a log, and UID and octets of every mail in it; before that, removes some mails."""
        mails: list[tuple[int, bytes]] = []
        octets = 0
        with Visit(self, mailbox, readonly=False):
            next_uid = self.visited_next
            for uids in drop:
                self.flag_deleted(uids)
                if self.has_uidplus:
                    self.expunge(uids)
            if drop and not self.has_uidplus:
                # All that is in there is ours: everything that is flagged may go.
                self._tagged(self.imap.expunge)
            for window in self._log_windows():
                items = f"(UID BODY.PEEK[]<0.{ENTRY_OCTETS}>)"
                told = answers.literals(self._uid("FETCH", window, items, room=LOG_WINDOW * ENTRY_OCTETS))
                if self.limited:
                    raise Refused("MESSAGELIMIT", f"the server gives out {self.limited[0]} entries of the log at most")
                mails.extend(told)
                octets += sum(len(mail) for _, mail in told)
                if octets > LOG_OCTETS:
                    raise Refused(None, f"the log in {mailbox} has more than {LOG_OCTETS} octets")
        return next_uid, mails

    def _log_windows(self) -> Iterator[str]:
        """UIDs of the selected mailbox, in portions whose answers are not too long."""
        at_once = min(LOG_WINDOW, self.portion)
        if 0 < self.exists <= at_once:
            yield "1:*"
        elif self.exists:
            found = sorted(answers.uids(self.search("ALL")))
            for at in range(0, len(found), at_once):
                yield f"{found[at]}:{found[at : at + at_once][-1]}"

    def next_uid_of(self, mailbox: str) -> int | None:
        """UIDNEXT of a mailbox that is not selected; None when the server does not say it."""
        with suppress(Refused):
            return answers.next_uid(self._tagged(self.imap.status, quoted(mailbox), "(UIDNEXT)"))
        return None

    def mailboxes(self, pattern: str) -> list[str]:
        """The names of the mailboxes that match; none when the server refuses to list them."""
        with suppress(Refused):
            return answers.listed(self._tagged(self.imap.list, '""', quoted(pattern)))
        return []

    def sizes(self, uids: str) -> list[tuple[int, int]]:
        """UID and size on the server of each mail."""
        data = self._uid("FETCH", uids, "(UID RFC822.SIZE)")
        return answers.sizes(data)

    def copies(
        self, uids: str, count: int, mailbox: str
    ) -> tuple[list[int], list[int], list[tuple[Optional[str], str]]]:
        """Returns those of these mails that are in the inbox, those of them that are in another mailbox too, and what was
        refused meanwhile.

        A copy has the same size and the same headers, octet for octet. Of mails that are the same, as many are
        copied as there are copies.
        """
        present = set(answers.uids(self.search(f"UID {uids}")))
        self.refusals = []
        here = self._prints(uids, count)
        there = self._prints_there(set(here.values()), count, mailbox) if here else Counter()
        copied = []
        for uid, print_ in sorted(here.items()):
            if there[print_]:
                there[print_] -= 1
                copied.append(uid)
        # Some servers find less than there is, or give out less.
        return sorted(present.union(here)), copied, self.refusals

    def _prints(self, uids: str, count: int) -> dict[int, Print]:
        """Fetches what tells each mail from others, of those that the server gives out."""
        told, refusal = self.what_comes(uids, f"(UID {PRINT})", count * PRINT_OCTETS)
        self.refusals.extend([refusal] if refusal else [])
        return answers.prints(told)

    def _prints_there(self, wanted: set[Print], count: int, mailbox: str) -> Counter[Print]:
        """Counts the newest mails in another mailbox, and those with the Message-IDs that are not among them."""
        there: dict[int, Print] = {}
        # Perhaps there is no such mailbox, or it can't be read.
        try:
            with Visit(self, mailbox, readonly=True):
                if self.exists:
                    there.update(self._prints_of(self.search(f"{max(1, self.exists - count - OTHERS_COPIES)}:*")))
                for search in answers.searches(wanted.difference(there.values())) if self.exists else ():
                    there.update(self._prints_of(self.search(search)))
        except Refused as error:
            self.refusals.append(error.args)
        return Counter(there.values())

    def _prints_of(self, found: bytes) -> dict[int, Print]:
        """Fetches what tells the newest of these mails from others."""
        there: dict[int, Print] = {}
        uids = answers.uids(found)[-MOST_COPIES:]
        for at in range(0, len(uids), PRINTS_AT_ONCE):
            window = uids[at : at + PRINTS_AT_ONCE]
            there.update(self._prints(",".join(map(str, window)), len(window)))
        return there

    def copy(self, uids: str, mailbox: str) -> str | None:
        """Copies; returns COPYUID's three words (RFC 4315) where the server says them."""
        return self._copying("COPY", uids, mailbox)

    def move(self, uids: str, mailbox: str) -> str | None:
        """Moves (RFC 6851); returns COPYUID's three words where the server says them."""
        return self._copying("MOVE", uids, mailbox)

    def _copying(self, command: str, uids: str, mailbox: str) -> str | None:
        self._uid(command, uids, quoted(mailbox))
        told = self.imap.untagged_responses.get("COPYUID")
        return answers.as_text(told[-1]) if told else None

    def flag_deleted(self, uids: str) -> None:
        """Flags exactly these mails."""
        self._uid("STORE", uids, "+FLAGS.SILENT", r"(\Deleted)")

    def expunge(self, uids: str) -> None:
        """Removes those of exactly these mails that are flagged (UIDPLUS, RFC 4315)."""
        self._uid("EXPUNGE", uids)
