"""30 settings of RecBole's FM by its Bayesian search, then all the ratings.

RecBole is made for ranking, and its models that learn from labels do so by cross-entropy. Given
ratings as labels, normalized to 0…1, that too is least where the mean rating is predicted.
"""

from math import log
from pathlib import Path

import pandas as pd
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.interaction import Interaction
from recbole.model.context_aware_recommender import FM
from recbole.trainer import HyperTuning, Trainer
from recbole.utils import init_seed

ratings = pd.read_csv("ratings.csv")
pairs = pd.read_csv("pairs.csv")
folder = Path("dataset/ratings")
folder.mkdir(parents=True)
columns = {"user": "user_id:token", "item": "item_id:token", "rating": "rating:float"}
ratings.rename(columns=columns).to_csv(folder / "ratings.inter", sep="\t", index=False)


def trained(setting, split):
    fixed = {
        "load_col": {"inter": ["user_id", "item_id", "rating"]},
        "LABEL_FIELD": "rating",
        "normalize_field": ["rating"],
        "train_neg_sample_args": None,
        "eval_args": {"split": {"RS": split}, "mode": "labeled"},
        "metrics": ["RMSE"],
        "valid_metric": "RMSE",
        "valid_metric_bigger": False,
        "metric_decimal_place": 6,
    }
    config = Config("FM", "ratings", config_dict=fixed | setting)
    init_seed(config["seed"], config["reproducibility"])
    dataset = create_dataset(config)
    training, validation, _ = data_preparation(config, dataset)
    trainer = Trainer(config, FM(config, dataset).to(config["device"]))
    trainer.fit(training, validation if split[1] else None, saved=False)
    return dataset, trainer


def tried(setting, _):
    _, trainer = trained(setting, [0.9, 0.1, 0])
    return {
        "model": "FM",
        "best_valid_score": trainer.best_valid_score,
        "valid_score_bigger": False,
        "best_valid_result": trainer.best_valid_result,
        "test_result": None,
        "epochs": len(trainer.train_loss_dict) - trainer.cur_step,
    }


space = {
    "choice": {"embedding_size": [10, 20, 50, 100]},
    "loguniform": {
        "learning_rate": [log(0.002), log(0.02)],
        "weight_decay": [log(1e-6), log(1e-3)],
    },
}
search = HyperTuning(tried, params_dict=space, algo="bayes", max_evals=30, early_stop=30)
search.run()
epochs = search.params2result[search.params2str(search.best_params)]["epochs"]
dataset, trainer = trained(search.best_params | {"epochs": epochs}, [1, 0, 0])
index = {
    field: torch.tensor([dataset.field2token_id[field].get(token, 0) for token in pairs[name]])
    for name, field in (("user", "user_id"), ("item", "item_id"))
}
with torch.no_grad():
    labels = trainer.model.predict(Interaction(index).to(trainer.device)).cpu().numpy()
lowest, highest = ratings["rating"].min(), ratings["rating"].max()
pairs["prediction"] = lowest + (highest - lowest) * labels
pairs.to_csv("answers.csv", index=False)
