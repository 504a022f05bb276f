"""Experiments: the study's 20 and our own small, medium and large: one small description each.

All are one family: stem, nA blocks A, reduction A, nB blocks B, reduction B, nC blocks C, head.
A description is plain data, from which `trainer.model` builds a model. No TensorFlow here.
Comments in the table below name what matters in comparisons of experiments.
"""

import dataclasses
import difflib
import json
from typing import Any, NamedTuple

from pipeline.cli import UserError

STAGES = ("stem", "blocks_a", "reduction_a", "blocks_b", "reduction_b", "blocks_c", "head")

Kernel = tuple[int, int]  # height, width


class Layer(NamedTuple):
    """A convolution (relu, no bias) or, with no filters, a pooling."""

    kernel: Kernel
    filters: int | None  # None: pooling
    stride: int = 1
    padding: str = "same"  # or "valid"


Branches = tuple[tuple[Layer, ...], ...]


@dataclasses.dataclass(frozen=True)
class Block:
    """Residual blocks of the study: x + scale · relu(conv1x1(concat(branches(x)))), `repeat` times
    (Szegedy et al., Inception-v4, Inception-ResNet, 2017).
    """

    branches: tuple[tuple[Kernel, ...], ...]  # the kernels of each branch, all with `filters`
    filters: int
    scale: float
    repeat: int


@dataclasses.dataclass(frozen=True)
class PlainBlock:
    """Plain residual blocks: relu(x + conv3x3(relu(conv3x3(x)))), `repeat` times (He et al., Deep
    Residual Learning, 2016).
    """

    repeat: int


# The filters of each branch beside the max-pooling.
InceptionReduction = tuple[tuple[int, ...], ...]


@dataclasses.dataclass(frozen=True)
class PlainReduction:
    """A plain residual block that halves the map: relu(conv1x1(mean2x2/2(x)) +
    conv3x3(relu(conv3x3/2(x)))), with `filters` each (the shortcut is that of He et al., Bag of
    Tricks, 2019, ResNet-D).
    """

    filters: int


@dataclasses.dataclass(frozen=True)
class Architecture:
    """Description of a model. The widths of the stages follow from stem and reductions."""

    stem: Branches  # the branches start from the image and are added up
    block_a: Block | PlainBlock
    reduction_a: InceptionReduction | PlainReduction
    block_b: Block | PlainBlock
    reduction_b: InceptionReduction | PlainReduction
    block_c: Block | PlainBlock
    dropout_rate: float = 0.8  # the part that is dropped
    batch_norm: bool = False  # batch normalisation after each convolution; not the study's

    @property
    def depths(self) -> tuple[int, int, int]:
        """Return the numbers of blocks A, B and C."""
        return self.block_a.repeat, self.block_b.repeat, self.block_c.repeat

    def describe(self) -> dict[str, Any]:
        """Return JSON types."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def from_description(cls, description: dict[str, Any]) -> "Architecture":
        """Invert `describe`, whose result a run's config.json holds."""
        fields = _tuples(description)
        for stage in ("block_a", "block_b", "block_c"):
            kind = Block if "branches" in fields[stage] else PlainBlock
            fields[stage] = kind(**fields[stage])
        for stage in ("reduction_a", "reduction_b"):
            if isinstance(fields[stage], dict):
                fields[stage] = PlainReduction(**fields[stage])
        fields["stem"] = tuple(
            tuple(Layer(*layer) for layer in branch) for branch in fields["stem"]
        )
        return cls(**fields)


@dataclasses.dataclass(frozen=True)
class Experiment:
    """An architecture with a name."""

    name: str
    architecture: Architecture
    change: str = ""  # what it changes in its base, in words
    modification: str = ""  # the same in a few, beyond widths and depths: for tables
    categories: int | None = None  # that the study trained it on; a run takes its data set's
    recipe: str = "study"  # of `trainer.config.RECIPES`, unless --recipe is given

    def with_batch_norm(self, batch_norm: bool) -> "Experiment":
        """Return the experiment with or without batch normalisation."""
        architecture = dataclasses.replace(self.architecture, batch_norm=batch_norm)
        return dataclasses.replace(self, architecture=architecture)


def find(name: str) -> Experiment:
    """Find an experiment by name.

    Raises:
      UserError: there is none.
    """
    name = "small" if name == "demo" else name  # which it was called first
    if name in EXPERIMENTS:
        return EXPERIMENTS[name]
    similar = difflib.get_close_matches(name.upper(), EXPERIMENTS, n=1)
    hint = f"did you mean {similar[0]}? " if similar else ""
    raise UserError(f"no experiment {name!r}; {hint}there are {', '.join(EXPERIMENTS)}")


def block_layers(block: Block | PlainBlock, width: int) -> Branches:
    """Return the branches of a residual block on a map of `width` channels; without the study's 1x1
    convolution after the concatenation.
    """
    if isinstance(block, PlainBlock):
        return ((Layer(K33, width), Layer(K33, width)),)
    return tuple(
        tuple(Layer(kernel, block.filters) for kernel in kernels) for kernels in block.branches
    )


def reduction_layers(reduction: InceptionReduction | PlainReduction) -> Branches:
    """Return the branches of a reduction, which halve the map; a pooling begins the first.

    Of the study's, which are concatenated, the first is max-pooling, and of the others one of one
    convolution is 3x3/2; of two 1x1, 3x3/2; of three 1x1, 3x3, 3x3/2. The two of a plain one are
    added up.
    """
    if isinstance(reduction, PlainReduction):
        filters = reduction.filters
        shortcut = (Layer(K22, None, 2), Layer(K11, filters))
        return (shortcut, (Layer(K33, filters, 2), Layer(K33, filters)))
    branches: list[tuple[Layer, ...]] = [(Layer(K33, None, 2, "valid"),)]
    for widths in reduction:
        layers = [Layer(K33, width) for width in widths[:-1]]
        if layers:
            layers[0] = Layer(K11, widths[0])
        branches.append((*layers, Layer(K33, widths[-1], 2, "valid")))
    return tuple(branches)


K11, K22, K33 = (1, 1), (2, 2), (3, 3)
K13, K31 = (1, 3), (3, 1)
K17, K71 = (1, 7), (7, 1)


def _plain_stem(*filters: int, fifth_stride: int = 1) -> Branches:
    """Stack six convolutions without padding: 85×85×1 → 36×36; with a fifth stride of 2 17×17."""
    kernels = (K33, K33, K33, K11, K33, K33)
    strides = (1, 1, 2, 1, fifth_stride, 1)
    return (tuple(map(Layer, kernels, filters, strides, ["valid"] * 6)),)


def _changed(
    base: Experiment, name: str, change: str, modification: str = "", **fields: Any
) -> Experiment:
    architecture = dataclasses.replace(base.architecture, **fields)
    return dataclasses.replace(
        base, name=name, architecture=architecture, change=change, modification=modification
    )


def _with_depth(base: Experiment, name: str, depths: tuple[int, int, int]) -> Experiment:
    a, b, c = depths
    return _changed(
        base,
        name,
        f"{a}, {b}, {c} blocks A, B, C",
        block_a=dataclasses.replace(base.architecture.block_a, repeat=a),
        block_b=dataclasses.replace(base.architecture.block_b, repeat=b),
        block_c=dataclasses.replace(base.architecture.block_c, repeat=c),
    )


def _with_categories(base: Experiment, name: str, categories: int) -> Experiment:
    change = f"{base.name} on {categories} categories"
    return dataclasses.replace(base, name=name, change=change, categories=categories)


# ---- Widths: channels after the stem, reduction A and reduction B; 5, 10, 5 blocks ----

_BLOCK_A = Block(((K11,), (K11, K33), (K11, K33, K33)), filters=32, scale=0.17, repeat=5)
_BLOCK_B = Block(((K11,), (K11, K17, K71)), filters=128, scale=0.1, repeat=10)
_BLOCK_C = Block(((K11,), (K11, K13, K31)), filters=192, scale=0.1, repeat=5)

_E1 = Experiment(
    "E1",
    Architecture(
        stem=_plain_stem(32, 32, 64, 80, 192, 256),
        block_a=_BLOCK_A,
        reduction_a=((384,), (192, 192, 256)),
        block_b=_BLOCK_B,
        reduction_b=((256, 384), (256, 256), (256, 256, 256)),
        block_c=_BLOCK_C,
    ),
    "256, 896, 1792 wide",
    categories=20,
)
# In the study's tables of widths "256, 896, 1792" is not E1 but E3 and E2_4, which have a stride of
# 2 in the fifth convolution of the stem: maps of 17, 8 and 3 instead of 36, 17 and 8, 4.4 times
# fewer multiply-adds, the same parameters. E1 and E2_1 are the clean runs; they are in no table.
_E3 = _changed(
    _E1,
    "E3",
    "256, 896, 1792 wide; the stem's fifth convolution has stride 2",
    modification="stride 2",
    stem=_plain_stem(32, 32, 64, 80, 192, 256, fifth_stride=2),
)
_E4 = _changed(
    _E1,
    "E4",
    "384, 1152, 2304 wide",
    stem=_plain_stem(32, 32, 64, 80, 192, 384),
    reduction_a=((384,), (192, 192, 384)),
    reduction_b=((256, 384), (256, 384), (256, 256, 384)),
)
_E5 = _changed(
    _E1,
    "E5",
    "192, 640, 1216 wide",
    stem=_plain_stem(32, 32, 64, 80, 192, 192),
    reduction_a=((256,), (192, 192, 192)),
    reduction_b=((192, 192), (192, 192), (192, 192, 192)),
)
_E6 = _changed(
    _E1,
    "E6",
    "128, 448, 896 wide",
    stem=_plain_stem(32, 32, 64, 80, 128, 128),
    reduction_a=((192,), (128, 128, 128)),
    reduction_b=((192, 192), (128, 128), (128, 128, 128)),
)
_E7 = _changed(
    _E1,
    "E7",
    "64, 256, 480 wide",
    stem=_plain_stem(32, 32, 64, 64, 64, 64),
    reduction_a=((128,), (64, 64, 64)),
    reduction_b=((96, 96), (64, 64), (64, 64, 64)),
)
_E2_7 = _with_categories(_E7, "E2_7", 53)  # the base of the experiments on depth and blocks
# E2_8 halves more than the widths: the filters inside of blocks B and C and the stem's third
# convolution too. The other narrow experiments keep them at 128, 192 and 64.
_E2_8 = _changed(
    _E2_7,
    "E2_8",
    "32, 128, 256 wide; half the filters inside of blocks B and C",
    modification="half in B, C",
    stem=_plain_stem(32, 32, 32, 32, 32, 32),
    reduction_a=((64,), (32, 32, 32)),
    block_b=dataclasses.replace(_BLOCK_B, filters=64),
    reduction_b=((64, 64), (32, 32), (32, 32, 32)),
    block_c=dataclasses.replace(_BLOCK_C, filters=96),
)

# ---- Stems ----

# The max-pooled image has one channel, which is added to each of the 256: 42×42×256.
_E2 = _changed(
    _E1,
    "E2",
    "stem: max-pooled image + four convolutions",
    modification="other stem",
    stem=(
        (Layer(K33, None, 2, "valid"),),
        (Layer(K33, 32), Layer(K33, 64, 2, "valid"), Layer(K11, 128), Layer(K33, 256)),
    ),
)
# The resolution changes with the stem: maps of 43, 21 and 10 instead of 36, 17 and 8. What E4_7
# gains over E2_7 is not the stem's alone.
_E4_7 = _changed(
    _E2_7,
    "E4_7",
    "stem: 1x1 convolution + three convolutions",
    modification="other stem",
    stem=(
        (Layer(K11, 64, 2, "valid"),),
        (Layer(K11, 32), Layer(K33, 64), Layer(K11, 64, 2, "valid")),
    ),
)

# ---- Blocks ----

_E4_8 = _changed(
    _E2_7,
    "E4_8",
    "A without its third branch",
    modification="A 2 branches",
    block_a=dataclasses.replace(_BLOCK_A, branches=((K11,), (K11, K33))),
)
_E4_9 = _changed(
    _E2_7,
    "E4_9",
    "A's third branch 1x7, 7x1",
    modification="A 1x7, 7x1",
    block_a=dataclasses.replace(_BLOCK_A, branches=((K11,), (K11, K33), (K11, K17, K71))),
)
_E4_10 = _changed(
    _E2_7,
    "E4_10",
    "B's second branch 1x3, 3x1",
    modification="B 1x3, 3x1",
    block_b=dataclasses.replace(_BLOCK_B, branches=((K11,), (K11, K13, K31))),
)

# ---- Our own: plain residual blocks with batch normalisation ----


def _plain(
    name: str, recipe: str, stem: tuple[Layer, ...], widths: tuple[int, int, int], depth: int
) -> Experiment:
    """Describe a model for CPUs, of few multiply-adds and without dropout.

    Args:
      name: of the experiment.
      recipe: that it is trained with unless --recipe says otherwise.
      stem: its convolutions, before the first residual block.
      widths: filters of the blocks in its three stages; maps halve between them.
      depth: of each stage but the first, blocks after the one that halves the map.
    """
    a, b, c = widths
    architecture = Architecture(
        stem=(stem,),
        block_a=PlainBlock(1),
        reduction_a=PlainReduction(b),
        block_b=PlainBlock(depth),
        reduction_b=PlainReduction(c),
        block_c=PlainBlock(depth),
        dropout_rate=0.0,
        batch_norm=True,
    )
    change = f"our own: {a}, {b}, {c} wide, plain residual blocks"
    return Experiment(name, architecture, change, recipe=recipe)


def _to_21(width: int) -> tuple[Layer, ...]:
    return (Layer(K33, 32, 2, "valid"), Layer(K33, width, 2))


# Maps of 11, 6 and 3 learn most in a minute, those of 21, 11 and 6 in longer trainings.
_OWN = (
    _plain(
        "small",
        "fast",
        (Layer(K33, 16, 2, "valid"), Layer(K33, 32, 2), Layer(K33, 32), Layer(K33, 64, 2)),
        (64, 128, 192),
        depth=0,
    ),
    _plain("medium", "best", _to_21(48), (48, 96, 192), depth=1),
    _plain("large", "best", _to_21(64), (64, 128, 256), depth=1),
)

EXPERIMENTS = {
    experiment.name: experiment
    for experiment in (
        # 20 categories
        _E1,
        _E2,
        _E3,
        _E4,
        _E5,
        _E6,
        _E7,
        # 53 categories
        _with_categories(_E1, "E2_1", 53),
        _with_categories(_E3, "E2_4", 53),
        _with_categories(_E5, "E2_5", 53),
        _with_categories(_E6, "E2_6", 53),
        _E2_7,
        _E2_8,
        _with_depth(_E2_7, "E3_7", (2, 4, 2)),
        _with_depth(_E2_7, "E3_8", (1, 2, 1)),
        _with_depth(_E2_7, "E3_9", (8, 16, 8)),
        _E4_7,
        _E4_8,
        _E4_9,
        _E4_10,
        *_OWN,
    )
}


def _tuples(value: Any) -> Any:
    """Convert JSON's lists to tuples, at every depth."""
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value
