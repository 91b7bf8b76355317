"""`python -m study.serve`: says which of two commands may be meant."""

import sys
from collections.abc import Sequence

from study.cli import BAD_INPUT, complain

PROG = "study.serve"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command, whatever it is called with; exits with 2."""
    complain(
        PROG,
        "expected python -m study.serve_model, which answers with a saved model, or "
        "python -m study.serve_database, which shares the database of studies",
    )
    sys.exit(BAD_INPUT)


if __name__ == "__main__":
    main()
