"""Trained models on disk: found by their recipe, and only if nothing was changed."""

from pathlib import Path

import numpy as np
import pytest

from storage.models import file_name, load_model, recipe_path, save_model

RECIPE = {"rank": 3, "seed": 7, "rate": 0.01, "form": "biased"}
ARRAYS = {
    "user_factors": np.random.default_rng(7).normal(size=(5, 3)).astype(np.float32),
    "item_bias": np.arange(4, dtype=np.float32),
    "global_mean": np.array(3.5),
}


def test_round_trip(tmp_path: Path) -> None:
    path = recipe_path(tmp_path, "a study", RECIPE)
    assert load_model(path) is None
    save_model(path, ARRAYS, RECIPE)
    loaded = load_model(path)
    assert loaded is not None
    assert loaded.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(loaded[name], array, strict=True)


def test_the_same_recipe_leads_to_the_same_file(tmp_path: Path) -> None:
    reordered = dict(reversed(RECIPE.items()))
    assert recipe_path(tmp_path, "s", RECIPE) == recipe_path(tmp_path, "s", reordered)


@pytest.mark.parametrize(
    "change",
    [{"rank": 4}, {"seed": 8}, {"rate": 0.010000000000000002}, {"form": "plain"}, {"more": None}],
)
def test_another_recipe_leads_to_another_file(change: dict[str, object], tmp_path: Path) -> None:
    assert recipe_path(tmp_path, "s", RECIPE | change) != recipe_path(tmp_path, "s", RECIPE)


def test_another_study_or_format_leads_to_another_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = recipe_path(tmp_path, "s", RECIPE)
    assert recipe_path(tmp_path, "t", RECIPE) != path
    monkeypatch.setattr("storage.models.FORMAT", 1_000)
    assert recipe_path(tmp_path, "s", RECIPE) != path


@pytest.mark.parametrize("place", [0, 20, 200, -100, -1])
def test_a_damaged_model_is_none(place: int, tmp_path: Path) -> None:
    path = recipe_path(tmp_path, "s", RECIPE)
    save_model(path, ARRAYS, RECIPE)
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)
    assert load_model(path) is None
    path.write_bytes(content[:place])
    assert load_model(path) is None


def test_a_pickle_is_not_run(tmp_path: Path) -> None:
    import pickle

    class Harmful:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "harmed",)

    (tmp_path / "model").write_bytes(pickle.dumps(Harmful()))
    assert load_model(tmp_path / "model") is None
    assert not (tmp_path / "harmed").exists()


NAMES = [
    "plain name",
    "../up",
    "..",
    ".",
    "a/../../b",
    "/etc/passwd",
    "back\\slash",
    "a%2Fb",
    "a/b",
    "nul\0",
    "line\nline",
    "",
    "語" * 90,
    "x" * 500,
    "." * 500,
]


@pytest.mark.parametrize("name", NAMES, ids=[f"{name[:12]!a}" for name in NAMES])
def test_a_study_of_any_name_keeps_its_models_in_the_folder(name: str, tmp_path: Path) -> None:
    path = recipe_path(tmp_path, name, RECIPE)
    save_model(path, ARRAYS, RECIPE)
    assert load_model(path) is not None
    assert path.resolve().parent == tmp_path
    assert [kept.relative_to(tmp_path) for kept in tmp_path.rglob("*.safetensors")] == [
        path.relative_to(tmp_path)
    ]
    assert ".." not in file_name(name)


def test_names_that_differ_stay_different() -> None:
    assert len({file_name(name) for name in NAMES}) == len(NAMES)
