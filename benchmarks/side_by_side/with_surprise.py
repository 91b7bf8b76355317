"""30 random settings of Surprise's SVD in threefold cross-validation, then all the ratings."""

import pandas as pd
from surprise import SVD, Dataset, Reader
from surprise.model_selection import RandomizedSearchCV

ratings = pd.read_csv("ratings.csv")
pairs = pd.read_csv("pairs.csv")
scale = ratings["rating"].min(), ratings["rating"].max()
data = Dataset.load_from_df(ratings[["user", "item", "rating"]], Reader(rating_scale=scale))
space = {
    "n_factors": [10, 20, 50, 100],
    "n_epochs": [20, 40, 60],
    "lr_all": [0.002, 0.005, 0.01],
    "reg_all": [0.02, 0.05, 0.1, 0.15],
}
search = RandomizedSearchCV(SVD, space, n_iter=30, measures=["rmse"], cv=3, random_state=0)
search.fit(data)
model = search.best_estimator["rmse"]
model.fit(data.build_full_trainset())
pairs["prediction"] = [model.predict(row.user, row.item).est for row in pairs.itertuples()]
pairs.to_csv("answers.csv", index=False)
