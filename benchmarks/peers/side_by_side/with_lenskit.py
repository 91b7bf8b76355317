"""30 random settings of LensKit's ALS on a validation split, then all the ratings."""

import numpy as np
import pandas as pd
from lenskit.als import BiasedMFScorer
from lenskit.batch import predict
from lenskit.data import ItemListCollection, from_interactions_df
from lenskit.pipeline import predict_pipeline

ratings = pd.read_csv("ratings.csv").rename(columns={"user": "user_id", "item": "item_id"})
pairs = pd.read_csv("pairs.csv").rename(columns={"user": "user_id", "item": "item_id"})
draw = np.random.default_rng(0)
is_held_out = draw.random(len(ratings)) < 0.1


def predicted(training, asked, setting):
    pipeline = predict_pipeline(BiasedMFScorer(**setting))
    pipeline.train(from_interactions_df(training))
    wanted = ItemListCollection.from_df(asked[["user_id", "item_id"]], ["user_id"])
    found = predict(pipeline, wanted, n_jobs=1).to_df()
    return asked.merge(found[["user_id", "item_id", "score"]], how="left")


best, least = None, np.inf
for _ in range(30):
    setting = {
        "features": int(draw.choice([10, 20, 50, 100])),
        "epochs": int(draw.choice([5, 10, 20])),
        "regularization": float(10 ** draw.uniform(-2, 0)),
    }
    tried = predicted(ratings[~is_held_out], ratings[is_held_out], setting)
    rmse = np.sqrt(((tried["score"] - tried["rating"]) ** 2).mean())
    if rmse < least:
        best, least = setting, rmse
answers = predicted(ratings, pairs, best)
answers["score"] = answers["score"].clip(ratings["rating"].min(), ratings["rating"].max())
columns = {"user_id": "user", "item_id": "item", "score": "prediction"}
answers.rename(columns=columns).to_csv("answers.csv", index=False)
