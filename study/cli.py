"""How commands run: what they are asked, one-line errors, exit codes. Imports nothing heavy."""

import io
import json
import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from storage.errors import InputError, ParameterError, fault_outside, printable
from storage.keeping import DEFAULT_KEEP
from storage.sources import Sources
from storage.stores import StoredPath
from storage.urls import hidden, without_passwords
from study.drawing import Drawing
from study.tuning import DEFAULT_STORAGE, find

if TYPE_CHECKING:
    from sqlalchemy import URL

    from study.inputs import Data
    from study.result import Result

COMMANDLINE = click.core.ParameterSource.COMMANDLINE
FAILED = 1
BAD_INPUT = 2
INTERRUPTED = 130
NOBODY_READS = 141
EXIT_CODES = """\
exit codes:
  0    done, or time is up
  1    trials keep failing, or a file, the database or memory failed
  2    bad input
  130  interrupted
  141  nobody reads standard output any more, as of `| head`
"""
MANY = 4  # items a user, from which on ranks had better share out items
LONGEST_SILENCE = 10.0  # seconds that a rank waits for the first one to say what is wrong
SCRIPTS = {  # what pyproject.toml calls the commands
    "study.run": "rating-study",
    "study.best_predict": "rating-predict",
    "study.evaluate": "rating-evaluate",
    "study.recommend": "rating-recommend",
    "study.report": "rating-report",
    "study.export": "rating-export",
    "study.forget": "rating-forget",
    "study.serve_model": "rating-serve",
}
STORAGE = '"$STORAGE"'  # in a command that is printed, for a URL that is not

PARAMETERS = (  # of the Python face that are options of a command
    "about|average|columns|data|device|fresh|intervals|items|keep|missing|out|queries|seed|"
    "save_model|setting_of|split|storage|study_name|test|timeout|titles|trials|truth|users|workers"
)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a command came to."""

    code: int = 0
    facts: Mapping[str, object] = field(default_factory=dict)  # for --json


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The options that every command on a study has: which ratings, and which study of them."""

    sources: Sources
    storage: str
    study_name: str | None
    device: str = "auto"
    setting_of: str | None = None
    keep: str | int = DEFAULT_KEEP

    @property
    def words(self) -> list[str]:
        """Them again as words of a command line, as far as they are not as by default."""
        told = self.sources
        words = {
            "--data": _word(told.data),
            "--columns": None if told.columns is None else ",".join(told.columns),
            "--missing": None if told.missing is None else f"{told.missing:.15g}",
            "--items": _word(told.items),
            "--users": _word(told.users),
            "--storage": None if self.storage == DEFAULT_STORAGE else self.storage,
            "--study-name": self.study_name,
        }
        return [word for name, value in words.items() if value for word in (name, value)]

    def url(self, *, must_exist: bool = False) -> "URL":
        """The URL of the database, checked.

        Raises:
            InputError: it is none, or there is no such database and there must be.
        """
        from storage.database import check_database, parse_storage_url

        url = parse_storage_url(self.storage)
        check_database(url, must_exist=must_exist)
        return url

    def load(self, drawing: Drawing, *, alone: bool = False) -> "Data":
        """The ratings: of several ranks, unless this one reads alone, those of its own users.

        Raises:
            InputError: they cannot be read.
        """
        from storage.database import parse_storage_url, runs_folder
        from storage.memory import check_addresses

        check_addresses()
        from model.world import ALONE, joined
        from study.inputs import load_data

        world, runs = ALONE if alone else joined(), runs_folder(parse_storage_url(self.storage))
        if len(set(world.everyones(f"{_version()} {self}"))) > 1:
            raise InputError("expected the same command, of one version, on all ranks, got others")
        if world.size > 1:
            drawing.say(f"Ranks: {world.size}")
        found = load_data(self.sources, runs=runs, on_event=drawing, world=world)
        columns = found.known.columns
        if world.size > 1 and columns and len(found.known.items) > MANY * found.totals.n_users:
            user, item, *more = columns
            swapped = ",".join([item, user, *more])
            drawing.say(
                "Items are many more than users, and every rank has a row of each: with\n"
                f"--columns {swapped} ranks share them out in place of users"
            )
        return found

    def find(self, ratings: "Data", drawing: Drawing) -> "Result":
        """What the study of these ratings has found.

        Raises:
            InputError: there is none.
        """
        return find(
            ratings,
            storage=self.storage,
            study_name=self.study_name,
            setting_of=self.setting_of,
            device=self.device,
            keep=self.keep,
            on_event=drawing,
        )


def run_command(
    function: Callable[..., int | Outcome],
    prog: str,
    arguments: Sequence[str] | None,
    *,
    epilog: str = "",
    may_share: bool = False,
) -> NoReturn:
    """Runs a function that has click's options, and exits with its code.

    Bad input is one line on standard error. The function is called with a `Drawing`, on which it
    tells what goes on, with what is `Asked` if it has those options, and with its own options.
    Of the ranks that `torchrun` started, which all call this, the first one talks.

    Args:
        function: the command.
        prog: its module.
        arguments: of the command line; those of this process if not told.
        epilog: of its help.
        may_share: whether ranks can share the work.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a file's name may hold what cannot be encoded
            stream.reconfigure(errors="backslashreplace")
    called = as_called(f"python -m {prog}")

    def call(quiet: bool = False, as_json: bool = False, **named: Any) -> int:
        if "data" in named:
            named["sources"] = Sources(**_taken(named, Sources))
            named["asked"] = Asked(**_taken(named, Asked))
        if (size := ranks()[1]) > 1 and not may_share:
            raise click.UsageError(f"expected one process, got {size} ranks of torchrun")
        is_quiet = quiet or ranks()[0] > 0
        with Drawing(sys.stderr if as_json else None, quiet=is_quiet) as drawing:
            outcome = function(drawing, **named)
        if isinstance(outcome, int):
            outcome = Outcome(code=outcome)
        _end_together()
        if as_json and not ranks()[0]:
            print(json.dumps(outcome.facts, indent=2))
        return outcome.code

    made = click.Command(
        prog,
        callback=call,
        params=[*reversed(getattr(function, "__click_params__", []))],
        help=function.__doc__,
        epilog="\n\n".join("\b\n" + as_called(part) for part in [*_parts(epilog), EXIT_CODES]),
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    made = click.version_option(_version(), message="%(version)s")(made)
    given = list(sys.argv[1:] if arguments is None else arguments)
    _complete(made, called)
    try:
        with made.make_context(called, list(given)) as context:
            code = made.invoke(context)
        code = code if _flushed() else NOBODY_READS
    except click.exceptions.Exit as shown:  # --help, --version
        code = shown.exit_code if _flushed() else NOBODY_READS
    except click.ClickException as error:
        said = _without_urls(error.format_message(), given).strip().rstrip(".")
        complain(prog, f"{said}; --help lists the options")
        code = BAD_INPUT
    except BrokenPipeError:
        _flushed()
        code = NOBODY_READS
    except InputError as error:
        named = isinstance(error, ParameterError)
        complain(prog, as_options(str(error).replace(":", "=:", 1) if named else str(error)))
        code = BAD_INPUT
    except KeyboardInterrupt:
        complain(prog, "stopped at once", begin="\n")
        code = INTERRUPTED
    except Exception as error:
        if not (reason := fault_outside(error)):
            raise
        complain(prog, f"{reason}; what was finished before is kept")
        code = FAILED
    _end(code)


def refuse_beside_model(*more: str) -> None:
    """Raises UsageError if the command was told what a saved model has no use for.

    Args:
        more: parameters of the command, besides those that say which ratings and which study.
    """
    context = click.get_current_context()
    of_study = {one.name for kind in (Sources, Asked) for one in fields(kind)} | set(more)
    for one in context.command.params:
        if one.name in of_study and context.get_parameter_source(one.name) is COMMANDLINE:
            raise click.UsageError(
                f"Expected no {one.opts[0]} beside --model, which answers without a study"
            )


def as_called(text: str) -> str:
    """The text with our commands called as this one was: as scripts, or by `python -m`."""
    if Path(sys.argv[0]).stem not in SCRIPTS.values():
        return text
    return re.sub(r"python -m (study\.\w+)", lambda found: SCRIPTS.get(found[1], found[0]), text)


def as_options(text: str) -> str:
    """What speaks of parameters, such as `columns=` or `seed=3`, with options instead."""

    def told(found: re.Match[str]) -> str:
        option = "--" + found[1].replace("_", "-")
        if found[2] is None:
            return option
        return f"{option} {shlex.quote(found[2][1:-1]) if found[2] else ''}"

    return re.sub(rf"\b({PARAMETERS})=('[^']*'|(?=[\w/.~-]))?", told, text)


def complain(prog: str, message: str, *, begin: str = "") -> None:
    """Prints what is wrong, in one line on standard error, unless the first rank is to say so."""
    if ranks()[0]:
        return
    name = as_called(f"python -m {prog}").removeprefix("python -m ")
    said = without_passwords(as_called(" ".join(message.split())))
    print(f"{begin}{name}: {printable(said)}", file=sys.stderr)


def ranks() -> tuple[int, int]:
    """Which of the processes that `torchrun` started this one is, and how many there are."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return 0, 1
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def _end_together() -> None:
    """Waits for the other ranks, if there are any: one that ends before them ends them too."""
    if ranks()[1] > 1:
        from model.world import leave

        leave()


def _end(code: int) -> NoReturn:
    """Exits; of ranks that fail, the first one at once, which ends the others, who wait for that.

    Nothing is taken down before: a thread of gloo that then lets go of a tensor asks for an
    interpreter that is gone, and aborts the process.
    """
    if code and ranks()[1] > 1:
        if ranks()[0]:
            time.sleep(LONGEST_SILENCE)
        _flushed()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _taken(named: dict[str, Any], kind: type) -> dict[str, Any]:
    """What of the named values are fields of a dataclass, taken out of them."""
    return {one.name: named.pop(one.name) for one in fields(kind) if one.name in named}


def _word(told: object) -> str | None:
    """A file as a word of the command line, without a password."""
    if isinstance(told, StoredPath):
        return told.word
    return None if told is None else str(told)


def seen_from_here(path: Path) -> Path:
    """The path as people write it: from the working folder, if it lies there."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def storage_word(url: "URL") -> str:
    """The URL as a word for the shell; a variable in its place if it may hold a password."""
    from storage.proxy import shown

    return STORAGE if url.password or url.query else shlex.quote(shown(url))


def _complete(command: click.Command, called: str) -> None:
    """Answers the shell that asks how a command line may go on."""
    variable = f"_{called}_complete".replace("-", "_").upper()
    if wish := os.environ.get(variable):
        from click.shell_completion import shell_complete

        sys.exit(shell_complete(command, {}, called, variable, wish))


def _without_urls(message: str, given: Sequence[str]) -> str:
    """A message without passwords that stand in what was given, which may be in a wrong place."""
    for word in given:
        for part in (word, word.partition("=")[2]):
            if "@" in part or "//" in part:
                for form in (part, repr(part)[1:-1]):
                    message = message.replace(form, hidden(part))
    return message


def _parts(text: str) -> list[str]:
    """The paragraphs of a text."""
    return [part for part in text.split("\n\n") if part.strip()]


def _version() -> str:
    try:
        return version("rating-study")
    except PackageNotFoundError:  # run from a checkout
        return "unknown"


def _flushed() -> bool:
    """Whether all that was printed could be written; if nobody reads it any more, it is dropped."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        return False
    return True
