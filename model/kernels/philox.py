"""Random numbers of a counter: what is drawn for a row does not depend on who else is drawn.

Philox 4×32-10 (Salmon, Moraes, Dror & Shaw 2011, Parallel Random Numbers: As Easy as 1, 2, 3): ten
rounds of multiplication turn a counter of four words, under a key of two, into four random words.
On a CPU the rounds are compiled; what stands first is the same in PyTorch, for a GPU and to compare
with.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.kernels.compiling import njit
from model.kernels.threads import in_threads

ROUNDS = 10
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
INCREMENTS = 0x9E3779B9, 0xBB67AE85  # of the key, from one round to the next
WORD = 0xFFFFFFFF
MOST_ATTEMPTS = 64  # to draw from a gamma distribution, of which each succeeds in 19 of 20 cases
ATTEMPTS_AT_ONCE = 4  # on a GPU, where a pass over all costs less than a look at who is left
# Counters that are worked on together: what they come to stays in a cache, or is a gigabyte.
CHUNK = {"cpu": 1 << 14, "cuda": 1 << 24}

_FIRST, _SECOND = (np.uint64(one) for one in MULTIPLIERS)
_STEPS = tuple(np.uint64(one) for one in INCREMENTS)
_WORD, _HALF = np.uint64(WORD), np.uint64(32)
_F32 = np.float32
_ONE, _BYTE, _ELEVEN = np.uint64(1), np.uint64(8), np.uint64(11)

CPU = torch.device("cpu")
Array = NDArray[Any]


class Key(NamedTuple):
    """What makes a stream of numbers another one than all others."""

    seed: int  # of 64 bits
    sweep: int = 0
    purpose: int = 0

    @property
    def words(self) -> tuple[int, int, int, int]:
        """The words of the counter that all share, and the key of the first round."""
        seed, high = self.seed & WORD, self.seed >> 32 & WORD
        return self.sweep & WORD, self.purpose & WORD, seed, high


def words(key: Key, first: Tensor, second: Tensor) -> tuple[Tensor, ...]:
    """Four random words of each of n counters, (n,) int64 each.

    Args:
        key: of the stream.
        first: (n,) int64, the first word of each counter; of more than 32 bits, they are cut off.
        second: (n,) int64, its second.
    """
    third, fourth, *keys = key.words
    multipliers, step = (first.new_tensor(of)[:, None] for of in (MULTIPLIERS, INCREMENTS))
    round_keys = first.new_tensor(keys)[:, None]
    factors = torch.stack([first & WORD, torch.full_like(first, third)])  # a, c
    others = torch.stack([second & WORD, torch.full_like(first, fourth)])  # b, d
    for _ in range(ROUNDS):
        products = multipliers * factors  # which wrap around, bits and all
        factors = (products >> 32).bitwise_and_(WORD).flip(0)
        factors.bitwise_xor_(others).bitwise_xor_(round_keys)
        others = products.bitwise_and_(WORD).flip(0)
        round_keys = (round_keys + step) & WORD
    return factors[0], others[0], factors[1], others[1]


def uniforms(key: Key, first: Tensor, second: Tensor) -> Tensor:
    """A number in (0, 1) of each of n counters, (n,) float64."""
    if first.device != CPU:
        return _between_0_and_1(*words(key, first, second)[:2])
    found = np.empty(len(first))
    arrays = first.numpy(), second.numpy()
    rest = [np.uint64(word) for word in key.words]
    in_threads(lambda chunk: fill_uniforms(*chunk, *arrays, *rest, found), _chunks(len(first), 1))
    return torch.from_numpy(found)


def normals(key: Key, rows: Tensor, width: int, *, first: Tensor | None = None) -> Tensor:
    """Standard normal numbers of n rows, (n, width) float32 (Box & Muller 1958).

    Args:
        key: of the stream.
        rows: (n,) int64, their numbers.
        width: how many of each.
        first: (n,) int64, the word of each row's counters that rises by one every four numbers,
            zeros if not told.
    """
    n_blocks = -(-width // 4)
    half = 2 * n_blocks
    found = torch.empty(len(rows), width, device=rows.device)
    first = torch.zeros_like(rows) if first is None else first

    def draw(chunk: tuple[int, int]) -> None:
        some, start = rows[slice(*chunk)], first[slice(*chunk)]
        if rows.device == CPU:
            pairs = np.empty((2, half, len(some)), dtype=np.float32)
            rest = [np.uint64(word) for word in key.words]
            fill_pairs(start.numpy(), some.numpy(), n_blocks, *rest, pairs)
            turn_pairs(*pairs.reshape(2, -1))
            first_half, second_half = torch.from_numpy(pairs)
        else:
            first_half, second_half = normal_pairs(key, start, some, n_blocks)
        found[slice(*chunk), :half] = first_half[:width].mT
        found[slice(*chunk), half:] = second_half[: width - half].mT

    in_threads(draw, _chunks(len(rows), n_blocks, rows.device))
    return found


def normal_pairs(key: Key, first: Tensor, rows: Tensor, n_blocks: int) -> tuple[Tensor, Tensor]:
    """Both halves of the normal numbers of n rows, (2 n_blocks, n) float32, in PyTorch."""
    blocks = torch.arange(n_blocks, device=rows.device).repeat_interleave(len(rows))
    of_each = words(key, blocks + first.repeat(n_blocks), rows.repeat(n_blocks))
    parts = [((one >> 8).float() + 0.5).view(n_blocks, -1) * 2.0**-24 for one in of_each]
    radius = torch.cat(parts[:2]).log().mul(-2).sqrt()
    angle = torch.cat(parts[2:]) * (2 * math.pi)
    return radius * angle.cos(), radius * angle.sin()


def gammas(key: Key, rows: Tensor, shape: Tensor) -> Tensor:
    """Gamma(shape, 1) numbers of n rows, (n,) float64.

    From a normal one and a chance, again and again until all are accepted (Marsaglia & Tsang 2000,
    A Simple Method for Generating Gamma Variables).

    Args:
        key: of the stream.
        rows: (n,) int64, their numbers.
        shape: (n,) float64, 1 or more.
    """
    if rows.device != CPU:
        return plain_gammas(key, rows, shape)
    found = np.empty(len(rows))
    arrays = rows.numpy(), shape.numpy()
    rest = [np.uint64(word) for word in key.words]
    in_threads(lambda chunk: fill_gammas(*chunk, *arrays, *rest, found), _chunks(len(rows), 4))
    return torch.from_numpy(found)


def plain_gammas(key: Key, rows: Tensor, shape: Tensor) -> Tensor:
    """As `gammas`, in PyTorch: attempts of all rows at once, of which the first good one counts."""
    least = shape - 1 / 3
    scale = (9 * least).rsqrt()
    drawn = least.clone()
    left = torch.arange(len(rows), device=rows.device)
    for first in range(0, MOST_ATTEMPTS, ATTEMPTS_AT_ONCE):
        attempts = torch.arange(first, first + ATTEMPTS_AT_ONCE, device=rows.device)
        places = torch.cat([2 * attempts, 2 * attempts + 1]).repeat_interleave(len(left))
        of_places = words(key, places, rows[left].repeat(2 * len(attempts)))
        of_first, of_second = torch.stack(of_places).view(4, 2, len(attempts), -1).unbind(1)
        radius = (_between_0_and_1(*of_first[:2]).log() * -2).sqrt()
        noise = radius * (_between_0_and_1(*of_first[2:]) * (2 * math.pi)).cos()
        chance = _between_0_and_1(*of_second[:2])
        cube = (1 + scale[left] * noise) ** 3
        bound = noise.square() / 2 + least[left] * (1 - cube + cube.clamp(min=1e-300).log())
        good = (cube > 0) & (chance.log() < bound)
        is_done = good.any(0)
        chosen = torch.where(good, attempts[:, None], MOST_ATTEMPTS).amin(0).sub_(first)
        found = (least[left] * cube).gather(0, chosen.clamp_(max=len(attempts) - 1)[None])[0]
        drawn[left] = torch.where(is_done, found, drawn[left])
        left = left[~is_done]
        if not len(left):
            break
    return drawn


def _between_0_and_1(high: Tensor, low: Tensor) -> Tensor:
    """Of 52 bits of two words, (n,) float64."""
    return (high >> 1).double() * 2.0**-31 + ((low >> 11).double() + 0.5) * 2.0**-52


def _chunks(n: int, counters_each: int, device: torch.device = CPU) -> list[tuple[int, int]]:
    step = max(1, CHUNK[device.type] // counters_each)
    return [(start, min(start + step, n)) for start in range(0, n, step)]


@njit(nogil=True, cache=True)
def fill_uniforms(
    begin: int,
    end: int,
    first: Array,
    second: Array,
    third: np.uint64,
    fourth: np.uint64,
    low: np.uint64,
    high: np.uint64,
    found: Array,
) -> None:
    """Writes the numbers of the counters begin … end - 1."""
    keys = _keys(low, high)
    for n in range(begin, end):
        a, b, _, _ = _rounds(np.uint64(first[n]), np.uint64(second[n]), third, fourth, keys)
        found[n] = _pair(a, b)


@njit(nogil=True, cache=True)
def fill_gammas(
    begin: int,
    end: int,
    rows: Array,
    shape: Array,
    third: np.uint64,
    fourth: np.uint64,
    low: np.uint64,
    high: np.uint64,
    found: Array,
) -> None:
    """Writes the numbers of the rows begin … end - 1."""
    keys = _keys(low, high)
    for n in range(begin, end):
        row, least = np.uint64(rows[n]), shape[n] - 1 / 3
        scale = 1 / math.sqrt(9 * least)
        found[n] = least
        for attempt in range(MOST_ATTEMPTS):
            a, b, c, d = _rounds(np.uint64(2 * attempt), row, third, fourth, keys)
            noise = math.sqrt(-2 * math.log(_pair(a, b))) * math.cos(2 * math.pi * _pair(c, d))
            a, b, _, _ = _rounds(np.uint64(2 * attempt + 1), row, third, fourth, keys)
            root = 1 + scale * noise
            if root <= 0:
                continue
            cube = root * root * root
            bound = noise * noise / 2 + least * (1 - cube + math.log(cube))
            if math.log(_pair(a, b)) < bound:
                found[n] = least * cube
                break


@njit(nogil=True, cache=True)
def _pair(high: np.uint64, low: np.uint64) -> np.float64:
    """A number in (0, 1) of 52 bits of two words; of signed halves, which vectors can turn into."""
    upper, lower = np.float64(np.int32(high >> _ONE)), np.float64(np.int32(low >> _ELEVEN))
    return upper * 2.0**-31 + (lower + 0.5) * 2.0**-52


@njit(nogil=True, cache=True)
def fill_pairs(
    first: Array,
    rows: Array,
    n_blocks: int,
    third: np.uint64,
    fourth: np.uint64,
    low: np.uint64,
    high: np.uint64,
    pairs: Array,
) -> None:
    """Writes the (2, 2 n_blocks, n) numbers in (0, 1) that normal ones are made of."""
    keys, size, half = _keys(low, high), np.float32(2.0**-24), np.float32(0.5)
    for block in range(n_blocks):
        radius, more = pairs[0, block], pairs[0, n_blocks + block]
        angle, further = pairs[1, block], pairs[1, n_blocks + block]
        for n in range(len(rows)):
            a, b, c, d = _rounds(
                np.uint64(first[n] + block), np.uint64(rows[n]), third, fourth, keys
            )
            # As signed numbers, which vectors turn into floating ones.
            radius[n] = (np.float32(np.int32(a >> _BYTE)) + half) * size
            more[n] = (np.float32(np.int32(b >> _BYTE)) + half) * size
            angle[n] = (np.float32(np.int32(c >> _BYTE)) + half) * size
            further[n] = (np.float32(np.int32(d >> _BYTE)) + half) * size


@njit(nogil=True, cache=True, fastmath={"contract", "nsz"}, error_model="numpy")
def turn_pairs(radius: Array, angle: Array) -> None:
    """Turns n pairs of numbers in (0, 1] into pairs of normal ones, in place.

    The logarithm, sine and cosine are the polynomials of single precision of Moshier's Cephes
    library (1989: logf, sinf, cosf), written out so that LLVM works on many pairs at once.
    """
    for n in range(len(radius)):
        bits = np.float32(radius[n]).view(np.int32)
        exponent = _F32((bits >> np.int32(23)) - np.int32(126))
        x = np.int32((bits & np.int32(0x7FFFFF)) | np.int32(0x3F000000)).view(np.float32)
        is_low = x < _F32(0.70710678)
        exponent = exponent - _F32(1) if is_low else exponent
        x = (x + x if is_low else x) - _F32(1)
        square = x * x
        y = _F32(7.0376836292e-2) * x + _F32(-1.1514610310e-1)
        y = y * x + _F32(1.1676998740e-1)
        y = y * x + _F32(-1.2420140846e-1)
        y = y * x + _F32(1.4249322787e-1)
        y = y * x + _F32(-1.6668057665e-1)
        y = y * x + _F32(2.0000714765e-1)
        y = y * x + _F32(-2.4999993993e-1)
        y = y * x + _F32(3.3333331174e-1)
        y = y * x * square + exponent * _F32(-2.12194440e-4) - _F32(0.5) * square
        logarithm = x + y + exponent * _F32(0.693359375)
        length = np.sqrt(max(_F32(-2) * logarithm, _F32(0)))

        quarters = angle[n] * _F32(4)
        quarter = np.int32(quarters + _F32(0.5))
        x = (quarters - _F32(quarter)) * _F32(math.pi / 2)
        square = x * x
        sine = _F32(-1.9515295891e-4) * square + _F32(8.3321608736e-3)
        sine = (sine * square + _F32(-1.6666654611e-1)) * square * x + x
        cosine = _F32(2.443315711809948e-5) * square + _F32(-1.388731625493765e-3)
        cosine = cosine * square + _F32(4.166664568298827e-2)
        cosine = cosine * square * square - _F32(0.5) * square + _F32(1)
        is_odd = (quarter & np.int32(1)) == 1
        across, up = (sine, cosine) if is_odd else (cosine, sine)
        radius[n] = length * (-across if ((quarter + np.int32(1)) & np.int32(2)) == 2 else across)
        angle[n] = length * (-up if (quarter & np.int32(2)) == 2 else up)


@njit(nogil=True, cache=True)
def _keys(low: np.uint64, high: np.uint64) -> Any:
    """The keys of all rounds, as numbers: LLVM then works on many counters at once."""
    k1, l1 = (low + _STEPS[0]) & _WORD, (high + _STEPS[1]) & _WORD
    k2, l2 = (k1 + _STEPS[0]) & _WORD, (l1 + _STEPS[1]) & _WORD
    k3, l3 = (k2 + _STEPS[0]) & _WORD, (l2 + _STEPS[1]) & _WORD
    k4, l4 = (k3 + _STEPS[0]) & _WORD, (l3 + _STEPS[1]) & _WORD
    k5, l5 = (k4 + _STEPS[0]) & _WORD, (l4 + _STEPS[1]) & _WORD
    k6, l6 = (k5 + _STEPS[0]) & _WORD, (l5 + _STEPS[1]) & _WORD
    k7, l7 = (k6 + _STEPS[0]) & _WORD, (l6 + _STEPS[1]) & _WORD
    k8, l8 = (k7 + _STEPS[0]) & _WORD, (l7 + _STEPS[1]) & _WORD
    k9, l9 = (k8 + _STEPS[0]) & _WORD, (l8 + _STEPS[1]) & _WORD
    return low, k1, k2, k3, k4, k5, k6, k7, k8, k9, high, l1, l2, l3, l4, l5, l6, l7, l8, l9


@njit(nogil=True, cache=True)
def _rounds(a: np.uint64, b: np.uint64, c: np.uint64, d: np.uint64, keys: Any) -> Any:
    """All rounds, of words that stand in the lower half of 64 bits each."""
    a, b, c, d = _round(a & _WORD, b & _WORD, c, d, keys[0], keys[10])
    a, b, c, d = _round(a, b, c, d, keys[1], keys[11])
    a, b, c, d = _round(a, b, c, d, keys[2], keys[12])
    a, b, c, d = _round(a, b, c, d, keys[3], keys[13])
    a, b, c, d = _round(a, b, c, d, keys[4], keys[14])
    a, b, c, d = _round(a, b, c, d, keys[5], keys[15])
    a, b, c, d = _round(a, b, c, d, keys[6], keys[16])
    a, b, c, d = _round(a, b, c, d, keys[7], keys[17])
    a, b, c, d = _round(a, b, c, d, keys[8], keys[18])
    return _round(a, b, c, d, keys[9], keys[19])


@njit(nogil=True, cache=True)
def _round(
    a: np.uint64, b: np.uint64, c: np.uint64, d: np.uint64, low: np.uint64, high: np.uint64
) -> Any:
    one, other = _FIRST * a, _SECOND * c
    return (other >> _HALF) ^ b ^ low, other & _WORD, (one >> _HALF) ^ d ^ high, one & _WORD
