"""Finds the Python objects that hold a secret: those of the garbage collector, and all that they refer to."""

from __future__ import annotations

import gc
import io
import sys


def holders(backwards: list[str]) -> list[str]:
    """Describes each object that refers to a text with one of the secrets, which are given backwards."""
    needles = [secret[::-1] for secret in backwards]
    found: list[str] = []
    seen: set[int] = set()
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        # An object that another thread has made may stay until that thread runs, or until a collection.
        gc.collect()
    waiting = gc.get_objects()
    ours = {id(needles), id(found), id(seen), id(waiting)}
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or id(thing) in ours:
            continue
        seen.add(id(thing))
        for referent in gc.get_referents(thing):
            text = _text(referent)
            if text is None:
                # The collector does not know containers of nothing but texts and numbers.
                if not gc.is_tracked(referent):
                    waiting.append(referent)
            elif any(needle in text for needle in needles):
                found.append(_described(thing))
    # Frees the objects of this search, which the next one would find.
    gc.collect()
    return found


def _text(thing: object) -> str | None:
    if isinstance(thing, str):
        return thing
    if isinstance(thing, (bytes, bytearray)):
        return thing.decode("latin-1")
    if isinstance(thing, io.BytesIO) and not thing.closed:  # a closed one has dropped its octets
        return thing.getvalue().decode("latin-1")
    return None


def _described(thing: object) -> str:
    code = getattr(thing, "f_code", None)
    return f"a {type(thing).__name__}" + (f" of {code.co_name}" if code is not None else "")
