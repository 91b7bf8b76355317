"""What a study has found, and its predictions. Imports nothing heavy before it is called."""

import math
import warnings
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from storage.errors import InputError, ParameterError
from study.events import OnEvent, Said, ignored

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import optuna
    import torch
    from numpy.typing import ArrayLike, NDArray

    from model.splits import Split
    from study.answers.ensemble import Ensemble
    from study.answers.evaluation import Evaluation
    from study.answers.intervals import Calibration
    from study.answers.lists import Recommendations, SimilarItems
    from study.held import Model
    from study.inputs import Data, Frame, Source
    from study.known import Known
    from study.person import Id, Person
    from study.record.ranking import Setting
    from study.record.record import Record


class Ended(StrEnum):
    """Why a study stopped for now."""

    DONE = "done"
    TIME_IS_UP = "time is up"
    BY_HAND = "stopped by hand"
    FAILED = "failed"
    RUNNING = "still running"
    UNDECIDED = "not done"


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Result:
    """What a study has found, and its predictions."""

    record: "Record"
    ratings: "Data"
    storage: str  # the URL of the database, from any folder, without a password
    folder: Path  # beside the database, from any folder
    device: "torch.device"
    ended: Ended
    keep: int  # bytes of what is kept to save work that stay
    on_event: OnEvent = ignored
    titles: "Mapping[str, str] | None" = None  # of items; those of their table if not told

    @property
    def study(self) -> "optuna.Study":
        """The study itself."""
        return self.record.study

    @property
    def is_borrowed(self) -> bool:
        """Whether the study is of other ratings than these, which its settings answer for."""
        from study.record.record import Borrowed

        return isinstance(self.record, Borrowed)

    @property
    def best(self) -> "Setting | None":
        """The best setting, if a trial has come to a result."""
        from study.record.ranking import best_settings

        return next(iter(best_settings(self.study, 1)), None)

    @property
    def best_rmse(self) -> float:
        """The validation RMSE of the best setting; NaN if no trial has come to a result."""
        best = self.best
        return best.rmse if best else math.nan

    @property
    def biases_rmse(self) -> float:
        """The validation RMSE of biases alone; NaN if it is not known."""
        found = self.record.biases_rmse
        return math.nan if found is None else found

    @property
    def best_setting(self) -> dict[str, object]:
        """The parameters of the best setting, its solver among them; empty if there is none."""
        from study.record.parameters import to_params

        best = self.best
        return dict(to_params(best.config)) if best else {}

    def predict(
        self,
        pairs: "Source | Frame | None" = None,
        *,
        intervals: bool = False,
        average: int | None = None,
        quiet: bool = False,
    ) -> "Frame":
        """Predictions for pairs of user and item: a frame of the kind that they came in.

        It has the columns of user and item as they are called in the pairs, `prediction`, and with
        intervals `std`, `lower` and `upper`, the last two a calibrated 90 % interval. The models
        are trained on every rating at the first call, and loaded at later ones.

        Args:
            pairs: a data frame, a dict of columns or rows of user and item, or a file, whose
                answer is an Arrow table; if not told, those that a mat_comp file came with.
            intervals: whether to tell how sure each is: at the first call one more training each.
            average: how many of the best settings to average; as many as the finalists found worth
                it if not told.
            quiet: whether to tell nothing of what goes on.

        Raises:
            InputError: there are no pairs, they cannot be read or look swapped, or no trial has
                come to a result.
        """
        from storage.frames import as_frame
        from storage.predictions import arrow_table, asked_ids

        data = self.asked(pairs)
        if data.doubt:
            warnings.warn(data.doubt, stacklevel=2)
        answers = self.answer(data, average=average, quiet=quiet)
        columns = {"prediction": answers.predictions}
        if intervals:
            columns = answers.intervals
            if answers.calibration.doubt:
                warnings.warn(answers.calibration.doubt, stacklevel=2)
        table = arrow_table([*asked_ids(data.table), *columns.items()])
        frame: Frame = as_frame(table, like=pairs)
        self.tidy()
        return frame

    def evaluate(self, test: "Source | Frame", *, quiet: bool = False) -> "Evaluation":
        """How predictions, their intervals and lists do on ratings that are not in the study's.

        In all, and by number of ratings, time ahead and what tables of users and items say. What
        the intervals need is trained at the first call. The study keeps the main figures, for its
        report.

        Args:
            test: a data frame, a dict of columns or rows of user, item and rating, and maybe the
                time, or a file.
            quiet: whether to tell nothing of what goes on.

        Raises:
            InputError: it has no ratings, cannot be read, has nobody and nothing that is known, or
                no trial has come to a result.
        """
        found = self.score(self.asked(test, rated=True), quiet=quiet)
        for doubt in found.doubts:
            warnings.warn(doubt, stacklevel=2)
        return found

    def score(self, data: "Data", *, quiet: bool = False) -> "Evaluation":
        """The same for what `asked` gave, rated; what may be wrong with it stands in its `doubts`.

        Raises:
            InputError: pairs have no ratings, or no trial has come to a result.
        """
        import numpy as np

        from model.kernels.threads import torch_in_one_thread
        from model.logarithmic import compact_of
        from study.answers.evaluation import Test
        from study.record.attributes import StudyView

        if data.truth is None or np.isnan(data.truth).any():
            raise ParameterError("test", "expected a rating of every pair, to score by")
        table, known = data.table, data.known
        ids = table.query_user_ids, table.query_item_ids
        test = Test.of(known, data.queries, data.truth, ids=ids, times=table.query_times)
        answers = self.answer(data, quiet=quiet)
        columns, doubt = answers.intervals, answers.calibration.doubt
        lists = self._of_lists(ignored if quiet else self.on_event)
        lists.told.update(answers.ensemble.told)
        held, seed = self._answering(lists), self.record.seed or 0
        with torch_in_one_thread():
            # Which of all pairs at present come first need not be asked of each draw.
            compact = compact_of(held.models, present=known.present, seed=seed)
        found = replace(held, compact=compact).score(
            test,
            columns,
            source=data.asked_of or data.source,
            doubts=[one for one in (data.doubt, doubt) if one],
        )
        self.record.keep(StudyView.evaluation, found.to_keep())
        return found

    def asked(self, pairs: "Source | Frame | None" = None, *, rated: bool = False) -> "Data":
        """The ratings with the pairs that are asked for, or their own if none are told.

        Args:
            pairs: as of `predict`.
            rated: whether they must have ratings; those of which it is not known are left out.

        Raises:
            InputError: there are no pairs, they cannot be read or look swapped, or lack ratings.
        """
        from study.inputs import with_pairs

        if pairs is not None:
            return with_pairs(
                self.ratings, pairs, runs=self.folder, rated=rated, on_event=self.on_event
            )
        if self.ratings.table.about:
            raise InputError(
                f"{self.ratings.source}: holds no pairs to predict; queries= takes them"
            )
        return self.ratings

    def answer(self, data: "Data", *, average: int | None = None, quiet: bool = False) -> "Answers":
        """Predictions for the pairs that `asked` gave.

        Raises:
            InputError: no trial has come to a result.
        """
        from model.kernels.threads import torch_in_one_thread
        from study.answers.asked import SAID, kind_asked

        on_event = ignored if quiet else self.on_event
        kind = kind_asked(data, self.record.kinds)
        if kind in SAID:
            on_event(Said(f"Asked: {SAID[kind]}; answered as such ratings that were held out"))
        ensemble = self._ensemble(data, average, on_event, kind)
        if (average or 1) > 1:
            on_event(Said(ensemble.described(wanted=average or 1)))
        with torch_in_one_thread():
            predictions, spread = ensemble.answer()
        return Answers(ensemble=ensemble, predictions=predictions, spread=spread)

    def recommend(
        self,
        user: "Id",
        *,
        items: int = 10,
        among: "ArrayLike | None" = None,
        without: "ArrayLike" = (),
        rated: bool = False,
        why: bool = False,
    ) -> "Recommendations":
        """The items that a user of the ratings would like best, as of `Model.recommend`.

        Args:
            user: the id.
            items: how many at most.
            among: ids, or titles, of the items that may be listed; all if not told.
            without: those of items that may not.
            rated: whether those that the user has rated may be, too.
            why: whether to tell which of the user's ratings each prediction rests on.

        Raises:
            InputError: there is no such user, nothing is left, or no trial has come to a result.
        """
        return self._answering().recommend(
            user, items=items, among=among, without=without, rated=rated, why=why
        )

    def similar(self, item: "Id", *, items: int = 10) -> "SimilarItems":
        """The items that please whom an item pleases, which is named by id or title.

        Raises:
            InputError: there is no such item, or no trial has come to a result.
        """
        return self._answering().similar(item, items=items)

    def newcomer(
        self,
        ratings: "Mapping[Id, float] | Source | Frame" = (),
        *,
        about: "Mapping[str, str | float] | None" = None,
    ) -> "Person":
        """The model of somebody who is not in the ratings, as of `Model.newcomer`.

        Args:
            ratings: by the id or title of the item, as a dict, a Series or pairs; or a frame, or a
                file, of item and rating.
            about: what is known of them by column of the users' table, as in {"age": 31}.

        Raises:
            InputError: a rating is out of range, there is no such column, or no trial has come to a
                result.
        """
        return self._answering().newcomer(ratings, about=about)

    def titled(self, titles: "Mapping[str, str]") -> "Result":
        """The same with other titles of items, by their ids as texts, than the table of items has.

        Lists show them, items may be named by them, and `model` takes them along.
        """
        return replace(self, titles=titles)

    def model(self, *, average: int | None = None, quiet: bool = False) -> "Model":
        """A model to hold, to save and to serve: it answers without the study and the ratings.

        It answers as `predict` does for pairs of the present. Its settings are trained on every
        rating, and once more to calibrate intervals, or loaded if they were before.

        Args:
            average: how many of the best settings to average; as many as the finalists found worth
                it if not told.
            quiet: whether to tell nothing of what goes on.

        Raises:
            InputError: no trial has come to a result.
        """
        from model.kernels.threads import torch_in_one_thread
        from model.logarithmic import compact_of
        from study.answers.asked import kind_at_present
        from study.answers.intervals import calibrate
        from study.cards import card_of
        from study.held import Model

        kind = kind_at_present(self.ratings, self.record.kinds)
        on_event = ignored if quiet else self.on_event
        ensemble, known = self._ensemble(self.ratings, average, on_event, kind), self._known
        with torch_in_one_thread():
            models = tuple(ensemble.models())
            return Model(
                card=card_of(ensemble),
                known=known,
                solvers=ensemble.solvers,
                models=models,
                compact=compact_of(models, present=known.present, seed=self.record.seed or 0),
                levels=ensemble.levels,
                calibration=calibrate(ensemble),
            )

    def report(self, path: str | Path | None = None) -> Path:
        """Writes the report as one HTML file, beside the database if not told where: its path."""
        from study.report.page import report_path, write_report

        path = report_path(self.record, self.folder) if path is None else Path(path)
        write_report(self.record, path)
        return path

    def tidy(self) -> None:
        """Removes models and parsed files that nothing refers to any more, and where the rest is
        too much what was used longest ago; `tune`, `predict` and the commands do so.
        """
        from storage.cache import is_outdated
        from storage.keeping import PARSED, remove_unneeded
        from study.answers.retraining import is_unused

        removed = remove_unneeded(
            self.folder,
            keep=self.keep,
            is_unused=lambda path: (
                is_outdated(path)
                if PARSED.fullmatch(path.name)
                else is_unused(path, record=self.record, folder=self.folder)
            ),
        )
        if removed:
            self.on_event(Said(f"Removed from {self.folder.name}/: {removed}"))

    @property
    def _known(self) -> "Known":
        """The ratings, with other titles if some are told."""
        known = self.ratings.known
        return known if self.titles is None else replace(known, titles=self.titles)

    def _answering(self, ensemble: "Ensemble | None" = None) -> "Model":
        """The models that answer now, by their draws, once they are asked: as a model that is held,
        whose spreads are not calibrated.
        """
        from model.kernels.threads import torch_in_one_thread
        from study.cards import card_of
        from study.held import Model

        ensemble = ensemble or self._of_lists(self.on_event)
        with torch_in_one_thread():
            levels = ensemble.levels
        return Model(
            card=card_of(ensemble),
            known=self._known,
            solvers=ensemble.solvers,
            models=ensemble.loaded(),
            compact=None,
            levels=levels,
            calibration=None,
        )

    def _of_lists(self, on_event: OnEvent) -> "Ensemble":
        """What answers for lists."""
        from study.answers.asked import kind_of_list

        kind = kind_of_list(self.ratings, self.record.kinds)
        return self._ensemble(self.ratings, None, on_event, kind)

    def _ensemble(
        self, data: "Data", average: int | None, on_event: OnEvent, kind: "Split"
    ) -> "Ensemble":
        from study.answers.ensemble import Ensemble

        return Ensemble.of_best(
            self.record,
            data,
            average,
            kind=kind,
            folder=self.folder,
            device=self.device,
            on_event=on_event,
        )

    def __repr__(self) -> str:
        from study.record.record import n_finished

        words = "no trial has come to a result"
        if best := self.best:
            words = (
                f"best is trial {best.trial.number}, {best.solver}, validation RMSE "
                f"{self.best_rmse:.4f}; biases alone {self.biases_rmse:.4f}"
            )
        whose = "settings of study" if self.is_borrowed else "study"
        return (
            f"<Result: {n_finished(self.study)} trials, {self.ended}; {words}\n"
            f" {whose} {self.record.name} in {self.storage.replace(f'{Path.cwd()}/', '', 1)}\n"
            f" {'for' if self.is_borrowed else 'of'} {self.ratings.summary}>"
        )


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Answers:
    """Predictions for pairs, and how sure they are."""

    ensemble: "Ensemble"
    predictions: "NDArray[np.float64]"  # (n_queries,)
    spread: "NDArray[np.float64]"  # (n_queries,), uncalibrated

    @cached_property
    def calibration(self) -> "Calibration":
        """That of the intervals: each model is trained once more when it is first asked for."""
        from model.kernels.threads import torch_in_one_thread
        from study.answers.intervals import calibrate

        with torch_in_one_thread():
            return calibrate(self.ensemble)

    @property
    def intervals(self) -> "dict[str, NDArray[np.float64]]":
        """The (n_queries,) columns prediction, std, lower and upper."""
        return self.calibration.intervals(self.predictions, self.spread, self.ensemble.kinds())
