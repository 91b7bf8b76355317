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
    "n_epochs": [20, 50, 100],
    "lr_all": [0.002, 0.005, 0.01],
    "reg_all": [0.02, 0.05, 0.1, 0.15],
    "random_state": [0],
}
search = RandomizedSearchCV(SVD, space, n_iter=30, cv=3, refit=True, n_jobs=-1, random_state=0)
search.fit(data)
pairs["prediction"] = [search.predict(row.user, row.item).est for row in pairs.itertuples()]
pairs.to_csv("answers.csv", index=False)
