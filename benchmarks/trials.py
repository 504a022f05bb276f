"""Tries changes of the small model and its recipe at equal training time: make trials DATA=DIR

Each trial changes one thing and trains for the same processor time (of all cores together, without
validation and start). All take turns, seed after seed; then the command prints a row of Markdown
for each: top-1 on the validation drawings, alone and averaged with the mirror image, as the mean
over the seeds with their standard deviation. docs/trials.md says what came of it.
"""

import dataclasses
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from absl import flags

from benchmarks.results import make_dataset, mean, print_row
from pipeline import cli
from pipeline.cli import UserError
from pipeline.dataset import records
from pipeline.dataset.manifests import DataSet, read_manifest
from trainer.hardware.quiet_tensorflow import quiet_tensorflow

with quiet_tensorflow():
    import keras
    import numpy as np
    import tensorflow as tf

    from trainer.data.augmentation import augment, draw_transforms
    from trainer.model import BatchNormalization, build_model
    from trainer.models import experiments
    from trainer.models.experiments import Architecture, Block, Experiment

AUGMENTATIONS = ("mirror", "shift", "scale", "rotate")
WARM_UP = 1 / 6  # of the training: half an epoch of three
DECAY = 0.1


@dataclasses.dataclass(frozen=True)
class Trial:
    """A model and how it is trained; the defaults are the small model and the recipe fast."""

    architecture: Architecture = experiments.find("small").architecture
    replace: Callable[[keras.Layer], keras.Layer | None] = lambda layer: None
    batch_size: int = 100
    learning_rate: float = 1e-2
    norm_rate: float = 1.0  # of batch normalisation's offsets, times the learning rate
    smoothing: float = 0.1
    is_smoothing_learned: bool = False  # by what the model takes each class for
    alternates_mirror: bool = False  # of a drawing, from epoch to epoch
    sizes: tuple[int, ...] = ()  # of the bitmaps, in equal parts of the training; none: 85
    average: float = 0.0  # decay of the moving average of the weights
    mix: str = ""  # mixup or cutmix


def _change(**changes: Any) -> Architecture:
    return dataclasses.replace(experiments.find("small").architecture, **changes)


def _inception_blocks() -> Architecture:
    """Put blocks of the study's kind where the plain ones are, a block more at the first width."""
    k11, k33 = (1, 1), (3, 3)
    branches = ((k11,), (k11, k33), (k11, k33, k33))
    widths = {"block_a": (32, 2), "block_b": (64, 1), "block_c": (96, 1)}
    blocks = {
        name: Block(branches, filters, scale=1.0, repeat=repeat)
        for name, (filters, repeat) in widths.items()
    }
    return _change(**blocks)


def _first_kernel(size: int) -> Architecture:
    ((first, *others),) = experiments.find("small").architecture.stem
    return _change(stem=((first._replace(kernel=(size, size)), *others),))


def _silu(layer: keras.Layer) -> keras.Layer | None:
    is_relu = isinstance(layer, keras.layers.ReLU)
    return keras.layers.Activation("silu", name=layer.name) if is_relu else None


class SqueezeAndExcitation(BatchNormalization):
    """Batch normalisation, then a factor for each channel (Hu et al., 2018; reduction by 8)."""

    def build(self, input_shape: Sequence[int]) -> None:
        super().build(input_shape)
        channels = input_shape[-1]
        self.squeeze = keras.layers.Dense(channels // 8, activation="relu")
        self.excite = keras.layers.Dense(channels, activation="sigmoid")
        self.squeeze.build((None, channels))
        self.excite.build((None, channels // 8))

    def call(self, inputs: tf.Tensor, training: bool = False, mask: Any = None) -> tf.Tensor:
        x = super().call(inputs, training=training, mask=mask)
        factors = self.excite(self.squeeze(tf.reduce_mean(x, axis=(1, 2))))
        return x * factors[:, tf.newaxis, tf.newaxis]


def _squeeze_and_excitation(layer: keras.Layer) -> keras.Layer | None:
    """Replace the last normalisation before each addition."""
    ends = ("a1_1_2_norm", "reduction_a_1_2_norm", "reduction_b_1_2_norm")
    return SqueezeAndExcitation.from_config(layer.get_config()) if layer.name in ends else None


def _zero_scales(layer: keras.Layer) -> keras.Layer | None:
    """Start each residual block as the identity (Goyal et al., 2017)."""
    if not layer.name.endswith(("a1_1_2_norm", "_a_1_2_norm", "_b_1_2_norm")):
        return None
    config = layer.get_config() | {"gamma_initializer": "zeros"}
    return BatchNormalization.from_config(config)


TRIALS = {
    "none": Trial(),
    "mirrored in every other epoch": Trial(alternates_mirror=True),
    "bitmaps of 43, 64, then 85 pixels": Trial(sizes=(43, 64, 85)),
    "normalisation's offsets 8 times as fast": Trial(norm_rate=8.0),
    "average of the weights, 0.99": Trial(average=0.99),
    "mixup": Trial(mix="mixup"),
    "cutmix": Trial(mix="cutmix"),
    "batches of 50": Trial(batch_size=50, learning_rate=7e-3),
    "batches of 200": Trial(batch_size=200, learning_rate=1.4e-2),
    "label smoothing 0.05": Trial(smoothing=0.05),
    "label smoothing 0.2": Trial(smoothing=0.2),
    "label smoothing by what a class is taken for": Trial(is_smoothing_learned=True),
    "dropout 0.3": Trial(_change(dropout_rate=0.3)),
    "SiLU": Trial(replace=_silu),
    "squeeze-and-excitation": Trial(replace=_squeeze_and_excitation),
    "blocks begin as identities": Trial(replace=_zero_scales),
    "first kernel 5×5": Trial(_first_kernel(5)),
    "Inception-ResNet blocks": Trial(_inception_blocks()),
}


class Drawings(NamedTuple):
    """Drawings of a split."""

    bitmaps: np.ndarray  # [N, 85, 85] uint8 of 0 and 1
    classes: np.ndarray  # [N] int64


def read_drawings(directory: str, split: str) -> Drawings:
    data = DataSet(directory, read_manifest(directory))
    decode = records.DECODERS[data.manifest.image["encoding"]]
    examples = list(data.examples(split))
    bitmaps = np.stack([decode(each.image) for each in examples])
    return Drawings(bitmaps, np.array([each.label for each in examples]))


def build(trial: Trial, classes: int) -> keras.Model:
    """Build the model for bitmaps of any size."""
    model = build_model(Experiment("trial", trial.architecture), classes)

    def clone(layer: keras.Layer) -> keras.Layer:
        return trial.replace(layer) or type(layer).from_config(layer.get_config())

    return keras.models.clone_model(model, keras.Input((None, None, 1)), clone)


class Run:
    """Training of a trial's model."""

    def __init__(self, trial: Trial, classes: int, seed: int) -> None:
        keras.utils.set_random_seed(seed)
        self.trial, self.classes, self.seed = trial, classes, seed
        self.model = build(trial, classes)
        offsets = {id(each.beta) for each in self.model.layers if hasattr(each, "beta")}
        groups: tuple[list[Any], list[Any]] = ([], [])  # the offsets last
        for variable in self.model.trainable_variables:
            groups[id(variable) in offsets].append(variable)
        self.groups = [group for group in groups if group]
        self.optimizers = [self._optimizer(group) for group in self.groups]
        self.average = [tf.Variable(each.value) for each in self._floats()] if trial.average else []
        # What each class is taken for, a row a class, and its sums in this epoch.
        self.taken_for = tf.Variable(tf.fill([classes, classes], 1 / classes))
        self.sums = tf.Variable(tf.zeros([classes, classes]))

    def _floats(self) -> list[keras.Variable]:
        return [each for each in self.model.variables if each.dtype == "float32"]

    @staticmethod
    def _optimizer(variables: list[keras.Variable]) -> keras.optimizers.Optimizer:
        optimizer = keras.optimizers.AdamW(1e-3, weight_decay=DECAY)
        plain = [each for each in variables if len(each.shape) < 2]
        optimizer.exclude_from_weight_decay(var_list=plain)
        optimizer.build(variables)
        return optimizer

    @tf.function(reduce_retracing=True, autograph=False)
    def step(
        self, bitmaps: tf.Tensor, classes: tf.Tensor, number: tf.Tensor, rate: tf.Tensor, size: int
    ) -> None:
        trial = self.trial
        kinds = AUGMENTATIONS[1:] if trial.alternates_mirror else AUGMENTATIONS
        seed = tf.stack([tf.constant(self.seed, tf.int64), number])
        images = tf.cast(bitmaps, self.model.compute_dtype)[..., tf.newaxis]
        images = augment(images, draw_transforms(tf.shape(images)[0], kinds, seed))
        if size != records.IMAGE_SIZE:
            resized = tf.image.resize(images, (size, size), antialias=True)
            images = tf.cast(resized, images.dtype)
        targets = self._targets(classes)
        if trial.mix:
            images, targets = mix(trial.mix, images, targets, seed)
        with tf.GradientTape() as tape:
            logits = self.model(images, training=True)
            losses = tf.nn.softmax_cross_entropy_with_logits(targets, logits)
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, self.groups)
        for optimizer, group, factor in zip(
            self.optimizers, gradients, (1.0, trial.norm_rate), strict=False
        ):
            optimizer.learning_rate = rate * factor
            optimizer.apply(group)
        if trial.is_smoothing_learned:
            self._count(logits, classes)
        for average, variable in zip(self.average, self._floats(), strict=False):
            steps = tf.cast(number, tf.float32)
            decay = tf.minimum(trial.average, (1 + steps) / (10 + steps))
            average.assign(decay * average + (1 - decay) * variable.value)

    def _targets(self, classes: tf.Tensor) -> tf.Tensor:
        smoothing = self.trial.smoothing
        return (1 - smoothing) * tf.one_hot(classes, self.classes) + smoothing * tf.gather(
            self.taken_for, classes
        )

    def _count(self, logits: tf.Tensor, classes: tf.Tensor) -> None:
        """Add the probabilities of those that are right (Zhang et al., Delving deep into label
        smoothing, 2021)."""
        is_right = tf.cast(tf.argmax(logits, 1) == classes, tf.float32)
        rows = tf.nn.softmax(logits) * is_right[:, tf.newaxis]
        self.sums.scatter_add(tf.IndexedSlices(rows, classes))

    def end_epoch(self) -> None:
        if self.trial.is_smoothing_learned:
            totals = tf.reduce_sum(self.sums, 1, keepdims=True)
            self.taken_for.assign(tf.where(totals > 0, self.sums / totals, self.taken_for))
            self.sums.assign(tf.zeros_like(self.sums))

    def use_average(self) -> None:
        for variable, average in zip(self._floats(), self.average, strict=False):
            variable.assign(average)


def mix(kind: str, images: tf.Tensor, targets: tf.Tensor, seed: tf.Tensor) -> tuple[Any, Any]:
    """Mix each image with another one of the batch, and their targets in the same proportion."""
    others, other_targets = tf.reverse(images, [0]), tf.reverse(targets, [0])
    share = tf.random.stateless_uniform([], seed)  # Beta(1, 1)
    if kind == "mixup":
        weight = tf.cast(share, images.dtype)
        images = weight * images + (1 - weight) * others
    else:
        pixels = tf.range(records.IMAGE_SIZE)
        row, column = tf.unstack(
            tf.random.stateless_uniform([2], seed + 1, 0, records.IMAGE_SIZE, tf.int32)
        )
        half = tf.cast(records.IMAGE_SIZE * tf.sqrt(1 - share) / 2, tf.int32)
        is_other = (tf.abs(pixels - row) <= half)[:, tf.newaxis] & (tf.abs(pixels - column) <= half)
        images = tf.where(is_other[tf.newaxis, :, :, tf.newaxis], others, images)
        share = 1 - tf.reduce_mean(tf.cast(is_other, tf.float32))
    return images, share * targets + (1 - share) * other_targets


def batches(
    drawings: Drawings, trial: Trial, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """Yield batches without end, with the number of the epoch; a small rest is left out."""
    bitmaps, classes = drawings
    random = np.random.default_rng(seed)
    starts_mirrored = random.random(len(classes)) < 0.5
    epoch = 0
    while True:
        order = random.permutation(len(classes))
        for at in range(0, len(order) - trial.batch_size + 1, trial.batch_size):
            rows = order[at : at + trial.batch_size]
            batch = bitmaps[rows]
            if trial.alternates_mirror:
                is_mirrored = starts_mirrored[rows] ^ (epoch % 2 == 1)
                batch = np.where(is_mirrored[:, np.newaxis, np.newaxis], batch[..., ::-1], batch)
            yield batch, classes[rows], epoch
        epoch += 1


def train(run: Run, drawings: Drawings, seconds: float) -> float:
    """Train for a processor time; return the epochs that it took."""
    trial = run.trial
    sizes = trial.sizes or (records.IMAGE_SIZE,)
    spent, seen, seen_sizes = 0.0, 0, set()
    last_epoch = 0
    for number, (bitmaps, classes, epoch) in enumerate(batches(drawings, trial, run.seed)):
        progress = spent / seconds
        if progress >= 1:
            break
        if epoch > last_epoch:
            run.end_epoch()
            last_epoch = epoch
        decay = 0.5 * (1 + math.cos(math.pi * max(0.0, progress - WARM_UP) / (1 - WARM_UP)))
        rate = trial.learning_rate * decay * min(1.0, max(progress, 1e-3) / WARM_UP)
        size = sizes[int(progress * len(sizes))]
        start = time.process_time()
        run.step(bitmaps, classes, tf.constant(number, tf.int64), tf.constant(rate), size)
        if size in seen_sizes:  # the first one traces the step
            spent += time.process_time() - start
        seen_sizes.add(size)
        seen += len(classes)
    run.use_average()
    return seen / len(drawings.classes)


def evaluate(model: keras.Model, drawings: Drawings) -> tuple[float, float]:
    """Return top-1, and top-1 of the mean probabilities of a drawing and its mirror image."""

    @tf.function(reduce_retracing=True, autograph=False)
    def classify(bitmaps: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        images = tf.cast(bitmaps, model.compute_dtype)[..., tf.newaxis]
        alone = tf.nn.softmax(model(images, training=False))
        return alone, (alone + tf.nn.softmax(model(tf.reverse(images, [2]), training=False))) / 2

    bitmaps, classes = drawings
    hits = np.zeros(2)
    for at in range(0, len(classes), 200):
        for index, probabilities in enumerate(classify(bitmaps[at : at + 200])):
            hits[index] += (probabilities.numpy().argmax(1) == classes[at : at + 200]).sum()
    return tuple(hits / len(classes))


def define_flags() -> None:
    cli.define_paths("input", None, "Globs of ndjson files.", kind="GLOB", required=True)
    cli.define_path("output", "results", "Directory of the data set.", kind="DIR")
    flags.DEFINE_list("trials", list(TRIALS), "Names of the changes to try.")
    counts = {
        "train_per_category": (1500, "Training drawings."),
        "validation_per_category": (400, "Validation drawings."),
        "seeds": (3, "Runs of each, from seed 0 on."),
    }
    for name, (default, text) in counts.items():
        cli.define_integer(name, default, text, lower_bound=1, upper_bound=10**6)
    cli.define_float(
        "seconds", 95.0, "Processor time of a training.", lower_bound=0.01, upper_bound=1e6
    )


def main(_: list[str]) -> None:
    args = flags.FLAGS
    if unknown := set(args.trials) - set(TRIALS):
        raise UserError(f"--trials: no {', '.join(sorted(unknown))}; see --help")
    directory = f"{args.output}/data-{args.train_per_category}+{args.validation_per_category}"
    make_dataset(args.input, directory, args.train_per_category, args.validation_per_category)
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    training, validation = (read_drawings(directory, split) for split in ("train", "validation"))
    classes = len(read_manifest(directory).labels)
    largest = max(TRIALS[name].batch_size for name in args.trials)
    if len(training.classes) < largest:
        raise UserError(
            f"{len(training.classes)} training drawings, fewer than a batch of {largest}"
        )
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in args.trials}
    for seed in range(args.seeds):  # all take turns: the machine's speed drifts
        for name in args.trials:
            keras.backend.clear_session()
            run = Run(TRIALS[name], classes, seed)
            epochs = train(run, training, args.seconds)
            found[name].append((epochs, *evaluate(run.model, validation)))
            print(f"seed {seed}  {name}  top-1 {found[name][-1][1]:.4f}", file=sys.stderr)
    print_row(("change", "epochs", "top-1", "top-1 with mirror"))
    print_row(["---"] * 4)
    for name, results in found.items():
        of_epochs, alone, mirrored = zip(*results, strict=True)
        print_row((name, f"{statistics.mean(of_epochs):.1f}", mean(alone), mean(mirrored)))


if __name__ == "__main__":
    define_flags()
    cli.run(main)
