"""Keras models from descriptions: blocks as functions over tensors. Map sizes are those of E2_7."""

import re
from collections.abc import Sequence

import keras
import tensorflow as tf

from pipeline.dataset.records import IMAGE_SIZE
from trainer.hardware.replicas import current_slice
from trainer.models import experiments
from trainer.models.experiments import (
    STAGES,
    Block,
    Branches,
    Experiment,
    InceptionReduction,
    Layer,
    PlainBlock,
    PlainReduction,
    block_layers,
    reduction_layers,
)

CLASSIFIER = "logits"  # name of the last layer


def build_model(experiment: str | Experiment, num_classes: int) -> keras.Model:
    """Build the model of an experiment, with fresh weights.

    Weights and dropout are drawn from Keras' global seed (`keras.utils.set_random_seed`); the
    precision is the global policy's, with head and logits in float32 under any.

    Args:
      experiment: its name or description.
      num_classes: the number of logits.

    Returns:
      [B, 85, 85, 1] of 0.0 and 1.0, 1 where there is ink → [B, num_classes] float32 logits.

    Raises:
      UserError: there is no experiment of that name.
    """
    if isinstance(experiment, str):
        experiment = experiments.find(experiment)
    architecture = experiment.architecture
    image = keras.Input((IMAGE_SIZE, IMAGE_SIZE, 1), name="image")
    norm = architecture.batch_norm
    x = stem(image, architecture.stem, norm)  # [B, 36, 36, 64]
    x = blocks(x, architecture.block_a, "a", norm)  # [B, 36, 36, 64]
    x = reduction(x, architecture.reduction_a, "reduction_a", norm)  # [B, 17, 17, 256]
    x = blocks(x, architecture.block_b, "b", norm)  # [B, 17, 17, 256]
    x = reduction(x, architecture.reduction_b, "reduction_b", norm)  # [B, 8, 8, 480]
    x = blocks(x, architecture.block_c, "c", norm)  # [B, 8, 8, 480]
    x = keras.layers.GlobalAveragePooling2D(dtype="float32", name="average_pool")(x)  # [B, 480]
    x = Dropout(architecture.dropout_rate, dtype="float32", name="dropout")(x)
    logits = keras.layers.Dense(num_classes, dtype="float32", name=CLASSIFIER)(x)
    return keras.Model(image, logits, name=_scope_name(experiment.name))


def freeze(model: keras.Model, first_trained: str) -> None:
    """Freeze the weights of the stages before one, their batch normalisation at its moving
    statistics; call it before the optimizer is built.

    Args:
      model: one of `build_model`.
      first_trained: one of `experiments.STAGES`.
    """
    first = STAGES.index(first_trained)
    for layer in model.layers:
        layer.trainable = STAGES.index(_stage_of(layer.name)) >= first


def _stage_of(layer: str) -> str:
    """Return the stage of a layer by its name; head for names of no stage."""
    if match := re.match(r"(stem|reduction_[ab])_", layer):
        return match[1]
    block = re.match(r"([abc])\d+_", layer)
    return f"blocks_{block[1]}" if block else "head"


def _scope_name(name: str) -> str:
    """Replace the characters that TensorFlow does not allow in names."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name).lstrip("_-") or "model"


class Dropout(keras.layers.Dropout):
    """Dropout of the same values on any number of replicas.

    Every replica draws the mask of the global batch and cuts its own slice; Keras' layer draws the
    same mask on each.
    """

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:  # inputs: [B, C]
        if not training or self.rate == 0:
            return inputs
        local = current_slice(inputs)
        shape = (local.global_rows, inputs.shape[1])
        drawn = keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)
        return tf.where(local.of_global(drawn) >= self.rate, inputs / (1 - self.rate), 0.0)


class BatchNormalization(keras.layers.BatchNormalization):
    """Batch normalisation by the statistics of the global batch, on any number of replicas.

    One replica trains with TensorFlow's fused kernel, which Keras 3 never takes. On several, Keras'
    synchronized layer also counts a row that counts on another replica; here each replica's count,
    mean and variance are exchanged at once and combined (Chan et al., Updating Formulae and a
    Pairwise Algorithm for Computing Sample Variances, 1979).
    """

    def call(
        self, inputs: tf.Tensor, training: bool = False, mask: tf.Tensor | None = None
    ) -> tf.Tensor:  # inputs: [B, H, W, C]
        if not training or not self.trainable:
            return super().call(inputs, training, mask)
        if tf.distribute.get_strategy().num_replicas_in_sync == 1:
            y, mean, variance = _normalize(inputs, self.gamma, self.beta, self.epsilon)
        else:
            x = tf.cast(inputs, tf.float32)
            mean, variance = _moments_of_all_replicas(x)
            y = tf.nn.batch_normalization(x, mean, variance, self.beta, self.gamma, self.epsilon)
        for moving, of_batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + of_batch * (1 - self.momentum))
        return tf.cast(y, self.compute_dtype)


def _normalize(
    x: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, epsilon: float
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Normalize the channels of [B, H, W, C] by the fused kernel; return mean and variance, too.

    The kernel returns the sample variance, of n - 1; Keras' moving variance is of n.
    """
    y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=x, scale=scale, offset=offset, mean=[], variance=[], epsilon=epsilon, is_training=True
    )
    count = tf.cast(tf.size(x) // x.shape[-1], tf.float32)
    return y, mean, variance * (1 - 1 / count)


def _moments_of_all_replicas(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Compute mean and variance of each channel: [rows, H, W, C] float32 → [C], [C]."""
    mean, variance = tf.nn.moments(x, [0, 1, 2])
    # All rows that a replica computes on count, or none does: see BatchSlice.
    count = tf.cast(current_slice(x).rows * tf.reduce_prod(tf.shape(x)[1:3]), tf.float32)
    context = tf.distribute.get_replica_context()
    replicas = context.num_replicas_in_sync
    is_here = tf.one_hot(context.replica_id_in_sync_group, replicas)[:, tf.newaxis]
    local = tf.concat([[count], mean, variance], axis=0)
    of_all = context.all_reduce(tf.distribute.ReduceOp.SUM, is_here * local)  # [replicas, 1 + 2C]
    counts, means, variances = tf.split(of_all, [1, *mean.shape, *variance.shape], axis=1)
    weights = counts / tf.reduce_sum(counts)
    mean = tf.reduce_sum(weights * means, axis=0)
    return mean, tf.reduce_sum(weights * (variances + tf.square(means - mean)), axis=0)


def stem(image: keras.KerasTensor, branches: Branches, norm: bool) -> keras.KerasTensor:
    """Add up the branches; one of a single channel is added to every channel."""
    results = [
        _chain(image, branch, f"stem_{number}", norm) for number, branch in enumerate(branches, 1)
    ]
    return keras.layers.Add(name="stem_add")(results) if len(results) > 1 else results[0]


def blocks(
    x: keras.KerasTensor, block: Block | PlainBlock, name: str, norm: bool
) -> keras.KerasTensor:
    """Stack `block.repeat` residual blocks; the shape stays."""
    for index in range(1, block.repeat + 1):
        if isinstance(block, PlainBlock):
            x = plain_block(x, f"{name}{index}", norm)
        else:
            x = inception_block(x, block, f"{name}{index}", norm)
    return x


def inception_block(x: keras.KerasTensor, block: Block, name: str, norm: bool) -> keras.KerasTensor:
    """Add the scaled projection of all branches; no activation follows the addition."""
    branches = [
        _chain(x, layers, f"{name}_{number}", norm)
        for number, layers in enumerate(block_layers(block, x.shape[-1]), 1)
    ]
    residual = keras.layers.Concatenate(name=f"{name}_concat")(branches)
    residual = _layer(residual, Layer((1, 1), x.shape[-1]), f"{name}_project", norm)
    return x + block.scale * residual


def plain_block(x: keras.KerasTensor, name: str, norm: bool) -> keras.KerasTensor:
    """Add a chain of convolutions; relu follows the addition."""
    (layers,) = block_layers(PlainBlock(repeat=1), x.shape[-1])
    return _add(x, _chain(x, layers, f"{name}_1", norm, is_linear=True), name)


def reduction(
    x: keras.KerasTensor, parts: InceptionReduction | PlainReduction, name: str, norm: bool
) -> keras.KerasTensor:
    """Halve the map: pooling beside branches of convolutions that have a stride of 2."""
    (pool, *widen), *branches = reduction_layers(parts)
    if isinstance(parts, PlainReduction):
        pooling = keras.layers.AveragePooling2D
        shortcut = pooling(pool.kernel, pool.stride, pool.padding, name=f"{name}_pool")(x)
        shortcut = _chain(shortcut, widen, f"{name}_shortcut", norm, is_linear=True)
        return _add(shortcut, _chain(x, branches[0], f"{name}_1", norm, is_linear=True), name)
    results = [_layer(x, pool, f"{name}_pool", norm)]
    results += [_chain(x, layers, f"{name}_{n}", norm) for n, layers in enumerate(branches, 1)]
    return keras.layers.Concatenate(name=f"{name}_concat")(results)


def _add(x: keras.KerasTensor, residual: keras.KerasTensor, name: str) -> keras.KerasTensor:
    x = keras.layers.Add(name=f"{name}_add")([x, residual])
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def _chain(
    x: keras.KerasTensor, layers: Sequence[Layer], name: str, norm: bool, is_linear: bool = False
) -> keras.KerasTensor:
    """`is_linear`: whether no relu follows the last layer."""
    for index, layer in enumerate(layers, 1):
        x = _layer(x, layer, f"{name}_{index}", norm, is_linear and index == len(layers))
    return x


def _layer(
    x: keras.KerasTensor, layer: Layer, name: str, norm: bool, is_linear: bool = False
) -> keras.KerasTensor:
    """`norm`: whether to normalise a convolution's output, over the batch of all replicas."""
    if layer.filters is None:
        return keras.layers.MaxPooling2D(layer.kernel, layer.stride, layer.padding, name=name)(x)
    x = keras.layers.Conv2D(
        layer.filters,
        layer.kernel,
        layer.stride,
        layer.padding,
        activation=None if norm or is_linear else "relu",
        use_bias=False,
        kernel_initializer="glorot_uniform",
        name=name,
    )(x)
    if not norm:
        return x
    # Keras' own momentum, 0.99, has hardly forgotten its start after a short epoch.
    x = BatchNormalization(momentum=0.9, synchronized=True, name=f"{name}_norm")(x)
    return x if is_linear else keras.layers.ReLU(name=f"{name}_relu")(x)
