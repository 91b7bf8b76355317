"""`python -m study.export`: the factors of a saved model, as tables to hand on."""

from collections.abc import Sequence
from pathlib import Path

import click

from study.cli import Outcome, run_command
from study.drawing import Drawing
from study.options import OUTPUT, FilePath, Number, options

PROG = "study.export"
EPILOG = """\
examples:
  python -m study.best_predict --save-model movies.model
  python -m study.export --model movies.model --items items.parquet
  python -m study.export --model movies.model \\
      --items items.csv --users users.csv --rank 16

A prediction is near to mean + bias of the user + bias of the item + the
product of their factors; the command tells the mean, and how near.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; exits with 0 or 2 (bad input)."""
    run_command(export, PROG, arguments, epilog=EPILOG)


@options(
    click.option(
        "--model",
        type=FilePath(),
        required=True,
        metavar="FILE",
        help="What study.best_predict --save-model wrote.",
    ),
    click.option(
        "--items",
        type=FilePath(),
        metavar="FILE",
        help="Where the items' factors go, a table: .csv, .tsv or .parquet.",
    ),
    click.option("--users", type=FilePath(), metavar="FILE", help="Where those of users go."),
    click.option(
        "--rank",
        type=Number(1, whole=True),
        default=64,
        show_default=True,
        metavar="R",
        help="How many factors, at most.",
    ),
    OUTPUT,
)
def export(
    drawing: Drawing, *, model: Path, items: Path | None, users: Path | None, rank: int
) -> Outcome:
    """Writes the factors and biases of a model's items and users, in one rotation: ready for an
    index of neighbours, a feature store, another program.
    """
    if items is None and users is None:
        raise click.UsageError("Expected --items, --users, or both")
    with drawing.status("Reading the model…"):
        from storage.predictions import check_ending, check_writable, write_columns
        from study.held import Model

        precious = [model]
        for path in filter(None, (items, users)):
            check_writable(path, precious=precious)
            check_ending(path)
            precious.append(path)
        held = Model.load(model)
    drawing.say(f"Model: {model}, {held.data}")
    with drawing.status("Working out the factors…"):
        factors = held.factors(rank=rank)
    files = {}
    for name, out, columns in (("items", items, factors.items), ("users", users, factors.users)):
        if out is None:
            continue
        write_columns(out, list(columns.items()))
        n_rows, n_factors = len(columns["bias"]), len(columns) - 3
        drawing.say(f"Wrote: {out}, {n_rows:,} {name}, bias and {n_factors} factors each")
        files[name] = str(out)
    drawing.say(f"Mean: {factors.mean:.6f}")
    drawing.say(
        f"Near: products differ from predictions by {factors.error:.4f}, root mean square over "
        "pairs at random"
    )
    return Outcome(facts={"mean": factors.mean, "error": factors.error, "files": files})


if __name__ == "__main__":
    main()
