"""A mail server that prints the data it has received, in the clear and under TLS: a line of JSON for each connection.

Its one argument is a JSON object: protocol ("imap", "smtp"), certificate and key (files), version (the only one
of TLS that it speaks, or null), client_authority (of the certificates that it demands of clients, or null), and
way: "tls", "starttls", or an attack on STARTTLS by a man in the middle:

stripped: STARTTLS is not offered. early: its response comes before the command. untagged: other text comes before
the response. together: other text comes with the response, such as responses to the next commands.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import threading
from typing import Any

GIVEN: dict[str, Any] = json.loads(sys.argv[1])
IMAP = GIVEN["protocol"] == "imap"
REFUSES = GIVEN["way"] == "together"


def context() -> ssl.SSLContext:
    """Return the server's certificate and versions."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(GIVEN["certificate"], GIVEN["key"])
    if GIVEN["client_authority"]:
        made.verify_mode = ssl.CERT_REQUIRED
        made.load_verify_locations(cadata=GIVEN["client_authority"])
    if GIVEN["version"]:
        # OpenSSL 3 refuses old versions otherwise.
        made.set_ciphers("ALL:@SECLEVEL=0")
        made.minimum_version = made.maximum_version = ssl.TLSVersion[GIVEN["version"]]
    return made


class Talk:
    """One connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.heard: dict[str, Any] = {"clear": "", "encrypted": "", "is_encrypted": False}

    def run(self) -> None:
        """Serve until the client ends, in whatever way."""
        try:
            if GIVEN["way"] == "tls":
                self.encrypt()
            self.say("* OK ready" if IMAP else "220 ready")
            self.listen()
        except OSError:
            pass
        finally:
            self.sock.close()
            print(json.dumps(self.heard), flush=True)

    def encrypt(self) -> None:
        tls = context().wrap_socket(self.sock, server_side=True, do_handshake_on_connect=False)
        self.sock = tls
        try:
            tls.do_handshake()
        except ssl.SSLError:
            # Closed with octets unread, the connection would be reset, and the alert that tells why lost.
            self.sock = socket.socket(fileno=tls.detach())
            self.sock.shutdown(socket.SHUT_WR)
            while self.sock.recv(65536):
                pass
            raise
        self.heard["is_encrypted"] = True

    def say(self, *lines: str) -> None:
        self.sock.sendall("".join(line + "\r\n" for line in lines).encode())

    def listen(self) -> None:
        rest = b""
        while data := self.sock.recv(65536):
            where = "encrypted" if self.heard["is_encrypted"] else "clear"
            self.heard[where] += data.decode("latin-1")
            *lines, rest = (rest + data).split(b"\r\n")
            for line in lines:
                self.answer(line.decode("latin-1"))

    def answer(self, line: str) -> None:
        tag, _, command = line.partition(" ") if IMAP else ("", "", line)
        name = command.split(" ")[0].upper()
        if name == "STARTTLS":
            self.starttls(tag)
        elif IMAP:
            self.imap(tag, name)
        else:
            self.smtp(name)

    def starttls(self, tag: str) -> None:
        answer = f"{tag} OK go ahead" if IMAP else "220 go ahead"
        way = GIVEN["way"]
        if way == "untagged" and IMAP:
            self.say("* CAPABILITY IMAP4rev1 AUTH=EVIL", "* 9 EXISTS", "* OK [UIDVALIDITY 666] evil", answer)
        elif way == "untagged":
            self.say("220-evil", answer)
        elif way == "together" and IMAP:
            nexts = [following(tag, n) for n in range(1, 6)]
            self.say(answer, *(f"{following} OK [CAPABILITY IMAP4rev1 EVIL] yes" for following in nexts))
        elif way == "together":
            self.say(answer, "250-evil", "250 AUTH PLAIN", "235 yes", "250 yes", "250 yes")
        else:
            self.say(answer)
        self.encrypt()

    def imap(self, tag: str, name: str) -> None:
        offers = GIVEN["way"] not in ("tls", "stripped") and not self.heard["is_encrypted"]
        untagged = {
            "CAPABILITY": ["* CAPABILITY IMAP4rev1" + " STARTTLS" * offers],
            "SELECT": ["* 1 EXISTS", "* OK [UIDVALIDITY 7] life"],
            "UID": ["* SEARCH 1"],
            "LOGOUT": ["* BYE"],
        }
        no = name in ("LOGIN", "AUTHENTICATE") and REFUSES
        said = [*untagged.get(name, []), f"{tag} NO [AUTHENTICATIONFAILED] no" if no else f"{tag} OK done"]
        if GIVEN["way"] == "early" and name == "CAPABILITY" and offers:
            said.append(f"{following(tag, 1)} OK go ahead")
        self.say(*said)

    def smtp(self, name: str) -> None:
        offers = GIVEN["way"] not in ("tls", "stripped") and not self.heard["is_encrypted"]
        said = {
            "EHLO": ["250-here", *(["250-STARTTLS"] if offers else []), "250 AUTH PLAIN EXTERNAL"],
            "AUTH": ["535 5.7.8 no" if REFUSES else "235 yes"],
            "QUIT": ["221 bye"],
        }.get(name, ["250 yes"])
        if GIVEN["way"] == "early" and name == "EHLO" and offers:
            said.append("220 go ahead")
        self.say(*said)


def following(tag: str, by: int) -> str:
    """Return a tag that imaplib will use: fixed letters and a growing number."""
    letters = tag.rstrip("0123456789")
    return f"{letters}{int(tag[len(letters):]) + by}"


def main() -> None:
    """Serve until the process is killed; print the port as the first line."""
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=Talk(sock).run, daemon=True).start()


main()
