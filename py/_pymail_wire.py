"""What both dialogues share: verified TLS, socket options, and the server's "no"."""

from __future__ import annotations

import os
import socket
import ssl


class Refused(Exception):
    """The server answered no: args are its code (or None) and its text."""

    def __init__(self, code: str | None, text: str) -> None:
        super().__init__(code, text)


def tls_context(roots: list[str]) -> ssl.SSLContext:
    """A context that verifies against the system's roots and the given PEM texts."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # SSL_CERT_FILE takes the place of OpenSSL's own file; we mean it as well as, not instead of.
    usual = ssl.get_default_verify_paths().openssl_cafile
    if "SSL_CERT_FILE" in os.environ and os.path.isfile(usual):
        context.load_verify_locations(cafile=usual)
    for pem in roots:
        context.load_verify_locations(cadata=pem)
    return context


def tune(sock: socket.socket) -> None:
    """Small commands go out at once, and a dead peer is noticed by the kernel too."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
