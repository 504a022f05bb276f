"""Measures the pipeline against the study's plain loop: make bench-pipeline DATA=DIR

Repeats the drawings of DIR, with new keys, to as many as are asked for, and prints from one run:
the wall time a drawing of the plain loop and of ours with one worker and with two, and how the peak
memory of all processes grows with the number of drawings.
"""

import contextlib
import glob
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import orjson
import psutil
from absl import flags

from pipeline import cli
from pipeline.cli import UserError
from pipeline.sources.categories import category_of
from pipeline.sources.input_files import match_files

_SAMPLE_SECONDS = 0.05  # between two looks at the memory


class Measured(NamedTuple):
    seconds: float
    peak_bytes: int  # resident memory, all processes together


def plain_loop(directory: str) -> int:
    """Draw as the study did, line by line, a call a segment; returns the number of bitmaps."""
    bitmaps = []
    for path in sorted(Path(directory).iterdir()):
        with path.open() as file:
            for line in file:
                strokes = json.loads(line)["drawing"]
                xs = [x for stroke in strokes for x in stroke[0]]
                ys = [y for stroke in strokes for y in stroke[1]]
                left = int((262 - (max(xs) - min(xs))) / 2)
                top = int((262 - (max(ys) - min(ys))) / 2)
                canvas = np.zeros((262, 262), np.uint8)
                for x, y in strokes:
                    for i in range(len(x) - 1):
                        start = (x[i] + left, y[i] + top)
                        end = (x[i + 1] + left, y[i + 1] + top)
                        cv2.line(canvas, start, end, 1, 5)
                bitmaps.append(cv2.resize(canvas, (85, 85), interpolation=cv2.INTER_LINEAR))
    return len(bitmaps)


def repeat_drawings(patterns: list[str], directory: str, count: int) -> None:
    """Writes `count` drawings with keys of their own, a file a category, in the input's shares."""
    files = match_files(patterns)
    lines = [(category_of(file.path), Path(file.path).read_bytes().splitlines()) for file in files]
    total = sum(len(of_file) for _, of_file in lines)
    keys = itertools.count(10**15)
    before = 0
    for category, of_file in lines:
        after = before + len(of_file)
        share = count * after // total - count * before // total
        before = after
        with open(os.path.join(directory, f"{category}.ndjson"), "wb") as output:
            for line in itertools.islice(itertools.cycle(of_file), share):
                fields = orjson.loads(line)
                fields["key_id"] = str(next(keys))
                output.write(orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE))


def parse_numbers(flag: str, texts: Sequence[str], files: int) -> list[int]:
    """Numbers of drawings that `repeat_drawings` can make of so many files, in ascending order.

    Raises:
      UserError: there is none, or one is none of these.
    """
    if not texts or not all(re.fullmatch(r"\d{1,10}", t) and int(t) >= files for t in texts):
        raise UserError(
            f"--{flag}: whole numbers of at most 10 digits, at least {files:,}, one drawing a file"
        )
    return sorted(map(int, texts))


def measure(arguments: list[str]) -> Measured:
    """Runs a Python command and watches the memory of it and of its children."""
    start = time.perf_counter()
    process = psutil.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL)
    peak_bytes = 0
    while process.poll() is None:
        peak_bytes = max(peak_bytes, _resident_bytes(process))
        time.sleep(_SAMPLE_SECONDS)
    if process.returncode:
        raise SystemExit(process.returncode)  # it has said why
    return Measured(time.perf_counter() - start, peak_bytes)


def _resident_bytes(process: psutil.Process) -> int:
    total = 0
    for each in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):  # it may have ended just now
            total += each.memory_info().rss
    return total


def _ours(directory: str, workers: int) -> Measured:
    with tempfile.TemporaryDirectory() as output:
        return measure(
            [
                *("-m", "pipeline.main", f"--input={glob.escape(directory)}/*.ndjson"),
                f"--output={output}",
                *("--train_per_category=all", "--validation_per_category=100"),
                f"--direct_num_workers={workers}",
            ]
        )


def _compare_speed(directory: str, count: int) -> None:
    code = f"from benchmarks.pipeline import plain_loop; plain_loop({directory!r})"
    plain = measure(["-c", code])
    print(f"{count:,} drawings, wall time from start to end, µs a drawing:")
    print(f"{'the plain loop, one process':<30}{plain.seconds / count * 1e6:6.1f}")
    for workers, name in ((1, "ours, one worker"), (2, "ours, two workers")):
        ours = _ours(directory, workers)
        microseconds, ratio = ours.seconds / count * 1e6, ours.seconds / plain.seconds
        print(f"{name:<30}{microseconds:6.1f}   {ratio:.2f} of the plain loop's", flush=True)


def _compare_memory(patterns: list[str], counts: Sequence[int]) -> None:
    print("peak memory of all processes, two workers:")
    measured = []
    for count in counts:
        with tempfile.TemporaryDirectory() as directory:
            repeat_drawings(patterns, directory, count)
            measured.append((count, _ours(directory, workers=2).peak_bytes))
        print(f"{count:>11,} drawings {measured[-1][1] / 1e6:9,.0f} MB", flush=True)
    (few, few_bytes), (many, many_bytes) = measured[0], measured[-1]
    print(f"{(many_bytes - few_bytes) / (many - few):.0f} bytes more a drawing")


def define_flags() -> None:
    cli.define_paths("input", None, "Globs of simplified ndjson files.", kind="GLOB", required=True)
    cli.define_integer(
        "drawings",
        1_000_000,
        "Drawings to measure speeds with; memory is measured with a tenth and a half of them.",
        lower_bound=10,
        upper_bound=10**9,
    )


def main(argv: list[str]) -> None:
    patterns, count = flags.FLAGS.input, flags.FLAGS.drawings
    with tempfile.TemporaryDirectory() as directory:
        repeat_drawings(patterns, directory, count)
        _compare_speed(directory, count)
    _compare_memory(patterns, (count // 10, count // 2))


if __name__ == "__main__":
    define_flags()
    cli.run(main)
