"""The base of both protocols: the socket that Rust has connected, verified TLS, limits for responses, refusals."""

from __future__ import annotations

import encodings.idna  # noqa: F401 -- at the first TLS connection, several threads at once would import it
import os
import re
import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import cache, lru_cache
from itertools import islice
from time import monotonic
from typing import Any

from _pymail_socket import Socket, limit_wait, tune

# Extra roots as PEM texts; the system's certificate file, which is used where OpenSSL finds none of its own; and a
# file with a client certificate and its key, if there is one.
Trust = tuple[list[str], str, "str | None"]

# Notes a line for the transcript: True if it was sent, the line, and the count of further octets.
Wire = Callable[[bool, bytes, int], None]
# The names in a certificate, its issuer, and the begin and the end of its validity as texts.
Certificate = tuple[list[str], str, str, str]
# The version of TLS, the cipher, the server's certificate, and the subjects of the chain from that to its root.
TlsFacts = tuple[str, str, Certificate, list[str]]

# Octets that a response may have beside message data: lists of UIDs, the flags of a large mailbox.
RESPONSE_LIMIT = 16 << 20
# Octets charged for each Python object that a response creates: even a line of one octet takes memory and time.
OBJECT_COST = 256
# Seconds after the deadline. Rust's waiter shuts the socket down at the deadline; the meter ends those reads
# that go on after a shutdown.
GRACE = 0.2
# The default of Python 3.10 and later; older versions accept weaker ciphers.
CIPHERS = "@SECLEVEL=2:ECDH+AESGCM:ECDH+CHACHA20:ECDH+AES:DHE+AES:!aNULL:!eNULL:!aDSS:!SHA1:!AESCCM"
# OpenSSL's X509_V_FLAG_PARTIAL_CHAIN, which has a name in Python from 3.10 on.
PARTIAL_CHAIN = 0x80000
# How long a TLS context is reused.
CONTEXT_SECONDS = 3_600
# A folder with fewer certificates is not the system's: a user has put certificates of their own there.
FEWEST_SYSTEM_ROOTS = 20


@cache
def pattern(text: bytes) -> re.Pattern[bytes]:
    """Compiles a regular expression on first use: at import, compiling would dominate the start of a process."""
    return re.compile(text)


class Refused(Exception):
    """A refusal by the server (NO, BAD, 4xx, 5xx): its code or None, and its text."""

    def __init__(self, code: str | None, text: str) -> None:
        super().__init__(code, text)


class NoGreeting(Exception):
    """The connection ended before the server had sent anything."""

    def __init__(self) -> None:
        super().__init__("the server closed the connection")


# Of a connection that is reset right after the handshake: the alert that tells why may be lost then.
RESET = "reset after the TLS handshake, as by a server that requires a certificate of its clients"


class BadClientCertificate(Exception):
    """OpenSSL does not take the client certificate or its key."""


def is_reset(error: BaseException) -> bool:
    """Returns True for a connection that was reset, also within TLS."""
    causes = (error, error.__context__)
    return any(isinstance(cause, (ConnectionError, ssl.SSLEOFError, ssl.SSLSyscallError)) for cause in causes)


def clear_frames(error: BaseException | None) -> None:
    """Clears the frames that an exception and its contexts refer to: after a failed login they hold the password.

    smtplib keeps the exception in a variable of the frame that raises it. The two refer to each other, so that
    both would stay until the garbage collector runs. Frames that still execute are left alone.
    """
    while error is not None:
        traceback = error.__traceback__
        while traceback is not None:
            with suppress(RuntimeError):
                traceback.tb_frame.clear()
            traceback = traceback.tb_next
        error = error.__context__


def drop_tracebacks(error: BaseException | None) -> None:
    """Drops the tracebacks of an exception that is kept, and of its contexts.

    They refer to the frame that keeps it: the cycle would keep the server's text, mails and the socket alive.
    """
    while error is not None:
        error.__traceback__ = None
        error = error.__context__


class Meter:
    """The traffic of one connection, the octets that the current response may still have, and the deadline."""

    def __init__(self, seconds: float, wire: Wire | None = None) -> None:
        # None without a transcript.
        self.wire = wire
        self.sent = 0
        self.received = 0
        self.remaining = RESPONSE_LIMIT
        self.end = 0.0
        self.set_deadline(seconds)

    def set_deadline(self, seconds: float) -> None:
        """Sets the deadline of the next calls, in seconds from now."""
        self.end = monotonic() + seconds + GRACE

    def left(self) -> float:
        """Returns the seconds until the deadline, and a little more."""
        return max(0.001, self.end - monotonic())

    def count_received(self, octets: int) -> bool:
        """Counts octets that were received; returns False after the deadline."""
        self.received += octets
        # After a shutdown, recv still returns what was buffered before it, for seconds.
        return monotonic() <= self.end

    def charge(self, octets: int, objects: int = 0) -> bool:
        """Charges octets and objects to the current response; returns False when its limit is exceeded."""
        self.remaining -= octets + objects * OBJECT_COST
        return self.remaining >= 0

    def violation(self) -> str:
        """Returns the text for the limit that was exceeded."""
        return "the response exceeds its size limit" if self.remaining < 0 else "the deadline has passed"


def adopt_socket(
    descriptor: int, host: str, security: str, trust: Trust, seconds: float, context: Callable[[Trust], Any]
) -> Any:
    """Returns the socket that Rust has connected, with TLS for "tls", by the `wrap_socket` of a context.

    It blocks; Rust ends its waits at the deadline, in so many seconds.
    """
    sock = Socket(fileno=descriptor)
    try:
        sock.settimeout(None)  # the host may have set a default
        if limit_wait:
            limit_wait(sock, monotonic() + seconds + GRACE)
        tune(sock)
        return context(trust).wrap_socket(sock, server_hostname=host) if security == "tls" else sock
    except BaseException:
        sock.close()
        raise


def tls_context(trust: Trust) -> ssl.SSLContext:
    """Returns a context that verifies against the system's roots, those of SSL_CERT_FILE, and the given PEM texts.

    Connections share a context, which costs 20 ms and 100 KB; after CONTEXT_SECONDS the roots are read again.

    Verification is equally strict on every Python. By default, 3.13 refuses authorities without a key usage, which
    companies have, and accepts a certificate that is itself trusted, whichever authority signed it. Only the
    second default is used here.
    """
    pems, system_file, identity = trust
    where = (os.environ.get("SSL_CERT_FILE", ""), "SSL_CERT_DIR" in os.environ)
    age = int(monotonic() / CONTEXT_SECONDS)
    if identity is None:
        return _tls_context(tuple(pems), system_file, *where, age)
    # Not shared: a context keeps the key.
    context: ssl.SSLContext = _tls_context.__wrapped__(tuple(pems), system_file, *where, age)
    try:
        context.load_cert_chain(identity, password="")  # without a password, OpenSSL asks at the terminal
    except ssl.SSLError as error:
        reason = error.reason or str(error)
        is_other = reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH")
        why = "the private key is another certificate's" if is_other else "it can't be used"
        raise BadClientCertificate(f"the client certificate: {why} [{reason}]") from None
    return context


@lru_cache(maxsize=8)
def _tls_context(
    pems: tuple[str, ...], system_file: str, file: str, has_folder: bool, _age: int
) -> ssl.SSLContext:
    """Makes a context; `_age` counts the hours, so that the cache makes a new one."""
    paths = ssl.get_default_verify_paths()
    if not has_folder and _is_hashed(paths.openssl_capath):
        # OpenSSL looks up single roots in the folder; reading all of them from a file takes 20 ms each time.
        context = ssl.create_default_context(capath=paths.openssl_capath)
    else:
        context = ssl.create_default_context()
        # For OpenSSL, SSL_CERT_FILE replaces the default file; here it adds to it.
        if os.path.isfile(paths.openssl_cafile):
            context.load_verify_locations(cafile=paths.openssl_cafile)
        elif not has_folder and not os.path.isfile(file) and os.path.isfile(system_file):
            context.load_verify_locations(cafile=system_file)
    if os.path.isfile(file):
        context.load_verify_locations(cafile=file)
    for pem in pems:
        context.load_verify_locations(cadata=pem)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.verify_flags |= PARTIAL_CHAIN
    return context


def tls_facts(tls: Any) -> TlsFacts | None:
    """Returns what is known of an `ssl.SSLSocket` or `ssl.SSLObject`; None for a socket without TLS."""
    if not hasattr(tls, "getpeercert"):
        return None
    certificate = tls.getpeercert()
    names = [name for _, name in certificate.get("subjectAltName", ())]
    # Read by Rust: `ssl.cert_time_to_seconds` would import a module.
    begin, end = certificate["notBefore"], certificate["notAfter"]
    # Public, and then as DER, only from Python 3.13 on; Python 3.9 has none.
    get_chain = getattr(getattr(tls, "_sslobj", None), "get_verified_chain", list)
    chain = [_name(link.get_info()["subject"]) for link in get_chain()]
    facts = (names, _name(certificate["issuer"]), begin, end)
    return tls.version() or "", (tls.cipher() or ("",))[0], facts, chain


def _name(parts: Any) -> str:
    """Returns the common name of a subject or issuer, or its last part."""
    pairs = [pair for part in parts for pair in part]
    return next((value for key, value in pairs if key == "commonName"), pairs[-1][1] if pairs else "")


def _is_hashed(folder: str) -> bool:
    """Returns True if a folder has the system's certificates under their hashes, where OpenSSL looks them up."""
    try:
        with os.scandir(folder) as files:
            hashed = (file for file in files if re.fullmatch(r"[0-9a-f]{8}\.\d+", file.name))
            return len(list(islice(hashed, FEWEST_SYSTEM_ROOTS))) == FEWEST_SYSTEM_ROOTS
    except OSError:
        return False
