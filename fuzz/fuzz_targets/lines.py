"""Counts executed Python lines in the fuzzer's coverage counters."""

from __future__ import annotations

import ctypes
import sys
from types import FrameType
from typing import Any
from zlib import crc32

SHARED = ("imap.py", "smtp.py", "_pymail_transport.py")
IMAPS = ("_pymail_imap_parse.py", "_pymail_receive.py", "_pymail_imaplib_ext.py")
REPLIES = ("_pymail_smtplib_ext.py", "_pymail_verdicts.py")
SMTPS = ("_pymail_auth.py", "_pymail_dialogue.py", "_pymail_messages.py", *REPLIES)
FOLLOWED = (*SHARED, *IMAPS, *SMTPS, "imaplib.py", "smtplib.py")
SIZE = 8_192


def count(_: bytes, address: int) -> None:
    """Traces the dialogues on this thread; each line has a counter, which it may share with others."""
    counters = (ctypes.c_ubyte * SIZE).from_address(address)
    first: dict[object, int] = {}

    def line(frame: FrameType, event: str, _: object) -> Any:
        if event == "line":
            at = (first[frame.f_code] + frame.f_lineno) % SIZE
            counters[at] = min(counters[at] + 1, 255)
        return line

    def call(frame: FrameType, _: str, __: object) -> Any:
        code = frame.f_code
        if code not in first:
            first[code] = crc32(code.co_filename.encode()) if code.co_filename.endswith(FOLLOWED) else -1
        return line if first[code] >= 0 else None

    sys.settrace(call)
