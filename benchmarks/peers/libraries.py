"""How the peers from PyPI are used: each library's own data structure, fit and predictions.

Runs in their environment, `requirements.txt`; a library is imported when it is first used.
"""

from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Columns:
    """The ratings and the queries, by raw ids; and what is known besides, if anything is."""

    user_ids: Array
    item_ids: Array
    ratings: Array
    query_user_ids: Array
    query_item_ids: Array
    days: Array | None = None  # (n_ratings,) whole numbers
    query_days: Array | None = None
    described_user_ids: Array | None = None  # sorted
    user_features: Array | None = None  # (n described, k)
    user_feature_sizes: Array | None = None  # columns that belong together
    described_item_ids: Array | None = None
    item_features: Array | None = None
    item_feature_sizes: Array | None = None

    @property
    def range(self) -> tuple[float, float]:
        """The lowest and the highest rating."""
        return float(self.ratings.min()), float(self.ratings.max())

    def head(self, count: int) -> "Columns":
        """Some of the ratings, drawn at random, and the same queries."""
        rows = np.random.default_rng(0).permutation(len(self.ratings))[:count]
        return replace(
            self,
            user_ids=self.user_ids[rows],
            item_ids=self.item_ids[rows],
            ratings=self.ratings[rows],
            days=None if self.days is None else self.days[rows],
        )


class Peer(Protocol):
    """How a library is used; only `fit` is on the clock that is compared."""

    package: str

    def build(self, columns: Columns) -> Any:
        """The library's own data structure."""
        ...

    def fit(self, dataset: Any, seed: int) -> Any:
        """The trained model."""
        ...

    def predict(self, model: Any, columns: Columns) -> Array:
        """The (n_queries,) ratings it predicts."""
        ...


class Surprise:
    """SVD or SVD++ by stochastic gradient descent, one rating at a time, in Cython."""

    package = "scikit-surprise"

    def __init__(self, algorithm: str, **settings: Any) -> None:
        self._algorithm, self._settings = algorithm, settings

    def build(self, columns: Columns) -> Any:
        import pandas as pd
        from surprise import Dataset, Reader

        frame = pd.DataFrame(
            [*zip(columns.user_ids, columns.item_ids, columns.ratings, strict=True)]
        )
        return Dataset.load_from_df(frame, Reader(rating_scale=columns.range)).build_full_trainset()

    def fit(self, dataset: Any, seed: int) -> Any:
        import surprise

        model = getattr(surprise, self._algorithm)(random_state=seed, **self._settings)
        return model.fit(dataset)

    def predict(self, model: Any, columns: Columns) -> Array:
        pairs = zip(columns.query_user_ids, columns.query_item_ids, strict=True)
        return np.array([model.predict(user, item).est for user, item in pairs])


class Cornac:
    """Biased MF by stochastic gradient descent in Cython, in single precision."""

    package = "cornac"

    def __init__(self, *, threads: int, **settings: Any) -> None:
        self._threads, self._settings = threads, settings

    def build(self, columns: Columns) -> Any:
        from cornac.data import Dataset

        triples = zip(
            columns.user_ids.tolist(), columns.item_ids.tolist(), columns.ratings, strict=True
        )
        return Dataset.from_uir([*triples], seed=0)

    def fit(self, dataset: Any, seed: int) -> Any:
        from cornac.models import MF

        model = MF(
            num_threads=self._threads,
            seed=seed if self._threads == 1 else None,  # a seed means one thread to cornac
            verbose=False,
            **self._settings,
        )
        return model.fit(dataset)

    def predict(self, model: Any, columns: Columns) -> Array:
        def rating(user: int, item: int) -> float:
            # A user or item without ratings has an index past those that are known.
            known = model.uid_map.get(user, model.num_users), model.iid_map.get(item)
            return float(model.rate(*known)) if known[1] is not None else model.global_mean

        pairs = zip(columns.query_user_ids.tolist(), columns.query_item_ids.tolist(), strict=True)
        return np.array([rating(user, item) for user, item in pairs])


class LensKit:
    """Biases, or biases and factors of the rest by alternating least squares in Rust.

    Used as of LensKit 2026.
    """

    package = "lenskit"

    def __init__(self, algorithm: str, **settings: Any) -> None:
        self._algorithm, self._settings = algorithm, settings

    def build(self, columns: Columns) -> Any:
        import pandas as pd
        from lenskit.data import from_interactions_df

        triples = columns.user_ids, columns.item_ids, columns.ratings
        names = "user_id", "item_id", "rating"
        dataset = from_interactions_df(pd.DataFrame(dict(zip(names, triples, strict=True))))
        dataset.interactions().matrix().scipy(attribute="rating", layout="coo")  # is kept
        return dataset

    def fit(self, dataset: Any, seed: int) -> Any:
        from lenskit.als import BiasedMFScorer
        from lenskit.basic import BiasScorer
        from lenskit.training import TrainingOptions

        scorers = {"ALS": BiasedMFScorer, "bias": BiasScorer}
        scorer = scorers[self._algorithm](**self._settings)
        scorer.train(dataset, TrainingOptions(rng=seed))
        return scorer

    def predict(self, model: Any, columns: Columns) -> Array:
        from lenskit.data import ItemList, RecQuery

        biases = model.bias if self._algorithm == "ALS" else model.model
        predictions = np.empty(len(columns.query_user_ids))
        for user in np.unique(columns.query_user_ids):
            rows = np.flatnonzero(columns.query_user_ids == user)
            items = ItemList(item_ids=columns.query_item_ids[rows])
            scores = model(query=RecQuery(user_id=user), items=items).scores()
            fallback, _ = biases.compute_for_items(items, user_id=user)
            predictions[rows] = np.where(np.isnan(scores), fallback, scores)
        return predictions


class Cmfrec:
    """Biases and factors by alternating least squares in C, with conjugate gradients.

    With implicit features the factors also have to explain who rated what: collective matrix
    factorization of the ratings and of two tables of zeros and ones. With descriptions they have to
    explain those too.
    """

    package = "cmfrec"

    def __init__(self, *, threads: int, descriptions: bool = False, **settings: Any) -> None:
        self._settings, self._descriptions = settings | {"nthreads": threads}, descriptions

    def build(self, columns: Columns) -> Any:
        from scipy import sparse

        users, items, features = np.unique(columns.user_ids), np.unique(columns.item_ids), {}
        if self._descriptions:
            users, of_users, _ = _described(
                users, columns.described_user_ids, columns.user_features, None
            )
            items, of_items, _ = _described(
                items, columns.described_item_ids, columns.item_features, None
            )
            features = {"U": of_users, "I": of_items}
        rows = _places(users, columns.user_ids), _places(items, columns.item_ids)
        shape = len(users), len(items)
        return sparse.coo_matrix((columns.ratings, rows), shape=shape), users, items, features

    def fit(self, dataset: Any, seed: int) -> Any:
        from cmfrec import CMF

        ratings, users, items, features = dataset
        return CMF(random_state=seed, **self._settings).fit(ratings, **features), users, items

    def predict(self, model: Any, columns: Columns) -> Array:
        fitted, users, items = model
        # Who has no ratings is past those that are known, and predicted by the biases that are.
        rows = _places(users, columns.query_user_ids), _places(items, columns.query_item_ids)
        return np.asarray(fitted.predict(*rows), dtype=float)


class MyFM:
    """A Bayesian factorization machine by Gibbs sampling in C++; the mean over the samples.

    Plain, it sees user and item. Flipped, also who rated what, as the example `ml-100k-regression`
    has it: the items of the user, the users of the item, each divided by √n, in relation blocks.
    With times it also sees each user's days, as categories; with descriptions those of both sides,
    each column a group of its own.
    """

    package = "myfm"

    def __init__(
        self,
        *,
        rank: int,
        n_iter: int,
        flipped: bool,
        times: bool = False,
        descriptions: bool = False,
    ) -> None:
        self._rank, self._n_iter, self._flipped = rank, n_iter, flipped
        self._times, self._descriptions = times, descriptions

    def build(self, columns: Columns) -> Any:
        blocks, sizes = self._blocks(columns, columns.user_ids, columns.item_ids)
        days = self._days(columns, columns.user_ids, columns.days)
        sizes = [one.shape[1] for one in days] + sizes
        return self._table(blocks, days), sizes, columns.ratings

    def fit(self, dataset: Any, seed: int) -> Any:
        from myfm import MyFMRegressor

        (table, blocks), sizes, ratings = dataset
        return MyFMRegressor(rank=self._rank, random_seed=seed).fit(
            table,
            ratings,
            X_rel=blocks,
            group_shapes=sizes,
            n_iter=self._n_iter,
            n_kept_samples=self._n_iter,
        )

    def predict(self, model: Any, columns: Columns) -> Array:
        queries = columns.query_user_ids, columns.query_item_ids
        days = self._days(columns, columns.query_user_ids, columns.query_days)
        table, blocks = self._table(self._blocks(columns, *queries)[0], days)
        return np.asarray(model.predict(table, blocks))

    def _blocks(self, columns: Columns, user_ids: Array, item_ids: Array) -> Any:
        """Of either side: the row of each pair, and the rows; and the sizes of the groups."""
        from scipy import sparse

        users, user_rows = np.unique(columns.user_ids, return_inverse=True)
        items, item_rows = np.unique(columns.item_ids, return_inverse=True)
        rated = sparse.csr_matrix((np.ones(len(user_rows)), (user_rows, item_rows)))
        about_users = columns.described_user_ids, columns.user_features, columns.user_feature_sizes
        about_items = columns.described_item_ids, columns.item_features, columns.item_feature_sizes
        blocks, sizes = [], []
        for ids, known, other, about in (
            (user_ids, users, rated, about_users),
            (item_ids, items, rated.T.tocsr(), about_items),
        ):
            rows, features = known, [sparse.identity(len(known), format="csr")]
            sizes.append(len(known))
            if self._flipped:
                lengths = np.sqrt(np.asarray(other.sum(1)).ravel())
                features.append(sparse.diags(1 / lengths) @ other)
                sizes.append(other.shape[1])
            if self._descriptions:
                rows, described, more = _described(known, *about)
                place = _places(known, rows)  # the last, all zeros, is who has no ratings
                features = [_with_zeros(sparse.hstack(features))[place], described]
                sizes.extend(more)
            # The last row, all zeros, is of whom nothing is known.
            blocks.append((_places(rows, ids), _with_zeros(sparse.hstack(features))))
        return blocks, sizes

    def _days(self, columns: Columns, user_ids: Array, days: Array | None) -> list[Any]:
        """Which day of which user's it is, one-hot, no days that have no ratings; or nothing."""
        from scipy import sparse

        if not self._times:
            return []
        assert columns.days is not None
        assert days is not None
        users = np.unique(columns.user_ids)
        first, length = columns.days.min(), np.ptp(columns.days) + 1

        def keys(ids: Array, at: Array) -> Array:
            inside = (at >= first) & (at < first + length)
            return np.where(inside, _places(users, ids) * length + at - first, -1)

        known = np.unique(keys(columns.user_ids, columns.days))
        place = _places(known, keys(user_ids, days))
        return [_with_zeros(sparse.identity(len(known)))[place]]

    def _table(self, blocks: Any, days: list[Any]) -> tuple[Any, list[Any]]:
        """The same as a plain table and no blocks, or the days alone, if any, and blocks."""
        from myfm import RelationBlock
        from scipy import sparse

        if self._flipped:
            return (days[0] if days else None), [RelationBlock(*block) for block in blocks]
        rows = [*days, *(rows[index] for index, rows in blocks)]
        return sparse.hstack(rows, format="csr"), []


class LIBMF:
    """Factors without biases by parallel stochastic gradient descent in C++, through ctypes."""

    package = "libmf"

    def __init__(self, *, threads: int, decay: float, **settings: Any) -> None:
        # The binding's own default is an L1 penalty; LIBMF's is L2.
        decays = {"lambda_p1": 0.0, "lambda_q1": 0.0, "lambda_p2": decay, "lambda_q2": decay}
        self._settings = settings | decays | {"nr_threads": threads, "quiet": True}

    def build(self, columns: Columns) -> Any:
        return self._pairs(columns.user_ids, columns.item_ids, columns.ratings)

    def fit(self, dataset: Any, seed: int) -> Any:
        from libmf import mf

        model = mf.MF(**self._settings)  # its seed is always the same
        model.fit(dataset)
        return model

    def predict(self, model: Any, columns: Columns) -> Array:
        # The binding reads the pairs column by column, whatever it is given.
        pairs = self._pairs(columns.query_user_ids, columns.query_item_ids)
        return np.asarray(model.predict(np.asfortranarray(pairs)), dtype=float)

    @staticmethod
    def _pairs(*columns: Array) -> Array:
        return np.column_stack(columns).astype(np.float32)


def _places(known: Array, ids: Array) -> Array:
    """The (n,) places of ids among those that are known, sorted; of others that past the last."""
    places = np.minimum(np.searchsorted(known, ids), len(known) - 1)
    return np.where(known[places] == ids, places, len(known))


def _described(
    known: Array, ids: Array | None, features: Array | None, sizes: Array | None
) -> tuple[Array, Array, list[int]]:
    """Sorted ids of all who are known, the features of each, zeros if there are none, and sizes."""
    assert ids is not None
    assert features is not None
    everybody = np.union1d(known, ids)
    table = np.vstack([features, np.zeros((1, features.shape[1]))])
    more = [] if sizes is None else [int(size) for size in sizes]
    return everybody, table[_places(ids, everybody)], more


def _with_zeros(rows: Any) -> Any:
    """The same sparse rows and one of zeros."""
    from scipy import sparse

    return sparse.vstack([rows, sparse.csr_matrix((1, rows.shape[1]))], format="csr")
