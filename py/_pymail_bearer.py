"""Logins by access token, the part of both protocols: the reason of a refusal, which is JSON in a challenge.

RFC 7628, section 3.2.2, for OAUTHBEARER; XOAUTH2 does the same.
"""

from __future__ import annotations

import binascii

from _pymail_transport import Refused

# A mechanism, its response with the token, and the answer to the reason of a refusal; both in base64.
Response = tuple[str, str, str]
# The status and the scope of a refusal, each "" if the server gives none.
Reason = tuple[str, str]

# The longest challenge that is read, in base64, and the longest text that is taken from it.
MAX_CHALLENGE = 8_192
MAX_TEXT = 400


class RefusedToken(Refused):
    """A refusal of an access token by the server, with its reason."""

    def __init__(self, code: str | None, text: str, reason: Reason | None) -> None:
        super().__init__(code, text)
        self.reason = reason or ("", "")


def parse_reason(challenge: bytes | str) -> Reason | None:
    """Returns the reason in a challenge; None if it has none, as a request for the response."""
    if not challenge or len(challenge) > MAX_CHALLENGE:
        return None
    try:
        import json  # imported before, under the lock for that, by sessions with a token

        fields = json.loads(binascii.a2b_base64(challenge))
    except (ImportError, ValueError, RecursionError):  # a Python without json; no base64, no UTF-8, no JSON
        return None
    return (_field(fields, "status"), _field(fields, "scope")) if isinstance(fields, dict) else None


def _field(fields: dict[str, object], name: str) -> str:
    value = fields.get(name, "")
    if not isinstance(value, (str, int)):
        return ""
    # JSON can name half of a character (a surrogate), which is no text.
    return str(value)[:MAX_TEXT].encode("utf-8", "replace").decode()
