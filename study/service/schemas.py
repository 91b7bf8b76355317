"""What requests may ask, and what answers hold: checked by pydantic, told by OpenAPI.

Ids are numbers or texts, as the ratings have them; a number may also come as a text.
"""

import math
from collections.abc import Sized
from typing import Annotated, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    FiniteFloat,
    PlainValidator,
    Strict,
    StrictStr,
    WithJsonSchema,
)

from study.answers.lists import LENGTH

MOST_PAIRS = 10_000
MOST_LISTED = 1_000
MOST_IDS = 10_000  # that a list keeps to, or does without
MOST_RATINGS = 1_000  # of somebody new
MOST_EXPLAINED = 50  # of a list with reasons
MOST_REASONS = 5  # for each item
MOST_COLUMNS = 100  # that describe somebody
MOST_CHARACTERS = 500  # of an id, or of what is searched

S = TypeVar("S")


def _id(value: object) -> int | str:
    """An id, as it came."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63:
        return value
    if isinstance(value, str) and len(value) <= MOST_CHARACTERS and _is_unicode(value):
        return value
    raise ValueError(f"expected an id, a number or a text of up to {MOST_CHARACTERS} characters")


def _value(value: object) -> str:
    """What a column of a table says, as a text."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return f"{value:.15g}"
    if isinstance(value, str) and len(value) <= MOST_CHARACTERS and _is_unicode(value):
        return value
    raise ValueError(f"expected a number, or a text of up to {MOST_CHARACTERS} characters")


def _is_unicode(text: str) -> bool:
    """Whether it has no halves of characters, which JSON lets through."""
    return not any("\ud800" <= one <= "\udfff" for one in text)


_Text = Annotated[StrictStr, Field(max_length=MOST_CHARACTERS)]
Id = Annotated[
    int | str,
    PlainValidator(_id),
    WithJsonSchema({"anyOf": [{"type": "integer"}, {"type": "string"}]}),
]
Value = Annotated[
    str,
    PlainValidator(_value),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "number"}]}),
]
Top = Annotated[int, Field(ge=1, le=MOST_LISTED, description="how many at most")]


def _at_most(n: int) -> BeforeValidator:
    """Refuses what has more entries before it looks at any of them."""

    def check(value: S) -> S:
        if isinstance(value, Sized) and len(value) > n:
            raise ValueError(f"expected at most {n:,}, got {len(value):,}")
        return value

    return BeforeValidator(check)


Ids = Annotated[list[Id], Field(max_length=MOST_IDS), _at_most(MOST_IDS)]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Predict(_Asked):
    """Pairs to predict."""

    pairs: Annotated[
        list[tuple[Id, Id]],
        FailFast(),
        Field(min_length=1, max_length=MOST_PAIRS, examples=[[[42, 50], [42, 172]]]),
        _at_most(MOST_PAIRS),
    ] = Field(description="of user and item")
    intervals: bool = Field(default=False, description="whether to tell std, lower and upper too")


class _Listed(_Asked):
    top: Top = LENGTH
    among: Ids | None = Field(
        default=None, description="items that may be listed, by id or title; all if not told"
    )
    without: Ids = Field(default=[], description="items that may not be listed, likewise")
    rated: bool = Field(default=False, description="whether items that were rated may be listed")
    why: bool = Field(
        default=False,
        description="whether to tell which ratings carry each of the first "
        f"{MOST_EXPLAINED} predictions",
    )


class Recommend(_Listed):
    """A list for a user of the ratings."""

    user: Id = Field(examples=[42])


class Similar(_Asked):
    """A list of items like one."""

    item: Id = Field(description="an id, or a title", examples=[50])
    top: Top = LENGTH


class Newcomer(_Listed):
    """A list for somebody who is not in the ratings."""

    ratings: Annotated[
        dict[Id, Annotated[FiniteFloat, Strict()]],
        Field(examples=[{"50": 5, "172": 4.0}]),
        _at_most(MOST_RATINGS),
    ] = Field(default_factory=dict, description="by the id, or the title, of the item")
    about: Annotated[
        dict[_Text, Value],
        Field(examples=[{"age": 31}]),
        _at_most(MOST_COLUMNS),
    ] = Field(default_factory=dict, description="by column of the table of users")


class Search(_Asked):
    """Items whose titles, or ids, hold all words; without any the most rated ones."""

    search: _Text = ""
    top: Top = LENGTH


class Prediction(BaseModel):
    user: int | str
    item: int | str
    prediction: float
    std: float | None = None
    lower: float | None = Field(None, description="of a 90 % interval")
    upper: float | None = None


class Predictions(BaseModel):
    predictions: list[Prediction]
    unknown: int = Field(description="pairs whose user or item is not among the ratings")


class Reason(BaseModel):
    item: int | str
    title: str | None = None
    rating: float
    by: float = Field(description="by how much this rating moves the prediction")


class About(BaseModel):
    column: str = Field(description="of the users' table")
    value: str
    by: float = Field(description="by how much this moves the prediction")


class Item(BaseModel):
    item: int | str
    title: str | None = Field(None, description="left out where none is known")
    ratings: int = Field(description="how many the item has")


class Recommended(Item):
    prediction: float
    std: float
    lower: float = Field(description="of a 90 % interval")
    upper: float
    why: list[Reason] | None = None
    about: list[About] | None = Field(None, description="with `why`, of a user who is described")


class Recommendations(BaseModel):
    items: list[Recommended] = Field(description="the best first")
    rated: int = Field(description="items that this person has rated")
    unknown: int = Field(
        description="items that were named, as rated or to be listed or not, and are not known"
    )


class Alike(Item):
    similarity: float = Field(description="at most 1")


class SimilarItems(BaseModel):
    item: int | str
    title: str | None = None
    items: list[Alike] = Field(description="the most alike first")


class Items(BaseModel):
    items: list[Item]


class Scale(BaseModel):
    lowest: float
    highest: float
    step: float | None = Field(description="between ratings; none if they are not steps")


class Card(BaseModel):
    users: int
    items: int
    ratings: int
    titles: bool = Field(description="whether titles of items are known")
    scale: Scale
    loaded: str = Field(description="when this file was taken up, in UTC")
    card: dict[str, object] = Field(description="where the model came from, and how good it is")


class Health(BaseModel):
    status: str
    loaded: str


class Error(BaseModel):
    error: str = Field(description="what was wrong, in one line")
