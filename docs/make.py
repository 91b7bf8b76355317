"""Makes the pictures and the example output of the documents anew, of the built-in demonstration.

    python docs/make.py [terminal] [report] [output] [notebook]

All of them if none is named. In a folder of its own 30 trials run on a pseudo-terminal
(terminal.webp), then 100 (report.webp, and what `study.best_predict` prints, for README.md); the
notebook is executed. Pictures need Chromium. docs/peers.webp and
docs/league.webp are drawn by `python -m benchmarks.peers --plot` and `benchmarks.league --plot`.
"""

import io
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
from fcntl import ioctl
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

DOCS = Path(__file__).resolve().parent
PARTS = ("terminal", "report", "output", "notebook")
WIDTH, N_LINES = 86, 40  # characters of the terminal
PROMPT = "$ python -m study.run --trials 30\n"
PIXELS = 1375  # that a picture is wide
INK = TerminalTheme((24, 26, 31), (214, 216, 220), [(24, 26, 31)] + [(214, 216, 220)] * 7)
STYLE = """body {margin: 0; padding: 26px; background: #181a1f; color: #d6d8dc}
pre {margin: 0; font: 16px/1.5 monospace; white-space: pre-wrap; overflow-wrap: anywhere}"""
CONTROL = re.compile(r"\r|\n|\x1b\[[?\d;]*[A-Za-z]|[^\r\n\x1b]+")


class Screen:
    """The lines of a terminal, colours within them, as what is written leaves them."""

    def __init__(self) -> None:
        self.lines, self._row = [""], 0

    def write(self, text: str) -> None:
        """Follows line ends, ways up, erased lines and colours; other control is left out."""
        for part in CONTROL.findall(text):
            if part == "\n":
                self._row += 1
                self.lines += [""] * (self._row + 1 - len(self.lines))
            elif re.fullmatch(r"\x1b\[\d*A", part):
                self._row = max(self._row - int(part[2:-1] or 1), 0)
            elif part == "\x1b[2K":
                self.lines[self._row] = ""
            elif (part[0] != "\x1b" and part != "\r") or part[-1] == "m":
                self.lines[self._row] += part


def main() -> None:
    """Makes the parts that are named."""
    wanted = sys.argv[1:] or PARTS
    if unknown := set(wanted) - set(PARTS):
        sys.exit(f"docs/make.py: expected some of {', '.join(PARTS)}, got {min(unknown)}")
    browser = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    if browser is None and {"terminal", "report"} & set(wanted):
        sys.exit("docs/make.py: pictures need a Chromium, and there is none in PATH")
    os.environ["PYTHONPATH"] = str(DOCS.parent)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if {"terminal", "report", "output"} & set(wanted):
            middle, end = on_a_terminal([sys.executable, "-m", *PROMPT.split()[3:]], folder)
        if browser and "terminal" in wanted:
            first = next(
                n for n, line in enumerate(end) if line.startswith(("Gain over", "Loss over"))
            )
            lines = [*PROMPT.splitlines(), *middle, "    …", *end[first:-1]]
            page = folder / "terminal.html"
            page.write_text(terminal_page(lines))
            rows = sum(max(-(-len(Text.from_ansi(line)) // WIDTH), 1) for line in lines)
            photograph(browser, page, DOCS / "terminal.webp", (880, 24 * rows + 52))
        if {"report", "output"} & set(wanted):
            command(folder, "study.run", "--trials", "100")
        if browser and "report" in wanted:
            (page,) = (folder / "runs").glob("*.html")
            photograph(browser, page, DOCS / "report.webp", (1100, 2100))
        if "output" in wanted:
            print(command(folder, "study.best_predict"), end="")
    if "notebook" in wanted:
        command(DOCS.parent, "tests.test_notebook", "--write")


def command(folder: Path, module: str, *arguments: str) -> str:
    """What a command prints in a folder."""
    words = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(words, cwd=folder, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def on_a_terminal(words: list[str], folder: Path) -> tuple[list[str], list[str]]:
    """The lines that a command shows when half of its trials are done, and at its end."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", N_LINES, WIDTH, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color"}
    process = subprocess.Popen(words, cwd=folder, env=environment, stdout=theirs, stderr=theirs)
    os.close(theirs)
    screen, middle, unfinished = Screen(), [""], b""
    while True:
        try:
            unfinished += os.read(ours, 1 << 16)
        except OSError:  # the other end is closed
            break
        text, unfinished = whole(unfinished)
        screen.write(text)
        if any(" 14 of 30" in Text.from_ansi(line).plain for line in screen.lines):
            middle = [line for line in screen.lines if line]
    if process.wait():
        sys.exit("docs/make.py: the study failed")
    return middle, screen.lines


def whole(text: bytes) -> tuple[str, bytes]:
    """The text until its last line end, and the rest."""
    head, end, rest = text.rpartition(b"\n")
    return (head + end).decode(), rest


def terminal_page(lines: list[str]) -> str:
    """A page that shows the lines as a terminal does."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    for line in lines:
        console.print(Text.from_ansi(line), soft_wrap=True)
    code = "<pre>{code}</pre>"
    shown = console.export_html(theme=INK, inline_styles=True, code_format=code)
    return f'<meta charset="utf-8"><style>{STYLE}</style>{shown}'


def photograph(browser: str, page: Path, picture: Path, size: tuple[int, int]) -> None:
    """Writes what a browser shows of a page in a window of that size."""
    subprocess.run(
        [
            *(browser, "--headless", "--no-sandbox", "--hide-scrollbars"),
            f"--force-device-scale-factor={PIXELS / size[0]}",
            f"--window-size={size[0]},{size[1]}",
            f"--screenshot={picture}",
            page.as_uri(),
        ],
        stderr=subprocess.DEVNULL,
        check=True,
    )


if __name__ == "__main__":
    main()
