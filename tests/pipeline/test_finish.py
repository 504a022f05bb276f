"""`python -m pipeline.main --finish` as its user sees it."""

import errno
import json
import os
import pathlib
from collections.abc import Callable, Sequence

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline import job
from pipeline.cli import RunError
from pipeline.files import storage
from pipeline.graph.sampling import Quotas
from pipeline.output import staging
from tests.pipeline.test_job import contents
from tests.support.ndjson import line
from tests.support.warm_process import run_module

Writer = Callable[[str, Sequence[str]], str]


def finish(*flags: str) -> tuple[int, str, str]:
    """Its exit status, standard output and standard error."""
    done = run_module("pipeline.main", ["--finish", *flags])
    return done.returncode, done.stdout, done.stderr


def run(path: str, output: pathlib.Path, **settings: float) -> None:
    job.run(
        patterns=[path],
        output=str(output),
        quotas=Quotas(30, 10),
        options=PipelineOptions(["--direct_num_workers=1"]),
        **settings,
    )


@pytest.fixture
def path(write_lines: Writer) -> str:
    return write_lines("cat.ndjson", [line("cat", n) for n in range(60)])


@pytest.fixture
def done_job(path: str, tmp_path: pathlib.Path) -> pathlib.Path:
    """An output whose job is done and whose run ended before it could complete the data set."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "commit", _lose_contact)
        with pytest.raises(ConnectionError):
            run(path, tmp_path / "data")
    return tmp_path / "data"


def _lose_contact(*_: object) -> None:
    raise ConnectionError


def test_completes_a_job_that_is_done_and_prints_its_table(
    done_job: pathlib.Path, path: str, tmp_path: pathlib.Path
) -> None:
    run(path, tmp_path / "whole")
    status, output, errors = finish(f"--output={done_job}")
    assert (status, errors) == (0, "")
    assert output.splitlines()[1].split() == ["cat", "60", "60", "30", "10", "0"]
    assert output.splitlines()[-1].startswith(f"Wrote {done_job} in ")
    assert contents(done_job) == contents(tmp_path / "whole")
    assert finish(f"--output={done_job}") == (
        2,
        "",
        f"error: {done_job}: the data set is already complete; --finish has nothing to do\n",
    )


def test_the_flags_of_the_job_may_stay_and_are_not_read(done_job: pathlib.Path) -> None:
    status, output, _ = finish(f"--output={done_job}", "--input=none", "--train_per_category=5")
    assert status == 0
    assert output.splitlines()[1].split() == ["cat", "60", "60", "30", "10", "0"]


def test_rejects_are_allowed_as_the_job_s_run_allowed_them(
    write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    path = write_lines("cat.ndjson", [line("cat", n) for n in range(60)] + ["bad"] * 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "commit", _lose_contact)
        with pytest.raises(ConnectionError):
            run(path, tmp_path / "data", max_reject_fraction=0.1)
    output = f"--output={tmp_path / 'data'}"
    status, _, errors = finish(output, "--max_reject_fraction=0.01")
    assert status == 1
    assert "2 lines rejected, 3.23% of all, more than --max_reject_fraction=0.01" in errors
    assert finish(output)[0] == 0  # the job was kept


def test_a_job_is_kept_while_its_input_cannot_be_found(
    done_job: pathlib.Path, path: str, tmp_path: pathlib.Path
) -> None:
    pathlib.Path(path).rename(tmp_path / "elsewhere")
    status, _, errors = finish(f"--output={done_job}")
    assert status == 1
    (only,) = errors.splitlines()
    assert only == (
        f"error: the job has read {path}, which cannot be found now; what it wrote is kept: put "
        "the input back and use --finish"
    )
    (tmp_path / "elsewhere").rename(path)
    assert finish(f"--output={done_job}")[0] == 0


def test_a_job_of_changed_input_is_deleted(done_job: pathlib.Path, path: str) -> None:
    with pathlib.Path(path).open("a") as file:
        file.write(line("cat", 99))
    status, _, errors = finish(f"--output={done_job}")
    assert status == 1
    assert errors.startswith(f"error: the input changed while it was read: {path}; nothing was")
    assert finish(f"--output={done_job}")[0] == 2


def test_a_commit_that_began_needs_no_input_any_more(
    done_job: pathlib.Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk, say, of which the drawings were deleted to make room."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(storage, "sync", full)
        with pytest.raises(RunError, match="No space left on device; what the job wrote is kept"):
            job.finish(str(done_job))
    pathlib.Path(path).unlink()
    status, output, errors = finish(f"--output={done_job}")
    assert (status, errors) == (0, "")
    assert output.splitlines()[1].split() == ["cat", "60", "60", "30", "10", "0"]


def test_a_job_of_relative_globs_is_finished_from_anywhere(
    path: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pathlib.Path(path).parent)
    with monkeypatch.context() as patch:
        patch.setattr(job, "commit", _lose_contact)
        with pytest.raises(ConnectionError):
            run("*.ndjson", tmp_path / "data")
    monkeypatch.chdir("/")
    _, manifest = job.finish(str(tmp_path / "data"))
    assert [each["file"] for each in manifest.inputs] == ["cat.ndjson"]


def test_where_a_summary_cannot_be_read_its_job_stays(
    done_job: pathlib.Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_file = storage.read_file

    def fail(path: str) -> bytes:
        if path.endswith("summary.json"):
            raise OSError(5, "the server answers 503")
        return read_file(path)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "read_file", fail)
        for attempt in (lambda: job.finish(str(done_job)), lambda: run(path, done_job)):
            with pytest.raises(RunError, match=r"summary\.json: the server answers 503"):
                attempt()
    assert finish(f"--output={done_job}")[0] == 0


def test_what_cannot_be_finished_is_one_line_and_stays_as_it_is(tmp_path: pathlib.Path) -> None:
    none = tmp_path / "none"
    assert finish(f"--output={none}") == (2, "", f"error: {none}: no such directory\n")
    assert not none.exists()
    empty = tmp_path / "empty"
    empty.mkdir()
    message = f"error: {empty}: no job for --finish to complete\n"
    assert finish(f"--output={empty}") == (2, "", message)
    assert list(empty.iterdir()) == []
    begun = tmp_path / "begun"
    begun.mkdir()
    directory = pathlib.Path(staging.begin(str(begun), {"patterns": []}).directory)
    message = f"error: {begun}: its job is not finished yet, or failed\n"
    assert finish(f"--output={begun}") == (2, "", message)
    assert [path.name for path in directory.iterdir()] == ["job.json"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--output is needed (--help lists the flags)"),
        (["--output=data", "--outptu=data"], "unknown flag or argument --outptu=data; did you "),
        (["--output=data", "extra"], "unknown flag or argument extra"),
        ([f"--output={__file__}"], f"--output: {__file__} is a file, not a directory"),
        ([f"--output={pathlib.Path(__file__).parent}"], "--output: "),
    ],
)
def test_wrong_flags_are_one_line(flags: list[str], message: str) -> None:
    status, output, errors = finish(*flags)
    assert (status, output) == (2, "")
    (only,) = errors.splitlines()
    assert only.startswith(f"error: {message}")


def test_completes_a_job_of_a_version_with_fewer_settings(done_job: pathlib.Path) -> None:
    (file,) = done_job.rglob("job.json")
    settings = json.loads(file.read_text())
    for name in ("frame", "seed", "excluded_keys"):
        del settings[name]
    settings["inputs"] = [found[:2] for found in settings["inputs"]]
    file.write_text(json.dumps(settings))
    status, printed, errors = finish(f"--output={done_job}")
    assert (status, errors) == (0, "")
    assert printed.splitlines()[1].split() == ["cat", "60", "60", "30", "10", "0"]
