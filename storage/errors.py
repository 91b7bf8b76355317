"""The one error of the boundary: something handed in is not what was expected."""


class InputError(ValueError):
    """Input that cannot be used. The message is one line: what, expected, got, where.

    The commands print it to standard error and exit with code 2.
    """


class UnreachableError(InputError):
    """A database that cannot be reached, at least for now."""
