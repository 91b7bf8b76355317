"""Fields between separators of one kind, and rows of them, as regular expressions.

They never go back over a row once they have taken it, so that they run over a file at a hundred
megabytes a second, whatever it holds.
"""

import re

COLONS, BLANKS = "::", " "
NOTHING = r"(?:NA|NULL|\\N)?"  # not quoted where all else in a column is
ENDS = r"(?:\r\n|\n|\r)"


class Spelling:
    """What fields look like between separators of one kind; groups count for `token` alone."""

    def __init__(self, separator: str) -> None:
        between, more, around = re.escape(separator), "*+", ""
        blank = " *+" if separator == "\t" else r"[ \t]*+"
        text, bare = rf"[^{between}\r\n]", rf'[^"{between}\r\n]'
        if separator == COLONS:
            text, bare = r"(?:[^:\r\n]|:(?!:))", r'(?:[^":\r\n]|:(?!:))'
        elif separator == BLANKS:
            between, more, around, blank = r"[ \t]++", "++", r"[ \t]*+", ""
            text, bare = r"[^ \t\r\n]", r'[^" \t\r\n]'
        self._between, self._around, self._blank = between, around, blank
        self._ahead = rf"(?={between}|[\r\n])"
        self._closes = closes = blank + self._ahead
        self._plain = rf'(?!{blank}"){text}{more}'
        self.literal = text + more  # whatever quotes it holds
        self.paired = rf'{blank}"{text}*"{closes}'
        self.unpaired = f"(?!{self.paired}){self.literal}"
        self.paired_or_nothing = f"(?:{self.paired}|{NOTHING}{closes})"
        self.doubled = rf'{blank}"(?:{bare}*+""(?:{bare}|"")*+)?+"{closes}'  # or empty
        # What follows is for the lines of a text, one by one.
        self.separator = re.compile(between)
        self.text = re.compile(text + "*+")
        self.opening = re.compile(blank + '"')
        self.inside = re.compile(rf'((?:[^"]|"")*+)("{blank}(?={between}|[\r\n]|\Z))?')

    def quoted(self, *, padded: bool, breaks: bool) -> str:
        """A field held together by quotes, or one that does not begin with any.

        Args:
            padded: whether blanks may stand around the quotes.
            breaks: whether the field may hold line breaks.
        """
        inside = '[^"]*+' if breaks else r'[^"\r\n]*+'
        before, closes = (self._blank, self._closes) if padded else ("", self._ahead)
        return rf'(?:{before}"{inside}(?:""{inside})*+"{closes}|{self._plain})'

    def escaped(self) -> str:
        """The same where a backslash makes a quote one of the characters of a field."""
        held = rf'{self._blank}"(?:[^"\\]++|\\[^\r\n])*+"{self._closes}'
        return f"(?:{held}|{self._plain})"

    def rows(
        self, field: str, n_fields: int, *, other: str = "", at: int = -1
    ) -> re.Pattern[bytes]:
        """Any number of rows, and of empty lines.

        Args:
            field: what the fields are.
            n_fields: how many a row has.
            other: what the field at the position `at` is instead.
            at: from 0.
        """
        counts = [(field, n_fields)]
        if at >= 0:
            counts = [(field, at), (other, 1), (field, n_fields - at - 1)]
        kinds = [f"(?:{self._between}{kind}){{{n}}}" for kind, n in counts]
        first = next(n for n, (_, count) in enumerate(counts) if count)
        kind, count = counts[first]
        kinds[first] = f"{kind}(?:{self._between}{kind}){{{count - 1}}}"
        return self._repeated("".join(kinds[first:]))

    def any_rows(self) -> re.Pattern[bytes]:
        """Rows of any number of quoted fields."""
        field = self.quoted(padded=True, breaks=True)
        return self._repeated(f"{field}(?:{self._between}{field})*+")

    def token(self) -> re.Pattern[bytes]:
        """A field, held by quotes (1) or not (2), and the separator behind it (3)."""
        last = rf"({self._between})"
        if self._around:
            last += r"(?=[^\r\n])"
        held = rf'{self._blank}("(?:[^"]++|"")*+"){self._closes}'
        return re.compile(f"{self._around}(?:{held}|({self._plain}))(?:{last})?".encode())

    def _repeated(self, row: str) -> re.Pattern[bytes]:
        around = self._around
        return re.compile(f"(?:{around}{row}{around}{ENDS}|{around}{ENDS})*+".encode())
