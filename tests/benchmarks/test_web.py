"""The comparison of the page without a server: what it counts as equal, and the whole command."""

import re

import pytest

from benchmarks import web
from pipeline import synthetic
from tests.support.page.litertjs_packages import downloaded
from tests.support.warm_process import run_module
from trainer.exports.classifiers import PRETRAINED, load_export


def test_equal_errors_count_and_others_do_not() -> None:
    ours = [{"label": "cat", "ms": 1}, {"label": "sun"}, {"error": "x"}, {"label": "car"}]
    theirs = [{"label": "cat"}, {"label": "car"}, {"error": "y"}, {"error": "z"}]
    assert web.equal_share(ours, theirs, "label") == 0.5


def test_a_line_without_a_drawing_is_expected_to_be_refused() -> None:
    good = synthetic.drawing_line("sun", 1, seed=1)
    found = web.expect([good, b'{"drawing": []}', good], load_export(PRETRAINED))
    answer = ["bitmap", "label", "probability"]
    assert [sorted(each) for each in found] == [answer, ["error"], answer]
    assert found[0] == found[2]
    assert len(found[0]["bitmap"]) == 85 * 85


def test_the_command_prints_the_shares_and_the_time(tmp_path) -> None:
    files = downloaded()
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for category in ("sun", "star"):
        synthetic.write_category(tmp_path, category, 20, seed=1)
    arguments = [f"--input={tmp_path}/*.ndjson", "--drawings=20", f"--litertjs={tmp_path}/litertjs"]
    done = run_module("benchmarks.web", arguments)
    if "no browser" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    first, bitmaps, answers, ms = done.stdout.splitlines()
    assert re.fullmatch(r"20 drawings, Chromium \d+, LiteRT.js [\d.]+", first)
    assert bitmaps == "the pipeline's bitmap    1.0000"
    assert re.fullmatch(r"trainer.predict's top-1  [01]\.\d{4}", answers)
    assert re.fullmatch(r"ms an answer, median     [\d.]+", ms)
