"""Another mail client: adds and reads mail as JSON lines tell it, by imaplib alone.

Arguments: host, port, security (tls, starttls or plain), user. Environment: OTHER_CLIENT_PASSWORD, and
OTHER_CLIENT_CA, a PEM file to trust instead of the system's roots. One request a line, one answer a line;
raw mail travels in hex. It ends with its standard input.
"""

import base64
import imaplib
import json
import os
import re
import ssl
import sys

HOST, PORT, SECURITY, USER = sys.argv[1:5]
PATIENCE = 60.0  # seconds


def tls():
    return ssl.create_default_context(cafile=os.environ.get("OTHER_CLIENT_CA") or None)


def connected():
    if SECURITY == "tls":
        client = imaplib.IMAP4_SSL(HOST, int(PORT), ssl_context=tls(), timeout=PATIENCE)
    else:
        client = imaplib.IMAP4(HOST, int(PORT), timeout=PATIENCE)
        if SECURITY == "starttls":
            client.starttls(tls())
    client.login(quoted(USER), os.environ["OTHER_CLIENT_PASSWORD"])
    return client


def quoted(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def to_wire(name):
    """A mailbox name in IMAP's modified UTF-7 (RFC 3501, section 5.1.3), quoted."""

    def shifted(match):
        code = base64.b64encode(match[0].encode("utf-16-be")).decode().rstrip("=")
        return "&" + code.replace("/", ",") + "-"

    return quoted(re.sub(r"[^\x20-\x7e]+", shifted, name.replace("&", "&-")))


def from_wire(name):
    def unshifted(match):
        code = match[1].replace(",", "/")
        return base64.b64decode(code + "=" * (-len(code) % 4)).decode("utf-16-be") if code else "&"

    return re.sub(r"&([^-]*)-", unshifted, name)


def done(answer):
    kind, data = answer
    if kind != "OK":
        raise imaplib.IMAP4.error(f"{kind} {data}")
    return data


def leave(client, mailbox):
    """Deselects, and never by CLOSE of a writable mailbox: that would expunge."""
    if "UNSELECT" not in str(client.capability()):
        # A read-only CLOSE expunges nothing, whatever the server answers.
        done(client.select(mailbox, readonly=True))
        client.close()
    else:
        done(client.unselect())


def list_mail(client, request):
    mailbox = to_wire(request["mailbox"])
    kind, data = client.select(mailbox, readonly=True)
    if kind != "OK":
        return {"mail": None}
    mail = fetched(client) if int(data[0]) else []
    leave(client, mailbox)
    return {"mail": mail}


def fetched(client):
    records = []
    for item in done(client.uid("FETCH", "1:*", "(UID FLAGS BODY.PEEK[])")):
        head, raw = item if isinstance(item, tuple) else (item or b"", b"")
        if re.match(rb"\d+ \(", head):
            records.append((head, raw))
        elif records:  # the part behind the message, such as its flags
            records[-1] = (records[-1][0] + head, records[-1][1])
    return [seen(head, raw) for head, raw in records if b"BODY[]" in head]


def seen(head, raw):
    uid = re.search(rb"UID (\d+)", head)[1]
    flags = re.search(rb"FLAGS \(([^)]*)\)", head)[1]
    return {"uid": int(uid), "flags": flags.decode().split(), "raw": raw.hex()}


def append(client, request):
    # imaplib's own append rewrites lone CRs and LFs.
    client.literal = bytes.fromhex(request["raw"])
    flags = "(" + " ".join(request["flags"]) + ")"
    done(client._simple_command("APPEND", to_wire(request["mailbox"]), flags))
    return {}


def flag(client, request, change="+FLAGS"):
    mailbox = to_wire(request["mailbox"])
    done(client.select(mailbox))
    done(client.uid("STORE", str(request["uid"]), change, "(" + " ".join(request["flags"]) + ")"))
    leave(client, mailbox)
    return {}


def open_mailbox(client, request):
    mailbox = to_wire(request["mailbox"])
    done(client.select(mailbox))
    leave(client, mailbox)
    return {}


def expunge(client, request):
    mailbox = to_wire(request["mailbox"])
    uids = ",".join(map(str, request["uids"]))
    done(client.select(mailbox))
    done(client.uid("STORE", uids, "+FLAGS", r"(\Deleted)"))
    done(client.uid("EXPUNGE", uids))
    leave(client, mailbox)
    return {}


def create_mailbox(client, request):
    done(client.create(to_wire(request["mailbox"])))
    return {}


def remove_mailbox(client, request):
    done(client.delete(to_wire(request["mailbox"])))
    return {}


def mailboxes(client, _request):
    names = []
    for item in done(client.list()):
        if isinstance(item, tuple):  # a name sent as a literal
            names.append(item[1].decode())
        elif item:
            name = re.match(rb'\([^)]*\) (?:"[^"]*"|NIL) (.*)', item)[1].decode()
            names.append(re.sub(r"\\(.)", r"\1", name[1:-1]) if name.startswith('"') else name)
    return {"mailboxes": [from_wire(name) for name in names]}


def check(_client, _request):
    return {}


ACTIONS = {
    "append": append,
    "check": check,
    "create_mailbox": create_mailbox,
    "expunge": expunge,
    "flag": flag,
    "unflag": lambda client, request: flag(client, request, "-FLAGS"),
    "list": list_mail,
    "mailboxes": mailboxes,
    "open": open_mailbox,
    "remove_mailbox": remove_mailbox,
}


def alive(client):
    """Return this client's connection, or a new one; called before an action, so that no action is repeated."""
    try:
        if client is not None:
            done(client.noop())
            return client
    except (imaplib.IMAP4.error, OSError):
        client.shutdown()
    return connected()


def main():
    client = None
    for line in sys.stdin:
        try:
            request = json.loads(line)
            client = alive(client)
            answer = {"ok": True, **ACTIONS[request["do"]](client, request)}
        except Exception as error:
            answer = {"ok": False, "error": f"{type(error).__name__}: {error}"}
            client = None  # it may have a mailbox selected, or a literal waiting
        print(json.dumps(answer), flush=True)


main()
