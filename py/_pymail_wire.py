"""What both dialogues share: the connection that Rust made, verified TLS, its meter, and the server's "no"."""

from __future__ import annotations

import os
import re
import socket
import ssl
from contextlib import suppress
from functools import cache, lru_cache
from itertools import islice
from time import monotonic

# More roots as PEM texts, and where this system may have its own when OpenSSL finds none.
Trust = tuple[list[str], str]

# What one answer may have, where no mail was asked for: lists of UIDs, flags of a large mailbox.
ANSWER = 16 << 20
# What an object takes, and the time that it takes: a line of one octet is one too.
OBJECT = 256
# Rust is the one to say that time is over; this is for what it can't wake up from waiting.
LATE = 0.2
# As Python 3.10 and later have it by default; older ones take weaker ciphers.
CIPHERS = "@SECLEVEL=2:ECDH+AESGCM:ECDH+CHACHA20:ECDH+AES:DHE+AES:!aNULL:!eNULL:!aDSS:!SHA1:!AESCCM"
# OpenSSL's X509_V_FLAG_PARTIAL_CHAIN, which has a name in Python from 3.10 on.
PARTIAL_CHAIN = 0x80000
# How long a TLS context is used.
CONTEXT_SECONDS = 3_600
# A folder with fewer certificates has somebody's own, and the system's are elsewhere.
A_SYSTEMS_ROOTS = 20


@cache
def pattern(text: bytes) -> re.Pattern[bytes]:
    """Compiled on first use: that costs a process's start more than all its other work here."""
    return re.compile(text)


class Refused(Exception):
    """The server answered no: args are its code (or None) and its text."""

    def __init__(self, code: str | None, text: str) -> None:
        super().__init__(code, text)


def forget(error: BaseException | None) -> None:
    """Empties the frames that an exception, and what it came from, has left: a failed login's hold the password.

    smtplib keeps the exception in a variable of the frame that raises it, so that both would stay until the
    collector comes. Frames that still run are left alone.
    """
    while error is not None:
        traceback = error.__traceback__
        while traceback is not None:
            with suppress(RuntimeError):
                traceback.tb_frame.clear()
            traceback = traceback.tb_next
        error = error.__context__


class Meter:
    """What goes over one connection, how much more of one answer is taken, and until when."""

    def __init__(self, seconds: float) -> None:
        self.sent = 0
        self.received = 0
        self.room = ANSWER
        self.end = 0.0
        self.hurry(seconds)

    def hurry(self, seconds: float) -> None:
        """What comes next has this long."""
        self.end = monotonic() + seconds + LATE

    def come(self, octets: int) -> bool:
        """Counts what came; False when it came too late."""
        self.received += octets
        # A connection that was shut down still gives what had come before, for seconds.
        return monotonic() <= self.end

    def spend(self, octets: int, objects: int = 0) -> bool:
        """Whether there is room for that much more of the answer, and for what Python makes of it."""
        self.room -= octets + objects * OBJECT
        return self.room >= 0

    def refusal(self) -> str:
        """Why there was none."""
        return "the server answers more than was asked for" if self.room < 0 else "the time is over"


def adopt(descriptor: int, host: str, security: str, trust: Trust) -> socket.socket:
    """The socket that Rust has connected; it waits without end, and Rust shuts it down when that is too long."""
    sock = socket.socket(fileno=descriptor)
    try:
        sock.settimeout(None)  # the host may have set a default
        tune(sock)
        return tls_context(trust).wrap_socket(sock, server_hostname=host) if security == "tls" else sock
    except BaseException:
        sock.close()
        raise


def tls_context(trust: Trust) -> ssl.SSLContext:
    """A context that verifies against the system's roots, those of SSL_CERT_FILE, and the given PEM texts.

    Connections share one, which takes 20 ms and 100 KB; the system's roots are read again after a while.

    It is as strict on every Python. 3.13 by default refuses authorities without a key usage, which companies have,
    and takes a certificate that is trusted itself, whatever has signed it: we do the latter only.
    """
    where = (os.environ.get("SSL_CERT_FILE", ""), "SSL_CERT_DIR" in os.environ)
    return _tls_context(tuple(trust[0]), trust[1], *where, int(monotonic() / CONTEXT_SECONDS))


@lru_cache(maxsize=8)
def _tls_context(pems: tuple[str, ...], elsewhere: str, file: str, has_folder: bool, _age: int) -> ssl.SSLContext:
    paths = ssl.get_default_verify_paths()
    if not has_folder and _is_hashed(paths.openssl_capath):
        # OpenSSL looks up there what it needs; reading all roots from a file takes 20 ms each time.
        context = ssl.create_default_context(capath=paths.openssl_capath)
    else:
        context = ssl.create_default_context()
        # SSL_CERT_FILE takes the place of OpenSSL's own file; we mean it as well as, not instead of.
        if os.path.isfile(paths.openssl_cafile):
            context.load_verify_locations(cafile=paths.openssl_cafile)
        elif not has_folder and not os.path.isfile(file) and os.path.isfile(elsewhere):
            context.load_verify_locations(cafile=elsewhere)
    if os.path.isfile(file):
        context.load_verify_locations(cafile=file)
    for pem in pems:
        context.load_verify_locations(cadata=pem)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.verify_flags |= PARTIAL_CHAIN
    return context


def _is_hashed(folder: str) -> bool:
    """Whether certificates can be looked up in a folder by their names' hashes, as OpenSSL does."""
    try:
        with os.scandir(folder) as files:
            hashed = (file for file in files if re.fullmatch(r"[0-9a-f]{8}\.\d+", file.name))
            return len(list(islice(hashed, A_SYSTEMS_ROOTS))) == A_SYSTEMS_ROOTS
    except OSError:
        return False


def tune(sock: socket.socket) -> None:
    """Small commands go out at once, and a dead peer is noticed by the kernel too."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    acknowledge(sock)


def acknowledge(sock: socket.socket) -> None:
    """Acknowledges what comes next at once: a server with Nagle's algorithm waits for that, for 40 ms."""
    if hasattr(socket, "TCP_QUICKACK"):  # Linux
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
