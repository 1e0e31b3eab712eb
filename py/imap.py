"""The IMAP dialogue on imaplib: plain values in, plain values out.

Arguments come checked and quoted (no CR, LF or NUL); UID sets come as text. What the server refuses is
raised as Refused; whatever else is raised ends the connection.
"""

from __future__ import annotations

import imaplib
from collections import Counter
from contextlib import suppress
from typing import Optional

import _pymail_answers as answers
from _pymail_connection import Told, Visit, quoted
from _pymail_receive import Receiving
from _pymail_wire import Refused

# How many mails are asked at a time who they are, and how much each may say.
RECALL_WINDOW = 1_000
IDENTITY_OCTETS = 16 << 10
IDENTITY = f"BODY.PEEK[HEADER.FIELDS (MESSAGE-ID SUBJECT FROM)]<0.{IDENTITY_OCTETS}>"

# Two mails with the same size and the same first octets of their headers are the same mail.
PRINT_OCTETS = 4 << 10
PRINT = f"RFC822.SIZE BODY.PEEK[HEADER]<0.{PRINT_OCTETS}>"
# So many other mails may have come to a mailbox since the copies that are looked for.
OTHERS_COPIES = 200
MOST_COPIES = 20_000
# So many UIDs fit on a command line.
PRINTS_AT_ONCE = 500
Print = tuple[Optional[int], bytes]

# The largest entry of a log that is read whole.
ENTRY_OCTETS = 64 << 10


class Session(Receiving):
    """One connection, with its inbox selected."""

    def prepare(self, inbox: str, archive: str, has_namespace: bool) -> tuple[int, str, str, bool]:
        """Selects the inbox, and makes the archive if it is missing.

        Returns the inbox's UIDVALIDITY, the archive's name as this server wants it, what it puts between a
        mailbox's name and those of the mailboxes within it ("" for nothing), and whether the archive is empty.
        """
        told = self._select(inbox, ("NAMESPACE",) if has_namespace else ("LIST", '""', '""'))
        validity = answers.number32(told["UIDVALIDITY"][-1]) if told.get("UIDVALIDITY") else None
        if not validity:
            raise Refused("UIDVALIDITY", f"the server says no UIDVALIDITY of {inbox}: UIDs mean nothing")
        # RFC 3501, section 7.1: whether new keywords can be made.
        self.has_keywords = rb"\*" in (told.get("PERMANENTFLAGS") or [b""])[-1]
        namespaces = answers.namespaces(told)
        archive = answers.in_namespace(archive, namespaces)
        if archive.upper() == inbox.upper():
            raise Refused(None, f"messages can't be archived in {inbox}, which is watched")
        is_empty = self.create(archive)
        self.inbox, self.validity = inbox, validity
        self.next_uid = answers.number32((told.get("UIDNEXT") or [None])[-1]) or 0
        self.searched = not self.exists
        return validity, archive, answers.delimiter(told, namespaces), is_empty

    def _select(self, inbox: str, question: tuple[str, ...]) -> Told:
        """Asks and selects in one flight, so that asking costs no time; what the server told of both."""
        self._absorb()
        tag = self.imap._command(*question)
        try:
            self._tagged(self.imap.select, quoted(inbox))
        except imaplib.IMAP4.readonly:
            raise Refused("READ-ONLY", f"{inbox} is read-only") from None
        told = dict(self.imap.untagged_responses)
        # Whoever refuses the question has told nothing, and can be used all the same.
        with suppress(Refused):
            self._tagged(self.imap._command_complete, question[0], tag)
        return told

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

    def identities(self, uids: str, count: int) -> tuple[list[tuple[int, bytes]], bool]:
        """UID and the headers that tell who it is, of each mail that is given out; whether some are refused."""
        told, is_refused = self.what_comes(uids, f"(UID {IDENTITY})", count * IDENTITY_OCTETS)
        named, are_others = answers.named_literals(told)
        return named, is_refused or are_others

    def recall(self, mailbox: str, most: int, since: tuple[int, int]) -> tuple[tuple[int, int], list[bytes]]:
        """The same headers of the newest mails in another mailbox; the inbox is selected again after that.

        Those after `since`, a UIDVALIDITY and a UID, if it is still the same mailbox, and else the last ones, at
        most `most`. Returns with them since when to ask the next time.
        """
        headers: list[bytes] = []
        with Visit(self, mailbox, readonly=True) as validity:
            last = since[1] if since[0] == validity else 0
            criteria = f"UID {last + 1}:*" if last else f"{max(1, self.exists - most + 1)}:*"
            found = answers.uids(self.search(criteria)) if self.exists else []
            newer = sorted(uid for uid in found if uid > last)[-most:]
            for at in range(0, len(newer), RECALL_WINDOW):
                window = newer[at : at + RECALL_WINDOW]
                # Others archive too: what comes between two of these is new to us, and wanted.
                told, _ = self.identities(f"{window[0]}:{window[-1]}", len(window))
                headers.extend(header for _, header in told)
        return (validity, newer[-1] if newer else last), headers

    def append(self, mailbox: str, mail: bytes) -> None:
        """Adds a mail to a mailbox, marked as seen."""
        self._tagged(self.imap.append, quoted(mailbox), r"(\Seen)", None, mail)

    def log(self, mailbox: str, drop: str) -> list[tuple[int, bytes]]:
        """UID and text of every entry in a mailbox that is a log; before that, removes these entries."""
        with Visit(self, mailbox, readonly=False):
            if drop:
                self.flag_deleted(drop)
                # All that is in there is ours: without UIDPLUS, everything that is flagged may go.
                self.expunge(drop) if self.has_uidplus else self._tagged(self.imap.expunge)
            data = self._uid("FETCH", "1:*", f"(UID BODY.PEEK[TEXT]<0.{ENTRY_OCTETS}>)") if self.exists else []
            return answers.literals(data)

    def sizes(self, uids: str) -> list[tuple[int, int]]:
        """UID and size on the server of each mail."""
        data = self._uid("FETCH", uids, "(UID RFC822.SIZE)")
        return answers.sizes(data)

    def copies(self, uids: str, count: int, mailbox: str) -> tuple[list[int], list[int]]:
        """Returns those of these mails that are in the inbox, and those of them that are in another mailbox too.

        A copy has the same size and the same headers, octet for octet. Of mails that are the same, as many are
        copied as there are copies.
        """
        present = set(answers.uids(self.search(f"UID {uids}")))
        here = self._prints(uids, count)
        there = self._prints_there(set(here.values()), count, mailbox) if here else Counter()
        copied = []
        for uid, print_ in sorted(here.items()):
            if there[print_]:
                there[print_] -= 1
                copied.append(uid)
        # Some servers find less than there is, or give out less.
        return sorted(present.union(here)), copied

    def _prints(self, uids: str, count: int) -> dict[int, Print]:
        """Fetches what tells each mail from others, of those that the server gives out."""
        told, _ = self.what_comes(uids, f"(UID {PRINT})", count * PRINT_OCTETS)
        return answers.prints(told)

    def _prints_there(self, wanted: set[Print], count: int, mailbox: str) -> Counter[Print]:
        """Counts the newest mails in another mailbox, and those with the Message-IDs that are not among them."""
        there: dict[int, Print] = {}
        # Perhaps there is no such mailbox, or it can't be read.
        with suppress(Refused), Visit(self, mailbox, readonly=True):
            if self.exists:
                there.update(self._prints_of(self.search(f"{max(1, self.exists - count - OTHERS_COPIES)}:*")))
            for search in answers.searches(wanted.difference(there.values())) if self.exists else ():
                there.update(self._prints_of(self.search(search)))
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
