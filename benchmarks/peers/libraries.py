"""How the peers from PyPI are used: each library's own data structure, fit and predictions.

Runs in their environment, `requirements.txt`; a library is imported when it is first used.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Columns:
    """The ratings and the queries, by raw ids."""

    user_ids: Array
    item_ids: Array
    ratings: Array
    query_user_ids: Array
    query_item_ids: Array

    @property
    def range(self) -> tuple[float, float]:
        """The lowest and the highest rating."""
        return float(self.ratings.min()), float(self.ratings.max())

    def head(self, count: int) -> "Columns":
        """Some of the ratings, drawn at random, and the same queries."""
        rows = np.random.default_rng(0).permutation(len(self.ratings))[:count]
        columns = self.user_ids[rows], self.item_ids[rows], self.ratings[rows]
        return Columns(*columns, self.query_user_ids, self.query_item_ids)


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
    factorization of the ratings and of two tables of zeros and ones.
    """

    package = "cmfrec"

    def __init__(self, *, threads: int, **settings: Any) -> None:
        self._settings = settings | {"nthreads": threads}

    def build(self, columns: Columns) -> Any:
        from scipy import sparse

        users, user_rows = np.unique(columns.user_ids, return_inverse=True)
        items, item_rows = np.unique(columns.item_ids, return_inverse=True)
        return sparse.coo_matrix((columns.ratings, (user_rows, item_rows))), users, items

    def fit(self, dataset: Any, seed: int) -> Any:
        from cmfrec import CMF

        ratings, users, items = dataset
        return CMF(random_state=seed, **self._settings).fit(ratings), users, items

    def predict(self, model: Any, columns: Columns) -> Array:
        fitted, users, items = model
        # Who has no ratings is past those that are known, and predicted by the biases that are.
        rows = _places(users, columns.query_user_ids), _places(items, columns.query_item_ids)
        return np.asarray(fitted.predict(*rows), dtype=float)


class MyFM:
    """A Bayesian factorization machine by Gibbs sampling in C++; the mean over the samples.

    Plain, it sees user and item. Flipped, also who rated what, as the example `ml-100k-regression`
    has it: the items of the user, the users of the item, each divided by √n, in relation blocks.
    """

    package = "myfm"

    def __init__(self, *, rank: int, n_iter: int, flipped: bool) -> None:
        self._rank, self._n_iter, self._flipped = rank, n_iter, flipped

    def build(self, columns: Columns) -> Any:
        blocks, sizes = self._blocks(columns, columns.user_ids, columns.item_ids)
        return self._table(blocks), sizes, columns.ratings

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
        table, blocks = self._table(self._blocks(columns, *queries)[0])
        return np.asarray(model.predict(table, blocks))

    def _blocks(self, columns: Columns, user_ids: Array, item_ids: Array) -> Any:
        """Of either side: the row of each pair, and the rows; and the sizes of the groups."""
        from scipy import sparse

        users, user_rows = np.unique(columns.user_ids, return_inverse=True)
        items, item_rows = np.unique(columns.item_ids, return_inverse=True)
        rated = sparse.csr_matrix((np.ones(len(user_rows)), (user_rows, item_rows)))
        blocks, sizes = [], []
        for ids, known, other in ((user_ids, users, rated), (item_ids, items, rated.T.tocsr())):
            # The last row, all zeros, is who has no ratings.
            features = sparse.identity(len(known), format="csr")
            sizes.append(len(known))
            if self._flipped:
                lengths = np.sqrt(np.asarray(other.sum(1)).ravel())
                features = sparse.hstack([features, sparse.diags(1 / lengths) @ other])
                sizes.append(other.shape[1])
            features = sparse.vstack([features, sparse.csr_matrix((1, features.shape[1]))])
            blocks.append((_places(known, ids), features.tocsr()))
        return blocks, sizes

    def _table(self, blocks: Any) -> tuple[Any, list[Any]]:
        """The same as a plain table and no blocks, or no table and blocks."""
        from myfm import RelationBlock
        from scipy import sparse

        if self._flipped:
            return None, [RelationBlock(*block) for block in blocks]
        return sparse.hstack([rows[index] for index, rows in blocks], format="csr"), []


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
