"""`intervals.Intervals` compiled by numba, for a CPU: normal probabilities eight at a time.

Loops over φ and log from a mathematical library stay scalar; these are made of arithmetic alone,
which LLVM turns into vectors. With R(t) = Φ(-t) exp(t²/2), smooth and falling:

    Φ(-t) = exp(-t²/2) R(t),   (t + 3) R(t) ≈ a polynomial in t / (t + 3)

fitted when this is imported to the scaled complementary error function of PyTorch. Relative errors
stay below 1e-11 (tests), far into the tail.
"""

import math
from typing import Any

import numpy as np
import torch
from numpy.polynomial import Chebyshev, Polynomial
from numpy.typing import NDArray
from torch import Tensor

from model.kernels.compiling import njit
from model.kernels.intervals import SMALLEST, Intervals
from model.kernels.threads import in_threads

Array = NDArray[Any]

CHUNK = 1 << 16  # ratings that a thread takes at a time: sums do not depend on how many threads
BLOCK = 1 << 9  # numbers that fit the first cache several times over

SHIFT = 3.0
DEGREE = 17
INTEGER = 1.5 * 2.0**52  # added to a double, it leaves the nearest integer in the last bits
LOG2_E, LN_2 = 1 / math.log(2), math.log(2)
ONE_BITS = np.int64(1023) << np.int64(52)  # of the double 1.0
MANTISSA_BITS = (np.int64(1) << np.int64(52)) - np.int64(1)


def _tail_coefficients() -> tuple[float, ...]:
    """Of (t + SHIFT) R(t) in t / (t + SHIFT)."""
    nodes = (np.cos(np.pi * (np.arange(DEGREE + 1) + 0.5) / (DEGREE + 1)) + 1) / 2
    t = SHIFT * nodes / (1 - nodes)
    ratio = torch.special.erfcx(torch.from_numpy(t / math.sqrt(2))).numpy() / 2
    fitted = Chebyshev.fit(nodes, (t + SHIFT) * ratio, DEGREE, domain=[0, 1])
    return tuple(fitted.convert(kind=Polynomial).coef.tolist())


TAIL = _tail_coefficients()
EXP = tuple(1 / math.factorial(k) for k in range(12))
ARTANH = tuple(2 / (2 * k + 1) for k in range(12))  # 2 artanh(z) / z in z²

ARITHMETIC = {"contract", "nsz", "arcp"}  # reordered sums would undo INTEGER


class CompiledIntervals(Intervals):
    """Of each rating the interval that its level stands for, on a CPU."""

    def __init__(self, levels: Tensor, fit: Tensor, roots: Tensor) -> None:
        self._arrays = levels.numpy(), fit.numpy(), roots.numpy()
        starts = range(0, len(levels), CHUNK)
        self._chunks = [(start, min(start + CHUNK, len(levels))) for start in starts]

    def log_likelihood(self, ends: Tensor, root_precision: float) -> float:
        """As `Intervals` says."""
        arrays = (*self._arrays, ends.numpy(), root_precision)
        return sum(in_threads(lambda chunk: log_likelihood(*chunk, *arrays), self._chunks))

    def chances(
        self, ends: Tensor, root_precision: float, uniform: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As `Intervals` says."""
        chance, scale = torch.empty_like(uniform), torch.empty_like(uniform)
        arrays = (*self._arrays, ends.numpy(), root_precision)
        results = uniform.numpy(), chance.numpy(), scale.numpy()
        in_threads(lambda chunk: chances(*chunk, *arrays, *results), self._chunks)
        return chance, scale


@njit(nogil=True, cache=True, error_model="numpy", fastmath=ARITHMETIC)
def log_likelihood(
    begin: int,
    end: int,
    levels: Array,
    fit: Array,
    roots: Array,
    ends: Array,
    root_precision: float,
) -> float:
    """Σ log P(level) of ratings begin … end - 1."""
    lower, upper = np.empty(BLOCK), np.empty(BLOCK)
    total = 0.0
    for start in range(begin, end, BLOCK):
        n = min(BLOCK, end - start)
        _standardize(start, n, levels, fit, roots, ends, root_precision, lower, upper)
        for k in range(n):
            low, high = _mirrored(lower[k], upper[k])
            lower[k] = _log(max(_normal(high) - _normal(low), SMALLEST))
        for k in range(n):
            total += lower[k]
    return total


@njit(nogil=True, cache=True, error_model="numpy", fastmath=ARITHMETIC)
def chances(
    begin: int,
    end: int,
    levels: Array,
    fit: Array,
    roots: Array,
    ends: Array,
    root_precision: float,
    uniform: Array,
    chance: Array,
    scale: Array,
) -> None:
    """Probabilities below z, and what the quantile is to be multiplied by, of these ratings."""
    lower, upper = np.empty(BLOCK), np.empty(BLOCK)
    for start in range(begin, end, BLOCK):
        n = min(BLOCK, end - start)
        _standardize(start, n, levels, fit, roots, ends, root_precision, lower, upper)
        for k in range(n):
            low, high = _mirrored(lower[k], upper[k])
            bottom = _normal(low)
            upper[k] = bottom + (_normal(high) - bottom) * uniform[start + k]
        for k in range(n):
            chance[start + k] = upper[k]
            sign = -1.0 if lower[k] > 0 else 1.0
            scale[start + k] = sign / (roots[start + k] * root_precision)


@njit(nogil=True, cache=True)
def _standardize(
    start: int,
    n: int,
    levels: Array,
    fit: Array,
    roots: Array,
    ends: Array,
    root_precision: float,
    lower: Array,
    upper: Array,
) -> None:
    """Both ends of each rating's level, in standard deviations from f: scalar, for its look-ups."""
    for k in range(n):
        level = levels[start + k]
        root = roots[start + k] * root_precision
        lower[k] = (ends[level] - fit[start + k]) * root
        upper[k] = (ends[level + 1] - fit[start + k]) * root


@njit(forceinline=True)
def _mirrored(lower: float, upper: float) -> tuple[float, float]:
    """The interval, or its mirror image where it lies above zero: small tails keep their digits."""
    above = lower > 0
    return (-upper if above else lower), (-lower if above else upper)


@njit(forceinline=True, error_model="numpy", fastmath=ARITHMETIC)
def _normal(x: float) -> float:
    """Φ(x)."""
    t = min(abs(x), 37.4)  # far beyond SMALLEST, where _exp still works
    reciprocal = 1.0 / (t + SHIFT)
    s = t * reciprocal
    s6 = s * s * s * s * s * s
    ratio = (_six(TAIL[12:], s) * s6 + _six(TAIL[6:12], s)) * s6 + _six(TAIL[:6], s)
    tail = ratio * reciprocal * _exp(-0.5 * t * t)
    return tail if x < 0 else 1.0 - tail


@njit(forceinline=True, fastmath=ARITHMETIC)
def _exp(x: float) -> float:
    """e^x = 2^k e^r with |r| ≤ ln(2)/2, for |x| < 700."""
    shifted = x * LOG2_E + INTEGER
    r = x - (shifted - INTEGER) * LN_2
    r6 = r * r * r * r * r * r
    polynomial = _six(EXP[6:], r) * r6 + _six(EXP[:6], r)
    exponent = np.float64(shifted).view(np.int64) << np.int64(52)
    return np.int64(np.float64(polynomial).view(np.int64) + exponent).view(np.float64)


@njit(forceinline=True, error_model="numpy", fastmath=ARITHMETIC)
def _log(x: float) -> float:
    """log x = k log 2 + 2 artanh((m - 1) / (m + 1)) with x = 2^k m, for a positive normal x."""
    bits = np.float64(x).view(np.int64)
    exponent = np.float64((bits >> np.int64(52)) - np.int64(1023))
    mantissa = np.int64((bits & MANTISSA_BITS) | ONE_BITS).view(np.float64)
    half = mantissa > 1.4142135623730951
    m = 0.5 * mantissa if half else mantissa
    k = exponent + 1.0 if half else exponent
    z = (m - 1.0) / (m + 1.0)
    square = z * z
    s6 = square * square * square * square * square * square
    return k * LN_2 + z * (_six(ARTANH[6:], square) * s6 + _six(ARTANH[:6], square))


@njit(forceinline=True, fastmath=ARITHMETIC)
def _six(c: tuple[float, ...], x: float) -> float:
    """Σ c_k x^k of six terms."""
    return ((((c[5] * x + c[4]) * x + c[3]) * x + c[2]) * x + c[1]) * x + c[0]
