"""A trained model to hold: it answers without a study, a database or a file of ratings.

It is all that is known after training, in one object and in one file: the draws of every model
that answers, their compact form, what was rated, ids, titles, how intervals are calibrated, and a
card that says where it came from. Nothing in it changes after it is made, so that any number of
threads may ask at once, and it writes nothing but the file that `save` is told.
"""

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, overload

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from model.dataset import Ids, Pairs
from model.factors import RANK, Factors
from model.forgetting import compact_without_user, ratings_without_user
from model.kernels.threads import in_threads, torch_in_one_thread
from model.logarithmic import AnyCompact, LogarithmicCompact, compact_from_state, compact_of
from model.solver import Model as Trained
from model.solvers import load_state
from model.updating import updated
from model.users import of_users
from storage.columns import FRAME
from storage.errors import ColumnError, InputError, ParameterError
from storage.frames import Frame as DataFrame
from storage.frames import as_frame, read_frame
from storage.models import read_held, write_held
from storage.predictions import arrow_table, check_writable
from storage.sources import as_columns
from storage.stores import as_path
from storage.tables import Pairs as PairsTable
from storage.tables import read_pairs, read_ratings
from storage.times import day_of
from study.answers.certainty import Certainty
from study.answers.ensemble import combined, mean_of
from study.answers.evaluation import MOST_PREDICTED, MOST_QUICK, Evaluation, Test, evaluate
from study.answers.explanations import Explanation, explain, explain_list
from study.answers.intervals import Calibration
from study.answers.levels import Levels
from study.answers.lists import (
    LENGTH,
    Given,
    Predict,
    Recommendations,
    SimilarItems,
    Wanted,
    check_least,
    find_items,
    find_user,
    list_scores,
    recommend,
    similar_items,
    unknown_items,
)
from study.held_file import arrays_of, known_of, tensors_of
from study.known import Known
from study.person import Column, Id, Person, ratings_of

if TYPE_CHECKING:
    import pyarrow as pa

    from study.inputs import Frame, Source


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Model:
    """What a study's best settings have learned from all ratings.

    Predictions are those of the compact form of all draws (`model.compact`), and with `exact` of
    the draws themselves, as `Result.predict` gives them. They are for the present, the time of the
    last rating; a pair with another time is answered by the draws, which know of times.
    """

    card: Mapping[str, Any]  # where it came from, and how good it is
    known: Known
    solvers: tuple[str, ...]  # the name of that of each model
    models: Sequence[Trained]
    compact: AnyCompact | None  # None of models that are not of factors, or where the draws answer
    levels: Levels
    calibration: Calibration | None  # None where spreads are told as they are

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The model of a file that `save` wrote. Its draws are mapped, not read.

        Raises:
            InputError: there is no such file, or it is none of a model, or was changed.
        """
        arrays, about = read_held(as_path(path))
        try:
            compact = tensors_of(arrays, "compact.")
            return cls(
                card=about["card"],
                known=known_of(arrays, about["known"]),
                solvers=tuple(about["solvers"]),
                models=tuple(
                    load_state(solver, tensors_of(arrays, f"model{number}."))
                    for number, solver in enumerate(about["solvers"])
                ),
                compact=compact_from_state(compact) if compact else None,
                levels=Levels.of(about["levels"]),
                calibration=Calibration.of(about["calibration"]),
            )
        except (KeyError, TypeError) as error:
            raise InputError(f"{path}: expected a model of this version, lacks {error}") from None

    def save(self, path: str | Path) -> Path:
        """Writes all of it to one file, whole or not at all: its path.

        Raises:
            InputError: the file cannot be written, or there is no such folder.
        """
        assert self.calibration
        path = as_path(path)
        check_writable(path)
        arrays, about = arrays_of(self.known)
        states = {f"model{n}.": one.state_dict() for n, one in enumerate(self.models)}
        if self.compact:
            states["compact."] = self.compact.state_dict()
        for prefix, state in states.items():
            arrays |= {prefix + name: tensor.detach().numpy() for name, tensor in state.items()}
        metadata = {
            "card": self.card,
            "known": about,
            "solvers": self.solvers,
            "levels": self.levels.to_keep(),
            "calibration": self.calibration.to_keep(),
        }
        write_held(path, arrays, metadata)
        return path

    def predict(
        self, pairs: "Source | Frame", *, intervals: bool = False, exact: bool = False
    ) -> "Frame":
        """Predictions for pairs of user and item: a frame of the kind that they came in.

        It has the columns of user and item as they are called in the pairs, `prediction`, and with
        intervals `std`, `lower` and `upper`, the last two a calibrated 90 % interval.

        Args:
            pairs: a data frame, a dict of columns or rows of user and item, or a file, whose answer
                is an Arrow table.
            intervals: whether to tell how sure each is.
            exact: whether the draws answer, not their compact form.

        Raises:
            InputError: the pairs cannot be read, or look swapped.
        """
        table = self.asked(pairs)
        asked = self.known.index(table)
        columns = self.answers(asked, exact=exact)
        if not intervals:
            columns = {"prediction": columns["prediction"]}
        ids = [(table.user_name, table.user_ids), (table.item_name, table.item_ids)]
        frame: Frame = as_frame(arrow_table([*ids, *columns.items()]), like=pairs)
        return frame

    def asked(self, pairs: "Source | Frame", *, rated: bool = False) -> PairsTable:
        """The pairs of a file or a frame, whose columns are called as in the ratings.

        Args:
            pairs: as of `predict`.
            rated: whether they must have ratings.

        Raises:
            InputError: they cannot be read, look swapped, or lack ratings.
        """
        known = self.known
        table = read_pairs(
            _read("pairs", pairs),
            names=(known.user_name, known.item_name),
            rating_name=known.rating_name,
            time_name=known.time_name,
            needs_ratings=rated,
        )
        known.check(table, _name_of(pairs))
        return table

    def evaluate(self, test: "Source | Frame", *, exact: bool = False) -> Evaluation:
        """How predictions, their intervals and lists do on ratings that were not learned from.

        What may be wrong with the test stands in its `doubts`.

        Args:
            test: a data frame, a dict of columns or rows of user, item and rating, and maybe the
                time, or a file.
            exact: whether the draws answer, not their compact form.

        Raises:
            InputError: it has no ratings, cannot be read, or has nobody and nothing that is known.
        """
        known, table = self.known, self.asked(test, rated=True)
        known.check_met(table, _name_of(test))
        assert table.ratings is not None
        asked, ids = known.index(table), (table.user_ids, table.item_ids)
        return self.score(
            Test.of(known, asked, table.ratings, ids=ids, times=table.times),
            self.answers(asked, exact=exact),
            source=_name_of(test),
            doubts=[self.calibration.doubt] if self.calibration and self.calibration.doubt else [],
            exact=exact,
        )

    def score(
        self,
        test: Test,
        columns: Mapping[str, Column],
        *,
        source: str,
        doubts: Sequence[str] = (),
        exact: bool = False,
    ) -> Evaluation:
        """How (n,) predictions and intervals did on a test of n ratings, and the lists of this.

        Args:
            test: of n ratings.
            columns: (n,) each, as of `answers`.
            source: of the test, for people.
            doubts: what may be wrong with the predictions, for people.
            exact: whether the draws make the lists, not their compact form.
        """
        is_quick = self.compact is not None and not exact
        answering = [self.compact] if self.compact and is_quick else self.models

        def means(pairs: Pairs) -> Column:
            found = mean_of(answering, pairs, self.known.range)
            return self.levels.blended(found, pairs, lambda: self.known.biases)

        def scores(users: NDArray[np.int64]) -> Column:
            return list_scores(means, self.known, users, levels=self.levels)

        with torch_in_one_thread():
            return evaluate(
                test,
                columns["prediction"],
                source=source,
                intervals=(columns["lower"], columns["upper"]) if "lower" in columns else None,
                scores=scores,
                most_predicted=MOST_QUICK if is_quick else MOST_PREDICTED,
                doubts=[*doubts, *filter(None, [self.known.doubt_of_range(test.truth)])],
            )

    def answers(self, pairs: Pairs, *, exact: bool = False) -> dict[str, Column]:
        """The (n,) columns prediction, std, lower and upper for pairs of rows.

        Raises:
            RuntimeError: one is no number.
        """
        means, spreads = self.predictor(exact=exact)(pairs)
        counts = self.known.counts(pairs)
        columns = self._certainty.columns(means, spreads, counts)
        if not (is_number := np.isfinite(columns["prediction"])).all():
            raise RuntimeError(f"{len(pairs):,} pairs, {is_number.sum():,} answers")
        return columns

    @overload
    def recommend(
        self,
        users: Id,
        *,
        items: int = ...,
        among: ArrayLike | None = ...,
        without: ArrayLike = ...,
        rated: bool = ...,
        why: bool = ...,
        exact: bool = ...,
    ) -> Recommendations: ...

    @overload
    def recommend(
        self,
        users: "Sequence[Id] | None" = ...,
        *,
        items: int = ...,
        among: ArrayLike | None = ...,
        without: ArrayLike = ...,
        rated: bool = ...,
        exact: bool = ...,
    ) -> "pa.Table": ...

    def recommend(
        self,
        users: "Id | Sequence[Id] | None" = None,
        *,
        items: int = LENGTH,
        among: ArrayLike | None = None,
        without: ArrayLike = (),
        rated: bool = False,
        why: bool = False,
        exact: bool = False,
    ) -> "Recommendations | pa.Table":
        """The items that users would like best.

        Args:
            users: the id of one, whose list comes back; or many of them, or all if not told: an
                Arrow table of all lists, of user, rank, item, title, prediction, std, …
            items: how many each at most.
            among: ids, or titles, of the items that may be listed; all if not told.
            without: those of items that may not.
            rated: whether those that the user has rated may be, too.
            why: whether the list of one user has the `reasons` of each item.
            exact: whether the draws answer, not their compact form.

        Raises:
            InputError: there is no such user, nothing is left, no item is asked for, or the models
                cannot tell why.
        """
        check_least("items", items)
        wanted = Wanted(among=among, without=without, rated=rated)
        predict = self.predictor(exact=exact)

        def listed(user: object) -> Recommendations:
            found = recommend(predict, self.known, user, n=items, wanted=wanted, levels=self.levels)
            return self._certainty.of_list(found)

        if isinstance(users, str | int | np.generic):
            found = listed(users)
            return replace(found, reasons=self.reasons(users, found.item_ids)) if why else found
        if why:
            raise ParameterError("why", "expected one user, whose list has reasons, got many")
        if n := wanted.n_unknown(self.known):
            warnings.warn(unknown_items(n), stacklevel=2)
        return _all_lists(self.known, users, listed)

    def similar(self, item: Id, *, items: int = LENGTH, exact: bool = False) -> SimilarItems:
        """The items that please whom an item pleases, which is named by id or title.

        Args:
            item: the one.
            items: how many at most.
            exact: whether the draws answer, not their compact form.

        Raises:
            InputError: there is no such item, or none is asked for.
        """
        check_least("items", items)
        models = self.models if exact or self.compact is None else [self.compact]
        with torch_in_one_thread():
            return similar_items(models, self.known, item, n=items)

    def titled(self, titles: Mapping[str, str]) -> Self:
        """The model with other titles of items, by their ids as texts."""
        return replace(self, known=replace(self.known, titles=titles))

    def newcomer(
        self,
        ratings: "Mapping[Id, float] | Source | Frame" = (),
        *,
        about: Mapping[str, str | float] | None = None,
    ) -> Person:
        """The model of somebody who is not in the ratings; nothing is trained.

        Args:
            ratings: by the id or title of the item, as a dict, a Series or pairs; or a frame, or a
                file, of item and rating.
            about: what is known of them by column of the users' table, as in {"age": 31}.

        Raises:
            InputError: a rating is out of range, or there is no such column.
        """
        told = ratings_of(self.known, ratings)
        given = Given.of(
            self.known, told.items, told.ratings, are_titles=told.are_titles, about=about
        )
        with torch_in_one_thread():
            models = tuple(map(given.fold, self.models))
        return Person(
            known=self.known,
            certainty=self._certainty,
            trained=self.models,
            given=given,
            models=models,
            source=self,
        )

    def explain(self, user: Id, item: Id) -> Explanation:
        """What the prediction for a user and an item, named by id or title, rests on.

        Raises:
            InputError: there is no such user or item, or the models cannot tell.
        """
        known = self.known
        row = find_user(known, user)
        found = explain(
            self.models,
            known,
            known.of_user(row),
            pair=known.at_present(torch.tensor([row]), find_items(known, [item])),
            levels=self.levels,
        )
        return replace(found, user_id=known.users.values[row])

    def reasons(self, user: Id, items: ArrayLike) -> tuple[Explanation, ...]:
        """What `explain` tells of a user's ratings, for each of many items by their ids, quicker.

        Raises:
            InputError: there is no such user, or the models cannot tell.
        """
        known = self.known
        row = find_user(known, user)
        index = find_items(known, items)
        pairs = known.at_present(torch.full_like(index, row), index)
        with torch_in_one_thread():
            return explain_list(
                self.models, known, known.of_user(row), pairs=pairs, levels=self.levels
            )

    def update(
        self, ratings: "Source | Frame", *, columns: str | Sequence[str] | None = None
    ) -> Self:
        """The model that has taken in more ratings, without training: a new one.

        The rows of the users and items that were rated are drawn anew, given all others; who and
        what is new gets a row. All else stays as it was trained, intervals and settings too: the
        further it goes, the more there is to gain by training again.

        Args:
            ratings: a file or frame of user, item, rating and maybe time.
            columns: which hold them, as `load` takes it; those that are called as in the ratings
                before, or that names make plain, if not told.

        Raises:
            InputError: they cannot be read, one is out of the range of the others, users and items
                look swapped, an item is told by its title, or of many nobody and nothing is known.
        """
        source, told = _read("ratings", ratings), as_columns(columns)
        try:
            table = read_ratings(source, told or self.known.columns, fewest=1)
        except ColumnError:
            if told:
                raise
            table = read_ratings(source, fewest=1)
        known, new = self.known.with_ratings(table)
        seed = len(known.ratings)
        with torch_in_one_thread():
            old = self.known.ratings
            models = self._changed("update", lambda one: updated(one, old, new, seed=seed))
            compact = compact_of(models, present=known.present, seed=seed)
        new_rows = {"users": new.n_users - old.n_users, "items": new.n_items - old.n_items}
        taken_in = {
            "ratings": len(new),
            "new": new_rows,
            "of": known.summary,
            "made": day_of(time.time()),
        }
        return replace(
            self,
            card={**self.card, "updates": [*self.card.get("updates", ()), taken_in]},
            known=known,
            models=models,
            compact=compact,
        )

    def forget(self, user: Id) -> Self:
        """The model without a user: id, ratings, description and factors go.

        What others' rows learned from the ratings stays, as it cannot be told apart.

        Raises:
            InputError: there is no such user, or the models cannot.
        """
        known = self.known
        row = find_user(known, user)
        others = torch.arange(len(known.users))
        others = others[others != row]
        models = self._changed("forget", lambda one: of_users(one, others))
        return replace(
            self,
            known=replace(
                known,
                users=Ids(np.delete(known.users.values, row)),
                ratings=ratings_without_user(known.ratings, row),
            ),
            models=models,
            compact=self.compact and compact_without_user(self.compact, row),
        )

    def factors(self, *, rank: int = RANK) -> "ExportedFactors":
        """Biases and factors of all users and items, whose products come near to predictions.

        Args:
            rank: of the factors, at most.

        Raises:
            InputError: the models have no factors, or none is asked for.
        """
        check_least("rank", rank)
        if self.compact is None or isinstance(self.compact, LogarithmicCompact):
            got = "another" if self.compact is None else "one of logarithms"
            raise InputError(f"factors: expected models with factors of ratings, got {got}")
        known, levels = self.known, self.levels

        def answer(predicted: Tensor, pairs: Pairs) -> Tensor:
            blended = levels.blended(predicted.numpy(), pairs, lambda: known.biases)
            return torch.from_numpy(levels.applied(blended, *known.counts(pairs)))

        with torch_in_one_thread():
            found = Factors.of(self.compact, rank=rank, answer=answer)
        return ExportedFactors(
            mean=found.mean,
            error=found.error,
            users=_factor_columns(
                known.user_name, known.users, known.user_counts, found.user_bias, found.user_factors
            ),
            items=_factor_columns(
                known.item_name, known.items, known.item_counts, found.item_bias, found.item_factors
            ),
        )

    def predictor(self, *, exact: bool = False) -> Predict:
        """What tells predictions and spreads of pairs of rows, without what is added to them."""
        compact = None if exact else self.compact

        def by_draws(pairs: Pairs) -> tuple[Column, Column]:
            with torch_in_one_thread():
                return combined(self.models, pairs, self.known.range)

        def by_models(pairs: Pairs) -> tuple[Column, Column]:
            if compact is None:
                return by_draws(pairs)
            mean, std = (column.numpy() for column in compact.moments(pairs))
            if pairs.times is not None and self.known.present is not None:
                rows = (pairs.times - self.known.present).nonzero()[:, 0]
                if len(rows):
                    mean[rows], std[rows] = by_draws(pairs[rows])
            return mean, std

        def beside_biases(pairs: Pairs) -> tuple[Column, Column]:
            mean, std = by_models(pairs)
            with torch_in_one_thread():
                return self.levels.blended(mean, pairs, lambda: self.known.biases), std

        return by_models if self.levels.weight == 1 else beside_biases

    def _changed(
        self, what: str, change: Callable[[Trained], Trained | None]
    ) -> tuple[Trained, ...]:
        """Every model, changed.

        Raises:
            InputError: one cannot be, for it has no factors; says what was to be done.
        """
        found = [change(one) for one in self.models]
        models = tuple(one for one in found if one is not None)
        if len(models) < len(found):
            others = {name for name, one in zip(self.solvers, found, strict=True) if one is None}
            raise InputError(
                f"{what}: expected models with factors, got one of {', '.join(sorted(others))}"
            )
        return models

    @property
    def _certainty(self) -> Certainty:
        """How what the models predict becomes answers."""
        return Certainty(levels=self.levels, calibration=self.calibration, range=self.known.range)

    @property
    def data(self) -> str:
        """What it was trained on, and what it has taken in since, for people."""
        data: str = self.card["data"]
        return f"{data}; updated to {self.known.summary}" if "updates" in self.card else data

    def __repr__(self) -> str:
        return f"<Model: {', '.join(self.solvers)} of {self.data}>"


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class ExportedFactors:
    """Biases and factors to hand on: a prediction is mean + bias + bias + factors · factors."""

    mean: float
    error: float  # root mean square difference from the model's predictions, over random pairs
    users: dict[str, NDArray[Any]]  # columns (n_users,): id, ratings, bias, factor_1, …
    items: dict[str, NDArray[Any]]  # the same of items


def _read(name: str, given: "Source | Frame") -> "Path | DataFrame":
    """The path of a file, or what a frame holds.

    Raises:
        InputError: it is neither.
    """
    if given is None:
        raise ParameterError(name, "expected a file, or a data frame, got None")
    return as_path(given) if isinstance(given, str | Path) else read_frame(given)


def _name_of(source: object) -> str:
    """What messages call a file or a frame."""
    return str(as_path(source)) if isinstance(source, str | Path) else str(FRAME)


def _factor_columns(
    name: str, ids: Ids, counts: NDArray[np.int64], bias: Tensor, factors: Tensor
) -> dict[str, NDArray[Any]]:
    columns = {f"factor_{n}": column.numpy() for n, column in enumerate(factors.unbind(1), 1)}
    return {name: ids.values, "ratings": counts[:-1], "bias": bias.numpy(), **columns}


def _all_lists(
    known: Known, users: Sequence[Id] | None, listed: Callable[[object], Recommendations]
) -> "pa.Table":
    """The lists of many users below each other; of all, those who have rated everything have none.

    Raises:
        InputError: there is no such user, or nothing is left.
    """

    def of_user(user: object) -> list[Recommendations]:
        try:
            return [listed(user)]
        except InputError:
            if users is not None:
                raise
            return []

    ids = known.users.values[known.user_counts[:-1] > 0] if users is None else users
    lists = [one for found in in_threads(of_user, list(ids)) for one in found]
    if not lists:
        raise InputError("users: expected at least one, got none")
    columns = [one.columns(titled=bool(known.titles)) for one in lists]
    whose = [one.user_id for one in lists for _ in range(len(one))]
    return arrow_table(
        [(known.user_name, np.array(whose, dtype=known.users.values.dtype))]
        + [(name, np.concatenate([one[name] for one in columns])) for name in columns[0]]
    )
