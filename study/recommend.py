"""`python -m study.recommend`: what a user would like, known or new, and what is like an item."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING

import click

from study.cli import Asked, Outcome, complain, refuse_beside_model, run_command
from study.drawing import Drawing
from study.options import DATA, DEVICE, KEEP, MODEL, OUTPUT, SETTING_OF, FilePath, Number, options
from study.result import Result

if TYPE_CHECKING:
    from study.answers.lists import Given, Recommendations, SimilarItems
    from study.held import Model
    from study.known import Known

    Answering = tuple[Result | Model, Known, list[Path | None], dict[str, object]]
    """What answers, what it knows, the files that were read, and facts for --json."""

PROG = "study.recommend"
SHORTEST_TITLE = 12  # characters, however long the ids are
GAP = 2  # between columns
N_REASONS = 3  # ratings that are told of each item
EPILOG = """\
examples:
  python -m study.recommend --user 42                ten items for user 42
  python -m study.recommend --user 42 --titles movies.csv --why
  python -m study.recommend --ratings mine.csv       for who is not in them
  python -m study.recommend --about age=31,gender=F  who has rated nothing yet
  python -m study.recommend --similar 50 --top 5     five items like item 50
  python -m study.recommend --user 42 --model movies.model
  python -m study.recommend --everyone --out lists.parquet
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; exits with 0 or 2 (bad input)."""
    run_command(recommend, PROG, arguments, epilog=EPILOG)


@options(
    DATA,
    SETTING_OF,
    DEVICE,
    MODEL,
    click.option("--user", metavar="ID", help="A user of the data."),
    click.option(
        "--ratings",
        type=FilePath(),
        metavar="FILE",
        help="Or a table of item and rating: those of a user who is not in the data.",
    ),
    click.option("--similar", metavar="ITEM", help="Or an item's id, or its title."),
    click.option(
        "--everyone", is_flag=True, help="Or all users of the data, whose lists go to --out."
    ),
    click.option(
        "--top",
        type=Number(1, whole=True),
        default=10,
        show_default=True,
        metavar="N",
        help="How many to list of each.",
    ),
    click.option(
        "--about",
        metavar="COLUMN=VALUE,…",
        help="What is known of the new user, as the table of --users has it: age=31,gender=F; "
        "with --ratings, or alone.",
    ),
    click.option(
        "--why",
        is_flag=True,
        help="Tell which of the user's own ratings, and what is known of the user, each prediction "
        "rests on, and by how much it would be lower without each.",
    ),
    click.option(
        "--titles",
        type=FilePath(),
        metavar="FILE",
        help="A table of item and title, such as MovieLens' movies.csv, movies.dat or u.item; or "
        "the column of --items that has them, if that is not called title or name.",
    ),
    click.option(
        "--out",
        type=FilePath(),
        metavar="FILE",
        help="Writes the list to a table too: .csv, .tsv or .parquet.",
    ),
    KEEP,
    OUTPUT,
)
def recommend(
    drawing: Drawing,
    *,
    asked: Asked,
    model: Path | None,
    user: str | None,
    ratings: Path | None,
    similar: str | None,
    everyone: bool,
    about: str | None,
    why: bool,
    top: int,
    titles: Path | None,
    out: Path | None,
) -> Outcome:
    """Lists what a user would like and has not rated, or what is like an item, by the models that
    best_predict answers with. They are trained if they were not yet.
    """
    told = user is not None, ratings is not None or about is not None, similar is not None, everyone
    kinds = "--user, --ratings or --about, --similar, and --everyone"
    for is_wrong, expected in (
        (sum(told) != 1, f"Expected one of {kinds}"),
        (why and any(told[2:]), "--why is for the list of one user"),
        (everyone and out is None, "Expected --out FILE for the lists of --everyone"),
    ):
        if is_wrong:
            raise click.UsageError(expected)
    with drawing.status("Reading the ratings…"):
        import numpy as np

        from storage.predictions import check_ending, check_writable, write_columns

        if model is not None:
            answering, known, read, facts = _of_model(model, titles)
        else:
            answering, known, read, facts = _of_study(asked, titles, drawing)
    if out is not None:
        check_writable(out, precious=[path for path in (*read, titles, ratings) if path])
        check_ending(out)
    if not isinstance(answering, Result):
        drawing.say(f"Model: {model}, {answering.data}")
    if everyone and out is not None:
        return _write_everyone(drawing, answering, out, top=top, facts=facts)

    found: Recommendations | SimilarItems
    given: Given | None = None
    if user is not None:
        found = answering.recommend(user, items=top, why=why)
    elif similar is not None:
        found = answering.similar(similar, items=top)
    else:
        person = answering.newcomer(ratings or (), about=_columns_of(about))
        found, given = person.recommend(items=top, why=why), person.given
    heading, whose = _whose(found, known, given)
    _show(drawing, heading, found)
    if out is not None:
        write_columns(out, list(found.columns().items()))
        drawing.say(f"Wrote: {out}, {len(found):,} items")
    if isinstance(answering, Result):
        answering.tidy()
    listed = {name: np.asarray(values).tolist() for name, values in found.columns().items()}
    return Outcome(
        facts={
            **facts,
            **whose,
            "heading": heading,
            "items": [
                dict(zip(listed, row, strict=True)) for row in zip(*listed.values(), strict=True)
            ],
            "files": {"out": out and str(out)},
        }
    )


def _write_everyone(
    drawing: Drawing, answering: "Result | Model", out: Path, *, top: int, facts: dict[str, object]
) -> Outcome:
    """Writes the lists of all users below each other."""
    import numpy as np

    from storage.predictions import write_columns

    model = answering.model() if isinstance(answering, Result) else answering
    with drawing.status("Listing…"):
        lists = model.recommend(items=top)
        columns = {name: lists[name].to_numpy(zero_copy_only=False) for name in lists.column_names}
        write_columns(out, list(columns.items()))
    n_users = len(np.unique(columns[model.known.user_name]))
    drawing.say(f"Wrote: {out}, {lists.num_rows:,} rows, the lists of {n_users:,} users")
    if isinstance(answering, Result):
        answering.tidy()
    return Outcome(
        facts={**facts, "users": n_users, "rows": lists.num_rows, "files": {"out": str(out)}}
    )


def _whose(
    found: "Recommendations | SimilarItems", known: "Known", given: "Given | None"
) -> tuple[str, dict[str, object]]:
    """Whom, or what, a list is for, and what they rated besides: for people, and as facts for
    --json.
    """
    import numpy as np

    from storage.lines import shown
    from study.answers.lists import SimilarItems

    if isinstance(found, SimilarItems):
        title = f", {found.title}" if found.title else ""
        whose = {"item": np.asarray(found.item_id).tolist()}
        return f"Like {found.item_id} ({known.item_name}){title}", whose
    whose = {"user": np.asarray(found.user_id).tolist()}
    if found.user_id is not None:
        return f"For {found.user_id} ({known.user_name}), who has rated {found.n_rated:,}", whose
    more = ""
    if given and given.n_repeated:
        more = f", {given.n_repeated:,} of them more than once, whose mean counts"
    if given and given.unknown:
        n, first = len(given.unknown), shown(given.unknown[0])
        more += f", and {n:,} that the data do not have, such as {first}"
    return f"For a new user who has rated {found.n_rated:,} of the items{more}", whose


def _of_study(asked: Asked, titles: Path | None, drawing: Drawing) -> "Answering":
    """What a study's best settings answer."""
    from storage.database import database_file

    url = asked.url(must_exist=True)
    loaded = asked.load(drawing)
    known, result = loaded.known, asked.find(loaded, drawing)
    if titles is None or (loaded.sources.items is not None and not titles.exists()):
        named = loaded.titles(str(titles or ""))
    else:
        named = _titles(titles, known)
    read = [*loaded.files, database_file(url)]
    return result.titled(named), known, read, {"study": result.record.name}


def _of_model(path: Path, titles: Path | None) -> "Answering":
    """What a saved model answers."""
    from study.held import Model

    refuse_beside_model()
    held = Model.load(path)
    if titles is not None:
        held = held.titled(_titles(titles, held.known))
    return held, held.known, [path], {"model": str(path)}


def _titles(path: Path, known: "Known") -> dict[str, str]:
    """The titles of a table, by item id as text."""
    from storage.item_tables import read_titles

    return read_titles(
        path,
        item_name=known.item_name,
        item_ids=frozenset(map(str, known.items.values.tolist())),
        warn=lambda text: complain(PROG, text),
    )


def _columns_of(about: str | None) -> dict[str, str] | None:
    """Column and value of a text such as `age=31,gender=F`."""
    if not about:
        return None
    pairs = [one.partition("=") for one in about.split(",")]
    if not all(name.strip() and sign for name, sign, _ in pairs):
        raise click.UsageError(f"Expected --about column=value,…, got {about}")
    columns = {name.strip(): value.strip() for name, _, value in pairs}
    if len(columns) < len(pairs):
        raise click.UsageError(f"Expected each column of --about once, got {about}")
    return columns


def _show(drawing: Drawing, heading: str, found: "Recommendations | SimilarItems") -> None:
    """Tells a table that fits the terminal, and reasons below it; a title is cut where it does
    not fit.
    """
    import numpy as np
    from rich.table import Table
    from rich.text import Text

    console, table = drawing.console, Table(box=None, pad_edge=False)
    arrays = {name: np.asarray(values) for name, values in found.columns().items()}
    texts = {
        name: [f"{v:.2f}" if array.dtype.kind == "f" else str(v) for v in array]
        for name, array in arrays.items()
    }
    others = [max(map(len, [name, *texts[name]])) for name in texts if name != "title"]
    room = console.width - sum(others) - GAP * len(others)
    for name, array in arrays.items():
        table.add_column(
            Text(name),
            justify="right" if array.dtype.kind in "if" else "left",
            overflow="ellipsis" if name == "title" else "fold",
            no_wrap=name == "title",
            max_width=max(room, SHORTEST_TITLE) if name == "title" else None,
        )
    for row in zip(*texts.values(), strict=True):
        table.add_row(*map(Text, row))
    with console.capture() as shown:
        console.print(table)
    drawing.say(f"{heading}\n{shown.get()}".rstrip("\n"))
    for reason in getattr(found, "reasons", ()):  # of predictions alone
        if told := reason.told(N_REASONS):
            said = f"{reason.title or reason.item_id}: {told}"
            drawing.say("\n".join(wrap(said, console.width, subsequent_indent="  ")))


if __name__ == "__main__":
    main()
