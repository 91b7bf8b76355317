"""What the file of a held model keeps of the ratings, and how it comes back."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.dataset import Description, Ids, Ratings
from storage.files import Arrays
from storage.models import as_bytes, ids_of, of_bytes, saved_as
from study.known import Known

SIDES = ("user_descriptions", "item_descriptions")


def arrays_of(known: Known) -> tuple[Arrays, dict[str, Any]]:
    """What a file keeps of the ratings: arrays, and what JSON takes."""
    ratings = known.ratings
    values, short = ratings.values.numpy(), ratings.values.float().numpy()
    arrays: Arrays = {
        "ratings.user_index": ratings.user_index.int().numpy(),
        "ratings.item_index": ratings.item_index.int().numpy(),
        "ratings.values": short if (short == values).all() else values,
        "titles": as_bytes(dict(known.titles)),
    }
    if ratings.times is not None:
        arrays["ratings.times"] = ratings.times.numpy()
    for side, ids in (("users", known.users.values), ("items", known.items.values)):
        arrays[side] = saved_as(ids)
    about: dict[str, Any] = {
        "source": known.source,
        "user_name": known.user_name,
        "item_name": known.item_name,
        "rating_name": known.rating_name,
        "time_name": known.time_name,
        "present": known.present,
    }
    for side in SIDES:
        about[side] = [(one.name, one.labels) for one in getattr(ratings, side)]
        for number, one in enumerate(getattr(ratings, side)):
            arrays[f"{side}.{number}"] = one.values.numpy()
    return arrays, about


def known_of(arrays: Arrays, about: dict[str, Any]) -> Known:
    """What `arrays_of` kept."""
    users, items = (Ids(ids_of(arrays[side])) for side in ("users", "items"))
    user_descriptions, item_descriptions = (
        tuple(
            Description(
                name=name,
                labels=tuple(labels),
                values=torch.from_numpy(arrays[f"{side}.{number}"]),
            )
            for number, (name, labels) in enumerate(about[side])
        )
        for side in SIDES
    )
    return Known(
        source=about["source"],
        users=users,
        items=items,
        user_name=about["user_name"],
        item_name=about["item_name"],
        rating_name=about["rating_name"],
        time_name=about["time_name"],
        ratings=Ratings(
            n_users=len(users),
            n_items=len(items),
            user_index=torch.from_numpy(arrays["ratings.user_index"].astype(np.int64)),
            item_index=torch.from_numpy(arrays["ratings.item_index"].astype(np.int64)),
            values=torch.from_numpy(arrays["ratings.values"].astype(np.float64)),
            times=torch.from_numpy(arrays["ratings.times"]) if "ratings.times" in arrays else None,
            user_descriptions=user_descriptions,
            item_descriptions=item_descriptions,
        ),
        present=about["present"],
        titles=of_bytes(arrays["titles"]),
    )


def tensors_of(arrays: Arrays, prefix: str) -> dict[str, Tensor]:
    """The arrays whose names begin so, as tensors that share their memory."""
    return {
        name.removeprefix(prefix): torch.from_numpy(array)
        for name, array in arrays.items()
        if name.startswith(prefix)
    }
