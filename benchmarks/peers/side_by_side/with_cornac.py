"""30 random settings of cornac's MF on a validation split, then all the ratings."""

import pandas as pd
from cornac.data import Dataset
from cornac.eval_methods import RatioSplit
from cornac.experiment import Experiment
from cornac.hyperopt import Continuous, Discrete, RandomSearch
from cornac.metrics import RMSE
from cornac.models import MF

ratings = pd.read_csv("ratings.csv")
pairs = pd.read_csv("pairs.csv")
triples = list(ratings[["user", "item", "rating"]].itertuples(index=False, name=None))
split = RatioSplit(triples, test_size=0.1, val_size=0.1, seed=0)
space = [
    Discrete("k", [10, 20, 50, 100]),
    Discrete("max_iter", [20, 50, 100]),
    Continuous("learning_rate", low=0.002, high=0.02),
    Continuous("lambda_reg", low=0.01, high=0.1),
]
search = RandomSearch(MF(seed=0), space, RMSE(), split, n_trails=30)
Experiment(split, [search], [RMSE()]).run()
model = search.best_model.clone()
model.fit(Dataset.from_uir(triples, seed=0))
pairs["prediction"] = [
    model.rate(model.uid_map.get(row.user, -1), model.iid_map.get(row.item, -1))
    for row in pairs.itertuples()
]
pairs.to_csv("answers.csv", index=False)
