"""`python -m study.recommend`: what a user would like, known or new, and what is like an item."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from study.cli import Outcome, add_output_options, at_least, make_parser, run_command, status

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from study.recommending import Recommendations, SimilarItems

PROG = "study.recommend"
SHORTEST_TITLE = 12  # characters, however long the ids are
GAP = 2  # between columns
EPILOG = """\
examples:
  python -m study.recommend --user 42                       ten items for user 42
  python -m study.recommend --user 42 --titles movies.csv   with their titles
  python -m study.recommend --ratings mine.csv              for who is not in the data
  python -m study.recommend --similar 50 --items 5          five items like item 50
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; exits with 0 or 2 (bad input)."""
    parser = make_parser(
        PROG,
        "Lists what a user would like and has not rated, or what is like an item, by the models "
        "that best_predict answers with. They are trained if they were not yet.",
        EPILOG,
    )
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("--user", metavar="ID", help="a user of the data")
    asked.add_argument(
        "--ratings",
        type=Path,
        metavar="FILE",
        help="a table of item and rating: those of a user who is not in the data",
    )
    asked.add_argument("--similar", metavar="ITEM", help="an item's id, or its title")
    parser.add_argument(
        "--items",
        type=at_least(1, int),
        default=10,
        metavar="N",
        help="how many to list (default: %(default)s)",
    )
    parser.add_argument(
        "--titles",
        type=Path,
        metavar="FILE",
        help="a table of item and title, such as MovieLens' movies.csv, movies.dat or u.item",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="writes the list to a table too: .csv, .tsv or .parquet",
    )
    add_output_options(parser)
    options = parser.parse_args(arguments)
    run_command(lambda: recommend(options), PROG, options)


def recommend(options: argparse.Namespace) -> Outcome:
    """Prints the list that the options ask for."""
    with status("Reading the ratings…"):
        import numpy as np
        import optuna

        from storage.database import check_database, database_file, parse_storage_url, runs_folder
        from storage.item_tables import read_item_ratings, read_titles
        from storage.predictions import check_ending, check_writable, write_columns
        from study import recommending
        from study.inputs import choose_device, load_data
        from study.predict import open_ensemble

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        url = parse_storage_url(options.storage)
        check_database(url, must_exist=True)
        device = choose_device(options.device)
        data = load_data(
            options.data, runs=runs_folder(url), columns=options.columns, missing=options.missing
        )
        table, titles, given = data.table, {}, None
        if options.titles or options.ratings:
            known = frozenset(map(str, data.items.values.tolist()))
        if options.titles:
            titles = read_titles(options.titles, item_name=table.item_name, item_ids=known)
        if options.ratings:
            given = read_item_ratings(
                options.ratings,
                names=(table.item_name, table.rating_name or "rating"),
                item_ids=known,
                within=(table.ratings.min(), table.ratings.max()),
            )
    ensemble = open_ensemble(url, data, study_name=options.study_name, device=device, say=print)
    if options.out is not None:
        read = [data.file, options.titles, options.ratings, database_file(url)]
        check_writable(options.out, precious=[path for path in read if path is not None])
        check_ending(options.out)

    models, asked = ensemble.models(), {"n": options.items, "titles": titles}
    found: Recommendations | SimilarItems
    if options.similar is not None:
        found = recommending.similar_items(models, data, options.similar, **asked)
        heading = f"Like {found.item_id} ({table.item_name})"
        heading += f", {found.title}" if found.title else ""
        about = {"item": found.item_id}
    elif given is not None:
        found = recommending.recommend_to_newcomer(models, data, *given, **asked)
        about = {"user": None}
        heading = f"For a new user who has rated {found.n_rated:,} of the items"
        if found.n_unknown:
            heading += f", and {found.n_unknown:,} that the data do not have"
    else:
        found = recommending.recommend(models, data, options.user, **asked)
        about = {"user": found.user_id}
        heading = f"For {options.user} ({table.user_name}), who has rated {found.n_rated:,}"
    _show(heading, found.columns())
    if options.out is not None:
        write_columns(options.out, list(found.columns().items()))
        print(f"Wrote: {options.out}, {len(found):,} items")
    listed = {name: np.asarray(values).tolist() for name, values in found.columns().items()}
    return Outcome(
        facts={
            "study": ensemble.study.study_name,
            **{kind: np.asarray(one).tolist() for kind, one in about.items()},
            "heading": heading,
            "items": [
                dict(zip(listed, row, strict=True)) for row in zip(*listed.values(), strict=True)
            ],
            "files": {"out": options.out and str(options.out)},
        }
    )


def _show(heading: str, columns: Mapping[str, "ArrayLike"]) -> None:
    """Prints a table that fits the terminal; a title is cut where it does not."""
    import numpy as np
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console, table = Console(highlight=False), Table(box=None, pad_edge=False)
    arrays = {name: np.asarray(values) for name, values in columns.items()}
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
    print(f"{heading}\n{shown.get()}", end="")


if __name__ == "__main__":
    main()
