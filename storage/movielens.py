"""The public MovieLens data sets by name: downloaded once, checked, and kept in the user's cache.

F. M. Harper, J. A. Konstan: The MovieLens Datasets: History and Context. ACM Transactions on
Interactive Intelligent Systems 5 (2015). The checksums are those published beside the files.
"""

import logging
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from storage.errors import InputError
from storage.files import replacing
from storage.lines import reason_of

HOME = "https://files.grouplens.org/datasets/movielens/"
LICENCE = (
    "licensed by GroupLens, University of Minnesota, for research: not to be passed on, nor used "
    "commercially without permission"
)
GENRES = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime"),
    *("Documentary", "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance"),
    *("Sci-Fi", "Thriller", "War", "Western"),
)
NAMES = {  # the MD5 of the zip file, and the ratings in it
    "ml-100k": ("0e33842e24a9c977be4e0107933c0723", "ml-100k/u.data"),
    "ml-1m": ("c4d9eecfca2ab87c1945afe126590906", "ml-1m/ratings.dat"),
    "ml-10m": ("ce571fd55effeba0271552578f2648bd", "ml-10M100K/ratings.dat"),
    "ml-20m": ("cd245b17a1ae2cc31bb14903e1204af3", "ml-20m/ratings.csv"),
    "ml-25m": ("6b51fb2759a8657d3bfcbfc42b592ada", "ml-25m/ratings.csv"),
    "ml-32m": ("d472be332d4daa821edc399621853b57", "ml-32m/ratings.csv"),
}


TABLES = {  # of items and of users, beside the ratings; empty if there is none
    "ml-100k": ("ml-100k/u.item", "ml-100k/u.user"),
    "ml-1m": ("ml-1m/movies.dat", "ml-1m/users.dat"),
    "ml-10m": ("ml-10M100K/movies.dat", ""),
    "ml-20m": ("ml-20m/movies.csv", ""),
    "ml-25m": ("ml-25m/movies.csv", ""),
    "ml-32m": ("ml-32m/movies.csv", ""),
}


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What the columns of a file without a header are called."""

    names: tuple[str, ...]
    categories: tuple[str, ...] = ()  # whose numbers are codes
    flags: tuple[str, ...] = ()  # that are one column,
    group: str = ""  # called so


@dataclass(frozen=True, kw_only=True)
class Files:
    """The files of a data set."""

    ratings: Path
    items: Path | None
    users: Path | None


LAYOUTS = {
    "u.item": Layout(
        names=("movie_id", "title", "release_date", "video_release_date", "imdb_url", *GENRES),
        flags=GENRES,
        group="genres",
    ),
    "u.user": Layout(names=("user_id", "age", "gender", "occupation", "zip_code")),
    "movies.dat": Layout(names=("movie_id", "title", "genres")),
    "users.dat": Layout(
        names=("user_id", "gender", "age", "occupation", "zip_code"), categories=("occupation",)
    ),
}


def layout_of(path: Path, n_columns: int) -> Layout | None:
    """What the columns of a file of MovieLens are called, told by its name and their number."""
    layout = LAYOUTS.get(path.name)
    return layout if layout and len(layout.names) == n_columns else None


def fetch(name: str, *, say: Callable[[str], None]) -> Files:
    """The files of a data set, downloaded if they were not yet.

    Raises:
        InputError: it cannot be downloaded, is not what was published, or cannot be kept.
    """
    import pooch

    checksum, member = NAMES[name]
    folder = Path(pooch.os_cache("rating-study"))
    members = [member, *filter(None, TABLES[name])]
    wanted = [one for one in members if not (folder / one).exists()]
    url = f"{HOME}{name}.zip"
    if wanted and not (folder / f"{name}.zip").exists():
        say(f"Download: {url} to {folder}; {LICENCE}; its README says more")
    pooch.get_logger().setLevel(logging.ERROR)
    try:
        if wanted:
            archive = pooch.retrieve(url, f"md5:{checksum}", f"{name}.zip", folder)
            with zipfile.ZipFile(archive) as content:
                for one in wanted:
                    with content.open(one) as source, replacing(folder / one, "wb") as file:
                        shutil.copyfileobj(source, file, 1 << 20)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{name}: cannot be downloaded from {url} ({reason_of(error)}); unpack it elsewhere "
            f"and give data={member}"
        ) from None
    items, users = (folder / table if table else None for table in TABLES[name])
    return Files(ratings=folder / member, items=items, users=users)
