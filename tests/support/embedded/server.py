"""The embedded mail server of the tests and examples: pymap (IMAP) and aiosmtpd (SMTP), in memory.

It prints its ports as one line of JSON when it listens, and ends when its standard input does. Every
account has the password in the environment variable EMBEDDED_PASSWORD.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import hmac
import inspect
import json
import logging
import os
import ssl
import sys
import uuid
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timezone
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope
from aiosmtpd.smtp import Session as SmtpSession

with warnings.catch_warnings():
    # The pymap of Python 3.9 and 3.10 still imports pkg_resources.
    warnings.simplefilter("ignore")
    from proxyprotocol.sock import SocketInfo
    from pymap.backend.dict import Config, Session
    from pymap.backend.dict.filter import FilterSet
    from pymap.backend.dict.mailbox import MailboxSet
    from pymap.exceptions import AuthorizationFailure, InvalidAuth
    from pymap.imap import IMAPServer
    from pymap.parsing.message import AppendMessage
    from pymap.parsing.specials import FetchAttribute

HOST = "127.0.0.1"
LINE_LIMIT = 1 << 20
# The pymap of Python 3.9 and 3.10 makes the SocketInfo itself.
MAKES_SOCKET_INFO = "sock_info" not in inspect.signature(IMAPServer.__call__).parameters


class ImapConfig(Config):
    """pymap's in-memory configuration, with a greeting that needs no DNS."""

    greeting = b"pymap ready"

    def __init__(self, context: ssl.SSLContext, *, starttls: bool) -> None:
        super().__init__(
            argparse.Namespace(passlib_cfg=None, proxy_protocol=None),
            host=HOST,
            port=0,
            ssl_context=context,
            tls_enabled=starttls,
            demo_data=False,
            demo_user="",
            demo_password="",
        )


class StartAndEnd:
    """The two numbers of `<start.length>` as start and end, the form of pymap 0.25."""

    def __init__(self, pattern: Any) -> None:
        self._pattern = pattern
        self._found: Any = None

    def match(self, text: Any) -> StartAndEnd | None:
        """Stand in for the pattern."""
        found = self._pattern.match(text)
        if found is None:
            return None
        matched = StartAndEnd(self._pattern)
        matched._found = found
        return matched

    def group(self, index: int) -> int:
        """Stand in for its match."""
        start, length = (int(number) for number in self._found.groups())
        return start if index == 1 else start + length

    def end(self, index: int) -> int:
        """Stand in for its match."""
        return int(self._found.end(index))


def mend_pymap() -> None:
    """Correct what would mislead a client."""
    # pymap would offer LOGIN without TLS to clients on this host.
    setattr(SocketInfo, "from_localhost", property(lambda _: False))  # noqa: B010
    if sys.version_info < (3, 10):
        pattern = StartAndEnd(FetchAttribute._partial_pattern)
        setattr(FetchAttribute, "_partial_pattern", pattern)  # noqa: B010


class Account:
    """One user's mailboxes, shared by all the sessions of that user."""

    def __init__(self, name: str, config: ImapConfig) -> None:
        self.name = name
        self.roles: frozenset[str] = frozenset()
        self._session = Session(name, config, MailboxSet(), FilterSet())

    @asynccontextmanager
    async def new_session(self) -> AsyncIterator[Session]:
        """Open the session that pymap enters at each login."""
        yield self._session

    async def deliver(self, content: bytes) -> None:
        """Put the message into the INBOX, as APPEND would."""
        message = AppendMessage(content, datetime.now(timezone.utc))
        await self._session.append_messages("INBOX", [message])


class Accounts:
    """The users: pymap's login backend and aiosmtpd's authenticator."""

    def __init__(self, names: list[str], password: str, config: ImapConfig) -> None:
        self.tokens: dict[str, str] = {}
        self._password = password.encode()
        self.by_name = {name: Account(name, config) for name in names}

    def _check(self, name: str, password: str | bytes) -> Account | None:
        given = password.encode("utf-8", "surrogateescape") if isinstance(password, str) else password
        return self.by_name.get(name) if hmac.compare_digest(given, self._password) else None

    async def authenticate(self, credentials: Any) -> Account:
        """Answer pymap at LOGIN and AUTHENTICATE."""
        account = self._check(credentials.authcid, credentials._secret)
        if account is None:
            raise InvalidAuth()
        return account

    async def authorize(self, authenticated: Account, authzid: str) -> Account:
        """Refuse a login on behalf of another user."""
        if authenticated.name != authzid:
            raise AuthorizationFailure()
        return authenticated

    def __call__(
        self, server: SMTP, session: SmtpSession, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        """Answer aiosmtpd at AUTH."""
        known = self._check(data.login.decode("utf-8", "replace"), data.password) is not None
        return AuthResult(success=known, handled=False)


class Handler:
    """The hooks that aiosmtpd calls for an incoming message."""

    def __init__(self, accounts: Accounts, *, pipelining: bool) -> None:
        self._accounts = accounts.by_name
        self._pipelining = pipelining

    async def handle_EHLO(
        self, server: SMTP, session: SmtpSession, envelope: Envelope, name: str, lines: list[str]
    ) -> list[str]:
        """Advertise PIPELINING if told so: aiosmtpd answers in order, though it doesn't say it."""
        session.host_name = name
        return [*lines[:-1], "250-PIPELINING", lines[-1]] if self._pipelining else lines

    async def handle_RCPT(
        self, server: SMTP, session: SmtpSession, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Refuse `refused@` for good, `later@` for now, and every address without an account."""
        local = address.partition("@")[0]
        if local == "later":
            return "450 4.2.0 Mailbox busy, try again later"
        if local == "refused" or address not in self._accounts:
            return "550 5.1.1 No such user here"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, session: SmtpSession, envelope: Envelope) -> str:
        """Deliver to each recipient before the reply, so that a 250 means visible over IMAP."""
        for address in envelope.rcpt_tos:
            await self._accounts[address].deliver(envelope.original_content or b"")
        return "250 2.0.0 OK"


async def serve_imap(
    accounts: Accounts, config: ImapConfig, context: ssl.SSLContext | None = None
) -> asyncio.Server:
    """Listen for IMAP: with TLS from the first byte if `context` is given."""
    server: Any = IMAPServer(accounts, config)  # type: ignore[arg-type]
    info: Any = SocketInfo

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if MAKES_SOCKET_INFO:
                await server(reader, writer)
            else:
                await server(reader, writer, info.get(writer, None, unique_id=uuid.uuid4().bytes))
        except ConnectionError:
            pass  # the client left without LOGOUT

    return await asyncio.start_server(connected, HOST, 0, ssl=context, limit=LINE_LIMIT)


async def serve_smtp(
    accounts: Accounts, options: argparse.Namespace, context: ssl.SSLContext
) -> asyncio.Server:
    """Listen for SMTP, with mail only after STARTTLS and AUTH."""
    loop = asyncio.get_running_loop()
    protocol = functools.partial(
        SMTP,
        Handler(accounts, pipelining=options.pipelining),
        data_size_limit=options.size_limit,
        enable_SMTPUTF8=True,
        hostname="localhost",
        tls_context=context,
        require_starttls=True,
        auth_required=True,
        authenticator=accounts,
        loop=loop,
    )
    return await loop.create_server(protocol, HOST, 0)


async def serve(options: argparse.Namespace, password: str) -> None:
    """Run until standard input ends."""
    mend_pymap()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options.cert, options.key)
    config = ImapConfig(context, starttls=True)
    accounts = Accounts(options.user, password, config)
    servers = {
        "imap": await serve_imap(accounts, config),
        "imaps": await serve_imap(accounts, ImapConfig(context, starttls=False), context),
        "smtp": await serve_smtp(accounts, options, context),
    }
    ports = {name: server.sockets[0].getsockname()[1] for name, server in servers.items()}
    print(json.dumps(ports), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cert", required=True, help="PEM file of the server's certificate")
    parser.add_argument("--key", required=True, help="PEM file of its private key")
    parser.add_argument("--user", action="append", required=True, help="an account's address; repeatable")
    parser.add_argument("--size-limit", type=int, default=33554432, help="octets that SMTP accepts")
    parser.add_argument("--pipelining", action="store_true", help="advertise PIPELINING over SMTP")
    options = parser.parse_args()
    logging.basicConfig(level=os.environ.get("EMBEDDED_LOG", "CRITICAL"))
    asyncio.run(serve(options, os.environ["EMBEDDED_PASSWORD"]))
    # Connections that are still open don't keep the process.
    os._exit(0)


if __name__ == "__main__":
    main()
