"""How long the service takes to answer: alone, and under load with the model swapped in between.

    python -m benchmarks.service --model FILE [--seconds 60] [--rate 300] [--clients 4]
        [--workers 2]

First each address is asked so often, one request after the other. Then clients, processes of their
own on the same cores, ask for so many seconds at an even rate, in a mix of all addresses; seconds
count from when a request was due, so that what waits behind a slow one counts as slow. Halfway
another file takes the model's place, and what was due in the ten seconds from then on is told by
itself. Memory is that of the workers' own pages, and of all that they map, a page that several
share counted once (Linux only).
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from study import Model

ALONE = 30  # requests
LONG_ALONE = 10  # of an address that takes long
CONNECTIONS = 8  # of each client
SWAP_SECONDS = 10  # from a new file on
PAIRS = 10  # of a request that predicts many
MIX = {  # how often each is asked
    "/predict, a pair": 0.45,
    f"/predict, {PAIRS} pairs, intervals": 0.15,
    "/recommend": 0.19,
    "/similar": 0.1,
    "/items": 0.1,
    "/newcomer, 5 ratings, why": 0.01,
}


@dataclass(frozen=True)
class Request:
    kind: str
    method: str
    path: str
    body: bytes = b""

    def encoded(self, host: str) -> bytes:
        """What goes over the wire."""
        head = f"{self.method} {self.path} HTTP/1.1\r\nhost: {host}\r\n"
        head += f"content-type: application/json\r\ncontent-length: {len(self.body)}\r\n\r\n"
        return head.encode() + self.body


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, required=True, help="a saved model")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate", type=float, default=300, help="requests a second, of all clients")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "served.model"
        shutil.copy(asked.model, path)
        process, port = started(path, workers=asked.workers)
        try:
            measure(asked, path, process, port)
        finally:
            process.terminate()
            process.wait()


def measure(
    asked: argparse.Namespace, path: Path, process: "subprocess.Popen[str]", port: int
) -> None:
    """Prints the table."""
    model = Model.load(path)
    choose = np.random.default_rng(0)
    alone = defaultdict(list)
    for kind in MIX:
        n = LONG_ALONE if "newcomer" in kind else ALONE
        requests = [request_of(kind, model, choose) for _ in range(n + 2)]
        for _, seconds, status in asyncio.run(one_by_one(requests, port)):
            assert status == 200, kind
            alone[kind].append(seconds)
        alone[kind] = alone[kind][2:]
    memory, cpu = memory_of(process), cpu_seconds(process)
    n = int(asked.rate * asked.seconds / asked.clients)
    kinds = choose.choice(list(MIX), (asked.clients, n), p=np.array([*MIX.values()]))
    plans = [[request_of(kind, model, choose) for kind in some] for some in kinds]
    with multiprocessing.get_context("spawn").Pool(asked.clients) as clients:
        begin = time.time() + 3
        jobs = [(plan, port, begin, asked.rate / asked.clients) for plan in plans]
        found = clients.starmap_async(client, jobs)
        time.sleep(3 + asked.seconds / 2)
        shutil.copy(path, path.with_suffix(".new"))
        os.replace(path.with_suffix(".new"), path)
        answers = [one for some in found.get() for one in some]
    took = max(due + seconds for _, seconds, _, due in answers)
    print(
        f"{len(answers):,} requests in {took:.0f} s, {len(answers) / took:.0f} a second; "
        f"{os.cpu_count()} cores for {asked.workers} workers and {asked.clients} clients; "
        f"load of the machine {os.getloadavg()[0]:.1f}; the model was swapped once\n"
    )
    print("| | alone, ms | requests | p50, ms | p99, ms | swap: p50, ms | p99, ms | errors |")
    print("|---|---|---|---|---|---|---|---|")
    for kind in MIX:
        mine = [one[1:] for one in answers if one[0] == kind]
        swapped = [0 <= due - asked.seconds / 2 < SWAP_SECONDS for _, _, due in mine]
        times = 1000 * np.array([seconds for seconds, _, _ in mine])
        parts = times[~np.array(swapped)], times[np.array(swapped)]
        told = " | ".join(f"{np.median(one):.1f} | {np.quantile(one, 0.99):.0f}" for one in parts)
        print(
            f"| `{kind.partition(',')[0]}`{kind[len(kind.partition(',')[0]) :]} "
            f"| {1000 * np.median(alone[kind]):.1f} | {len(mine):,} | {told} "
            f"| {sum(status != 200 for _, status, _ in mine)} |"
        )
    cpu = cpu_seconds(process) - cpu
    print(f"\nThe workers took {cpu:.0f} s of CPU, {1000 * cpu / len(answers):.1f} ms a request")
    print(f"Memory, MB: {memory} before, {memory_of(process)} after")
    print(f"Statuses: {dict(Counter(status for _, _, status, _ in answers))}")


def started(path: Path, *, workers: int) -> "tuple[subprocess.Popen[str], int]":
    """The service and its port."""
    command = [sys.executable, "-m", "study.serve_model", "--model", str(path), "--port", "0"]
    process = subprocess.Popen(
        [*command, "--workers", str(workers)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"http://127\.0\.0\.1:(\d+)/", line):
            return process, int(found[1])
    raise SystemExit("the service did not begin")


def request_of(kind: str, model: Model, choose: np.random.Generator) -> Request:
    """A request of a kind, of users and items drawn at random."""
    known = model.known
    users, items = (
        choose.choice(len(ids), PAIRS, replace=False) for ids in (known.users, known.items)
    )
    user_ids = known.users.values[users].tolist()
    item_ids = known.items.values[items].tolist()
    pairs = [list(pair) for pair in zip(user_ids, item_ids, strict=True)]
    match kind.partition(",")[0]:
        case "/predict" if "pairs" in kind:
            body: object = {"pairs": pairs, "intervals": True}
        case "/predict":
            body = {"pairs": pairs[:1]}
        case "/recommend":
            return Request(kind, "GET", f"/recommend?user={user_ids[0]}")
        case "/similar":
            return Request(kind, "GET", f"/similar?item={item_ids[0]}")
        case "/items":
            return Request(kind, "GET", f"/items?search={str(item_ids[0])[:2]}")
        case _:
            ratings = choose.choice(np.unique(known.ratings.values.numpy()), 5).tolist()
            rated = dict(zip(map(str, item_ids), ratings, strict=False))
            body = {"ratings": rated, "why": True}
    return Request(kind, "POST", kind.partition(",")[0], json.dumps(body).encode())


def client(
    plan: Sequence[Request], port: int, begin: float, rate: float
) -> list[tuple[str, float, int, float]]:
    """The kind, seconds, status and due second of each request of a plan, at an even rate."""
    return asyncio.run(_client(plan, port, begin, rate))


async def _client(
    plan: Sequence[Request], port: int, begin: float, rate: float
) -> list[tuple[str, float, int, float]]:
    waiting: asyncio.Queue[tuple[int, Request] | None] = asyncio.Queue()
    answers: list[tuple[str, float, int, float]] = []

    async def connection() -> None:
        streams = await asyncio.open_connection("127.0.0.1", port)
        while taken := await waiting.get():
            number, request = taken
            due = number / rate
            status = await exchange(request, streams, port)
            answers.append((request.kind, time.time() - begin - due, status, due))
            if status == 0:
                streams = await asyncio.open_connection("127.0.0.1", port)
        streams[1].close()

    async with asyncio.TaskGroup() as group:
        for _ in range(CONNECTIONS):
            group.create_task(connection())
        for number, request in enumerate(plan):
            await asyncio.sleep(max(0.0, begin + number / rate - time.time()))
            waiting.put_nowait((number, request))
        for _ in range(CONNECTIONS):
            waiting.put_nowait(None)
    return answers


async def one_by_one(requests: Sequence[Request], port: int) -> list[tuple[str, float, int]]:
    """The kind, seconds and status of each."""
    streams, answers = await asyncio.open_connection("127.0.0.1", port), []
    for request in requests:
        before = time.perf_counter()
        status = await exchange(request, streams, port)
        answers.append((request.kind, time.perf_counter() - before, status))
    streams[1].close()
    return answers


async def exchange(
    request: Request, streams: tuple[asyncio.StreamReader, asyncio.StreamWriter], port: int
) -> int:
    """The status of the answer to a request; 0 if the connection broke."""
    reader, writer = streams
    try:
        writer.write(request.encoded(f"127.0.0.1:{port}"))
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = re.search(r"content-length: (\d+)", head)
        await reader.readexactly(int(length[1]) if length else 0)
    except (OSError, asyncio.IncompleteReadError):
        return 0
    return int(head.split()[1])


def workers_of(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    """The processes that answer."""
    parent = psutil.Process(process.pid)
    return [one for one in parent.children(recursive=True) if one.num_threads() > 2] or [parent]


def cpu_seconds(process: "subprocess.Popen[str]") -> float:
    """What the workers have taken until now."""
    return sum(sum(one.cpu_times()[:2]) for one in workers_of(process))


def memory_of(process: "subprocess.Popen[str]") -> str:
    """What the workers take, in MB."""
    infos = [one.memory_full_info() for one in workers_of(process)]
    own = " and ".join(f"{info.uss / 1e6:.0f}" for info in infos)
    together = sum(getattr(info, "pss", info.uss) for info in infos) / 1e6
    return f"{own} of their own, {together:.0f} in all"


if __name__ == "__main__":
    main()
