"""Finds the Python objects that hold a secret: those of the garbage collector, and all that they refer to."""

from __future__ import annotations

import gc
import io
import sys
from itertools import compress, filterfalse, repeat
from operator import is_, is_not

# A text, or an object with one.
_TEXTS = (str, bytes, bytearray, io.BytesIO)


def holders(backwards: list[str]) -> list[str]:
    """Describes each object that refers to a text with one of the secrets, which are given backwards."""
    needles = [secret[::-1] for secret in backwards]
    found: list[str] = []
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        # An object that another thread has made may stay until that thread runs, or until a collection.
        gc.collect()
    if _are_there(needles):
        _find(needles, found)
    # Frees the objects of this search, which the next one would find.
    gc.collect()
    return found


def _are_there(needles: list[str]) -> bool:
    """Returns True if any text has a secret. Runs no Python code for each object, so it is fast."""
    texts: set[str] = set()
    seen: set[int] = set()
    things = gc.get_objects()
    ours = {id(needles), id(texts), id(seen), id(things)}
    things = [thing for thing in things if id(thing) not in ours]
    while things:
        referents = gc.get_referents(*things)
        kinds = list(map(type, referents))
        texts.update(compress(referents, map(is_, kinds, repeat(str))))
        others = {kind for kind in set(kinds) if kind is not str and issubclass(kind, _TEXTS)}
        texts.update(_text(other) or "" for other in compress(referents, map(others.__contains__, kinds)))
        # The collector does not know containers of nothing but texts and numbers.
        rest = compress(referents, map(is_not, kinds, repeat(str)))
        untracked = {id(thing): thing for thing in filterfalse(gc.is_tracked, rest)}
        things = [thing for key, thing in untracked.items() if key not in seen and type(thing) not in others]
        seen.update(untracked)
    joined = "\0".join(texts)
    return any(needle in joined for needle in needles)


def _find(needles: list[str], found: list[str]) -> None:
    """Adds a description of each holder to `found`."""
    seen: set[int] = set()
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
                if not gc.is_tracked(referent):
                    waiting.append(referent)
            elif any(needle in text for needle in needles):
                found.append(_described(thing))


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
