"""Models that take in more ratings without training: the rows that were rated, given all others.

What a row has learned before is in its mean x̄, so that its ratings need not be seen again: with the
precision P of its regression (`fold_in`), and new ratings k of the same row,

    x | … ~ N(P'⁻¹ h', P'⁻¹),   P' = P + Σ_k w_k φ_k φ_kᵀ,   h' = P x̄ + Σ_k w_k φ_k (z_k - c_k)

in every draw; a row that is new begins with that of who is unknown, and P = Λ. First the users,
given the items as they are; then the items, given those; then once more the users who have rated
items that are new. All else stays: hyperpriors, noise, thresholds, effects of time. Of als and
gradient a row is the minimum of its loss over all of its ratings, as in `fold_in`.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from model.dataset import Ratings
from model.factorization import Factorization
from model.fold_in import Conditions, draw_rows, ridge
from model.kernels.threads import in_threads
from model.logarithmic import Logarithmic, with_logs
from model.posterior import Draw, Posterior, single, stacked
from model.solver import Model

AT_ONCE = 1 << 12  # ratings of a row whose outer products are summed together


def updated(model: Model, old: Ratings, new: Ratings, *, seed: int) -> Model | None:
    """A model that knows these ratings too; None of a model that has no factors.

    Args:
        model: it stays as it is.
        old: the ratings that it knows.
        new: n more, by users and of items that are numbered on behind those of the model.
        seed: of the draws.
    """
    if isinstance(model, Logarithmic):
        of_logs = updated(model.of_logs, with_logs(old), with_logs(new), seed=seed)
        return of_logs and model.around(of_logs)
    if isinstance(model, Factorization):
        return _of_factorization(model, old, new)
    if not isinstance(model, Posterior):
        return None
    chains = [
        single(_Chain(model, number, old, new, seed=seed).updated())
        for number in range(len(model.grids))
    ]
    return model.with_draws(chains)


@dataclass(frozen=True)
class _Names:
    """What the fields of a draw are called on one side."""

    rows: str
    means: str
    noise: str
    prior_mean: str
    prior_precision: str
    index: str  # of ratings


USERS = _Names("users", "user_means", "user_noise", "prior_mean", "prior_precision", "user_index")
ITEMS = _Names(
    "items", "item_means", "item_noise", "item_prior_mean", "item_prior_precision", "item_index"
)


class _Grouped:
    """Where the ratings of each row of a side stand."""

    def __init__(self, index: Tensor) -> None:
        """Of the (n,) rows of ratings."""
        self._order = index.argsort(stable=True)
        self._rows = index[self._order]

    def places(self, row: int) -> Tensor:
        """Those of a row, rising."""
        begin, end = torch.searchsorted(self._rows, torch.tensor([row, row + 1])).tolist()
        return self._order[begin:end]


class _Chain:
    """The draws of a chain, stacked, while they take in ratings."""

    def __init__(
        self, model: Posterior, number: int, old: Ratings, new: Ratings, *, seed: int
    ) -> None:
        self._model, self._old, self._new, self._seed = model, old, new, seed + number
        draws, at = model.draws(number), model.places(new)[number]
        n_new = {USERS: new.n_users - old.n_users, ITEMS: new.n_items - old.n_items}
        self._before = stacked(draws)
        for names, n_rows in n_new.items():
            self._before = _widened(self._before, names, n_rows)
        self._after = self._before
        self._n_old = {USERS: old.n_users, ITEMS: old.n_items}
        self._targets = model.scale.standardized(new.values)
        self._levels = model.scale.levels_of(new.values)
        self._rated = {names: _Grouped(getattr(old, names.index)) for names in (USERS, ITEMS)}
        zeros = torch.zeros(len(draws), len(new))
        self._time = zeros + _table(draw.time(draw.effects, draw.level, at) for draw in draws)
        self._time_variance = zeros + _table(draw.time_variance(at) for draw in draws)

    def updated(self) -> Draw:
        """The draws after all of it."""
        users, is_new_item = self._new.user_index, self._new.item_index >= self._old.n_items
        self._take_in(USERS, ITEMS, ~is_new_item)
        self._take_in(ITEMS, USERS, torch.ones_like(is_new_item))
        self._take_in(USERS, ITEMS, torch.isin(users, users[is_new_item]))
        return self._after

    def _take_in(self, own: _Names, other: _Names, chosen: Tensor) -> None:
        """Draws the rows of one side that have some of the chosen ratings."""
        index = getattr(self._new, own.index)
        rows = torch.unique(index[chosen])
        if not len(rows):
            return

        def drawn(row: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            return self._row(own, other, int(row), (chosen & (index == row)).nonzero()[:, 0])

        columns = zip(*in_threads(drawn, rows), strict=True)
        tables = {}
        for name, column in zip((own.means, own.rows, own.noise), columns, strict=True):
            tables[name] = getattr(self._after, name).clone()
            tables[name][:, rows] = torch.stack(column, 1).to(tables[name].dtype)
        self._after = replace(self._after, **tables)

    def _row(
        self, own: _Names, other: _Names, row: int, places: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Means and draws, (S, D), and noise, (S,), of a row by new ratings at these places."""
        before, after = self._before, self._after
        seen = getattr(self._new, other.index)[places]
        others = getattr(after, other.rows)[:, seen].float()
        others[..., -1] += self._time[:, places]
        noise = getattr(before, own.noise)[:, row]
        is_new = row >= self._n_old[own]
        precision = before.precision if is_new else before.precision * noise
        weights = precision[:, None] * getattr(after, other.noise)[:, seen]
        known = 1 / (1 + weights * self._time_variance[:, places])
        newcomers, prior = self._model.newcomers, getattr(before, own.prior_precision)
        mean = getattr(before, own.means)[:, row].float()
        if is_new:
            mean = getattr(before, own.prior_mean)
            if own is USERS:
                features = newcomers.features(seen)
                mean = mean + features @ before.link[:, : len(features)]
        else:
            prior = prior + self._learned(own, other, row)
        given = Conditions(
            others=others,
            other_noise=getattr(after, other.noise)[:, seen] * known,
            precision=precision,
            thresholds=before.thresholds,
            prior_mean=mean,
            prior_precision=prior,
            noise_dof=newcomers.noise_dof.item() if is_new else math.inf,
        )
        generator = torch.Generator().manual_seed(2 * row + (own is USERS) + self._seed)
        means, rows, drawn = draw_rows(
            given, self._targets[places], self._levels[places], generator=generator
        )
        return means, rows, drawn if is_new else noise

    def _learned(self, own: _Names, other: _Names, row: int) -> Tensor:
        """The (S, D, D) float64 precision that the old ratings of a row give it."""
        before = self._before
        seen = getattr(self._old, other.index)[self._rated[own].places(row)]
        weights = before.precision * getattr(before, own.noise)[:, row]
        width = before.prior_mean.shape[1]
        total = weights.new_zeros(len(weights), width, width)
        for some in seen.split(AT_ONCE):
            features = getattr(before, other.rows)[:, some].double()
            features[..., -1] = 1.0
            total += features.mT @ (features * getattr(before, other.noise)[:, some, None])
        learned: Tensor = total * weights[:, None, None]
        return learned


def _widened(draws: Draw, names: _Names, n_rows: int) -> Draw:
    """Stacked draws with more rows on a side: as who is unknown, before whom they stand."""
    tables = {}
    for name in (names.rows, names.means, names.noise):
        table = getattr(draws, name)
        tables[name] = torch.cat([table, table[:, -1:].repeat_interleave(n_rows, 1)], 1)
    return replace(draws, **tables)


def _table(columns: Iterable[Tensor | float]) -> Tensor:
    """(S, n) of S columns, or (S, 1) of as many numbers."""
    return torch.stack([torch.as_tensor(column).float().reshape(-1) for column in columns])


def _of_factorization(model: Factorization, old: Ratings, new: Ratings) -> Factorization:
    """The rows of users, then of items, then of users who rated what is new, of least loss."""
    rank = model.user_factors.shape[1]
    wider = type(model)(new.n_users, new.n_items, rank)
    state = model.state_dict()
    for name, n_rows in (("user", new.n_users - old.n_users), ("item", new.n_items - old.n_items)):
        for table in (f"{name}_factors", f"{name}_bias"):
            rows = state[table]
            state[table] = torch.cat([rows, rows[-1:].repeat_interleave(n_rows, 0)])
    wider.load_state_dict(state)
    whole = joined(old, new)
    is_new_item = new.item_index >= old.n_items
    users = new.user_index
    for side, rows in (
        ("user", torch.unique(users[~is_new_item])),
        ("item", torch.unique(new.item_index)),
        ("user", torch.unique(users[is_new_item])),
    ):
        _solve(wider, whole, side, rows)
    return wider


@torch.no_grad()
def _solve(model: Factorization, ratings: Ratings, side: str, rows: Tensor) -> None:
    """Sets rows of one side to those of least loss, given the other side."""
    other = "item" if side == "user" else "user"
    own_index, other_index = (getattr(ratings, f"{one}_index") for one in (side, other))
    factors, bias = getattr(model, f"{side}_factors"), getattr(model, f"{side}_bias")
    others, other_bias = getattr(model, f"{other}_factors"), getattr(model, f"{other}_bias")
    each, once = model.penalty.repeat_interleave(torch.tensor([factors.shape[1], 1]), 1)
    rated = _Grouped(own_index)
    for row in rows.tolist():
        here = rated.places(row)
        seen = other_index[here]
        rest = ratings.values[here] - model.global_mean - other_bias[seen].double()
        found = ridge(others[seen].double(), rest, len(seen) * each + once).float()
        factors[row], bias[row] = found[:-1], found[-1]


def joined(old: Ratings, new: Ratings) -> Ratings:
    """All ratings; a pair that is rated again has its newer rating alone."""
    kept = old[~torch.isin(*_numbers(old, new))]
    times = None
    if kept.times is not None:
        unknown = torch.full_like(new.values, torch.nan)
        times = torch.cat([kept.times, unknown if new.times is None else new.times])
    return replace(
        new,
        user_index=torch.cat([kept.user_index, new.user_index]),
        item_index=torch.cat([kept.item_index, new.item_index]),
        values=torch.cat([kept.values, new.values]),
        times=times,
    )


def outdated(new: Ratings, old: Ratings) -> Tensor:
    """Which of (n,) ratings are of pairs that the old ones, one of each, have of later times."""
    if new.times is None or old.times is None or not len(old):
        return torch.zeros(len(new), dtype=torch.bool)
    numbers, wanted = _numbers(old, new)
    keys, order = numbers.sort()
    places = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
    return (keys[places] == wanted) & (old.times[order[places]] > new.times)


def _numbers(old: Ratings, new: Ratings) -> tuple[Tensor, Tensor]:
    """A number for the pair of each rating, the same in both."""
    of_old, of_new = (one.user_index * new.n_items + one.item_index for one in (old, new))
    return of_old, of_new
