"""What of a database URL may be printed: neither its password nor its options, which may hold one.

A URL that cannot be understood is hidden as a text: from the first colon behind the `://` of a
database to the last @, since a password that was not percent-encoded may hold any of `:/?#@`.
"""

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

HIDDEN = "***"
LEAST = 3  # characters of a secret that is looked for in what a driver says
BEGIN = re.compile(r"(sqlite|postgres(ql)?|mysql|mariadb|oracle|mssql|grpc)(\+\w+)?(://|//)")
ANY_BEGIN = re.compile(r"sqlite:|[\w+.-]*:/+|[A-Za-z]:(?=\\)")  # or a drive of Windows
SECRET = re.compile(r"pass|pwd|secret|token|key", re.IGNORECASE)  # in the name of an option


def hidden(text: str) -> str:
    """A text that should be a URL, without what may be a password or an option in it."""
    begin = BEGIN.match(text) or (None if "@" in text else ANY_BEGIN.match(text))
    head, rest = text[: begin.end() if begin else 0], text[begin.end() if begin else 0 :]
    before, at, tail = rest.rpartition("@")
    if "?" in before:  # the @ may be one of an option
        return head + re.split("[:?]", before, maxsplit=1)[0] + ":" + HIDDEN
    if ":" in before:
        before = f"{before.partition(':')[0]}:{HIDDEN}"
    tail = re.sub(r"(?s)\?.*", f"?{HIDDEN}", tail)
    tail = re.sub(r"(?s)^([^/:\[]*):(?!/|\d+(?:[/?]|$)).*", rf"\1:{HIDDEN}", tail)  # of no port
    return head + before + at + tail


def shown_uri(uri: str) -> str:
    """A URI of a file without its password, and options that are called like one."""
    begin, mark, rest = uri.partition("://")
    rest = re.sub(r"(?s)^([^/@:]*):.*@", rf"\1:{HIDDEN}@", rest)
    named = rf"(?i)([?&][^=&]*(?:{SECRET.pattern})[^=&]*=)[^&]*"
    return begin + mark + re.sub(named, rf"\1{HIDDEN}", rest)


def without_passwords(message: str) -> str:
    """A message without the password of a URL that is quoted in it, whatever it is about."""
    pattern = r"(?s)(\w:/{1,3}[^\s:/@]*):(?!\*\*\*@).*@"
    return re.sub(pattern, rf"\1:{HIDDEN}@", message)


def without_secrets(message: str, url: "URL") -> str:
    """What a driver says, in one line, without the password of its URL and other secrets of it."""
    secrets = [url.password or ""]
    if any(map(SECRET.search, url.query)):
        for name, values in url.query.items():
            secrets += [values] if isinstance(values, str) else values
            if not SECRET.search(name):  # with a & in a secret, what follows it looks like a name
                secrets.append(name)
    forms = {
        form
        for one in secrets
        for form in (" ".join(one.split()), repr(one)[1:-1], quote(one), quote(one, safe=""))
        if len(form) >= LEAST
    }
    message = " ".join(message.split())
    for form in sorted(forms, key=len, reverse=True):
        message = message.replace(form, HIDDEN)
    return message
