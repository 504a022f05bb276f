"""Measures the trainer beside the usual ways to do the same: make bench-trainer DATA=DIR

Repeats the drawings of DIR, with new keys, up to the number asked for, makes data sets of them, and
prints: examples/s of our input, of the usual idiom and of TensorFlow Datasets; images/s of training
from memory, from disk, and the study's way, and the parts of a step; what batch normalisation adds
to a step; and the memory of a training run by the size of its data set.
"""

import collections
import glob
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import flags

from benchmarks import pipeline
from pipeline import cli
from pipeline.cli import UserError
from pipeline.dataset.manifests import DataSet, read_manifest
from pipeline.dataset.records import IMAGE_SIZE
from pipeline.sources.input_files import match_files
from trainer.hardware.quiet_tensorflow import quiet_tensorflow
from trainer.models import experiments

if TYPE_CHECKING:
    import tensorflow as tf

_SHUFFLED_IMAGES = 10_000  # a usual buffer; 289 MB of float32 images
_WARM_UP_STEPS = 3
PARTS = ("input", "training", "batch_norm", "memory")


def make_datasets(
    patterns: list[str], directory: str, drawings: int, encodings: Sequence[str]
) -> list[str]:
    """Make data sets of about this many training drawings, one for each encoding.

    Returns:
      Their directories. Each category has as many drawings, and one for validation for every ten.
    """
    drawn = os.path.join(directory, "drawings")
    os.mkdir(drawn)
    categories = len(match_files(patterns))
    pipeline.repeat_drawings(patterns, drawn, drawings + max(drawings // 5, 2 * categories))
    per_category = drawings // categories
    for encoding in encodings:
        arguments = (
            f"--input={glob.escape(drawn)}/*.ndjson",
            f"--output={directory}/{encoding}",
            f"--train_per_category={per_category}",
            f"--validation_per_category={max(1, per_category // 10)}",
            f"--image_encoding={encoding}",
        )
        pipeline.measure(["-m", "pipeline.main", *arguments])
    return [os.path.join(directory, encoding) for encoding in encodings]


def open_dataset(directory: str) -> DataSet:
    return DataSet(directory, read_manifest(directory))


def our_input(data: DataSet, batch_size: int) -> "tf.data.Dataset":
    """Read the training split as a run does."""
    from trainer.data.input_pipeline import training_batches

    return training_batches(data, batch_size, seed=0, epoch=1)


def usual_input(data: DataSet, batch_size: int) -> "tf.data.Dataset":
    """Parse and decode each example, shuffle the images, then batch."""
    import tensorflow as tf

    features = {
        "image": tf.io.FixedLenFeature([], tf.string),
        "label": tf.io.FixedLenFeature([], tf.int64),
    }

    def parse(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        example = tf.io.parse_single_example(serialized, features)
        image = tf.io.decode_png(example["image"], channels=1)
        image = tf.ensure_shape(image, [IMAGE_SIZE, IMAGE_SIZE, 1])
        return tf.cast(image, tf.float32) / 255, example["label"]

    files = [data.path(shard) for shard in data.split("train").shards]
    return (
        tf.data.TFRecordDataset(files)
        .map(parse, num_parallel_calls=tf.data.AUTOTUNE)
        .shuffle(_SHUFFLED_IMAGES)
        .batch(batch_size)
        .prefetch(tf.data.AUTOTUNE)
    )


def tfds_input(data: DataSet, batch_size: int) -> "tf.data.Dataset":
    """Do the same with TensorFlow Datasets' reader in front."""
    import tensorflow as tf
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(data.directory)
    examples = builder.as_dataset(split="train", shuffle_files=True)
    return (
        examples.map(
            lambda example: (tf.cast(example["image"], tf.float32) / 255, example["label"]),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        .shuffle(_SHUFFLED_IMAGES)
        .batch(batch_size)
        .prefetch(tf.data.AUTOTUNE)
    )


def compare_inputs(packed: str, png: str, batch_size: int, rounds: int) -> None:
    """Print examples/s of an epoch each, the median of rounds that take turns.

    A first round does not count: a run builds the graph of its input once for all epochs.
    """
    inputs: dict[str, tuple[Callable[[DataSet, int], Any], DataSet]] = {
        "ours": (our_input, open_dataset(packed)),
        "usual idiom": (usual_input, open_dataset(png)),
    }
    has_tfds = importlib.util.find_spec("tensorflow_datasets") is not None
    if has_tfds:
        inputs["TensorFlow Datasets"] = (tfds_input, open_dataset(png))
    examples = read_manifest(packed).splits["train"].records
    rates: dict[str, list[float]] = {name: [] for name in inputs}
    for number in range(rounds + 1):
        for name, (make, data) in inputs.items():
            start = time.perf_counter()
            for _ in make(data, batch_size):
                pass
            if number:
                rates[name].append(examples / (time.perf_counter() - start))
    print(f"input, {examples:,} examples in batches of {batch_size}, examples/s:")
    ours = statistics.median(rates["ours"])
    for name, of_name in rates.items():
        rate = statistics.median(of_name)
        print(f"{name:<24}{rate:>10,.0f}   ours is {ours / rate:.1f} times it", flush=True)
    if not has_tfds:
        print("TensorFlow Datasets is left out: it is not installed (it needs Python 3.11)")


class Training:
    """Training of an experiment in a precision, by our steps.

    Args:
      batch_norm: whether with batch normalisation; None: as the experiment has it.
    """

    def __init__(
        self,
        experiment: str,
        precision: str,
        packed: str,
        batch_size: int,
        batch_norm: bool | None = None,
    ) -> None:
        import tensorflow as tf

        from trainer.config import TrainConfig
        from trainer.train import make_train_state
        from trainer.training.steps import make_training_step

        data = open_dataset(packed)
        self._from_disk = _endless(data, batch_size)
        self._in_memory = next(self._from_disk)
        strategy = tf.distribute.get_strategy()
        found = experiments.find(experiment)
        if batch_norm is not None:
            found = found.with_batch_norm(batch_norm)
        config = TrainConfig(packed, "", found, batch_size=batch_size)
        state = make_train_state(config, precision, data.manifest.labels, strategy)
        self._step = make_training_step(strategy, state, config)
        self._number = tf.constant(1, tf.int64)
        self.from_memory(_WARM_UP_STEPS)

    def from_memory(self, count: int) -> float:
        """Return images/s of `count` steps on one batch."""
        return self._train(self._in_memory for _ in range(count))

    def from_disk(self, count: int) -> float:
        """Return images/s of `count` steps on batches of the training split, as in a run."""
        return self._train(next(self._from_disk) for _ in range(count))

    def _train(self, batches: Iterable[Any]) -> float:
        start, images = time.perf_counter(), 0
        for batch in batches:
            result = self._step(batch, self._number)
            images += len(batch.examples.labels)
        float(result.loss)  # waits for the device
        return images / (time.perf_counter() - start)


class StudysTraining:
    """Training the study's way: float32, Keras' fit on arrays in memory."""

    def __init__(self, experiment: str, packed: str, batch_size: int, count: int) -> None:
        import keras

        from trainer.model import build_model

        images, labels = _arrays(packed, batch_size, count * batch_size)
        keras.mixed_precision.set_dtype_policy("float32")
        self._model = build_model(experiment, len(read_manifest(packed).labels))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        # Keras' own choice, XLA, is several times slower on a CPU; the study's release had none.
        self._model.compile(keras.optimizers.Adam(), loss, metrics=["accuracy"], jit_compile=False)
        self._images, self._labels, self._batch_size = images, labels, batch_size
        self.fit(_WARM_UP_STEPS)

    def fit(self, count: int) -> float:
        """Return images/s of `count` steps."""
        size = count * self._batch_size
        images, labels = self._images[:size], self._labels[:size]
        start = time.perf_counter()
        self._model.fit(images, labels, batch_size=self._batch_size, verbose=0)
        return size / (time.perf_counter() - start)


def compare_training(
    experiment: str, packed: str, batch_size: int, count: int, rounds: int
) -> None:
    """Print images/s, the median of rounds in which all take turns."""
    with quiet_tensorflow():
        studys = StudysTraining(experiment, packed, batch_size, max(count, _WARM_UP_STEPS))
    ours = {
        precision: Training(experiment, precision, packed, batch_size)
        for precision in ("float32", "mixed_bfloat16")
    }
    measures: dict[str, Callable[[int], float]] = {"the study's way, float32": studys.fit}
    for precision, training in ours.items():
        measures[f"ours, {precision}, one batch in memory"] = training.from_memory
        measures[f"ours, {precision}, from disk"] = training.from_disk
    rates: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(rounds):
        for name, measure in measures.items():
            rates[name].append(measure(count))
    print(f"training {experiment}, batches of {batch_size}, images/s:")
    medians = {name: statistics.median(of_name) for name, of_name in rates.items()}
    base = medians["the study's way, float32"]
    for name, rate in medians.items():
        print(f"{name:<44}{rate:>8.1f}   {rate / base:.2f} of the study's way", flush=True)
    for precision in ours:
        # Neighbours in time are compared, then the median is taken: the machine's speed drifts.
        names = (f"ours, {precision}, from disk", f"ours, {precision}, one batch in memory")
        pairs = zip(*(rates[name] for name in names), strict=True)
        ratio = statistics.median(disk / memory for disk, memory in pairs)
        print(f"{precision} from disk is {ratio:.3f} of in memory", flush=True)


def compare_batch_norm(
    experiment: str, packed: str, batch_size: int, count: int, rounds: int
) -> None:
    """Print how much longer a step with batch normalisation takes, the median of rounds."""
    trainings = [
        Training(experiment, "mixed_bfloat16", packed, batch_size, batch_norm=batch_norm)
        for batch_norm in (True, False)
    ]
    rates = [[training.from_memory(count) for training in trainings] for _ in range(rounds)]
    ratio = statistics.median(without / with_norm for with_norm, without in rates)
    print(
        f"a step of {experiment} in mixed_bfloat16 with batch normalisation takes {ratio:.2f} "
        "times as long as without",
        flush=True,
    )


def profile_convolutions(
    experiment: str, precision: str, packed: str, batch_size: int, count: int
) -> None:
    """Print the parts of a step, from oneDNN's verbose log, with one operation at a time."""
    code = (
        "from benchmarks.trainer import Training\n"
        f"training = Training({experiment!r}, {precision!r}, {packed!r}, {batch_size})\n"
        "print('measured', flush=True)\n"
        f"print('rate', training.from_memory({count}))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"ONEDNN_VERBOSE": "1", "TF_NUM_INTEROP_THREADS": "1"},
        check=True,
        capture_output=True,
        text=True,
    )
    log = result.stdout.partition("measured\n")[2].splitlines()
    rate = float(log.pop().split()[1])
    seconds: dict[str, float] = collections.defaultdict(float)
    for line in log:
        # onednn_verbose,v1,primitive,exec,cpu,convolution,<kernel>,<direction>,…,<milliseconds>
        fields = line.split(",")
        if fields[2:4] == ["primitive", "exec"]:
            kind = f"{fields[5]} {fields[7]}".removesuffix(" undef").replace("_", " ")
            seconds[kind] += float(fields[-1]) / 1e3 / count
    step = batch_size / rate
    print(f"a step of {experiment} in {precision}, one operation at a time, {step:.2f} s, of which")
    largest = sorted(seconds.items(), key=lambda item: -item[1])[:4]
    for kind, of_kind in largest:
        print(f"{kind:<34}{of_kind:>6.2f} s  {of_kind / step:>4.0%}")
    rest = step - sum(of_kind for _, of_kind in largest)
    print(f"{'other':<34}{rest:>6.2f} s  {rest / step:>4.0%}", flush=True)


def measure_steps(
    patterns: list[str],
    drawings: int,
    parts: Sequence[str],
    names: Sequence[str],
    batch_size: int,
    count: int,
    rounds: int,
) -> None:
    """Print the parts that are measured on one data set.

    Args:
      patterns, drawings: of the data set.
      parts: of PARTS.
      names: of the experiments.
      batch_size, count: of the steps of a measurement.
      rounds: measurements of each kind.
    """
    with tempfile.TemporaryDirectory() as directory:
        encodings = ["packed", "png"] if "input" in parts else ["packed"]
        packed, *png = make_datasets(patterns, directory, drawings, encodings)
        if png:
            compare_inputs(packed, png[0], batch_size, rounds)
        if "training" in parts:
            for name in names:
                compare_training(name, packed, batch_size, count, rounds)
                for precision in ("float32", "mixed_bfloat16"):
                    profile_convolutions(name, precision, packed, batch_size, count)
        if "batch_norm" in parts:
            for name in names:
                compare_batch_norm(name, packed, batch_size, count, rounds)


def compare_memory(patterns: list[str], numbers: Sequence[int], batch_size: int) -> None:
    """Print the peak memory of a training run of one epoch on small and large data sets."""
    print("peak memory of a training run (small, one epoch):")
    for drawings in numbers:
        with tempfile.TemporaryDirectory() as directory:
            (packed,) = make_datasets(patterns, directory, drawings, ["packed"])
            records = read_manifest(packed).splits["train"].records
            run = (f"--dataset={packed}", f"--run_dir={directory}/run", "--experiment=small")
            sizes = ("--epochs=1", f"--batch_size={batch_size}")
            measured = pipeline.measure(["-m", "trainer.main", *run, *sizes])
        print(f"{records:>11,} drawings {measured.peak_bytes / 1e6:9,.0f} MB", flush=True)


def _endless(data: DataSet, batch_size: int) -> Iterator[Any]:
    while True:
        yield from our_input(data, batch_size)


def _arrays(directory: str, batch_size: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return [count, 85, 85, 1] float32 images and [count] labels."""
    from trainer.data.input_pipeline import unpack_bitmaps

    images: list[np.ndarray] = []  # [85, 85, 1]
    labels: list[int] = []
    batches = _endless(open_dataset(directory), batch_size)
    while len(labels) < count:
        batch = next(batches)
        images.extend(unpack_bitmaps(batch.examples.images, "float32").numpy())
        labels.extend(batch.examples.labels.numpy())
    return np.stack(images[:count]), np.array(labels[:count])


def define_flags() -> None:
    cli.define_paths("input", None, "Globs of simplified ndjson files.", kind="GLOB", required=True)
    flags.DEFINE_list("experiments", ["E2_7", "E3_8"], "To train.")
    flags.DEFINE_list("parts", list(PARTS), f"What to measure, any of {','.join(PARTS)}.")
    cli.define_integer(
        "drawings",
        200_000,  # three times what the shuffle holds, so that its start does not count too much
        "Training drawings of the data set that input and training are measured on.",
        lower_bound=1,
        upper_bound=10**8,
    )
    flags.DEFINE_list(
        "memory_drawings",
        ["20000", "70000", "200000"],  # from 65,536 on the shuffle's buffer is full
        "Training drawings of each data set that memory is measured on.",
    )
    cli.define_integer(
        "batch_size", 100, "Examples in a batch.", lower_bound=1, upper_bound=100_000
    )
    cli.define_integer(
        "steps", 5, "Training steps of a measurement.", lower_bound=1, upper_bound=100_000
    )
    cli.define_integer("rounds", 3, "Measurements of each kind.", lower_bound=1, upper_bound=1_000)


def main(_: list[str]) -> None:
    args = flags.FLAGS
    for experiment in args.experiments:
        experiments.find(experiment)
    if unknown := set(args.parts) - set(PARTS):
        raise UserError(f"--parts: no {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    categories = len(match_files(args.input))
    pipeline.parse_numbers("drawings", [str(args.drawings)], categories)
    memory_drawings = pipeline.parse_numbers("memory_drawings", args.memory_drawings, categories)
    with quiet_tensorflow():
        import keras  # noqa: F401 - with TensorFlow
    sizes = (args.batch_size, args.steps)
    if set(args.parts) - {"memory"}:
        measure_steps(args.input, args.drawings, args.parts, args.experiments, *sizes, args.rounds)
    if "memory" in args.parts:
        compare_memory(args.input, memory_drawings, args.batch_size)


if __name__ == "__main__":
    define_flags()
    cli.run(main)
