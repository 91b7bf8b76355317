"""What columns are called by those who name them."""

import re

ROLES = ("user", "item", "rating")
TIME = "time"
NAMES = {  # lower case, without "id" at the end, an "s" behind that, or what is no letter
    "user": {"user", "u", "customer", "reviewer", "member", "profile", "account", "rater"},
    "item": {"item", "i", "movie", "book", "product", "film", "song", "track", "artist", "album"}
    | {"game", "anime", "business", "recipe", "joke", "isbn", "asin", "parentasin", "show"},
    "title": {"title", "name", "movietitle", "booktitle"},
    "rating": {"rating", "score", "star", "overall", "bookrating", "userrating", "starrating"},
    "time": {"time", "timestamp", "date", "datetime", "when", "ratedat", "ratedon", "ratingtime"}
    | {"ratingdate", "ratingtimestamp", "reviewdate", "reviewtime", "reviewtimestamp"}
    | {"unixreviewtime", "unixtime", "unixtimestamp", "eventtime", "eventdate", "eventtimestamp"}
    | {"createdat", "createdon", "updatedat", "dateadded", "daterated", "datecreated", "tstamp"},
}


def plain_name(name: str) -> str:
    """What matters of a column's name, such as `user` of `User-ID` or `userId:token`.

    Empty if it holds digits: `user7` is an id.
    """
    if any(map(str.isdecimal, name)):
        return ""
    letters = re.sub(r"[^a-z]", "", name.partition(":")[0].lower())
    return re.sub(r"(?<=.)(ids?|index|idx|num|s)$", "", letters)


def is_called(name: str, role: str) -> bool:
    """Whether a column's name says that it holds what a role is."""
    return plain_name(name) in NAMES[role]


def is_named(name: str, role: str, told: str) -> bool:
    """Whether a column is called as the ratings call that of a role, or as `is_called` knows it."""
    return name == told or is_called(name, role)
