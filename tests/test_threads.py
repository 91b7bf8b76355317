"""Work shared out to threads: results in order, budgets divided, errors passed on."""

import threading
from collections.abc import Iterator

import pytest

from model.threads import in_threads, n_threads, set_n_threads


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = n_threads()
    yield
    set_n_threads(before)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_results_come_in_the_order_of_the_items(n: int) -> None:
    set_n_threads(n)
    assert in_threads(lambda item: item**2, range(20)) == [item**2 for item in range(20)]
    assert in_threads(str, []) == []


def test_one_thread_is_the_calling_one_and_more_run_at_the_same_time() -> None:
    set_n_threads(1)
    assert in_threads(lambda _: threading.get_ident(), "ab") == [threading.get_ident()] * 2
    set_n_threads(2)
    meet = threading.Barrier(2, timeout=10)  # nobody passes alone
    assert len({in_threads(lambda _: meet.wait(), "ab")[0]} & {0, 1}) == 1


def test_threads_left_over_are_shared_and_work_may_share_out_its_own() -> None:
    set_n_threads(4)
    assert in_threads(lambda _: n_threads(), "ab") == [2, 2]
    assert in_threads(lambda _: n_threads(), "abc") == [1, 1, 1]
    nested = in_threads(lambda _: in_threads(lambda _: n_threads(), "xy"), "ab")
    assert nested == [[1, 1], [1, 1]]
    assert n_threads() == 4


def test_an_error_of_the_work_is_raised() -> None:
    set_n_threads(2)
    with pytest.raises(ZeroDivisionError):
        in_threads(lambda item: 1 // item, [1, 0])


@pytest.mark.parametrize(
    ("variable", "expected"),
    [("3", 3), (" 3,2", 3), ("", None), ("0", None), ("-1", None), ("²", None), ("9" * 5000, None)],
)
def test_the_environment_may_set_a_limit(
    variable: str, expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", variable)
    found: list[int] = []
    fresh = threading.Thread(target=lambda: found.append(n_threads()))
    fresh.start()
    fresh.join()
    assert found == [expected] if expected else found[0] >= 1
