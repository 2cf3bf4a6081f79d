"""Processor time of the suite `cpu` on one thread, which a machine that does other work meanwhile lengthens least.

Run it with `python -m benchmarks.processor --out benchmarks/results/NAME-processor.csv`; `--only TEXT` takes the cases
with that in their name, and `--compile TEXT` those of which torch.compile takes part, too. Contenders take turns, and
each figure is the least of its calls: what else runs can only add to it. All are compared with fp64 first.
"""

import argparse
import csv
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import torch

from benchmarks.cpu import CASES, GENERATED
from kgen.tools.bench.race import DIRECTIONS, TOLERANCE, Case, device_name
from kgen.tools.problem import Function, Problem, draw, error, in_double, load_module

COLUMNS = ("device", "torch", "threads", "case", "size", "contender", "direction", "processor_us", "ratio", "error")
ROUNDS, CALLS = 6, 3
CPU = torch.device("cpu")


def contenders(case: Case, compiled: bool) -> dict[str, Function]:
    """The function, its peer, and what torch.compile makes of both."""
    ours, peer = getattr(load_module(GENERATED / case.module), case.kernel), case.peers[0]
    found: dict[str, Function] = {"kgen": ours, peer.name: peer.load()}
    return found | ({f"torch.compile({name})": torch.compile(f) for name, f in found.items()} if compiled else {})


def least(calls: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Microseconds of the processor, of the shortest call of each."""
    times = dict.fromkeys(calls, float("inf"))
    for _ in range(ROUNDS):
        for name, call in calls.items():
            for _ in range(CALLS):
                start = time.process_time_ns()
                call()
                times[name] = min(times[name], (time.process_time_ns() - start) / 1e3)
    return times


def rows(case: Case, compiled: bool) -> Iterator[dict[str, str]]:
    module = load_module(GENERATED / case.module)
    problem: Problem = draw(module.KERNELS[case.kernel], case.sizes, torch.float32, CPU, case.positive)
    exact, reference = in_double(problem), getattr(module, f"{case.kernel}_reference")
    functions = contenders(case, compiled)
    for direction, call in DIRECTIONS.items():
        expected = call(exact, reference)
        errors = {name: error(call(problem, function), expected) for name, function in functions.items()}
        assert max(errors.values()) < TOLERANCE["float32"], (case.name, errors)
        times = least({name: partial(call, problem, function) for name, function in functions.items()})
        for name, spent in times.items():
            yield {
                "case": case.name,
                "size": " ".join(f"{axis}={extent}" for axis, extent in case.sizes.items()),
                "contender": name,
                "direction": direction,
                "processor_us": f"{spent:.4g}",
                "ratio": f"{times['kgen'] / spent:.3g}",
                "error": f"{errors[name]:.1e}",
            }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="")
    parser.add_argument("--compile", action="append", default=[])
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    common = {"device": device_name(CPU), "torch": str(torch.__version__), "threads": "1"}
    with given.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for case in CASES:
            if given.only in case.name:
                for row in rows(case, any(text in case.name for text in given.compile)):
                    writer.writerow(common | row)
                    file.flush()
                    print(*row.values(), flush=True)


if __name__ == "__main__":
    main()
