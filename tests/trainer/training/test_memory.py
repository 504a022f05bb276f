"""Memory that runs out: one line with the batch size, and the one to try."""

import errno
import os

import pytest
import tensorflow as tf

from pipeline import cli
from pipeline.cli import RunError
from tests.support.commands import flags_of
from tests.support.ndjson import line
from tests.support.stopped_training import make_config
from tests.support.trainer_data import DEVICES, LABELS
from trainer import predict, train
from trainer.config import Interval
from trainer.exports import classifiers, job
from trainer.exports.classifiers import Classifier
from trainer.runs import run_directory
from trainer.training import evaluation
from trainer.training.memory import out_of_memory

TOO_MANY_BYTES = 1 << 45
ON_CPU = r"out of memory on CPU:0 \(no room for uint8\[35184372088832\]\) with "


@pytest.fixture(scope="module")
def exhaust():
    """A step that raises what TensorFlow raises where memory runs out.

    Memory runs out once: TensorFlow waits ten seconds for some to become free.
    """
    with pytest.raises(tf.errors.ResourceExhaustedError) as error:
        tf.zeros([TOO_MANY_BYTES], tf.uint8)

    def step(*_):
        raise error.value

    return step


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    config = make_config(data, tmp_path_factory.mktemp("run"), epochs=1)
    train.train(config)
    return config.run_dir


def test_a_training_step_that_does_not_fit_says_what_to_try(data, tmp_path, exhaust, monkeypatch):
    config = make_config(data, tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(train, "make_training_step", lambda *_: exhaust)
        with pytest.raises(RunError, match=f"^{ON_CPU}--batch_size=8; try --batch_size=4$"):
            train.train(config)
        with pytest.raises(RunError, match=r"--batch_size=8 on 2 devices; try --batch_size=4$"):
            train.train(config, DEVICES[:2])
    # Nothing was learned that another batch size would lose, so the directory is free for it.
    state = train.train(make_config(data, tmp_path, batch_size=4, epochs=1))
    assert state.step == 13
    assert run_directory.read_config(config.run_dir)["batch_size"] == 4


@pytest.mark.parametrize("step", ["make_training_step", "make_evaluation_step"])
def test_where_there_is_a_checkpoint_another_batch_size_needs_another_run(
    step, data, tmp_path, exhaust, monkeypatch
):
    config = make_config(data, tmp_path, checkpoint_every=Interval(steps=2))
    make_step, calls = getattr(train, step), []

    def make_failing_step(*arguments):
        working_step = make_step(*arguments)

        def fail_third(*inputs):
            calls.append(inputs)
            return (exhaust if len(calls) == 3 else working_step)(*inputs)

        return fail_third

    monkeypatch.setattr(train, step, make_failing_step)
    with pytest.raises(RunError, match=r"; try --batch_size=4 in another --run_dir"):
        train.train(config)


def test_an_evaluation_that_does_not_fit_says_what_to_try(data, trained, exhaust, monkeypatch):
    monkeypatch.setattr(evaluation, "make_evaluation_step", lambda *_: exhaust)
    with pytest.raises(RunError, match=f"^{ON_CPU}--batch_size=11; try --batch_size=5$"):
        evaluation.evaluate_run(trained, data, "validation", "best", 11)


def test_an_export_that_does_not_fit_is_one_line_and_leaves_nothing(trained, exhaust, monkeypatch):
    monkeypatch.setattr(classifiers, "from_run", lambda run: Classifier(run.labels, exhaust))
    with pytest.raises(RunError, match=f"^{ON_CPU}100 drawings at once; "):
        job.export_run(trained, "best", ["keras"])
    assert not [name for name in os.listdir(trained) if name.startswith("export")]


def test_a_prediction_that_does_not_fit_says_what_to_try(
    trained, write_lines, exhaust, monkeypatch
):
    path = write_lines("cat.ndjson", [line()])
    monkeypatch.setattr(classifiers, "load_run", lambda *_: Classifier(LABELS, exhaust))
    with flags_of("trainer.predict"):
        cli.parse_flags(["predict", f"--run_dir={trained}", "--batch_size=20"])
        with pytest.raises(RunError, match=f"^{ON_CPU}--batch_size=20; try --batch_size=10$"):
            predict.main(["predict", path])


def test_pythons_own_memory_counts_and_one_drawing_is_the_least():
    message = r"^out of memory with --batch_size=1; no smaller batch is possible$"
    with pytest.raises(RunError, match=message), out_of_memory(1):
        raise MemoryError


def test_a_full_disk_is_not_taken_for_memory():
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full on this system")
    message = f"^/dev/full: {os.strerror(errno.ENOSPC)}$"
    with pytest.raises(RunError, match=message), out_of_memory(8):
        tf.io.write_file("/dev/full", "x" * 100_000)


def test_other_errors_pass():
    with pytest.raises(tf.errors.InvalidArgumentError), out_of_memory(8):
        tf.reshape(tf.zeros([3]), [2])
