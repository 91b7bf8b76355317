"""Inner loops in vector instructions, for numba: what its own loops leave in memory stays here in
registers.

Vectors are sixteen numbers wide. Two of the loops multiply one vector with four others a step and
only store the sums; the third is a step of gradient descent. LLVM, which numba brings along, turns
a vector of sixteen into what the processor has: one register with AVX-512, two with AVX2, four
with NEON. The plain form of each is in its docstring. numba's cache on disk does not see a change
of this file: touch the files that import it.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

LANES = 16
TILE = 4  # rows that a step works on

_FLOAT = ir.FloatType()
_INT = ir.IntType(64)
_VECTOR = ir.VectorType(_FLOAT, LANES)
_ZERO = ir.Constant(_VECTOR, [0.0] * LANES)


@intrinsic
def add_products(
    typing: Any, panel: Any, gram: Any, n: Any, width: Any, row: Any, column: Any
) -> Any:
    """Adds to a tile of a Gram matrix what the first n rows of a panel contribute.

    gram[row : row + TILE, column : column + LANES] += Σ_i panel[i, row + …] panel[i, column + …]

    Args:
        typing: numba's.
        panel: (…) float32, contiguous rows of `width` numbers.
        gram: (…) float32, contiguous, `width` numbers a row.
        n: int64, number of rows of the panel.
        width: int64, a multiple of LANES.
        row: int64, first row of the tile.
        column: int64, first column of the tile, a multiple of LANES.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        panel, gram = _pointers(context, builder, signature, arguments[:2])
        n, width, row, column = arguments[2:]
        places = [
            _vector_at(builder, gram, builder.add(builder.mul(at, width), column))
            for at in (builder.add(row, _INT(step)) for step in range(TILE))
        ]

        def factors(i: Any) -> tuple[Any, list[Any]]:
            start = builder.mul(i, width)
            vector = builder.load(
                _vector_at(builder, panel, builder.add(start, column)), align=_FLOAT_BYTES
            )
            first = builder.add(start, row)
            scalars = [
                builder.load(builder.gep(panel, [builder.add(first, _INT(step))]))
                for step in range(TILE)
            ]
            return vector, [_repeated(builder, scalar) for scalar in scalars]

        for place, total in zip(places, _sums(builder, n, factors), strict=True):
            stored = builder.load(place, align=_FLOAT_BYTES)
            builder.store(builder.fadd(stored, total), place, align=_FLOAT_BYTES)
        return context.get_dummy_value()

    return types.void(panel, gram, n, width, row, column), generate


@intrinsic
def eliminate(typing: Any, lower: Any, pivots: Any, inverse: Any, i: Any, j: Any) -> Any:
    """Makes column j of a Cholesky factor, in TILE rows, from the columns before it.

    l[i + …, j] = (l[i + …, j] - Σ_{k<j} l[i + …, k] l[j, k]) inverse[j], of LANES matrices at once;
    pivots[i + …] -= l[i + …, j]²

    Args:
        typing: numba's.
        lower: (…, LANES) float32, contiguous: the lower triangles, packed row by row, one a lane.
        pivots: (…, LANES) float32, contiguous: the diagonal.
        inverse: (…, LANES) float32, contiguous: 1 / √pivot.
        i: int64, first row.
        j: int64, the column.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lower, pivots, inverse = _pointers(context, builder, signature, arguments[:3])
        i, j = arguments[3:]

        def at(pointer: Any, number: Any) -> Any:
            return _vector_at(builder, pointer, builder.mul(number, _INT(LANES)))

        def start(row: Any) -> Any:
            """How many numbers of a lane come before a row."""
            return builder.ashr(builder.mul(row, builder.add(row, _INT(1))), _INT(1))

        pivot_row = start(j)
        numbers = [builder.add(i, _INT(step)) for step in range(TILE)]
        rows = [start(number) for number in numbers]

        def load(pointer: Any, number: Any) -> Any:
            return builder.load(at(pointer, number), align=_FLOAT_BYTES)

        def factors(k: Any) -> tuple[Any, list[Any]]:
            shared = load(lower, builder.add(pivot_row, k))
            return shared, [load(lower, builder.add(row, k)) for row in rows]

        scale = load(inverse, j)
        for number, row, total in zip(numbers, rows, _sums(builder, j, factors), strict=True):
            place = at(lower, builder.add(row, j))
            rest = builder.fsub(builder.load(place, align=_FLOAT_BYTES), total)
            entry = builder.fmul(rest, scale)
            builder.store(entry, place, align=_FLOAT_BYTES)
            left = builder.call(
                _product(builder), [builder.fneg(entry), entry, load(pivots, number)]
            )
            builder.store(left, at(pivots, number), align=_FLOAT_BYTES)
        return context.get_dummy_value()

    return types.void(lower, pivots, inverse, i, j), generate


@intrinsic
def descend(
    typing: Any, table: Any, rates: Any, left: Any, right: Any, target: Any, width: Any
) -> Any:
    """One step of gradient descent on two rows of a table: their product less the target, before.

    e = Σ_j l_j r_j - target;  l_j ← rates[0, j'] l_j - rates[2, j'] e r_j,  r_j ← rates[1, j'] r_j
    - rates[3, j'] e l_j, both from the values of before; where j' counts the last LANES columns
    from 1, and is 0 for those before, of which either row keeps and goes as much.

    Args:
        typing: numba's.
        table: (…) float32, contiguous rows of `width` numbers.
        rates: (4 (1 + LANES)) float32: what stays of either row, and how far either goes.
        left: int64, a row.
        right: int64, another row.
        target: float32.
        width: int64, a multiple of LANES.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        table, rates = _pointers(context, builder, signature, arguments[:2])
        left, right, target, width = arguments[2:]
        starts = [builder.mul(row, width) for row in (left, right)]
        n_before = builder.sub(width, _INT(LANES))

        def vectors(at: Any) -> tuple[list[Any], list[Any]]:
            """Where those of both rows are, and they."""
            places = [_vector_at(builder, table, builder.add(start, at)) for start in starts]
            return places, [builder.load(place, align=_FLOAT_BYTES) for place in places]

        def rate(number: int) -> tuple[Any, Any]:
            """Of the columns before the last LANES, and of these."""
            start = number * (1 + LANES)
            others = builder.load(builder.gep(rates, [_INT(start)]))
            vector = _vector_at(builder, rates, _INT(start + 1))
            return others, builder.load(vector, align=_FLOAT_BYTES)

        def product(at: Any, total: Any) -> Any:
            _, rows = vectors(at)
            return builder.call(_product(builder), [*rows, total])

        last_places, last_rows = vectors(n_before)
        total = _over_columns(builder, n_before, product, builder.fmul(*last_rows))
        add_up = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(_FLOAT, [_FLOAT, _VECTOR]),
            f"llvm.vector.reduce.fadd.v{LANES}f32",
        )
        error = builder.call(add_up, [builder.fneg(target), total], fastmath=("reassoc",))
        back = builder.fneg(error)

        def move(places: list[Any], rows: list[Any], stays: list[Any], goes: list[Any]) -> None:
            kept = [builder.fmul(row, stay) for row, stay in zip(rows, stays, strict=True)]
            for place, other, go, rest in zip(places, rows[::-1], goes, kept, strict=True):
                new = builder.call(_product(builder), [go, other, rest])
                builder.store(new, place, align=_FLOAT_BYTES)

        (stay, user_stays), (_, item_stays), (go, user_goes), (_, item_goes) = map(rate, range(4))
        wide = _repeated(builder, back)
        goes = [builder.fmul(wide, pace) for pace in (user_goes, item_goes)]
        move(last_places, last_rows, [user_stays, item_stays], goes)
        stays = [_repeated(builder, stay)] * 2
        goes = [_repeated(builder, builder.fmul(back, go))] * 2
        _over_columns(builder, n_before, lambda at, _: move(*vectors(at), stays, goes))
        return error

    return types.float32(table, rates, left, right, target, width), generate


_FLOAT_BYTES = 4  # what vectors in memory are aligned to


def _sums(builder: Any, n: Any, factors: Callable[[Any], tuple[Any, list[Any]]]) -> list[Any]:
    """Emits a loop over i < n: the sums of factor · others[t], a vector each."""
    before = builder.block
    body, after = builder.append_basic_block("sum"), builder.append_basic_block("summed")
    builder.cbranch(builder.icmp_signed(">", n, _INT(0)), body, after)

    builder.position_at_end(body)
    i = builder.phi(_INT)
    sums = [builder.phi(_VECTOR) for _ in range(TILE)]
    factor, others = factors(i)
    longer = [
        builder.call(_product(builder), [factor, other, total])
        for other, total in zip(others, sums, strict=True)
    ]
    following = builder.add(i, _INT(1))
    last = builder.block
    i.add_incoming(_INT(0), before)
    i.add_incoming(following, last)
    for total, grown in zip(sums, longer, strict=True):
        total.add_incoming(_ZERO, before)
        total.add_incoming(grown, last)
    builder.cbranch(builder.icmp_signed("<", following, n), body, after)

    builder.position_at_end(after)
    results = [builder.phi(_VECTOR) for _ in longer]
    for result, grown in zip(results, longer, strict=True):
        result.add_incoming(_ZERO, before)
        result.add_incoming(grown, last)
    return results


def _over_columns(builder: Any, n: Any, body: Callable[[Any, Any], Any], start: Any = None) -> Any:
    """Emits a loop over n columns, a vector a time; what its body returns is handed to the next."""
    before = builder.block
    block, after = builder.append_basic_block("columns"), builder.append_basic_block("done")
    builder.cbranch(builder.icmp_signed(">", n, _INT(0)), block, after)
    builder.position_at_end(block)
    at = builder.phi(_INT)
    carried = None if start is None else builder.phi(_VECTOR)
    result = body(at, carried)
    following = builder.add(at, _INT(LANES))
    last = builder.block
    at.add_incoming(_INT(0), before)
    at.add_incoming(following, last)
    builder.cbranch(builder.icmp_signed("<", following, n), block, after)
    builder.position_at_end(after)
    if carried is None:
        return None
    carried.add_incoming(start, before)
    carried.add_incoming(result, last)
    final = builder.phi(_VECTOR)
    final.add_incoming(start, before)
    final.add_incoming(result, last)
    return final


def _product(builder: Any) -> Any:
    """The function a · b + c of vectors."""
    return cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(_VECTOR, [_VECTOR] * 3), f"llvm.fma.v{LANES}f32"
    )


def _pointers(context: Any, builder: Any, signature: Any, arrays: Any) -> list[Any]:
    return [
        make_array(kind)(context, builder, array).data
        for kind, array in zip(signature.args, arrays, strict=False)
    ]


def _vector_at(builder: Any, pointer: Any, offset: Any) -> Any:
    """A pointer to the vector that begins at an offset, in numbers."""
    return builder.bitcast(builder.gep(pointer, [offset]), _VECTOR.as_pointer())


def _repeated(builder: Any, scalar: Any) -> Any:
    """A vector of one number."""
    empty = ir.Constant(_VECTOR, ir.Undefined)
    first = builder.insert_element(empty, scalar, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(first, empty, zeros)
