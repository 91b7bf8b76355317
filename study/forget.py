"""`python -m study.forget`: takes a person out of models, and of what is kept beside a study."""

from collections.abc import Sequence
from pathlib import Path

import click

from study.cli import Outcome, run_command
from study.drawing import Drawing
from study.options import OUTPUT, FilePath, options
from study.tuning import DEFAULT_STORAGE

PROG = "study.forget"
EPILOG = """\
examples:
  python -m study.forget --user 42
  python -m study.forget --user 42 --model movies.model --model old.model

Take the person out of the file of ratings, too, and out of files with
answers: these are yours, and stay as they are.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; exits with 0 or 2 (bad input)."""
    run_command(forget, PROG, arguments, epilog=EPILOG)


@options(
    click.option("--user", metavar="ID", help="Whom to forget."),
    click.option(
        "--model",
        "models",
        type=FilePath(),
        multiple=True,
        metavar="FILE",
        help="A saved model to take them out of; may be told more than once.",
    ),
    click.option(
        "--storage",
        default=DEFAULT_STORAGE,
        show_default=True,
        metavar="URL",
        help="The database, a SQLAlchemy URL, beside which models and parsed files lie.",
    ),
    OUTPUT,
)
def forget(
    drawing: Drawing, *, user: str | None, models: tuple[Path, ...], storage: str
) -> Outcome:
    """Takes a user's rows out of saved models, removes what is kept beside the database that has
    them, and says what remains.
    """
    if user is None:
        raise click.UsageError("Expected --user ID, whom to forget")
    with drawing.status("Looking…"):
        from storage.database import check_database, open_storage, parse_storage_url, runs_folder
        from storage.errors import InputError
        from study.answers.traces import remove_traces
        from study.held import Model

        url = parse_storage_url(storage)
        held = [(path, Model.load(path)) for path in models]
    changed = []
    for path, model in held:
        try:
            found = model.forget(user)
        except InputError:
            drawing.say(f"Model: {path}, which does not know {user}")
            continue
        found.save(path)
        n = len(model.known.ratings) - len(found.known.ratings)
        drawing.say(f"Model: {path}, without {user} and their {n:,} ratings now")
        changed.append(str(path))
    opened, missing = None, None
    try:
        check_database(url, must_exist=True)
        opened = open_storage(url)
    except InputError as error:
        missing = error
    removed = remove_traces(user, runs_folder(url), opened)
    if missing and not (models or removed):
        raise missing
    drawing.say(f"Removed: {removed}")
    if not (changed or removed):
        raise InputError(f"user '{user}': in no model and in nothing that is kept beside {storage}")
    drawing.say(
        "Remains: your files of ratings and of users, files with answers, and in models what "
        "items' rows and others' learned from all ratings together; the database keeps figures of "
        "all users, and some ids as hashes"
    )
    facts = {"user": user, "models": changed, "files": removed.files, "studies": removed.studies}
    return Outcome(facts=facts)


if __name__ == "__main__":
    main()
