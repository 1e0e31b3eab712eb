"""Composes mails with Python's email package: JSON a line in, a mail in base64 a line out, or an empty line."""

from __future__ import annotations

import json
import sys
from base64 import b64encode
from email.charset import BASE64, QP, Charset
from email.header import Header
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.policy import compat32

# Some releases of CPython 3.9 choose JIS X 0213 for letters that JIS X 0208 has, too. No mail is known to use it.
IS_WRONG = any(b"\x1b$(O" in ("\u3053" * count).encode("iso-2022-jp-3") for count in range(1, 50))


def composed(told: dict[str, str]) -> bytes:
    """A mail with a text in a charset and an encoding, alone or as the first of several ways to say it."""
    charset = Charset(told["charset"])
    charset.header_encoding = charset.body_encoding = {"base64": BASE64, "quoted-printable": QP}[told["encoding"]]
    text = MIMEText(told["text"], "plain", charset)
    mail = MIMEMultipart("alternative", _subparts=[text, MIMEText("<p>page", "html")]) if told["several"] else text
    mail["From"] = "Bob <bob@example.org>"
    mail["To"] = ", ".join(["alice@example.org"] * 20)
    mail["Subject"] = Header("TAG " + told["id"], charset, header_name="Subject")
    return mail.as_bytes(policy=compat32.clone(linesep="\r\n"))


for line in sys.stdin:
    try:
        told = json.loads(line)
        is_wrong = IS_WRONG and told["charset"] == "iso-2022-jp-3"
        answer = "" if is_wrong else b64encode(composed(told)).decode()
    except (UnicodeError, LookupError):
        answer = ""  # the charset has no such character
    print(answer, flush=True)
