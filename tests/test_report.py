"""The report: its figures are the study's, it needs nothing else, and shows studies of any kind."""

import html
import json
import os
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial
from planted_studies import HOSTILE, failed, finals, full, plant, some_trials, trial

from model.solvers import SOLVERS
from storage.database import open_storage, parse_storage_url
from study import best_predict, run
from study.record.attributes import StudyView, TrialView
from study.record.parameters import SAME_SPACES, SPACE_VERSION, to_config, to_params
from study.record.ranking import best_settings
from study.record.record import Record
from study.report import __main__ as report
from study.report.findings import findings, importances
from study.report.page import render, report_path, write_report
from study.report.summary import summary

Call = Callable[..., tuple[int, str, str]]


class Page(HTMLParser):
    """What a page holds: its elements, and its text by element."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        for tag in {*self._open, "page"}:
            self.text.setdefault(tag, []).append(data)

    def said(self, tag: str = "page") -> str:
        """The text within all elements of a kind, in one line."""
        return " ".join(" ".join(self.text.get(tag, [])).split())

    def of(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of all elements of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]


def page_of(record: Record) -> Page:
    return Page(render(findings(record)))


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/runs/study.db"


@pytest.fixture
def storage(url: str) -> Any:
    return open_storage(parse_storage_url(url))


@pytest.fixture
def call(outcome_of: Call, tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Calls the command: its exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    return lambda *arguments: outcome_of(report.main, *arguments, "--storage", url)


def test_figures_of_different_splits_never_stand_side_by_side() -> None:
    """Also where the timeout cut the trial of the winner, so that its own error tells little."""
    trials = some_trials(12)
    ranking = finals(trials)
    winner = trials[ranking["trials"][0]]
    winner.user_attrs |= {"stopped": "timeout", "validation_mse": 9.0}
    record = plant(None, "mine", trials, **{StudyView.ranking.name: ranking})
    found = findings(record)
    assert found.best is not None
    assert (found.best_rmse, found.best.fresh_rmse) == (3.0, ranking["rmse"][0])
    told = summary(record)
    validation = (
        "RMSE on the validation ratings, which chose it:\n    it                   3.0000, cut"
    )
    assert f"{validation} by the timeout\n" in told
    assert "Gain" not in told
    assert f"{ranking['rmse'][0]:.4f}" not in told


def test_a_gain_is_one_on_ratings_that_chose_nothing() -> None:
    record = full()
    lines = summary(record).splitlines()
    share = 100 * (1 - 0.8601 / 0.96)
    assert lines[0] == (
        f"Gain over biases alone: RMSE 0.9600 -> 0.8601, {share:.1f} % lower, on 2 fresh splits"
    )
    assert "    original's setting   1.2500, worse than a constant, 1.2000" in lines
    assert max(map(len, lines)) <= 80
    assert "Gain" not in "".join(lines[1:])
    said = page_of(record).said("main")
    assert f"An error {share:.1f} % lower than that of biases alone" in page_of(record).said("h1")
    assert f"Over biases alone −{share:.1f} % RMSE 0.9600 → 0.8601, on 2 fresh splits" in said
    assert "RMSE of the original’s setting 1.2500 on the validation ratings; the best" in said
    assert ", a constant 1.2000" in said


def test_no_gain_is_told_that_may_be_chance() -> None:
    record = full()
    levels = {"all": 0.0, "by_user": [0.0] * 6, "by_item": [0.0] * 6, "slope": 0.25}
    chance = {**(record.held_out or {}), "mean_rmse": 0.87, "gain": [0.011, -0.004, 0.026]}
    record.keep(StudyView.held_out, {**chance, "levels": levels})
    assert "Answers keep 25 % of what lies above or below the mean" in summary(record).split("\n")
    ranking = {**(record.ranking or {}), "average_gain": [0.0, -0.001]}
    record.keep(StudyView.ranking, ranking)
    assert "Averaging the first 2, which cannot be told apart" in summary(record).split("\n")
    told = "No gain over the mean rating that can be told"
    assert summary(record).splitlines()[0] == f"{told}: RMSE 0.8700 -> 0.8601, on 2 fresh splits"
    page = page_of(record)
    assert page.said("h1") == told
    assert "Over the mean rating none told RMSE 0.8700 → 0.8601" in page.said("main")
    assert "lower" not in page.said("main")
    assert "The mean of the first 2 answers, for they cannot be told apart." in page.said("main")
    record.keep(StudyView.held_out, {**chance, "gain": [0.011, 0.004, 0.018]})
    assert summary(record).startswith("Gain over the mean rating: RMSE 0.8700 -> 0.8601, 1.1 %")
    assert "An error 1.1 % lower than that of the mean rating" in page_of(record).said("h1")


def test_a_finalist_is_known_by_its_setting_if_that_was_tried_again() -> None:
    trials = some_trials(12)
    ranking = finals(trials)
    cut = ranking["trials"][2]
    params, found = trials[cut].params, trials[cut].user_attrs
    trials.append(trial(params, found["validation_rmse"] - 1e-6, place=12))
    found["stopped"] = "timeout"
    record = plant(None, "mine", trials, **{StudyView.ranking.name: ranking})
    study = record.study
    numbers = [setting.trial.number for setting in best_settings(study, 99)]
    assert numbers[: len(ranking["trials"])] == [12 if n == cut else n for n in ranking["trials"]]
    assert cut not in numbers


def test_figures_are_those_of_the_study() -> None:
    record = full()
    study = record.study
    page, trials = page_of(record), study.get_trials()
    said = page.said("main")
    assert "0.8601 95 % interval 0.841 to 0.879, on 2 fresh splits" in said
    pruned = sum(one.state is TrialState.PRUNED for one in trials)
    assert f"60 {pruned} pruned, 0 failed, 30.0 s" in said
    assert "The mean of the first 2 is 0.12 % better than the first." in said
    assert "diverged" in said
    for solver in ("gibbs", "als", "gradient"):
        own = [one for one in trials if one.params["solver"] == solver]
        best = min(one.user_attrs["validation_mse"] for one in own) ** 0.5
        n_epochs = sum(len(one.intermediate_values) for one in own)
        gone = sum(one.state is TrialState.PRUNED for one in own)
        seconds = 0.5 * len(own)
        each = f"{1000 * seconds / n_epochs:.1f} ms"
        row = f"{solver} {seconds:.1f} s {len(own)} {gone} {n_epochs:,} {each} {best:.4f}"
        assert row in said
    assert "An interval for nine ratings of ten is 2.88 wide" in said
    assert "90 % 90.3 %" in said
    assert "10 to 99 990 0.8800 0.860 – 0.900 0.9500" in said
    assert f"1,234 ratings of 56 users, from {HOSTILE} , and lists for 48 of them" in said
    assert "RMSE 0.8765 0.8600 – 0.8900 bias, predicted less true −0.0200" in said
    row = "345 0.9100 0.870 – 0.950 −0.012"
    assert f"age of the user {HOSTILE} {row} 88.7 % 0.2468 old {row}" in said


def test_the_setting_can_be_copied() -> None:
    record = full()
    study = record.study
    text = render(findings(record))
    winner = study.get_trials()[study.user_attrs[StudyView.ranking.name]["trials"][0]]
    blocks = dict(re.findall(r'<pre id="(\w+)" tabindex="0">(.*?)</pre>', text, re.DOTALL))
    params = json.loads(html.unescape(blocks["json"]))
    assert params == winner.params
    scope: dict[str, Any] = {}
    imports, _, expression = html.unescape(blocks["python"]).partition("\n\n")
    exec(imports, scope)
    assert eval(expression, scope) == to_config(params)
    copied = {one["data-copies"] for one in page_of(record).of("button")}
    assert copied == set(blocks)


def test_every_trial_is_in_the_charts_and_in_the_table() -> None:
    record = full()
    study = record.study
    page = page_of(record)
    marks = [int(one["data-t"] or 0) for one in page.of("use") if "data-t" in one]
    rows = [int(one["data-t"] or 0) for one in page.of("tr") if "data-t" in one]
    curves = [one for one in page.of("path") if "data-t" in one]
    ranking = study.user_attrs[StudyView.ranking.name]["trials"]
    assert sorted(rows) == sorted([*range(60), *ranking])
    assert set(marks) == set(range(60))
    assert sorted(int(one["data-t"] or 0) for one in curves) == list(range(60))
    for one in curves:
        state = study.get_trials()[int(one["data-t"] or 0)].state
        assert ("pruned" in (one["class"] or "")) == (state is TrialState.PRUNED)


def test_the_original_does_not_squash_the_axis() -> None:
    record = full()
    study = record.study
    text = render(findings(record))
    plot = text[text.index('aria-label="Search history"') :]
    plot = plot[: plot.index("</svg>", plot.index("<use"))]
    places = {
        int(n): float(y) for y, n in re.findall(r'<use [^>]*y="([\d.]+)" data-t="(\d+)"', plot)
    }
    errors = {one.number: one.user_attrs["validation_mse"] for one in study.get_trials()}
    order = sorted(errors, key=errors.__getitem__)
    assert sorted(places, key=places.__getitem__, reverse=True) == order
    assert places[order[0]] - places[order[15]] > 50  # pixels between the best and the 16th
    assert 0 < places[0] < 20  # the original's


def test_the_parameter_that_matters_is_found_and_sliced() -> None:
    found = findings(full(n=80))
    shares = importances(found.of("gibbs"), "gibbs")
    assert next(iter(shares)) == "gibbs_rank"
    assert sum(shares.values()) == pytest.approx(1)
    assert importances(found.of("gibbs")[:9], "gibbs") == {}
    text = render(found)
    assert f"{100 * shares['gibbs_rank']:.0f} %" in text
    assert 'aria-label="Validation RMSE by rank"' in text


def test_text_of_the_database_is_text(storage: Any) -> None:
    name = f"{HOSTILE} ../x \"'&"
    record = full(storage, name, n=12, data=f"{HOSTILE}\udcff\x07")
    study = record.study
    trials = [failed(60, failed=HOSTILE), failed(61, **{TrialView.interrupted.name: HOSTILE})]
    study.add_trials(trials)
    text = render(findings(record))
    assert HOSTILE not in text
    page = Page(text)
    assert name in page.said("bdi")
    assert f"failed: {HOSTILE}" in page.said("td")
    assert len(page.of("script")) == 1


def test_a_name_does_not_lead_out_of_the_folder(storage: Any, tmp_path: Path) -> None:
    for name in ("../x", HOSTILE, "/etc/x", "..", "a" * 300):
        record = plant(storage, name, some_trials(2))
        path = report_path(record, tmp_path / "runs")
        write_report(record, path)
        assert path.resolve().parent == tmp_path / "runs"
        assert path.stat().st_size > 5000
    assert not [path for path in tmp_path.rglob("*.html") if path.parent != tmp_path / "runs"]


def test_the_page_asks_nothing_of_the_network() -> None:
    text = render(findings(full()))
    page = Page(text)
    assert not re.search(r"https?:|url\(|@import", text)
    for _, attributes in page.elements:
        assert not {"src", "srcset", "data", "action", "style", "onclick"} & set(attributes)
        assert (attributes.get("href") or "#").startswith("#")
    ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    assert {(one["href"] or "")[1:] for one in page.of("use")} <= ids
    policy = next(one["content"] or "" for one in page.of("meta") if "http-equiv" in one)
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy


def test_a_report_of_a_hundred_trials_is_small(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    write_report(full(n=100), path)
    assert path.stat().st_size < 300_000


@pytest.mark.parametrize("n", [1, 2, 12])
def test_small_studies(n: int) -> None:
    page = page_of(plant(None, "small", some_trials(n)))
    assert f"Trials finished {n}" in page.said()
    assert "Too few trials to tell of" in page.said()
    assert "best_predict --intervals FILE" in page.said("code")
    assert re.match(r"RMSE \d\.\d{4}, on the ratings that chose it$", page.said("h1"))
    assert "95 % interval" not in page.said()


def test_studies_without_a_result() -> None:
    page = page_of(plant(None, "empty", []))
    assert page.said("h1") == "No trial has come to a result"
    assert "Trials: none" in page.said("footer")
    record = plant(None, "failed", [failed(n, failed="out of memory") for n in range(3)])
    page = page_of(record)
    assert page.said("h1") == "No trial has come to a result"
    assert page.said("td").count("failed: out of memory") == 3
    assert next(one for one in page.of("details")) == {"open": None}


def test_no_original_and_a_loss() -> None:
    record = full(name="loss", n=8)
    record.keep(StudyView.held_out, {**(record.held_out or {}), "biases_rmse": 0.5})
    assert " % higher than that of biases alone" in page_of(record).said("h1")
    record = plant(None, "no original", some_trials(8)[1:])
    assert "original’s setting" not in page_of(record).said("main")


def test_ratings_that_are_told_exactly() -> None:
    perfect = trial(to_params(SOLVERS["als"].default), 0.0, place=0)
    page = page_of(plant(None, "exact", [perfect], **{StudyView.biases_rmse.name: 0.0}))
    assert "RMSE of the best 0.0000" in page.said()


def test_a_trial_without_reports_has_no_curve() -> None:
    silent = trial(to_params(SOLVERS["als"].default), 0.9, place=0, n_epochs=0)
    page = page_of(plant(None, "silent", [silent]))
    assert "0.9000" in page.said("main")
    assert "Learning curves" not in page.said("h2")
    assert "Search history" in page.said("h2")


def test_a_study_that_still_runs() -> None:
    done = some_trials(6)
    running = create_trial(
        state=TrialState.RUNNING,
        params=done[3].params,
        distributions=done[3].distributions,
        intermediate_values={1: 1.0},
    )
    page = page_of(plant(None, "running", [*done, running]))
    assert "still running when this page was made" in page.said()
    assert "Trials finished 6" in page.said()


def test_a_page_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.html"
    path.write_text("before")

    def stop(found: object) -> str:
        raise RuntimeError

    monkeypatch.setattr("study.report.page.tables.about", stop)
    with pytest.raises(RuntimeError):
        write_report(full(), path)
    monkeypatch.undo()

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_report(full(), path)
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["a.html"]


def test_the_command_takes_the_only_study_without_its_data(
    call: Call, storage: Any, tmp_path: Path
) -> None:
    full(storage, n=12)
    assert call()[:2] == (0, f"Study: mine\nReport: {tmp_path}/runs/mine.html\n")
    code, _, err = call("--study-name", "mine", "--out", "there.html")
    assert (code, err) == (0, "")
    assert Path("there.html").read_bytes() == (tmp_path / "runs" / "mine.html").read_bytes()


def test_a_study_that_kept_its_space_by_a_number_is_still_read(
    call: Call, storage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SAME_SPACES, 3, SPACE_VERSION)  # with whatever solvers there are now
    full(storage, n=8, space_version=3)
    assert call()[0] == 0
    full(storage, "older", n=8, space_version=2)
    code, _, err = call("--study-name", "older")
    assert code == 2
    assert f"study 'older': has search space 2, not {SPACE_VERSION}; choose another" in err


def test_what_the_command_refuses(call: Call, storage: Any, tmp_path: Path) -> None:
    full(storage, n=8)
    plant(storage, "other", [])
    optuna.create_study(study_name="foreign", storage=storage)
    for arguments, why in {
        ("--study-name", "none"): "study 'none': not in this database, which holds: foreign, mine,",
        ("--study-name", "foreign"): "study 'foreign': was not made by study.run",
        ("--study-name", "mine-finalists"): "was not made by study.run",
        (): "not in this database, which holds: foreign, mine, other;",
        ("--study-name", "mine", "--out", "runs/study.db"): "expected a file of its own",
        ("--study-name", "mine", "--out", "runs"): "expected a file to write, got a directory",
        ("--study-name", "mine", "--data", "gone"): "gone",
        ("--study-name", "mine", "--device", "cpu"): "No such option",
    }.items():
        code, out, err = call(*arguments)
        assert (code, out) == (2, ""), arguments
        assert why in err
        assert err.count("\n") == 1
    assert not list(tmp_path.rglob("*.html"))


@pytest.mark.parametrize(
    ("attributes", "params", "why"),
    [
        ({"validation_mse": "good"}, {}, "expected a number as its validation_mse, got 'good'"),
        ({"best_epoch": None}, {}, "expected a whole number as its best_epoch, got 'None'"),
        ({}, {"solver": "als"}, "lacks the parameter als_"),
    ],
)
def test_a_trial_that_something_else_has_changed(
    call: Call, storage: Any, attributes: dict[str, Any], params: dict[str, Any], why: str
) -> None:
    one = trial(to_params(SOLVERS["gibbs"].default), 0.9, place=0, **attributes)
    one.params |= params
    plant(storage, "mine", [one])
    code, out, err = call("--study-name", "mine")
    assert (code, out) == (2, "")
    assert f"study 'mine', trial 0: {why}" in err
    assert err.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_in_a_browser(browser: Any, tmp_path: Path, scheme: str) -> None:
    path = tmp_path / "a.html"
    write_report(full(name=HOSTILE, data=HOSTILE * 5), path)
    for width in (320, 390, 1024, 1600):
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        page = context.new_page()
        said: list[str] = []
        asked: list[str] = []
        page.on("console", lambda message, said=said: said.append(message.text))
        page.on("pageerror", lambda error, said=said: said.append(str(error)))
        page.on("dialog", lambda dialog, said=said: said.append(dialog.message))
        page.on("request", lambda request, asked=asked: asked.append(request.url))
        page.goto(path.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.locator("use[data-t]").nth(5).hover(force=True)
        assert page.inner_text("#tip").startswith("Trial 5")
        page.click("button[data-copies=json]")
        assert "gibbs_rank" in page.evaluate("getSelection().toString()")
        assert (said, asked) == ([], [path.as_uri()])
        context.close()


def test_what_the_commands_leave_is_in_the_page(
    few_epochs: None, call: Call, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for command, options in ((run, ["--trials", "5"]), (best_predict, ["--intervals", "a.csv"])):
        with pytest.raises(SystemExit) as exit_:
            command.main([*options, "--storage", url])
        assert exit_.value.code == 0
    out = capsys.readouterr().out
    (study,) = (
        one for one in optuna.get_all_study_summaries(url) if "finalists" not in one.study_name
    )
    storage = open_storage(parse_storage_url(url))
    record = Record(optuna.load_study(study_name=study.study_name, storage=storage), storage)
    written = report_path(record, Path("runs"))
    assert f"Report: {written}\n" in out
    before = Page(written.read_text()).said("main")
    assert call()[0] == 0
    after = Page(written.read_text()).said("main")
    assert "best_predict --intervals FILE" in before
    for text in re.findall(r"\d\.\d{4} -> \d\.\d{4}", out):
        assert f"RMSE {text.replace('->', '→')}" in before
    assert "95 % interval" in before
    assert "An interval for nine ratings of ten is" in after
    held = [float(one) for one in re.findall(r"90 % ([\d.]+) %", after)]
    assert held == [pytest.approx(90, abs=2)]
    trial = re.search(r"Best by \D+: trial (\d+), after", out)
    assert trial
    assert f"Trial {trial[1]}, " in after
