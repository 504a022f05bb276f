"""The model of an experiment: blocks as functions over tensors. Map sizes are those of E2_7."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from pipeline.records import IMAGE_SIZE
from trainer import experiments
from trainer.experiments import Block, Branches, Experiment, Layer


def build_model(experiment: str | Experiment, num_classes: int) -> keras.Model:
    """The model of an experiment, with fresh weights.

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
    x = stem(image, architecture.stem)  # [B, 36, 36, 64]
    x = residual_blocks(x, architecture.block_a, "a")  # [B, 36, 36, 64]
    x = reduction(x, architecture.reduction_a, "reduction_a")  # [B, 17, 17, 256]
    x = residual_blocks(x, architecture.block_b, "b")  # [B, 17, 17, 256]
    x = reduction(x, architecture.reduction_b, "reduction_b")  # [B, 8, 8, 480]
    x = residual_blocks(x, architecture.block_c, "c")  # [B, 8, 8, 480]
    x = keras.layers.GlobalAveragePooling2D(dtype="float32", name="average_pool")(x)  # [B, 480]
    x = Dropout(architecture.dropout_rate, dtype="float32", name="dropout")(x)
    logits = keras.layers.Dense(num_classes, dtype="float32", name="logits")(x)
    return keras.Model(image, logits, name=experiment.name)


class Dropout(keras.layers.Dropout):
    """Dropout that drops the same values however many replicas share the batch.

    Every replica draws the mask of the whole batch and keeps the rows that are its own; Keras'
    layer draws the same mask on each.
    """

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:  # inputs: [B, C]
        if not training or self.rate == 0:
            return inputs
        context = tf.distribute.get_replica_context()
        rows, channels = tf.unstack(tf.shape(inputs))
        shape = (rows * context.num_replicas_in_sync, channels)
        drawn = keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)
        start = rows * context.replica_id_in_sync_group
        kept = drawn[start : start + rows] >= self.rate
        return tf.where(kept, inputs / (1 - self.rate), 0.0)


def stem(image: keras.KerasTensor, branches: Branches) -> keras.KerasTensor:
    """The branches' results added up; one of a single channel is added to every channel."""
    results = [_chain(image, branch, f"stem_{number}") for number, branch in enumerate(branches, 1)]
    return keras.layers.Add(name="stem_add")(results) if len(results) > 1 else results[0]


def residual_blocks(x: keras.KerasTensor, block: Block, name: str) -> keras.KerasTensor:
    """`block.repeat` blocks; the shape stays. There is no activation after the addition."""
    for index in range(1, block.repeat + 1):
        branches = [
            _chain(
                x, [Layer(kernel, block.filters) for kernel in kernels], f"{name}{index}_{number}"
            )
            for number, kernels in enumerate(block.branches, 1)
        ]
        residual = keras.layers.Concatenate(name=f"{name}{index}_concat")(branches)
        residual = _layer(Layer((1, 1), x.shape[-1]), f"{name}{index}_project")(residual)
        x = x + block.scale * residual
    return x


def reduction(
    x: keras.KerasTensor, filters: tuple[tuple[int, ...], ...], name: str
) -> keras.KerasTensor:
    """Halves the map: a max-pooling beside branches of convolutions that end in a 3x3 of stride 2.

    A branch of one convolution is 3x3/2; of two 1x1, 3x3/2; of three 1x1, 3x3, 3x3/2.
    """
    results = [_layer(Layer((3, 3), None, 2, "valid"), f"{name}_pool")(x)]
    for number, branch in enumerate(filters, 1):
        layers = [Layer((3, 3), width) for width in branch[:-1]]
        if layers:
            layers[0] = Layer((1, 1), branch[0])
        layers.append(Layer((3, 3), branch[-1], 2, "valid"))
        results.append(_chain(x, layers, f"{name}_{number}"))
    return keras.layers.Concatenate(name=f"{name}_concat")(results)


def _chain(x: keras.KerasTensor, layers: Sequence[Layer], name: str) -> keras.KerasTensor:
    for index, layer in enumerate(layers, 1):
        x = _layer(layer, f"{name}_{index}")(x)
    return x


def _layer(layer: Layer, name: str) -> keras.Layer:
    if layer.filters is None:
        return keras.layers.MaxPooling2D(layer.kernel, layer.stride, layer.padding, name=name)
    return keras.layers.Conv2D(
        layer.filters,
        layer.kernel,
        layer.stride,
        layer.padding,
        activation="relu",
        use_bias=False,
        kernel_initializer="glorot_uniform",
        name=name,
    )
