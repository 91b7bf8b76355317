"""A test of ratings that nothing was learned from: scored in all, and group by group."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import ArrayLike

from model.dataset import UNKNOWN, Pairs
from study.answers.groups import (
    Column,
    Counts,
    Key,
    Mask,
    by_ahead,
    by_count,
    by_label,
    labels_of,
    seconds_ahead,
)
from study.answers.scores import (
    Deviations,
    Errors,
    Figure,
    Lists,
    ListScores,
    listed,
    score_groups,
    score_lists,
)
from study.known import Known
from study.record.attributes import Evaluated, EvaluatedGroup

MOST_PREDICTED = 1_000_000  # for lists; where that does not do for all users, some are drawn
MOST_QUICK = 20 * MOST_PREDICTED  # where a prediction takes no mean over draws
USER = "user"
LABEL_WIDTH = 24  # characters of a group's name in the table
HEAD = " " * LABEL_WIDTH + "  ratings    RMSE   95 % interval    bias  inside   NDCG"


@dataclass(frozen=True, kw_only=True)
class Test:
    """n ratings that nothing was learned from, and what is known of their users and items."""

    __test__ = False  # nothing for pytest

    truth: Column  # (n,)
    users: Counts  # (n,) rows, UNKNOWN of those who are not known
    items: Counts  # (n,)
    numbers: tuple[Counts, Counts]  # (n,) of users and items, different for all that differ
    user_counts: Counts  # (n,) ratings of the user that were learned from
    item_counts: Counts  # (n,)
    likes: Column  # (n,) from which rating on the user likes an item: the mean of what was learned
    n_items: int  # that are known
    ahead: Column  # (n,) seconds since the user's last rating that was learned; NaN if not known
    labels: Mapping[Key, Mask]  # by side, column and label: which ratings have it
    n_learned: int = 0  # of these pairs that were learned from all the same

    @classmethod
    def of(
        cls,
        known: Known,
        pairs: Pairs,
        truth: Column,
        *,
        ids: tuple[ArrayLike, ArrayLike],
        times: Column | None,
    ) -> "Test":
        """That of n pairs beside the ratings that are known.

        Args:
            known: the ratings that were learned from.
            pairs: the n pairs.
            truth: (n,) how they were rated.
            ids: (n,) of their users and items.
            times: (n,) as far as they were told, NaN where not; None if none were.
        """
        ratings, users, items = known.ratings, pairs.user_index.numpy(), pairs.item_index.numpy()
        user_counts, item_counts = known.counts(pairs)
        own, n_items = ratings.user_index.numpy(), len(known.items)
        sums = np.bincount(own, ratings.values.numpy(), minlength=len(known.user_counts))
        mean = ratings.values.mean().item()
        means = np.where(known.user_counts, sums / known.user_counts.clip(min=1), mean)
        ahead = np.full(len(users), np.nan)
        if times is not None:
            ahead = np.where(np.isnan(times), np.nan, seconds_ahead(ratings, pairs))
        user_ids, item_ids = ids
        return cls(
            truth=truth,
            users=users,
            items=items,
            numbers=(_numbered(user_ids), _numbered(item_ids)),
            user_counts=user_counts,
            item_counts=item_counts,
            likes=means[users],
            n_items=n_items,
            ahead=ahead,
            labels=labels_of(ratings, pairs),
            n_learned=int(known.are_rated(pairs).sum()),
        )


@dataclass(frozen=True, kw_only=True)
class Group:
    """How predictions did on a part of a test, and lists if it is a part of the users."""

    by: str  # what divides the test, such as `age of the user`
    label: str
    errors: Errors
    lists: Lists | None


@dataclass(frozen=True, kw_only=True, repr=False)
class Evaluation:
    """How predictions did on a test."""

    source: str  # of the test, for people
    errors: Errors
    lists: Lists | None  # None where nobody who is known likes an item of the test
    groups: tuple[Group, ...]
    n_listable: int  # users who might have had a list
    doubts: tuple[str, ...] = ()  # what may be wrong with the figures, for people

    def __str__(self) -> str:
        return "\n".join(self._lines())

    __repr__ = __str__

    def to_dict(self) -> dict[str, object]:
        """Everything, for JSON."""
        return {
            "source": self.source,
            **_errors_dict(self.errors),
            "lists": _lists_dict(self.lists),
            "groups": [
                {
                    "by": one.by,
                    "label": one.label,
                    **_errors_dict(one.errors),
                    "lists": _lists_dict(one.lists),
                }
                for one in self.groups
            ],
        }

    def columns(self) -> dict[str, ArrayLike]:
        """The figures as a table, a row for all and one for each group: its columns by name.

        What is not known is NaN.
        """
        rows = [("", "all", self.errors, self.lists)]
        rows += [(one.by, one.label, one.errors, one.lists) for one in self.groups]
        columns: dict[str, ArrayLike] = {
            "by": [by for by, *_ in rows],
            "group": [label for _, label, *_ in rows],
            "ratings": [errors.ratings for _, _, errors, _ in rows],
            "users": [errors.users for _, _, errors, _ in rows],
        }
        figures = [_figures(errors, lists) for *_, errors, lists in rows]
        for name in _figures(self.errors, self.lists):
            for end in ("value", "low", "high"):
                column = [vars(one[name])[end] if name in one else math.nan for one in figures]
                columns[name if end == "value" else f"{name}_{end}"] = np.array(column)
        return columns

    def to_keep(self) -> Evaluated:
        """The main figures, for a study to keep."""
        groups: list[EvaluatedGroup] = [
            {
                "by": one.by,
                "label": one.label,
                "ratings": one.errors.ratings,
                "rmse": _kept(one.errors.rmse),
                "bias": round(one.errors.bias.value, 6),
                "coverage": _value(one.errors.coverage),
                "ndcg": _value(one.lists.ndcg if one.lists else None),
            }
            for one in self.groups
        ]
        figures = _figures(self.errors, self.lists)
        return {
            "source": self.source,
            "ratings": self.errors.ratings,
            "users": self.errors.users,
            "lists": self.lists.users if self.lists else 0,
            "figures": {name: _kept(figure) for name, figure in figures.items()},
            "groups": groups,
        }

    def _lines(self) -> Iterator[str]:
        """The table, within 80 columns."""
        errors, lists = self.errors, self.lists
        yield f"{'':14}   value   95 % interval"
        yield _line("RMSE", errors.rmse)
        yield _line("MAE", errors.mae)
        yield _line("MSE", errors.mse)
        yield _line("Bias", errors.bias, "predicted less true")
        if errors.coverage and errors.width:
            yield _line("Coverage", errors.coverage, "of 90 % intervals")
            yield _line("Width", errors.width, "of the same, on average")
        if lists:
            of = f" of {self.n_listable:,}" if lists.users < self.n_listable else ""
            yield _line("Precision@10", lists.precision, f"of lists for {lists.users:,}{of} users")
            yield _line("Recall@10", lists.recall)
            yield _line("NDCG@10", lists.ndcg)
        if self.groups:
            yield ""
            yield HEAD
        for by, groups in groupby(self.groups, key=lambda one: one.by):
            yield f"By {by}"
            for one in groups:
                yield _row(one)


def evaluate(
    test: Test,
    predicted: Column,
    *,
    source: str,
    intervals: tuple[Column, Column] | None = None,
    scores: ListScores | None = None,
    most_predicted: int = MOST_PREDICTED,
    doubts: Sequence[str] = (),
) -> Evaluation:
    """How (n,) predictions did on a test.

    Args:
        test: of n ratings.
        predicted: for them.
        source: where they come from, for people.
        intervals: the (n,) lower and upper ends of the predictions' 90 % intervals.
        scores: of all items, (m, n_items), for (m,) users; -inf of what is not to be listed. None
            if there are no lists.
        most_predicted: how many scores are worth their time.
        doubts: what may be wrong with the predictions, for people.
    """
    users = test.numbers[0]
    named = list(_groups(test))
    masks = [np.full(len(users), True), *(here for _, _, here, _ in named)]
    deviations = Deviations.of(predicted, test.truth, users, intervals=intervals)
    errors = score_groups(deviations, masks)
    lists: list[Lists | None] = [None] * len(masks)
    n_listable = 0
    if scores is not None:
        liked = (test.truth >= test.likes) & (test.users != UNKNOWN)
        n_listable = len(np.unique(test.users[liked]))
        found = listed(
            scores,
            users=test.users[liked],
            items=test.items[liked],
            numbers=(users[liked], test.numbers[1][liked]),
            n_items=test.n_items,
            most=max(1, most_predicted // test.n_items),
        )
        nobody = np.empty(0, np.int64)
        whose = [users, *(users[here] if side == USER else nobody for *_, here, side in named)]
        lists = score_lists(found, whose)
    return Evaluation(
        source=source,
        errors=errors[0],
        lists=lists[0],
        groups=tuple(
            Group(by=by, label=label, errors=one, lists=own)
            for (by, label, _, _), one, own in zip(named, errors[1:], lists[1:], strict=True)
        ),
        n_listable=n_listable,
        doubts=(*doubts, *filter(None, [doubt_of(test.n_learned, len(test.truth), source)])),
    )


def doubt_of(n_learned: int, n_pairs: int, source: str) -> str:
    """What is wrong with a test of so many pairs, for people; empty if nothing was learned from."""
    if not n_learned:
        return ""
    return (
        f"{n_learned:,} of the {n_pairs:,} pairs of {source} are among the ratings that were "
        "learned from: figures look better than they are"
    )


def _groups(test: Test) -> Iterator[tuple[str, str, Mask, str]]:
    """By what, label, (n,) mask and side of every group; a test is not divided into one."""
    users = test.numbers[0]
    divided: dict[tuple[str, str], list[tuple[str, Mask]]] = {}
    for side, counts in ((USER, test.user_counts), ("item", test.item_counts)):
        divided[f"ratings of the {side}", side] = [
            (f"{counts[here].min():,} to {counts[here].max():,}", here)
            for here in by_count(counts, users)
        ]
    divided["time since the user rated last", ""] = by_ahead(test.ahead, users)
    for (side, column, label), here in by_label(test.labels, users):
        divided.setdefault((f"{column} of the {side}", side), []).append((label, here))
    for (by, side), groups in divided.items():
        if len(groups) > 1:
            yield from ((by, label, here, side) for label, here in groups)


def _numbered(ids: ArrayLike) -> Counts:
    """The (n,) numbers from 0 of raw ids."""
    return np.unique(np.asarray(ids), return_inverse=True)[1].astype(np.int64)


def _figures(errors: Errors, lists: Lists | None) -> dict[str, Figure]:
    """All figures that are known, by name."""
    found = {**vars(errors), **(vars(lists) if lists else {})}
    return {name: one for name, one in found.items() if isinstance(one, Figure)}


def _errors_dict(errors: Errors) -> dict[str, object]:
    return {name: _plain(one) for name, one in vars(errors).items()}


def _lists_dict(lists: Lists | None) -> dict[str, object] | None:
    return {name: _plain(one) for name, one in vars(lists).items()} if lists else None


def _plain(value: object) -> object:
    return value.to_dict() if isinstance(value, Figure) else value


def _value(figure: Figure | None) -> float | None:
    return figure.to_dict()["value"] if figure else None


def _kept(figure: Figure) -> list[float | None]:
    return list(figure.to_dict().values())


def _line(name: str, figure: Figure, note: str = "") -> str:
    """A figure and its interval in the table."""
    between = "" if math.isnan(figure.low) else f"{figure.low:.4f} to {figure.high:.4f}"
    return f"{name:<14}{figure.value:8.4f}   {between:<18}   {note}".rstrip()


def _row(group: Group) -> str:
    """A group in the table."""
    label = "  " + group.label
    if len(label) > LABEL_WIDTH:
        label = label[: LABEL_WIDTH - 1] + "…"
    errors = group.errors
    between = f"{errors.rmse.low:.3f} to {errors.rmse.high:.3f}"
    inside = f"{100 * errors.coverage.value:.1f} %" if errors.coverage else ""
    ndcg = f"{group.lists.ndcg.value:.3f}" if group.lists else ""
    return (
        f"{label:<{LABEL_WIDTH}}{errors.ratings:9,}{errors.rmse.value:8.4f}{between:>16}"
        f"{errors.bias.value:+8.3f}{inside:>8}{ndcg:>7}"
    ).rstrip()
