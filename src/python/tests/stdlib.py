"""Compares imaplib and smtplib with what py/ takes from them beyond their documentation."""

import ast
import imaplib
import inspect
import os
import re
import smtplib
import types

import _pymail_imaplib_ext
import _pymail_smtplib_ext

# The classes of the standard library, each with the one of py/ that extends it.
CLASSES = {
    "IMAP4": (imaplib.IMAP4, _pymail_imaplib_ext.Metered),
    "SMTP": (smtplib.SMTP, _pymail_smtplib_ext.Smtp),
}

# The methods that py/ replaces: the standard library must call them, or their replacements have no effect.
REPLACED = {
    "IMAP4": [
        "_create_socket",
        "read",
        "readline",
        "send",
        "_get_response",
        "_get_tagged_response",
        "_command_complete",
        "_append_untagged",
    ],
    "SMTP": ["_get_socket", "connect", "send", "getreply"],
}
# The same of one that a standard library compiled with -OO, as in an embeddable package, does not call.
if imaplib.__doc__ is not None:
    REPLACED["IMAP4"].append("_log")
# The same of those that not every version has.
REPLACED_WHERE_THERE = {"IMAP4": ["_refresh_capabilities"], "SMTP": []}

# The undocumented methods that py/ calls, each with the counts of arguments.
CALLED = {
    "IMAP4": {
        "_command": [1, 2, 3, 4],
        "_command_complete": [2],
        "_simple_command": [3],
        "_get_response": [0],
        "_get_tagged_response": [1],
        "_append_untagged": [2],
    },
    "SMTP": {"getreply": [0]},
}

# The undocumented attributes that py/ reads or sets: the standard library must use them, too.
ATTRIBUTES = {
    "IMAP4": [
        "sock",
        "state",
        "literal",
        "mo",
        "tagnum",
        "welcome",
        "capabilities",
        "tagged_commands",
        "untagged_responses",
        "continuation_response",
        "_tls_established",
    ],
    "SMTP": ["sock", "file", "esmtp_features", "command_encoding"],
}

# The methods that may receive from the socket, send to it, or make a file of it: py/ replaces them, or leaves that
# file alone.
ON_THE_SOCKET = {
    "IMAP4": {"recv": ["read", "readline"], "sendall": ["send"], "makefile": ["open", "starttls"]},
    "SMTP": {"recv": [], "sendall": ["send"], "makefile": ["getreply"]},
}
SAME_AS = {"recv_into": "recv", "recvfrom": "recv", "recvmsg": "recv", "sendmsg": "sendall", "sendfile": "sendall"}


def differences(name, base=None):
    """Returns what a class of the standard library lacks of that which py/ takes from it."""
    base, used = base or CLASSES[name][0], uses(base or CLASSES[name][0])
    everywhere = set().union(*used.values())
    called = [(it, count) for it, counts in CALLED[name].items() for count in counts]
    return [
        *without_effect(name, base, used),
        *(f"{it} can't be called with {count} arguments" for it, count in called if not takes(base, it, count)),
        *(f"{it} is not used" for it in ATTRIBUTES[name] if it not in everywhere),
        *others_on_the_socket(name, used),
    ]


def without_effect(name, base, used):
    """Returns the methods whose replacements the standard library does not call, or not with their arguments."""
    there = [method for method in REPLACED_WHERE_THERE[name] if hasattr(base, method)]
    for method in REPLACED[name] + there:
        callers = [caller for caller, names in used.items() if method in names and caller != method]
        if not hasattr(base, method) or not callers:
            yield f"{method} is not called"
        elif not takes_as_many(getattr(CLASSES[name][1], method), getattr(base, method)):
            yield f"{method} has more arguments than its replacement"


def others_on_the_socket(name, used):
    """Returns the methods that receive or send behind the back of py/."""
    for method, names in used.items():
        for call in names.intersection([*ON_THE_SOCKET[name], *SAME_AS]):
            if method not in ON_THE_SOCKET[name][SAME_AS.get(call, call)]:
                yield f"{method} calls {call} on the socket"


def uses(base):
    """Returns the names that each method of a class uses."""
    functions = ((name, getattr(it, "fget", it)) for name, it in vars(base).items())
    return {name: names_in(it.__code__) for name, it in functions if inspect.isfunction(it)}


def names_in(code):
    """Returns the names of globals, attributes and methods in a function, and in those within it."""
    within = [names_in(it) for it in code.co_consts if isinstance(it, types.CodeType)]
    return set(code.co_names).union(*within)


def takes(base, method, count):
    """Returns True if a class has a method that takes so many arguments."""
    try:
        inspect.signature(getattr(base, method)).bind(*range(1 + count))
    except (AttributeError, TypeError):
        return False
    return True


def takes_as_many(replacement, method):
    """Returns True if a replacement takes each argument of a method."""
    ours = inspect.signature(replacement).parameters.values()
    if {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD} <= {it.kind for it in ours}:
        return True
    return len(inspect.signature(method).parameters) <= len(ours)


def unlisted(name, folder):
    """Returns the parts of a class that py/ replaces, or uses by a private name, and that are in no list here."""
    base, replacement = CLASSES[name]
    parts = set(dir(base)).union(*uses(base).values())
    replaced = {it for it in vars(replacement) if it in dir(base) and not it.startswith("__")}
    listed = [*REPLACED[name], "_log", *REPLACED_WHERE_THERE[name], *CALLED[name], *ATTRIBUTES[name]]
    return sorted((replaced | private_names(folder) & parts).difference(listed))


def private_names(folder):
    """Returns the private names after a dot in a folder's files; after `self`, only in those of CLASSES."""
    found = set()
    for file in filter(lambda file: file.endswith(".py"), os.listdir(folder)):
        with open(os.path.join(folder, file), encoding="utf-8") as source:
            attributes = [it for it in ast.walk(ast.parse(source.read())) if isinstance(it, ast.Attribute)]
        if not file.endswith("lib_ext.py"):
            attributes = [it for it in attributes if getattr(it.value, "id", "") != "self"]
        found.update(it.attr for it in attributes)
    return {name for name in found if name.startswith("_") and not name.startswith("__")}


def without_source(name):
    """Returns the file of a class if there are only its bytecode and no source, as in an embeddable package."""
    module = inspect.getmodule(CLASSES[name][0])
    try:
        inspect.getsource(module)
    except OSError:
        return [module.__file__]
    return []


def unnoticed(name):
    """Returns the listed names of which no difference is reported when the standard library has another name."""
    listed = {*REPLACED[name], *CALLED[name], *ATTRIBUTES[name]}
    return sorted(it for it in listed if not any(it in found for found in differences(name, renamed(name, it))))


def renamed(name, part):
    """Returns a class of the standard library in which a name is another."""
    module = inspect.getmodule(CLASSES[name][0])
    source = re.sub(rf"\b{part}\b", "another", inspect.getsource(module))
    other = types.ModuleType("other")
    exec(compile(source, module.__file__, "exec"), vars(other))
    return getattr(other, name)
