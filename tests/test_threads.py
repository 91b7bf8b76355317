"""Work shared out to threads: results in order, nobody idle, no more than may, errors passed on."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import pytest
import torch

from model.kernels.threads import in_threads, n_threads, set_n_threads, torch_in_one_thread


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before, of_torch = n_threads(), torch.get_num_threads()
    yield
    set_n_threads(before)
    torch.set_num_threads(of_torch)


def of_new_thread() -> int:
    """How many threads PyTorch has in a thread that begins."""
    with ThreadPoolExecutor(1) as new:
        return new.submit(torch.get_num_threads).result()


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

    def identity(_: str) -> int:
        meet.wait()
        return threading.get_ident()

    both = in_threads(identity, "ab")
    assert len(set(both)) == 2
    assert threading.get_ident() in both  # the calling one works, too


def test_work_may_share_out_its_own_and_no_more_threads_run_than_may() -> None:
    set_n_threads(3)
    running, most = 0, 0
    lock = threading.Lock()

    def inner(item: str) -> str:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.002)
        with lock:
            running -= 1
        return item

    nested = in_threads(lambda name: in_threads(lambda n: inner(f"{name}{n}"), range(9)), "abcd")
    assert nested == [[f"{name}{n}" for n in range(9)] for name in "abcd"]
    assert most == 3
    assert n_threads() == 3


@pytest.mark.parametrize("calling_one_is_done_first", [True, False])
def test_a_thread_that_is_done_helps_with_what_another_shares_out(
    calling_one_is_done_first: bool,
) -> None:
    set_n_threads(2)
    start, meet = (threading.Barrier(2, timeout=10) for _ in "ab")  # nobody passes alone
    calling = threading.get_ident()

    def outer(_: str) -> list[int]:
        start.wait()  # each takes one
        is_done = (threading.get_ident() == calling) == calling_one_is_done_first
        return [] if is_done else in_threads(lambda _: meet.wait(), "xy")

    assert sorted(chain(*in_threads(outer, "ab"))) == [0, 1]


@pytest.mark.parametrize("n", [1, 2])
def test_an_error_of_the_work_is_raised_and_the_threads_go_on(n: int) -> None:
    set_n_threads(n)
    done: list[int] = []
    with pytest.raises(ZeroDivisionError):
        in_threads(lambda item: done.append(1 // item), [1, 0, *[1] * 100_000])
    assert len(done) < 100_000  # what is left is dropped
    with pytest.raises(KeyboardInterrupt):
        in_threads(lambda item: in_threads(_interrupt, "ab"), "cd")
    assert in_threads(str, range(9)) == list("012345678")


def _interrupt(_: str) -> None:
    raise KeyboardInterrupt


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


def test_in_its_block_torch_has_one_thread_and_after_it_as_many_as_before() -> None:
    torch.set_num_threads(3)
    with torch_in_one_thread():
        with torch_in_one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == of_new_thread() == 1
    assert torch.get_num_threads() == of_new_thread() == 3
    with pytest.raises(ZeroDivisionError), torch_in_one_thread():
        _ = 1 // 0
    assert torch.get_num_threads() == of_new_thread() == 3


@pytest.mark.parametrize("who_leaves_first", [0, 1, 2])
def test_blocks_at_once_leave_torch_as_each_found_it(who_leaves_first: int) -> None:
    torch.set_num_threads(3)
    assert torch.get_num_threads() == 3
    inside, leave, left = ([threading.Event() for _ in range(3)] for _ in "abc")
    found = [0] * 3

    def block(who: int, n: int | None) -> None:
        if n is not None:  # else PyTorch is used here for the first time
            torch.set_num_threads(n)
            assert torch.get_num_threads() == n
        with torch_in_one_thread():
            inside[who].set()
            assert leave[who].wait(10)
            assert torch.get_num_threads() == 1
        found[who] = torch.get_num_threads()
        left[who].set()

    with ThreadPoolExecutor(3) as pool:
        blocks = []
        for who, n in enumerate([2, None, 1]):
            blocks.append(pool.submit(block, who, n))
            assert inside[who].wait(10)
        for who in sorted(range(3), key=lambda who: who != who_leaves_first):
            assert of_new_thread() == 1
            leave[who].set()
            assert left[who].wait(10)
        for done in blocks:
            done.result()
    assert found == [2, 2, 1]  # two is what threads had that began, when nobody was inside
    assert of_new_thread() == 2
    assert torch.get_num_threads() == 3
