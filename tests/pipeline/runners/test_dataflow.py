"""The documented command for Dataflow, as far as it goes without an account.

Storage is an emulator, and what would be Dataflow keeps the request that starts the job. Where a
test says so it does the job as well, with Beam's local runner and from what was uploaded alone.
"""

import importlib.metadata
import io
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.transforms.environments import EmbeddedPythonEnvironment

from pipeline import job
from pipeline.cli import UserError
from pipeline.dataset import manifests
from pipeline.files import storage
from pipeline.graph.sampling import Quotas
from pipeline.runners.dataflow import check_flags
from tests.pipeline.runners.test_portable_runner import pickled
from tests.support.ndjson import ROOT, line
from tests.support.warm_process import run_module

pytest.importorskip("google.cloud.dataflow", reason="Dataflow needs the gcp extra")
pytest.importorskip("gcp_storage_emulator", reason="gs:// is tested with gcp-storage-emulator")

from tests.support import dataflow_service, gcs_emulator
from tests.support.dataflow_service import DataflowService
from tests.support.gcs_emulator import Bucket

SOURCES = ("setup.py", "pyproject.toml", "constraints.txt", "LICENSE", "README.md")
PACKAGES = ("pipeline", "trainer", "analysis")
DRAWINGS = {
    f"{word}.ndjson": "".join(f"{line(word, 10_000 * index + n)}\n" for n in range(600)).encode()
    for index, word in enumerate(["cat", "ice cream"])
}
BEAM_VERSION = importlib.metadata.version("apache-beam")
PYTHON_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
# Of all files that Google has, 345 of 66 MB: 50,426,266 drawings of 455 bytes each.
ALL_CATEGORIES = 345
ALL_BYTES = 50_426_266 * 455


class Submission(NamedTuple):
    """A command that has come to its end, and what it sent where."""

    command: subprocess.CompletedProcess[str]
    bucket: Bucket
    request: dict[str, Any]  # a Job of Dataflow's API
    request_bytes: int
    staged: dict[str, bytes]  # by name

    @property
    def pipeline(self) -> beam_runner_api_pb2.Pipeline:
        return beam_runner_api_pb2.Pipeline.FromString(self.staged["pipeline.pb"])

    @property
    def worker_pool(self) -> dict[str, Any]:
        (pool,) = self.request["environment"]["workerPools"]
        return dict(pool)


@pytest.fixture(scope="module", autouse=True)
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with gcs_emulator.running_emulator(tmp_path_factory.mktemp("none")):
        google = Bucket("quickdraw_dataset")
        for name, data in DRAWINGS.items():
            google.write(f"full/simplified/{name}", data)
        yield


@pytest.fixture
def service() -> Iterator[DataflowService]:
    with dataflow_service.running_dataflow() as service:
        yield service


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Project as it is checked out, where a source distribution may be built."""
    directory = tmp_path_factory.mktemp("checkout")
    copy(SOURCES + PACKAGES, directory)
    (directory / "temporary").mkdir()  # where Beam leaves what it uploads
    return directory


# The command, without the pauses that Beam makes.
QUICK = """
import runpy, time, types
from apache_beam.runners.dataflow import dataflow_runner
from apache_beam.utils import retry
retry.Clock.sleep = lambda *_: None
dataflow_runner.time = types.SimpleNamespace(sleep=lambda _: time.sleep(0.01), time=time.time)
runpy.run_module("pipeline.main", run_name="__main__", alter_sys=True)
"""


def copy(names: tuple[str, ...], directory: pathlib.Path) -> None:
    for name in names:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, directory / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, directory)


def documented_flags(bucket: Bucket) -> list[str]:
    """Flags of the one command in docs/clusters.md for Dataflow, with a bucket of ours."""
    text = (ROOT / "docs/clusters.md").read_text(encoding="utf-8").replace("\\\n", " ")
    (command,) = [line for line in text.splitlines() if "--runner=DataflowRunner" in line]
    words = [
        word.replace("PROJECT", "my-project").replace("REGION", "europe-west1")
        for word in shlex.split(command.replace("BUCKET", bucket.name))
    ]
    assert words[:3] == ["python", "-m", "pipeline.main"]
    return words[3:]


def run_command(
    directory: pathlib.Path, flags: list[str], code: str = ""
) -> "subprocess.CompletedProcess[str]":
    """Runs the command, or a program that does."""
    variables = {**os.environ, "TMPDIR": str(directory / "temporary")}
    name, words = ("-c", [code, *flags]) if code else ("pipeline.main", flags)
    return run_module(name, words, directory=directory, variables=variables)


def submit(
    service: DataflowService,
    directory: pathlib.Path,
    *more_flags: str,
    without: str = "nothing",
    code: str = "",
) -> Submission:
    """Runs the documented command against `service`; `more_flags` win over its own."""
    bucket = Bucket()
    flags = [flag for flag in documented_flags(bucket) if not flag.startswith(without)]
    flags += [f"--dataflow_endpoint={service.endpoint}", *more_flags]
    command = run_command(directory, flags, code)
    assert service.requests, command.stderr
    staged = bucket.contents("temp")
    return Submission(
        command,
        bucket,
        json.loads(service.requests[-1]),
        len(service.requests[-1]),
        {name.rpartition("/")[2]: data for name, data in staged.items()},
    )


def last_line(command: subprocess.CompletedProcess[str]) -> str:
    return command.stderr.splitlines()[-1]


def do_the_job(request: dict[str, Any]) -> None:
    """Run the staged pipeline as Dataflow would, with Beam's local runner in this process."""
    url = request["environment"]["sdkPipelineOptions"]["options"]["pipelineUrl"]
    pipeline = beam_runner_api_pb2.Pipeline.FromString(storage.read_file(url))
    here = EmbeddedPythonEnvironment.default().to_runner_api(None)  # type: ignore[arg-type]
    for environment in pipeline.components.environments.values():
        environment.CopyFrom(here)
    FnApiRunner().run_via_runner_api(pipeline, PipelineOptions([])).wait_until_finish()


@pytest.fixture(scope="module")
def submission(emulator: None, checkout: pathlib.Path) -> Submission:
    """Submission by the documented command, whose job is done."""
    with dataflow_service.running_dataflow() as service:
        service.run = do_the_job
        submission = submit(service, checkout, "--validation_per_category=100")
        assert service.failure is None
        return submission


def test_the_command_completes_the_data_set_of_a_local_run(
    submission: Submission, tmp_path: pathlib.Path
) -> None:
    assert submission.command.returncode == 0, submission.command.stderr
    assert f"Wrote {submission.bucket.url}/quickdraw in " in submission.command.stdout
    for name, data in DRAWINGS.items():
        (tmp_path / name).write_bytes(data)
    job.run(
        patterns=[f"{tmp_path}/*.ndjson"],
        output=str(tmp_path / "data"),
        quotas=Quotas(train=None, validation=100),
        options=PipelineOptions(["--direct_num_workers=1"]),
    )
    local = {path.name: path.read_bytes() for path in (tmp_path / "data").iterdir()}
    remote = submission.bucket.contents("quickdraw")
    assert len([name for name in local if "-train." in name]) == 1
    assert remote.keys() == local.keys()
    for name in local.keys() - {manifests.MANIFEST}:  # which names the input
        assert remote[name] == local[name]


def test_the_job_has_the_stages_of_the_graph(submission: Submission) -> None:
    transforms = submission.pipeline.components.transforms
    (root,) = submission.pipeline.root_transform_ids

    def stages(name: str) -> dict[str, str]:
        parts = transforms[name].subtransforms
        return {transforms[part].unique_name.rpartition("/")[2]: part for part in parts}

    job = stages(root)
    assert job.keys() == {
        *("ReadDrawings", "SelectDrawings", "WriteShards"),
        *("ByFile", "WriteRejects", "AllCounts", "Count", "Last", "Summarize"),
    }
    assert stages(job["ReadDrawings"]).keys() == {"Files", "Items", "Spread", "Parse"}
    assert stages(job["SelectDrawings"]).keys() == {
        *("ByIdentity", "Deduplicate", "Lowest", "Splits", "Once", "Select"),
    }
    assert stages(job["WriteShards"]).keys() == {"Assign", "ByShard", "Write"}


def test_workers_get_this_project_and_no_tensorflow(submission: Submission) -> None:
    packages = {package["name"] for package in submission.worker_pool["packages"]}
    assert packages == {"workflow.tar.gz", "submission_environment_dependencies.txt"}
    assert packages == submission.staged.keys() - {"pipeline.pb"}
    with tarfile.open(fileobj=io.BytesIO(submission.staged["workflow.tar.gz"])) as archive:
        files = {
            member.name.partition("/")[2]: archive.extractfile(member).read()  # type: ignore
            for member in archive
            if member.isfile()
        }
    assert all(files[name] == (ROOT / name).read_bytes() for name in ("setup.py", "pyproject.toml"))
    for path in (ROOT / "pipeline").glob("**/*"):
        if path.suffix in (".py", ".txt"):
            assert files[str(path.relative_to(ROOT))] == path.read_bytes()
    requirements = files["inceptionresnet_quickdraw.egg-info/requires.txt"].decode()
    base, _, extras = requirements.partition("[")
    assert "tensorflow" in extras
    assert set(re.findall(r"^[\w-]+", base, re.MULTILINE)) == {
        *("absl-py", "apache-beam", "google-crc32c", "numpy", "opencv-python-headless"),
        *("orjson", "pyarrow", "requests", "tqdm"),
    }


def test_workers_are_of_the_launcher_s_versions(submission: Submission) -> None:
    image = f"gcr.io/cloud-dataflow/v1beta3/beam_python{PYTHON_VERSION}_sdk:{BEAM_VERSION}"
    assert submission.worker_pool["workerHarnessContainerImage"] == image
    (environment,) = submission.pipeline.components.environments.values()
    payload = beam_runner_api_pb2.DockerPayload.FromString(environment.payload)
    assert payload.container_image == image
    user_agent = submission.request["environment"]["userAgent"]
    assert user_agent == {
        "name": f"Apache Beam Python {PYTHON_VERSION} SDK",
        "version": BEAM_VERSION,
    }


def test_nothing_is_pickled_from_the_main_module(submission: Submission) -> None:
    together = b"".join(pickled(submission.staged["pipeline.pb"]))
    functions = (b"Parse", b"Deduplicate", b"LowestRanks", b"AssignShards", b"WriteShard")
    for name in (*functions, b"write_summary"):
        assert name in together
    assert b"__main__" not in together
    options = submission.request["environment"]["sdkPipelineOptions"]["options"]
    assert options["save_main_session"] is False  # and the job was done nevertheless


def test_the_settings_of_machines_and_workers_reach_the_request(
    service: DataflowService, checkout: pathlib.Path
) -> None:
    service.last_state = "JOB_STATE_CANCELLED"
    submitted = submit(
        service,
        checkout,
        "--sdk_container_image=europe-docker.pkg.dev/my-project/images/quickdraw:1",
        *("--job_name=quickdraw-all", "--label=team=doodles"),
        *("--machine_type=n2-standard-4", "--disk_size_gb=50", "--worker_zone=europe-west1-b"),
        *("--num_workers=3", "--max_num_workers=40", "--autoscaling_algorithm=THROUGHPUT_BASED"),
        *("--network=net", "--subnetwork=regions/europe-west1/subnetworks/sub"),
        *("--no_use_public_ips", "--service_account_email=worker@my-project.example"),
        *("--experiments=shuffle_mode=service", "--dataflow_service_options=enable_prime"),
        f"--staging_location={Bucket().url}/staging",
        without="--setup_file",
    )
    assert submitted.command.returncode == 1
    assert last_line(submitted.command) == (
        "error: the job on DataflowRunner did not finish; its state is CANCELLED"
    )
    assert service.paths == ["/v1b3/projects/my-project/locations/europe-west1/jobs"]
    request, pool = submitted.request, submitted.worker_pool
    environment = request["environment"]
    assert (request["name"], request["type"]) == ("quickdraw-all", 1)  # batch
    assert request["labels"] == {"team": "doodles"}
    assert environment["workerZone"] == "europe-west1-b"
    assert environment["serviceAccountEmail"] == "worker@my-project.example"
    assert "shuffle_mode=service" in environment["experiments"]
    assert environment["serviceOptions"] == ["enable_prime"]
    temporary = f"storage.googleapis.com/{submitted.bucket.name}/temp/quickdraw-all."
    assert environment["tempStoragePrefix"].startswith(temporary)
    assert pool["machineType"] == "n2-standard-4"
    assert pool["diskSizeGb"] == 50
    assert pool["numWorkers"] == 3
    assert pool["autoscalingSettings"] == {"algorithm": 2, "maxNumWorkers": 40}
    assert pool["network"] == "net"
    assert pool["subnetwork"] == "regions/europe-west1/subnetworks/sub"
    assert pool["ipConfiguration"] == 2  # private
    (package,) = pool["packages"]
    assert package["name"] == "submission_environment_dependencies.txt"
    assert "/staging/quickdraw-all." in package["location"]
    image = "europe-docker.pkg.dev/my-project/images/quickdraw:1"
    assert pool["workerHarnessContainerImage"] == image
    assert [found["containerImage"] for found in pool["sdkHarnessContainerImages"]] == [image]


def test_all_drawings_make_a_small_request(
    service: DataflowService, checkout: pathlib.Path
) -> None:
    service.last_state = "JOB_STATE_CANCELLED"
    code = f"""
import runpy, sys
from pipeline.sources import input_files
input_files.match_files = lambda _: [
    input_files.InputFile(
        f"gs://quickdraw_dataset/full/simplified/category {{n * 7919:09}}.ndjson",
        {ALL_BYTES} // {ALL_CATEGORIES} + n * n * 997 % 1_000_003 - 500_000,
    )
    for n in range({ALL_CATEGORIES})
]
runpy.run_module("pipeline.main", run_name="__main__")
"""
    submitted = submit(service, checkout, code=code)
    assert "CANCELLED" in last_line(submitted.command)
    assert submitted.request_bytes < 20_000
    # Dataflow takes 20 MB of JSON, and a graph of 10 MB.
    assert len(submitted.staged["pipeline.pb"]) < 500_000
    together = b"".join(pickled(submitted.staged["pipeline.pb"]))
    assert together.count(b"category 002724136.ndjson") > 1  # the last one


def test_what_fails_on_a_worker_is_one_line(
    service: DataflowService, checkout: pathlib.Path
) -> None:
    reason = "cannot read gs://quickdraw_dataset/full/simplified/cat.ndjson: no such bucket or file"
    service.last_state = "JOB_STATE_FAILED"
    service.error_message = (
        "Traceback (most recent call last):\n"
        '  File "/usr/local/lib/pipeline/sources/input_files.py", line 119, in read\n'
        "    raise RunError(message)\n"
        f"pipeline.cli.errors.RunError: {reason} [while running 'Parse/ParDo(Parse)-33']\n"
    )
    submitted = submit(service, checkout, code=QUICK)
    assert submitted.command.returncode == 1
    assert last_line(submitted.command) == f"error: on a worker of DataflowRunner: {reason}"
    assert not [name for name in submitted.bucket.contents("quickdraw") if "quickdraw-" in name]


def test_a_job_that_the_command_lost_sight_of_is_completed_by_finish(
    service: DataflowService, submission: Submission, checkout: pathlib.Path
) -> None:
    service.answers = False
    lost = submit(service, checkout, "--validation_per_category=100", code=QUICK)
    assert lost.command.returncode == 1
    assert last_line(lost.command).startswith(
        "error: lost sight of the job on DataflowRunner, which may go on ("
    )
    assert last_line(lost.command).endswith(
        "); when it is done, rerun the command, or use --finish, to complete the data set"
    )

    finish = ["--finish", f"--output={lost.bucket.url}/quickdraw"]
    early = run_command(checkout, finish)
    assert (early.returncode, early.stdout) == (2, "")
    assert early.stderr.endswith("/quickdraw: its job is not finished yet, or failed\n")
    do_the_job(lost.request)
    done = run_command(checkout, finish)
    assert done.returncode == 0, done.stderr
    assert lost.bucket.contents("quickdraw") == submission.bucket.contents("quickdraw")


def test_a_dry_run_sends_nothing_and_says_so(
    service: DataflowService, checkout: pathlib.Path
) -> None:
    bucket = Bucket()
    endpoint = f"--dataflow_endpoint={service.endpoint}"
    running = {"_incomplete/0123abcd/job.json": b"{}"}  # its launcher is gone
    for name, content in running.items():
        bucket.write(f"quickdraw/{name}", content)
    command = run_command(checkout, [*documented_flags(bucket), endpoint, "--dry_run=True"])
    assert command.returncode == 0, command.stderr
    assert command.stdout == (
        "Dry run: the job was built but not sent, and no data set was written.\n"
    )
    assert service.requests == []
    assert bucket.contents("temp") == {}
    assert bucket.contents("quickdraw") == running


@pytest.mark.parametrize(
    ("without", "expected"),
    [
        ("--project", "--runner=DataflowRunner: Missing required option: project."),
        ("--region", "--runner=DataflowRunner: Missing required option: region."),
        ("--temp_location", "--temp_location=gs://BUCKET/… is needed for Dataflow"),
        ("--setup_file", "--setup_file=./setup.py is needed for Dataflow, or an image "),
    ],
)
def test_a_missing_flag_is_one_line(without: str, expected: str, checkout: pathlib.Path) -> None:
    flags = [flag for flag in documented_flags(Bucket()) if not flag.startswith(without)]
    command = run_command(checkout, flags)
    assert (command.returncode, command.stdout) == (2, "")
    assert last_line(command).startswith(f"error: {expected}")
    assert "Traceback" not in command.stderr


@pytest.mark.parametrize(
    ("flag", "pattern", "output", "expected"),
    [
        ("--temp_location=temp", "gs://b/*", "gs://b/data", "--temp_location: Dataflow's workers "),
        ("--num_workers=3", "drawings/*", "gs://b/data", "--input: Dataflow's workers "),
        ("--num_workers=3", "gs://b/*", "/tmp/data", "--output: Dataflow's workers "),
        ("--template_location=gs://b/job", "gs://b/*", "gs://b/data", "--template_location: "),
    ],
)
def test_what_cannot_end_in_a_data_set_is_refused(
    flag: str, pattern: str, output: str, expected: str
) -> None:
    flags = ["--temp_location=gs://b/temp", "--setup_file=./setup.py", flag]
    check_flags(PipelineOptions(["--runner=FlinkRunner", *flags]), [pattern], output)
    with pytest.raises(UserError, match=f"^{expected}"):
        check_flags(PipelineOptions(["--runner=DataflowRunner", *flags]), [pattern], output)


def dockerfile() -> tuple[dict[str, str], list[str]]:
    """Worker image's arguments, and what it copies from the project."""
    text = (ROOT / "pipeline" / "worker.Dockerfile").read_text(encoding="utf-8")
    arguments = dict(re.findall(r"^ARG (\w+)=(.+)$", text, re.MULTILINE))
    sources = [
        source
        for line in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE)
        for source in line.split()
    ]
    return arguments, sources


def test_the_worker_image_is_of_the_pinned_versions() -> None:
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    arguments, _ = dockerfile()
    assert f"\napache-beam=={arguments['BEAM_VERSION']}\n" in constraints
    assert f"Python {arguments['PYTHON_VERSION']})" in constraints.partition("\nabsl-py")[0]


def test_what_the_worker_image_copies_makes_the_whole_wheel(tmp_path: pathlib.Path) -> None:
    _, sources = dockerfile()
    copy(tuple(sources), tmp_path)
    subprocess.run(
        [sys.executable, "setup.py", "-q", "bdist_wheel"], cwd=tmp_path, check=True, timeout=120
    )
    (wheel,) = (tmp_path / "dist").iterdir()
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for path in (ROOT / "pipeline").glob("**/*"):
        if path.suffix in (".py", ".txt"):
            assert str(path.relative_to(ROOT)) in names
