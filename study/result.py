"""What a study has found, and its predictions. Imports nothing heavy before it is called."""

import math
import warnings
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.errors import InputError
from study.quiet import silenced

if TYPE_CHECKING:
    import optuna
    import torch

    from study.best import Setting
    from study.inputs import Data


class Ended(StrEnum):
    """Why a study stopped for now."""

    DONE = "done"
    TIME_IS_UP = "time is up"
    BY_HAND = "stopped by hand"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Result:
    """What a study has found, and its predictions."""

    study: "optuna.Study"
    ratings: "Data"
    storage: str  # the URL of the database, without a password
    folder: Path  # beside the database
    device: "torch.device"
    ended: Ended
    biases_rmse: float  # the validation RMSE of biases alone
    quiet: bool = False  # whether `predict` prints nothing, if it is not told

    @property
    def best(self) -> "Setting | None":
        """The best setting, if a trial has come to a result."""
        from study.best import best_settings

        return next(iter(best_settings(self.study, 1)), None)

    @property
    def best_rmse(self) -> float:
        """The validation RMSE of the best setting; NaN if no trial has come to a result."""
        best = self.best
        return best.rmse if best else math.nan

    @property
    def best_setting(self) -> dict[str, object]:
        """The parameters of the best setting, its solver among them; empty if there is none."""
        from study.space import to_params

        best = self.best
        return dict(to_params(best.config)) if best else {}

    def predict(
        self,
        pairs: Any = None,
        *,
        intervals: bool = False,
        average: int | None = None,
        quiet: bool | None = None,
    ) -> Any:
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
            quiet: whether to print nothing; as `tune` was told if not told.

        Raises:
            InputError: there are no pairs, they cannot be read or look swapped, or no trial has
                come to a result.
        """
        from storage.frames import as_frame
        from storage.predictions import answers_table
        from study.inputs import with_pairs
        from study.intervals import calibrate
        from study.predict import Ensemble

        data = self.ratings
        if pairs is None and data.table.about:
            raise InputError(f"{data.source}: holds no pairs to predict; predict(pairs) takes them")
        if pairs is not None:
            data = with_pairs(data, pairs, runs=self.folder)
        if data.doubt:
            warnings.warn(data.doubt, stacklevel=2)
        with silenced(self.quiet if quiet is None else quiet):
            ensemble = Ensemble.of_best(
                self.study, data, average, folder=self.folder, device=self.device
            )
            if average and average > 1:
                print(ensemble.described(wanted=average))
            predictions, spread = ensemble.answer()
            answers = {"prediction": predictions}
            if intervals:
                calibration = calibrate(ensemble)
                if calibration.doubt:
                    warnings.warn(calibration.doubt, stacklevel=2)
                answers = calibration.intervals(predictions, spread, ensemble.kinds())
        return as_frame(answers_table(data.table, answers), like=pairs)

    def report(self, path: str | Path | None = None) -> Path:
        """Writes the report as one HTML file, beside the database if not told where: its path."""
        from study.page import report_path, write_report

        path = report_path(self.study, self.folder) if path is None else Path(path)
        write_report(self.study, path)
        return path

    def __repr__(self) -> str:
        from study.studies import n_finished

        words = "no trial has come to a result"
        if best := self.best:
            words = (
                f"best is trial {best.trial.number}, {best.solver}, validation RMSE "
                f"{self.best_rmse:.4f}; biases alone {self.biases_rmse:.4f}"
            )
        return (
            f"<Result: {n_finished(self.study)} trials, {self.ended}; {words}\n"
            f" study {self.study.study_name} in {self.storage}\n"
            f" of {self.ratings.summary}>"
        )
