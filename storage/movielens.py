"""The public MovieLens data sets by name: downloaded once, checked, and kept in the user's cache.

F. M. Harper, J. A. Konstan: The MovieLens Datasets: History and Context. ACM Transactions on
Interactive Intelligent Systems 5 (2015). The checksums are those published beside the files.
"""

import logging
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

from storage.errors import InputError
from storage.files import replacing
from storage.lines import reason_of

HOME = "https://files.grouplens.org/datasets/movielens/"
LICENCE = (
    "licensed by GroupLens, University of Minnesota, for research: not to be passed on, nor used "
    "commercially without permission"
)
NAMES = {  # the MD5 of the zip file, and the ratings in it
    "ml-100k": ("0e33842e24a9c977be4e0107933c0723", "ml-100k/u.data"),
    "ml-1m": ("c4d9eecfca2ab87c1945afe126590906", "ml-1m/ratings.dat"),
    "ml-10m": ("ce571fd55effeba0271552578f2648bd", "ml-10M100K/ratings.dat"),
    "ml-20m": ("cd245b17a1ae2cc31bb14903e1204af3", "ml-20m/ratings.csv"),
    "ml-25m": ("6b51fb2759a8657d3bfcbfc42b592ada", "ml-25m/ratings.csv"),
    "ml-32m": ("d472be332d4daa821edc399621853b57", "ml-32m/ratings.csv"),
}


def fetch(name: str, *, say: Callable[[str], None]) -> Path:
    """The file with the ratings of a data set, downloaded if it was not yet.

    Raises:
        InputError: it cannot be downloaded, is not what was published, or cannot be kept.
    """
    import pooch

    checksum, member = NAMES[name]
    folder = Path(pooch.os_cache("rating-study"))
    ratings = folder / member
    if ratings.exists():
        return ratings
    url = f"{HOME}{name}.zip"
    say(f"Download: {url} to {folder}; {LICENCE}; its README says more")
    pooch.get_logger().setLevel(logging.ERROR)
    try:
        archive = pooch.retrieve(url, f"md5:{checksum}", f"{name}.zip", folder)
        with (
            zipfile.ZipFile(archive) as content,
            content.open(member) as source,
            replacing(ratings, "wb") as file,
        ):
            shutil.copyfileobj(source, file, 1 << 20)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{name}: cannot be downloaded from {url} ({reason_of(error)}); unpack it elsewhere "
            f"and give data={member}"
        ) from None
    return ratings
