"""Maps, parameters and multiply-adds of a model, from its description. No TensorFlow here."""

import dataclasses
import math
from collections.abc import Iterable
from typing import NamedTuple

from pipeline.cli import align
from pipeline.dataset.records import IMAGE_SIZE
from trainer.models.experiments import (
    K11,
    STAGES,
    Architecture,
    Block,
    Branches,
    Experiment,
    Layer,
    block_layers,
    reduction_layers,
)


class Map(NamedTuple):
    """Shape of the tensor between two layers, without the batch."""

    height: int
    width: int
    channels: int

    def __str__(self) -> str:
        return "x".join(map(str, self))


class Cost(NamedTuple):
    """Cost of layers."""

    parameters: int  # with the statistics of batch normalisation, as Keras counts
    multiply_adds: int  # of one image


class Stage(NamedTuple):
    """A part of a model, with the map that it puts out."""

    name: str
    map: Map
    cost: Cost


IMAGE = Map(IMAGE_SIZE, IMAGE_SIZE, 1)


def stages(architecture: Architecture, num_classes: int) -> list[Stage]:
    """Walk through a model's seven stages, in the order of `experiments.STAGES`.

    Multiply-adds are those of the convolutions and of the dense layer, as they are usually counted:
    height × width × channels of the kernel, for every value of the map that comes out, padding or
    not. Biases, relu, pooling, additions and batch normalisation (part of the convolution at
    prediction) do not count.
    """
    norm, x, found = architecture.batch_norm, IMAGE, []
    for name, branches, block in _parts(architecture):
        outputs, layers = _walk(x, branches, norm)
        channels = [output.channels for output in outputs]
        if block:
            concatenated = x._replace(channels=sum(channels))
            _, projection = _walk(concatenated, ((Layer(K11, x.channels),),), norm)
            layers = (layers + projection) * block.repeat
        else:  # a branch of one channel is added to every channel of the stem's others
            combine = max if name == "stem" else sum
            x = outputs[0]._replace(channels=combine(channels))
        found.append(Stage(name, x, _sum(layers)))
    weights = x.channels * num_classes
    head = Stage("head", Map(1, 1, num_classes), Cost(weights + num_classes, weights))
    return [*found, head]


def total(parts: Iterable[Stage]) -> Cost:
    """Add up the costs of stages."""
    return _sum(stage.cost for stage in parts)


def stem_maps(stem: Branches) -> list[Map]:
    """Return the output of each branch of a stem; below 1 where a map is smaller than a kernel."""
    return _walk(IMAGE, stem, norm=False)[0]


def trained_parameters(architecture: Architecture, num_classes: int, freeze: str | None) -> int:
    """Count the parameters that training changes.

    `freeze`: the first stage that is trained, one of `experiments.STAGES`; None for all.
    """
    first = STAGES.index(freeze) if freeze else 0
    plain = dataclasses.replace(architecture, batch_norm=False)
    kernels, parameters = (
        total(stages(each, num_classes)[first:]).parameters for each in (plain, architecture)
    )
    # Of the four numbers that batch normalisation has for a channel two are trained.
    return (kernels + parameters) // 2


def widths(architecture: Architecture) -> tuple[int, int, int]:
    """Return the channels after the stem, reduction A and reduction B: the study's widths."""
    stem, _, reduction_a, _, reduction_b, *_ = stages(architecture, 1)
    return stem.map.channels, reduction_a.map.channels, reduction_b.map.channels


def summary(experiment: Experiment, num_classes: int = 0) -> str:
    """Describe a model as text: maps, parameters and multiply-adds of its stages, then layers.

    `num_classes`: by default as many as in the study, or 20.
    """
    architecture = experiment.architecture
    num_classes = num_classes or experiment.categories or 20
    parts = stages(architecture, num_classes)
    whole = total(parts)
    norm = ", batch normalisation" if architecture.batch_norm else ""
    rows = [("stage", "map", "parameters", "", "multiply-adds", "")]
    rows.append(("image", str(IMAGE), "", "", "", ""))
    for name, output, cost in parts:
        rows.append(
            (
                *(name, str(output)),
                *(f"{cost.parameters:,}", f"{cost.parameters / whole.parameters:.1%}"),
                *(f"{cost.multiply_adds:,}", f"{cost.multiply_adds / whole.multiply_adds:.1%}"),
            )
        )
    rows.append(("total", "", f"{whole.parameters:,}", "", f"{whole.multiply_adds:,}", ""))
    layers = [(name, _text(branches, block)) for name, branches, block in _parts(architecture)]
    dropout = f"average, dropout {architecture.dropout_rate:g}, dense {num_classes}"
    return "\n".join(
        [
            f"{experiment.name} ({experiment.change}), {num_classes} classes{norm}",
            "",
            *align(rows, "<<>>>>"),
            "",
            "Layers as kernel/stride:filters. Branches, in brackets, are added up in the stem and",
            "concatenated elsewhere; a block's 1x1 convolution restores its width.",
            "",
            *align([*layers, ("head", dropout)], "<<"),
        ]
    )


def _parts(architecture: Architecture) -> list[tuple[str, Branches, Block | None]]:
    """List the stages before the head: name, branches, and the block if they are repeated."""
    blocks = {
        name: (f"blocks {name}", block_layers(block), block)
        for name, block in zip(
            "ABC", (architecture.block_a, architecture.block_b, architecture.block_c), strict=True
        )
    }
    return [
        ("stem", architecture.stem, None),
        blocks["A"],
        ("reduction A", reduction_layers(architecture.reduction_a), None),
        blocks["B"],
        ("reduction B", reduction_layers(architecture.reduction_b), None),
        blocks["C"],
    ]


def _walk(x: Map, branches: Branches, norm: bool) -> tuple[list[Map], list[Cost]]:
    """Return the output of each branch, and the costs of all layers."""
    outputs, costs = [], []
    for branch in branches:
        output = x
        for layer in branch:
            height, width = (
                math.ceil((size if layer.padding == "same" else size - kernel + 1) / layer.stride)
                for size, kernel in zip(output[:2], layer.kernel, strict=True)
            )
            channels = layer.filters or output.channels
            if layer.filters:  # None: max-pooling
                weights = math.prod(layer.kernel) * output.channels * channels
                # Batch normalisation has a scale, an offset, a mean and a variance for a channel.
                parameters = weights + (4 * channels if norm else 0)
                costs.append(Cost(parameters, weights * height * width))
            output = Map(height, width, channels)
        outputs.append(output)
    return outputs, costs


def _sum(costs: Iterable[Cost]) -> Cost:
    return Cost(*map(sum, zip(Cost(0, 0), *costs, strict=True)))


def _text(branches: Branches, block: Block | None) -> str:
    texts = [
        " ".join(
            ("max " if layer.filters is None else "")
            + "x".join(map(str, layer.kernel))
            + (f"/{layer.stride}" if layer.stride > 1 else "")
            + (f":{layer.filters}" if layer.filters else "")
            for layer in branch
        )
        for branch in branches
    ]
    text = " ".join(f"[{text}]" for text in texts) if len(texts) > 1 else texts[0]
    return f"{block.repeat} x {text} 1x1, scaled by {block.scale:g}" if block else text
