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
CHUNK = 1 << 14  # counters that a thread takes at a time: what they come to stays in a cache

_FIRST, _SECOND = (np.uint64(one) for one in MULTIPLIERS)
_STEPS = tuple(np.uint64(one) for one in INCREMENTS)
_WORD, _HALF = np.uint64(WORD), np.uint64(32)
_BYTE, _TWELVE, _TWENTY = np.uint64(8), np.uint64(12), np.uint64(20)

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
    third, fourth, low, high = key.words
    a, b = first & WORD, second & WORD
    c, d = torch.full_like(a, third), torch.full_like(a, fourth)
    for _ in range(ROUNDS):
        one, other = MULTIPLIERS[0] * a, MULTIPLIERS[1] * c  # which wrap around, bits and all
        a, b = (other >> 32 & WORD) ^ b ^ low, other & WORD
        c, d = (one >> 32 & WORD) ^ d ^ high, one & WORD
        low, high = (low + INCREMENTS[0]) & WORD, (high + INCREMENTS[1]) & WORD
    return a, b, c, d


def uniforms(key: Key, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Two numbers in (0, 1) of each of n counters, (n,) float64."""
    if first.device.type != "cpu":
        a, b, c, d = words(key, first, second)
        return _between_0_and_1(a, b), _between_0_and_1(c, d)
    found = np.empty((2, len(first)))
    arrays = first.numpy(), second.numpy()
    rest = [np.uint64(word) for word in key.words]
    in_threads(lambda chunk: fill_uniforms(*chunk, *arrays, *rest, found), _chunks(len(first), 1))
    return torch.from_numpy(found[0]), torch.from_numpy(found[1])


def normals(key: Key, rows: Tensor, width: int) -> Tensor:
    """Standard normal numbers of n rows, (n, width) float32 (Box & Muller 1958).

    Args:
        key: of the stream.
        rows: (n,) int64, their numbers.
        width: how many of each.
    """
    n_blocks = -(-width // 4)
    half = 2 * n_blocks
    found = torch.empty(len(rows), 2 * half, device=rows.device)

    def draw(chunk: tuple[int, int]) -> None:
        some, out = rows[slice(*chunk)], found[slice(*chunk)]
        if rows.device.type == "cpu":
            pairs = np.empty((2, len(some), half), dtype=np.float32)
            fill_pairs(some.numpy(), n_blocks, *(np.uint64(word) for word in key.words), pairs)
            radius, angle = torch.from_numpy(pairs)
        else:
            blocks = torch.arange(n_blocks, device=rows.device).expand(len(some), -1)
            of_each = words(key, blocks.flatten(), some.repeat_interleave(n_blocks))
            parts = [((one >> 8) + 0.5).float().view(len(some), -1) * 2.0**-24 for one in of_each]
            radius, angle = torch.cat(parts[:2], 1), torch.cat(parts[2:], 1)
        radius = radius.log_().mul_(-2).sqrt_()
        angle *= 2 * math.pi
        torch.mul(radius, angle.cos(), out=out[:, :half])
        torch.mul(radius, angle.sin_(), out=out[:, half:])

    in_threads(draw, _chunks(len(rows), n_blocks))
    return found[:, :width].contiguous()


def _between_0_and_1(high: Tensor, low: Tensor) -> Tensor:
    """Of 52 bits of two words, (n,) float64."""
    return ((high << 20 | low >> 12).double() + 0.5) * 2.0**-52


def _chunks(n: int, counters_each: int) -> list[tuple[int, int]]:
    step = max(1, CHUNK // counters_each)
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
    """Writes the (2, n) numbers of the counters begin … end - 1."""
    keys = _keys(low, high)
    for n in range(begin, end):
        a, b, c, d = _rounds(np.uint64(first[n]), np.uint64(second[n]), third, fourth, keys)
        found[0, n] = (np.float64((a << _TWENTY) | (b >> _TWELVE)) + 0.5) * 2.0**-52
        found[1, n] = (np.float64((c << _TWENTY) | (d >> _TWELVE)) + 0.5) * 2.0**-52


@njit(nogil=True, cache=True)
def fill_pairs(
    rows: Array,
    n_blocks: int,
    third: np.uint64,
    fourth: np.uint64,
    low: np.uint64,
    high: np.uint64,
    pairs: Array,
) -> None:
    """Writes the (2, n, 2 n_blocks) numbers in (0, 1) that normal ones are made of."""
    keys, size = _keys(low, high), np.float32(2.0**-24)
    for n in range(len(rows)):
        row = np.uint64(rows[n])
        for block in range(n_blocks):
            a, b, c, d = _rounds(np.uint64(block), row, third, fourth, keys)
            pairs[0, n, block] = (np.float32(a >> _BYTE) + np.float32(0.5)) * size
            pairs[0, n, n_blocks + block] = (np.float32(b >> _BYTE) + np.float32(0.5)) * size
            pairs[1, n, block] = (np.float32(c >> _BYTE) + np.float32(0.5)) * size
            pairs[1, n, n_blocks + block] = (np.float32(d >> _BYTE) + np.float32(0.5)) * size


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
