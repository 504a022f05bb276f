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
    InceptionReduction,
    Layer,
    PlainBlock,
    PlainReduction,
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


class _Stem(NamedTuple):
    branches: Branches


Part = _Stem | Block | PlainBlock | InceptionReduction | PlainReduction


def stages(architecture: Architecture, num_classes: int) -> list[Stage]:
    """Walk through a model's seven stages, in the order of `experiments.STAGES`.

    Multiply-adds are those of the convolutions and of the dense layer, as they are usually counted:
    height × width × channels of the kernel, for every value of the map that comes out, padding or
    not. Biases, relu, pooling, additions and batch normalisation (part of the convolution at
    prediction) do not count.
    """
    norm, x, found = architecture.batch_norm, IMAGE, []
    for name, part in _parts(architecture):
        outputs, layers = _walk(x, _branches(part, x.channels), norm)
        channels = [output.channels for output in outputs]
        if isinstance(part, Block):
            concatenated = x._replace(channels=sum(channels))
            _, projection = _walk(concatenated, ((Layer(K11, x.channels),),), norm)
            layers += projection
        elif not isinstance(part, PlainBlock):
            # Branches are added up in the stem, where one of one channel is added to every channel
            # of the others, and in plain reductions.
            is_sum = isinstance(part, _Stem | PlainReduction)
            x = outputs[0]._replace(channels=(max if is_sum else sum)(channels))
        if isinstance(part, Block | PlainBlock):
            layers = layers * part.repeat
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
    widths_in = [parts[0].map.channels, *(stage.map.channels for stage in parts)]
    layers = [
        (name, _text(part, width))
        for (name, part), width in zip(_parts(architecture), widths_in, strict=False)
    ]
    dropout = f"average, dropout {architecture.dropout_rate:g}, dense {num_classes}"
    return "\n".join(
        [
            f"{experiment.name} ({experiment.change}), {num_classes} classes{norm}",
            "",
            *align(rows, "<<>>>>"),
            "",
            *_legend(architecture),
            "",
            *align([*layers, ("head", dropout)], "<<"),
        ]
    )


def _legend(architecture: Architecture) -> tuple[str, str]:
    if isinstance(architecture.block_a, PlainBlock):
        return (
            "Layers as kernel/stride:filters. Branches, in brackets, are added up; a block is",
            "added to its input, and relu follows.",
        )
    return (
        "Layers as kernel/stride:filters. Branches, in brackets, are added up in the stem and",
        "concatenated elsewhere; a block's 1x1 convolution restores its width.",
    )


def _parts(architecture: Architecture) -> list[tuple[str, Part]]:
    """List the stages before the head."""
    return [
        ("stem", _Stem(architecture.stem)),
        ("blocks A", architecture.block_a),
        ("reduction A", architecture.reduction_a),
        ("blocks B", architecture.block_b),
        ("reduction B", architecture.reduction_b),
        ("blocks C", architecture.block_c),
    ]


def _branches(part: Part, width: int) -> Branches:
    if isinstance(part, _Stem):
        return part.branches
    if isinstance(part, Block | PlainBlock):
        return block_layers(part, width)
    return reduction_layers(part)


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
            if layer.filters:  # None: pooling
                weights = math.prod(layer.kernel) * output.channels * channels
                # Batch normalisation has a scale, an offset, a mean and a variance for a channel.
                parameters = weights + (4 * channels if norm else 0)
                costs.append(Cost(parameters, weights * height * width))
            output = Map(height, width, channels)
        outputs.append(output)
    return outputs, costs


def _sum(costs: Iterable[Cost]) -> Cost:
    return Cost(*map(sum, zip(Cost(0, 0), *costs, strict=True)))


def _text(part: Part, width: int) -> str:
    if isinstance(part, Block | PlainBlock) and not part.repeat:
        return "none"
    pooling = "mean" if isinstance(part, PlainReduction) else "max"
    texts = [
        " ".join(
            (f"{pooling} " if layer.filters is None else "")
            + "x".join(map(str, layer.kernel))
            + (f"/{layer.stride}" if layer.stride > 1 else "")
            + (f":{layer.filters}" if layer.filters else "")
            for layer in branch
        )
        for branch in _branches(part, width)
    ]
    text = " ".join(f"[{text}]" for text in texts) if len(texts) > 1 else texts[0]
    if isinstance(part, Block):
        text += f" 1x1, scaled by {part.scale:g}"
    return f"{part.repeat} x {text}" if isinstance(part, Block | PlainBlock) else text
