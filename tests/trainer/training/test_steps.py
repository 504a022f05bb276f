"""One training step: on several replicas as on one, and with float16's loss scale."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline.dataset.records import pack_bitmaps
from tests.support.trainer_data import DEVICES, LABELS, bitmap, tiny_experiment
from tests.support.warm_process import run_code
from trainer.config import TrainConfig
from trainer.data.input_pipeline import Batch, Examples
from trainer.hardware.devices import make_strategy
from trainer.hardware.replicas import computing, gather_rows, replica_slice, whole_batch
from trainer.model import BatchNormalization, build_model
from trainer.models.experiments import Experiment
from trainer.training.optimizer import (
    GROWTH_STEPS,
    INITIAL_SCALE,
    LARGEST_SCALE,
    SMALLEST_SCALE,
    LossScale,
    MovingAverage,
    Schedule,
)
from trainer.training.steps import (
    TrainState,
    cross_entropy,
    make_evaluation_step,
    make_training_step,
)


@dataclasses.dataclass
class Run:
    """A model on some replicas, trained by plain SGD, whose updates show the gradients."""

    strategy: tf.distribute.Strategy
    state: TrainState
    config: TrainConfig
    schedule: Schedule | None
    xla: bool

    def make_step(self):
        return make_training_step(self.strategy, self.state, self.config, self.schedule, self.xla)

    def train(self, batches):
        return train(self.make_step(), batches)

    def evaluate(self, batch):
        return make_evaluation_step(self.strategy, self.state.model)(batch).logits.numpy()

    def scale(self) -> float:
        return float(self.state.loss_scale.scale.numpy())

    def finished_steps(self) -> int:
        return int(self.state.optimizer.iterations.value.numpy())

    def weights(self):
        """And what batch normalisation keeps, but no random states."""
        values = [variable.numpy() for variable in self.state.model.variables]
        return [value for value in values if value.dtype == np.float32]


@pytest.fixture(autouse=True)
def _reset_precision():
    yield
    keras.mixed_precision.set_dtype_policy("float32")


def make_run(
    replicas: int,
    precision: str = "float32",
    dropout_rate: float = 0.5,
    batch_norm: bool = False,
    ema_decay: float = 0.0,
    schedule: Schedule | None = None,
    xla: bool = False,
    with_blocks: bool = True,
    **recipe,
) -> Run:
    keras.utils.set_random_seed(3)
    keras.mixed_precision.set_dtype_policy(precision)
    strategy = make_strategy(DEVICES[:replicas])
    with strategy.scope():
        experiment = tiny_experiment(dropout_rate, batch_norm)
        model = build_model(experiment if with_blocks else without_blocks(experiment), len(LABELS))
        optimizer = keras.optimizers.SGD(0.1)
        optimizer.build(model.trainable_variables)
        state = TrainState(
            model,
            optimizer,
            LossScale() if precision == "mixed_float16" else None,
            MovingAverage(model, ema_decay) if ema_decay else None,
        )
    config = TrainConfig("", "", tiny_experiment(), **recipe)
    return Run(strategy, state, config, schedule, xla)


def without_blocks(experiment: Experiment) -> Experiment:
    """Stem, reductions and logits: each layer takes time to trace.

    A step of all layers on four replicas has 25,000 operations. Several replicas without blocks
    need a process of their own: see `in_own_process`.
    """
    architecture = experiment.architecture
    block = dataclasses.replace(architecture.block_a, repeat=0)
    architecture = dataclasses.replace(architecture, block_a=block, block_b=block, block_c=block)
    return dataclasses.replace(experiment, architecture=architecture)


def train(step, batches):
    return [step(batch, tf.constant(n, tf.int64)) for n, batch in enumerate(batches, 1)]


def make_batches(*sizes: int):
    rng = np.random.default_rng(0)
    for size in sizes:
        labels = rng.integers(len(LABELS), size=size)
        packed = pack_bitmaps(np.stack([bitmap(label, rng) for label in labels]))
        images = [np.frombuffer(image, np.uint8) for image in packed]
        examples = Examples(tf.constant(np.stack(images)), tf.constant(labels, tf.int64))
        yield Batch(examples, whole_batch(tf.constant(size)))


def assert_same_training(replicas, tolerance, sizes, **options):
    """Losses and updates of some steps equal those of a single device."""
    assert_same_trainings(replicas, tolerance, [sizes], **options)


def assert_same_trainings(replicas, tolerance, trainings, **options):
    """Assert the same of several trainings with these batch sizes, each from the first weights."""
    one, several = make_run(1, **options), make_run(replicas, **options)
    steps = one.make_step(), several.make_step()
    first = [[variable.numpy() for variable in run.state.variables] for run in (one, several)]
    before = one.weights()
    for sizes in trainings:
        for run, values in zip((one, several), first, strict=True):
            for variable, value in zip(run.state.variables, values, strict=True):
                variable.assign(value)
        results = zip(*(train(step, make_batches(*sizes)) for step in steps), strict=True)
        for a, b in results:
            assert float(a.loss) == pytest.approx(float(b.loss), rel=tolerance)
            assert (int(a.correct), int(a.examples)) == (int(b.correct), int(b.examples))
        assert_same_updates(before, one.weights(), several.weights(), tolerance)


def assert_same_updates(before, ends, other_ends, tolerance):
    assert any(np.any(start != end) for start, end in zip(before, ends, strict=True))
    for start, end, other_end in zip(before, ends, other_ends, strict=True):
        update, other_update = end - start, other_end - start
        rounding = 2 * np.spacing(np.abs(start).max())  # of the weights themselves
        allowed = tolerance * np.abs(update).max() + rounding
        np.testing.assert_allclose(update, other_update, rtol=0, atol=allowed)


PRECISIONS = [("float32", 1e-5), ("mixed_bfloat16", 3e-2), ("mixed_float16", 1e-2)]


@pytest.mark.parametrize(("precision", "tolerance"), PRECISIONS)
def test_two_replicas_train_as_one_device_does(precision, tolerance):
    """With dropout, and with batches that do not divide by the replicas."""
    assert_same_trainings(2, tolerance, [[8], [7], [1]], precision=precision)


def in_own_process(code):
    """TensorFlow keeps the number of replicas, and what they exchange first, for a process."""
    run_code(f"""
from tests.trainer.training.test_steps import *
{code}
""")


def test_four_replicas_train_as_one_device_does():
    in_own_process(f"""
for precision, tolerance in {PRECISIONS}:
    trainings = [[8], [7], [3]]
    assert_same_trainings(4, tolerance, trainings, precision=precision, with_blocks=False)
""")


@pytest.mark.parametrize(("replicas", "options"), [(2, ""), (4, ", with_blocks=False")])
def test_batches_are_normalised_over_all_replicas(replicas, options):
    in_own_process(f"assert_same_training({replicas}, 1e-3, [8, 7, 3], batch_norm=True{options})")


def normalise(replicas, rows):
    """A step of a layer alone.

    Returns:
      Outputs, gradients of the inputs, of scale and offset, moving mean and variance.
    """
    rng = np.random.default_rng(0)
    inputs, weights = (tf.constant(rng.normal(size=(rows, 5, 4, 6)), tf.float32) for _ in range(2))
    batch_slice = whole_batch(tf.constant(rows))
    strategy = make_strategy(DEVICES[:replicas])
    with strategy.scope():
        layer = BatchNormalization(momentum=0.9, synchronized=True)
        layer.build((None, 5, 4, 6))

    @tf.function(autograph=False)
    def replica_step():
        local, rows = replica_slice(batch_slice)
        x = 1 + inputs[rows]
        with tf.GradientTape() as tape, computing(local):
            tape.watch(x)
            y = layer(x, training=True)
            loss = tf.reduce_sum((weights[rows] * y**2)[: local.rows])
        of_x, *of_weights = tape.gradient(loss, [x, *layer.trainable_variables])
        return (y[: local.rows], of_x[: local.rows]), of_weights

    by_row, summed = strategy.run(replica_step)
    return (
        *(gather_rows(strategy, value).numpy() for value in by_row),
        *(strategy.reduce("SUM", value, axis=None).numpy() for value in summed),
        layer.moving_mean.numpy(),
        layer.moving_variance.numpy(),
    )


def assert_same_normalisation(replicas, rows):
    one, several = normalise(1, rows), normalise(replicas, rows)
    for expected, value in zip(one, several, strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("replicas", [2, 4])
def test_normalising_on_several_replicas_is_that_of_the_whole_batch(replicas):
    """With fewer rows than replicas, too: each row counts once."""
    in_own_process(f"""
for rows in (8, 7, 3, 1):
    assert_same_normalisation({replicas}, rows)
""")


@pytest.mark.parametrize(
    ("precision", "tolerance"),
    [("float32", 1e-5), ("mixed_bfloat16", 0.02), ("mixed_float16", 0.005)],
)
def test_a_single_replica_normalises_as_keras_does(precision, tolerance):
    """By another kernel: output, statistics and gradients, in each precision."""
    x = tf.random.stateless_normal((6, 5, 4, 3), seed=(0, 1)) * 2 + 3
    weights = tf.random.stateless_normal(x.shape, seed=(2, 3))
    policy = keras.mixed_precision.DTypePolicy(precision)
    ours, keras_own = (
        each(momentum=0.9, synchronized=True, dtype=policy)
        for each in (BatchNormalization, keras.layers.BatchNormalization)
    )

    def outputs_and_gradients(layer):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.cast(layer(x, training=True), tf.float32)
            loss = tf.reduce_sum(y * weights)
        variables = [variable.value for variable in layer.trainable_variables]
        return [y, *tape.gradient(loss, [x, *variables])]

    for one, other in zip(*map(outputs_and_gradients, (ours, keras_own)), strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance * np.abs(other).max())
    for one, other in zip(ours.variables, keras_own.variables, strict=True):
        assert one.name == other.name
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=tolerance)
    ours.trainable = False  # frozen, it keeps its statistics and goes by them
    np.testing.assert_array_equal(ours(x, training=True), ours(x, training=False))


def test_a_single_replica_normalises_by_the_fused_kernel():
    layer = BatchNormalization()
    graph = tf.function(lambda x: layer(x, training=True)).get_concrete_function(
        tf.TensorSpec((2, 5, 4, 3))
    )
    assert "FusedBatchNormV3" in {each.type for each in graph.graph.get_operations()}


@pytest.mark.parametrize(
    "options",
    [
        {"augment": ("mirror", "shift", "scale", "rotate")},
        {"clip_norm": 0.01},
        {"label_smoothing": 0.1},
        {"precision": "mixed_float16", "clip_norm": 0.01},
    ],
)
def test_what_goes_beyond_the_study_does_not_depend_on_the_replicas(options):
    tolerance = 1e-2 if "precision" in options else 1e-4
    assert_same_training(2, tolerance, [8, 7, 5], **options)


def test_the_loss_is_the_mean_over_the_examples():
    batch = next(make_batches(5))
    run = make_run(2, dropout_rate=0.0)
    logits = run.evaluate(batch)
    expected = keras.losses.sparse_categorical_crossentropy(
        batch.examples.labels, logits, from_logits=True
    )
    (result,) = run.train([batch])
    assert float(result.loss) == pytest.approx(float(tf.reduce_mean(expected)), rel=1e-5)
    assert int(result.examples) == 5
    assert int(result.correct) == int((logits.argmax(1) == batch.examples.labels.numpy()).sum())


def test_logits_come_in_the_order_of_the_rows_on_any_number_of_replicas():
    batch = next(make_batches(7))
    one, several = make_run(1).evaluate(batch), make_run(2).evaluate(batch)
    assert one.shape == several.shape == (7, 3)
    assert one.dtype == np.float32
    np.testing.assert_allclose(one, several, rtol=1e-5, atol=1e-6)


def test_label_smoothing_is_that_of_keras():
    rng = np.random.default_rng(0)
    logits = tf.constant(rng.normal(size=(6, 4)), tf.float32)
    labels = tf.constant(rng.integers(4, size=6))
    expected = keras.losses.categorical_crossentropy(
        tf.one_hot(labels, 4), logits, from_logits=True, label_smoothing=0.2
    )
    np.testing.assert_allclose(cross_entropy(labels, logits, 0.2), expected, rtol=1e-5)


def test_clipping_shortens_the_update_of_all_weights_together_and_keeps_its_direction():
    free, clipped = (make_run(1, with_blocks=False, clip_norm=norm) for norm in (0.0, 0.01))
    start = np.concatenate([weight.ravel() for weight in free.weights()])
    updates = []
    for run in (free, clipped):
        run.train(make_batches(6))
        updates.append(np.concatenate([weight.ravel() for weight in run.weights()]) - start)
    long, short = updates
    assert np.linalg.norm(short) == pytest.approx(0.1 * 0.01, rel=1e-3)  # SGD's rate is 0.1
    assert np.linalg.norm(long) > 2 * np.linalg.norm(short)
    cosine = long @ short / np.linalg.norm(long) / np.linalg.norm(short)
    assert cosine == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("replicas", [1, 2])
def test_the_average_follows_the_weights(replicas):
    run = make_run(replicas, ema_decay=0.9)
    model, average = run.state.model, run.state.average
    expected = [weight.numpy() for weight in model.trainable_variables]
    step = run.make_step()
    for number, batch in enumerate(make_batches(6, 6, 6), 1):
        step(batch, tf.constant(number, tf.int64))
        decay = min(0.9, (1 + number) / (10 + number))
        expected = [
            decay * a + (1 - decay) * weight.numpy()
            for a, weight in zip(expected, model.trainable_variables, strict=True)
        ]
    trained = run.weights()
    with average.applied():
        for weight, value in zip(model.trainable_variables, expected, strict=True):
            np.testing.assert_allclose(weight.numpy(), value, rtol=1e-5, atol=1e-7)
    np.testing.assert_equal(run.weights(), trained)


def test_compiled_by_xla_training_stays_the_same():
    runs = [make_run(1, dropout_rate=0.0, xla=xla) for xla in (False, True)]
    plain, compiled = (run.train(make_batches(6, 5)) for run in runs)
    for a, b in zip(plain, compiled, strict=True):
        assert float(a.loss) == pytest.approx(float(b.loss), rel=1e-4)
        assert int(a.examples) == int(b.examples)
    for weight, other in zip(runs[0].weights(), runs[1].weights(), strict=True):
        np.testing.assert_allclose(weight, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_step_that_overflows_is_skipped_and_halves_the_loss_scale(replicas):
    run = make_run(replicas, "mixed_float16", dropout_rate=0.0)
    run.state.loss_scale.scale.assign(LARGEST_SCALE)  # beyond float16 with this loss
    before = run.weights()
    (result,) = run.train(make_batches(6))
    assert np.isfinite(float(result.loss))
    assert int(result.skipped_in_a_row) == 1
    np.testing.assert_equal(run.weights(), before)
    assert run.scale() == LARGEST_SCALE / 2
    assert run.finished_steps() == 0
    results = run.train(make_batches(*[6] * 12))
    skipped = [int(result.skipped_in_a_row) for result in results]
    assert skipped[0] == 2
    assert skipped[-1] == 0
    assert run.scale() < LARGEST_SCALE / 2
    assert run.finished_steps() == skipped.count(0)
    assert np.any(run.weights()[0] != before[0])
    assert all(np.isfinite(weight).all() for weight in run.weights())


@pytest.mark.parametrize("replicas", [1, 2])
def test_the_learning_rate_follows_the_step_also_after_skipped_ones(replicas):
    schedule = Schedule(0.1, warmup_steps=4, decay_steps=4)
    run = make_run(replicas, "mixed_float16", dropout_rate=0.0, schedule=schedule)
    run.state.loss_scale.scale.assign(LARGEST_SCALE)
    results = run.train(make_batches(*[6] * 8))
    assert int(results[0].skipped_in_a_row) == 1
    assert run.finished_steps() < 8
    rates = [float(result.learning_rate) for result in results]
    assert rates == pytest.approx([float(schedule(number)) for number in range(1, 9)])
    assert float(run.state.optimizer.learning_rate.numpy()) == rates[-1]


def test_a_step_is_made_with_the_learning_rate_it_reports():
    """Plain SGD: the update is as many times larger as the rate is."""
    updates, rates = [], []
    for number in (1, 3):
        schedule = Schedule(0.1, 4, 0)
        run = make_run(1, dropout_rate=0.0, schedule=schedule, with_blocks=False)
        before = run.weights()
        step = run.make_step()
        rates.append(
            float(step(next(make_batches(6)), tf.constant(number, tf.int64)).learning_rate)
        )
        updates.append(
            np.concatenate([(a - b).ravel() for a, b in zip(run.weights(), before, strict=True)])
        )
    assert rates == pytest.approx([0.025, 0.075])
    np.testing.assert_allclose(updates[1], 3 * updates[0], rtol=1e-2, atol=1e-7)


def test_the_loss_scale_stays_within_its_bounds():
    loss_scale = LossScale()
    for _ in range(30):
        loss_scale.update(tf.constant(False))
    assert float(loss_scale.scale) == SMALLEST_SCALE
    assert int(loss_scale.skipped_in_a_row) == 30
    loss_scale.scale.assign(LARGEST_SCALE)
    loss_scale.good_steps.assign(GROWTH_STEPS - 1)
    loss_scale.update(tf.constant(True))
    assert float(loss_scale.scale) == LARGEST_SCALE
    assert int(loss_scale.skipped_in_a_row) == 0


def test_the_loss_scale_doubles_after_enough_good_steps():
    loss_scale = LossScale()
    for _ in range(GROWTH_STEPS - 1):
        loss_scale.update(tf.constant(True))
    assert float(loss_scale.scale) == INITIAL_SCALE
    loss_scale.update(tf.constant(True))
    assert float(loss_scale.scale) == 2 * INITIAL_SCALE
    assert int(loss_scale.good_steps) == 0
    loss_scale.update(tf.constant(True))
    loss_scale.update(tf.constant(False))
    assert (float(loss_scale.scale), int(loss_scale.good_steps)) == (INITIAL_SCALE, 0)
