"""Progress of a run, as checkpoints/state.json holds it, and --checkpoint to choose from it."""

import dataclasses
import re
from typing import Any, NamedTuple

from absl import flags

flags.disclaim_key_flags()  # --checkpoint belongs to the command that asks for it

HISTORY_KEYS = ("accuracy", "loss", "val_accuracy", "val_loss")


@dataclasses.dataclass(frozen=True)
class Totals:
    """Sums over training steps."""

    loss_sum: float = 0.0  # over examples
    correct: int = 0
    examples: int = 0
    seconds: float = 0.0
    input_wait_seconds: float = 0.0
    skipped_steps: int = 0  # whose float16 gradients overflowed

    def __add__(self, other: "Totals") -> "Totals":
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Totals(*(a + b for a, b in pairs))

    @property
    def loss(self) -> float:
        return self.loss_sum / self.examples

    @property
    def accuracy(self) -> float:
        return self.correct / self.examples

    @property
    def images_per_second(self) -> float:
        return self.examples / self.seconds

    @property
    def input_wait_share(self) -> float:
        return self.input_wait_seconds / self.seconds


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A checkpoint after an epoch, with the evaluation of its weights."""

    name: str  # of the files in checkpoints/, without their endings
    epoch: int  # from 1
    evaluation: dict[str, Any]  # see trainer.training.metrics


class Kept(NamedTuple):
    """A checkpoint that --keep_checkpoints asked for."""

    name: str  # as in Checkpoint
    epoch: int


@dataclasses.dataclass(frozen=True)
class Unfinished:
    """A checkpoint within an epoch, or after its last step and before its validation."""

    name: str  # as in Checkpoint
    step: int  # finished steps, over all epochs
    totals: Totals  # over those of this epoch


@dataclasses.dataclass(frozen=True)
class State:
    """Progress of a run."""

    epoch: int = 0  # finished epochs
    step: int = 0  # finished steps of finished epochs
    history: dict[str, list[float]] = dataclasses.field(
        default_factory=lambda: {key: [] for key in HISTORY_KEYS}
    )
    last: Checkpoint | None = None
    best: Checkpoint | None = None  # by validation accuracy, the first of equals
    unfinished: Unfinished | None = None  # of the epoch after
    earlier: tuple[Kept, ...] = ()  # checkpoints of epochs before the last one, oldest first

    @property
    def newest(self) -> Checkpoint | Unfinished | None:
        """Return the checkpoint to resume from."""
        return self.unfinished or self.last

    @property
    def newest_step(self) -> int:
        """Return the number of steps before `newest`."""
        return self.unfinished.step if self.unfinished else self.step

    @property
    def progress(self) -> tuple[int, int]:
        """Return a key that orders the states of a run."""
        return self.epoch, self.newest_step

    def names(self) -> set[str]:
        """Return the names of the checkpoints that it needs."""
        named = (self.last, self.best, self.unfinished, *self.earlier)
        return {each.name for each in named if each}

    def find(self, checkpoint: str) -> Kept | None:
        """Find a checkpoint after an epoch, if it is kept.

        `checkpoint`: "best", "last" or the number of the epoch.
        """
        if checkpoint in ("best", "last"):
            each = self.best if checkpoint == "best" else self.last
            return Kept(each.name, each.epoch) if each else None
        return next((each for each in self.kept() if str(each.epoch) == checkpoint), None)

    def kept(self) -> list[Kept]:
        """Return the checkpoints after epochs, in their order."""
        newest = [Kept(each.name, each.epoch) for each in (self.best, self.last) if each]
        return sorted({*self.earlier, *newest}, key=lambda kept: kept.epoch)

    def is_finished(self, epochs: int, early_stopping: int) -> bool:
        """True if nothing is left to train; `early_stopping`: 0 for never."""
        best_epoch = self.best.epoch if self.best else 0
        stopped_early = 0 < early_stopping <= self.epoch - best_epoch
        return self.epoch >= epochs or stopped_early

    def advance(
        self,
        name: str,
        step: int,
        trained: Totals,
        evaluation: dict[str, Any],
        keep: int | None = 1,
    ) -> "State":
        """Return the state after one more epoch, whose last step is `step`, with its checkpoint.

        `keep`: how many of the newest epochs' checkpoints to keep besides the best; None for all.
        """
        values = (trained.accuracy, trained.loss, evaluation["top1"], evaluation["loss"])
        history = {
            key: [*self.history[key], value]
            for key, value in zip(HISTORY_KEYS, values, strict=True)
        }
        last = Checkpoint(name, self.epoch + 1, evaluation)
        is_better = self.best is None or evaluation["top1"] > self.best.evaluation["top1"]
        earlier = (*self.earlier, *([Kept(self.last.name, self.last.epoch)] if self.last else []))
        if keep is not None:
            earlier = earlier[len(earlier) - min(keep - 1, len(earlier)) :]
        best = last if is_better else self.best
        return State(self.epoch + 1, step, history, last, best, earlier=earlier)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "State":
        """Invert `dataclasses.asdict`."""
        for key in ("last", "best"):
            fields[key] = fields[key] and Checkpoint(**fields[key])
        if fields["unfinished"]:
            totals = Totals(**fields["unfinished"].pop("totals"))
            fields["unfinished"] = Unfinished(**fields["unfinished"], totals=totals)
        fields["earlier"] = tuple(Kept(*each) for each in fields.get("earlier", ()))
        return cls(**fields)


def define_checkpoint_flag(condition: str = "") -> None:
    """Define --checkpoint, see `State.find`; `condition` begins its help."""
    flags.DEFINE(
        _CheckpointParser(),
        "checkpoint",
        "best",
        f"{condition}Weights of the epoch with the highest validation accuracy, of the last one, "
        "or of the epoch of that number (trainer.main --keep_checkpoints).",
    )


class _CheckpointParser(flags.ArgumentParser):
    def parse(self, argument: str) -> str:
        if not re.fullmatch(r"best|last|[1-9]\d{0,8}", argument):
            raise ValueError("best, last, or the number of an epoch")
        return argument

    def flag_type(self) -> str:
        return "best|last|EPOCH"
