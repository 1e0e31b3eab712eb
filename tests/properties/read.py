"""Reads mails with Python's email package: a mail in base64 a line in, an object in JSON a line out."""

from __future__ import annotations

import json
import sys
from base64 import b64decode, b64encode
from email import message_from_bytes, policy
from email.message import EmailMessage

for line in sys.stdin:
    mail = message_from_bytes(b64decode(line), policy=policy.default)
    assert isinstance(mail, EmailMessage)
    body = mail.get_payload(decode=True)
    assert isinstance(body, bytes)
    seen = {
        "subject": str(mail["Subject"]),
        "from": [address.addr_spec for address in mail["From"].addresses],
        "to": [address.addr_spec for address in mail["To"].addresses],
        "message_id": str(mail["Message-ID"]),
        "body": b64encode(body).decode(),
        "text": mail.get_content() if mail.get_content_maintype() == "text" else None,
        "defects": [str(defect) for defect in mail.defects],
    }
    print(json.dumps(seen), flush=True)
