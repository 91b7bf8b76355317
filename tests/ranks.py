"""Calls a function on several ranks, processes that share a world."""

import multiprocessing
import os
import socket
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch

from model.world import joined, leave

PRELOADED = ["study.inputs", "study.answers.levels", "study.answers.asked"]


def on_ranks(size: int, function: Callable[..., Any], *arguments: object) -> list[Any]:
    """What a function of a module gives on each of so many ranks, called with the world and these.

    Raises:
        RuntimeError: it raised on one of them.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ends, workers = [], []
    for rank in range(size):
        mine, theirs = context.Pipe(duplex=False)
        environment = _environment(rank, size, port)
        told = (theirs, environment, function, arguments)
        workers.append(context.Process(target=_work, args=told, daemon=True))
        workers[-1].start()
        theirs.close()
        ends.append(mine)
    try:
        found = [end.recv() for end in ends]
    except EOFError:
        raise RuntimeError("a rank died") from None
    finally:
        for worker in workers:
            worker.join(5)
            worker.kill()
    for one in found:
        if isinstance(one, BaseException):
            raise RuntimeError(f"a rank raised {one!r}") from one
    return found


def _environment(rank: int, size: int, port: int) -> dict[str, str]:
    """What `torchrun` tells a rank."""
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_PORT": port}
    told = {name: str(number) for name, number in numbers.items()}
    return {"TORCHELASTIC_RUN_ID": "test", "MASTER_ADDR": "127.0.0.1", **told}


def _work(
    told: Connection,
    environment: dict[str, str],
    function: Callable[..., Any],
    arguments: tuple[object, ...],
) -> None:
    os.environ |= environment
    torch.set_num_threads(1)
    try:
        told.send(function(joined(), *arguments))
        leave()
    except BaseException as error:
        told.send(error)
