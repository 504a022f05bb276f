"""What a model costs, from its description: maps, parameters, multiply-adds. No TensorFlow."""

import dataclasses
import math
from collections.abc import Iterable
from typing import NamedTuple

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
    """The shape of what passes between two layers, without the batch."""

    height: int
    width: int
    channels: int


class Cost(NamedTuple):
    """Of some layers."""

    parameters: int
    multiply_adds: int  # of one image


IMAGE = Map(IMAGE_SIZE, IMAGE_SIZE, 1)


@dataclasses.dataclass(frozen=True)
class Stage:
    """A part of a model and the map that it puts out."""

    name: str
    height: int
    width: int
    channels: int
    parameters: int  # with what batch normalisation keeps and does not train, as Keras counts
    multiply_adds: int  # of one image

    @property
    def map(self) -> Map:
        return Map(self.height, self.width, self.channels)


def stages(architecture: Architecture, num_classes: int) -> list[Stage]:
    """A model's seven stages, in the order of `experiments.STAGES`, from the stem to the head,
    which puts out 1×1×num_classes logits.

    Multiply-adds are those of the convolutions and of the dense layer, as they are usually counted:
    height × width × channels of the kernel, for every value of the map that comes out, padding or
    not. Biases, relu, pooling, additions and batch normalisation (at prediction it is part of the
    convolution) are left out.
    """
    norm = architecture.batch_norm
    stem = _stem(architecture.stem, norm)
    a = _blocks("blocks A", stem.map, architecture.block_a, norm)
    reduction_a = _reduction("reduction A", a.map, architecture.reduction_a, norm)
    b = _blocks("blocks B", reduction_a.map, architecture.block_b, norm)
    reduction_b = _reduction("reduction B", b.map, architecture.reduction_b, norm)
    c = _blocks("blocks C", reduction_b.map, architecture.block_c, norm)
    weights = c.channels * num_classes
    head = Stage("head", 1, 1, num_classes, weights + num_classes, weights)
    return [stem, a, reduction_a, b, reduction_b, c, head]


def total(parts: Iterable[Stage]) -> Cost:
    """The costs of a whole model."""
    return _sum(Cost(stage.parameters, stage.multiply_adds) for stage in parts)


def stem_maps(stem: Branches) -> list[Map]:
    """What each branch of a stem puts out; sizes below 1 where a map is too small for a kernel."""
    return _branches(IMAGE, stem, norm=False)[0]


def trained_parameters(architecture: Architecture, num_classes: int, freeze: str | None) -> int:
    """How many parameters training changes.

    Args:
      architecture: the model's.
      num_classes: the number of logits.
      freeze: the first stage that is trained, one of `experiments.STAGES`; None for all.
    """
    first = STAGES.index(freeze) if freeze else 0
    plain = dataclasses.replace(architecture, batch_norm=False)
    kernels, all_of_them = (
        total(stages(each, num_classes)[first:]).parameters for each in (plain, architecture)
    )
    # Of the four numbers that batch normalisation has for a channel two are trained.
    return (kernels + all_of_them) // 2


def widths(architecture: Architecture) -> tuple[int, int, int]:
    """The channels after the stem, reduction A and reduction B: the study's measure of width."""
    stem, _, reduction_a, _, reduction_b, *_ = stages(architecture, 1)
    return stem.channels, reduction_a.channels, reduction_b.channels


def summary(experiment: Experiment, num_classes: int | None = None) -> str:
    """The model by stages, as text: maps, parameters and multiply-adds, then the layers.

    Args:
      experiment: what to describe.
      num_classes: by default as many as in the study, 20 for an experiment that is not of it.
    """
    architecture = experiment.architecture
    num_classes = num_classes or experiment.categories or 20
    parts = stages(architecture, num_classes)
    whole = total(parts)
    norm = ", batch normalisation" if architecture.batch_norm else ""
    lines = [
        f"{experiment.name} ({experiment.change}), {num_classes} classes{norm}",
        "",
        _row("stage", "map", "parameters", "", "multiply-adds"),
        _row("image", _size(IMAGE)),
        *(_stage_row(stage, whole) for stage in parts),
        _row("total", "", f"{whole.parameters:,}", "", f"{whole.multiply_adds:,}"),
        "",
        "Layers as kernel/stride:filters. What branches, in brackets, put out is added up in the",
        "stem and concatenated elsewhere; a block's 1x1 convolution brings it back to its width.",
        "",
        *(f"{name:<13}{layers}" for name, layers in _layers(architecture, num_classes)),
    ]
    return "\n".join(lines)


def _stem(branches: Branches, norm: bool) -> Stage:
    maps, cost = _branches(IMAGE, branches, norm)
    # A branch of one channel is added to every channel of the others.
    return Stage("stem", *maps[0][:2], max(each.channels for each in maps), *cost)


def _blocks(name: str, x: Map, block: Block, norm: bool) -> Stage:
    maps, cost = _branches(x, block_layers(block), norm)
    concatenated = x._replace(channels=sum(each.channels for each in maps))
    _, projection = _layer(concatenated, Layer(K11, x.channels), norm)
    parameters, multiply_adds = _sum([cost, projection])
    return Stage(name, *x, block.repeat * parameters, block.repeat * multiply_adds)


def _reduction(name: str, x: Map, filters: tuple[tuple[int, ...], ...], norm: bool) -> Stage:
    maps, cost = _branches(x, reduction_layers(filters), norm)
    return Stage(name, *maps[0][:2], sum(each.channels for each in maps), *cost)


def _branches(x: Map, branches: Branches, norm: bool) -> tuple[list[Map], Cost]:
    """What each branch puts out, and what they cost together."""
    maps, costs = [], []
    for branch in branches:
        after = x
        for layer in branch:
            after, cost = _layer(after, layer, norm)
            costs.append(cost)
        maps.append(after)
    return maps, _sum(costs)


def _layer(x: Map, layer: Layer, norm: bool) -> tuple[Map, Cost]:
    height, width = (
        math.ceil((size if layer.padding == "same" else size - kernel + 1) / layer.stride)
        for size, kernel in zip(x[:2], layer.kernel, strict=True)
    )
    if layer.filters is None:  # max-pooling
        return Map(height, width, x.channels), Cost(0, 0)
    weights = math.prod(layer.kernel) * x.channels * layer.filters
    # Batch normalisation has a scale, an offset, a mean and a variance for every channel.
    parameters = weights + (4 * layer.filters if norm else 0)
    return Map(height, width, layer.filters), Cost(parameters, weights * height * width)


def _sum(costs: Iterable[Cost]) -> Cost:
    parameters, multiply_adds = zip(*costs, strict=True)
    return Cost(sum(parameters), sum(multiply_adds))


def _stage_row(stage: Stage, whole: Cost) -> str:
    return _row(
        stage.name,
        _size(stage.map),
        f"{stage.parameters:,}",
        f"{stage.parameters / whole.parameters:.1%}",
        f"{stage.multiply_adds:,}",
        f"{stage.multiply_adds / whole.multiply_adds:.1%}",
    )


def _row(name: str, size: str, *numbers: str) -> str:
    """`numbers`: parameters, multiply-adds, and behind each its share."""
    columns = zip(numbers, (12, 7, 17, 7), strict=False)
    cells = "".join(f"{text:>{width}}" for text, width in columns)
    return f"{name:<13}{size:<10}{cells}".rstrip()


def _size(x: Map) -> str:
    return "x".join(map(str, x))


def _layers(architecture: Architecture, num_classes: int) -> list[tuple[str, str]]:
    """The layers of each stage, in words of a few characters."""

    def blocks(block: Block) -> str:
        return f"{block.repeat} x {_text(block_layers(block))} 1x1, scaled by {block.scale:g}"

    return [
        ("stem", _text(architecture.stem)),
        ("blocks A", blocks(architecture.block_a)),
        ("reduction A", _text(reduction_layers(architecture.reduction_a))),
        ("blocks B", blocks(architecture.block_b)),
        ("reduction B", _text(reduction_layers(architecture.reduction_b))),
        ("blocks C", blocks(architecture.block_c)),
        ("head", f"average, dropout {architecture.dropout_rate:g}, dense {num_classes}"),
    ]


def _text(branches: Branches) -> str:
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
    return " ".join(f"[{text}]" for text in texts) if len(texts) > 1 else texts[0]
