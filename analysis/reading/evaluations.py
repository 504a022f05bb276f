"""What pictures are drawn of: a checkpoint of a run as validated, or a file of trainer.evaluate."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from absl import flags

from analysis.reading.runs import (
    CHECKPOINTS,
    Run,
    Scores,
    define_checkpoint_flag,
    define_dataset_flag,
    parse_run,
    parse_scores,
    read_evaluation,
    read_run,
    reason_of,
)
from pipeline import cli
from pipeline.cli import RunError, UserError
from pipeline.dataset.manifests import SPLITS, Manifest, read_manifest
from trainer.config import IDENTITY
from trainer.runs import evaluation_files, predictions, run_directory
from trainer.runs.predictions import Predictions

flags.disclaim_key_flags()  # what is defined here belongs to the command that asks for it


class Predicted(NamedTuple):
    """What was predicted, and what it has to fit."""

    path: str
    epoch: int  # after which the checkpoint was written
    predictions: Predictions
    confusion: np.ndarray  # of the scores: see `Scores`


@dataclasses.dataclass(frozen=True, eq=False)
class ShownEvaluation:
    """The model of one checkpoint on one split: `validation_of` a run, or `read_saved`."""

    run: Run
    checkpoint: str  # one of CHECKPOINTS; of a file also the number of an epoch
    split: str
    labels: Sequence[str]  # the categories that can be predicted
    dataset: str  # the directory where its data set was
    dataset_fingerprint: str
    is_mirrored: bool = False  # whether each drawing's mirror image was classified too
    path: str = ""  # of the JSON file that it was read from; else it is the run's own validation
    fields: dict[str, Any] = dataclasses.field(default_factory=dict)  # of that file

    @property
    def name(self) -> str:
        """For headings, beside others of the run."""
        return self.split if self.path else f"{self.checkpoint} epoch"

    @property
    def description(self) -> str:
        """For errors."""
        return self.path or f"{self.run.directory}: its {self.checkpoint} checkpoint"

    def title(self, epoch: int, drawings: int) -> str:
        """One line: whose predictions for what."""
        mirrored = " (mean with mirror images)" if self.is_mirrored else ""
        return (
            f"{self.run.experiment} after epoch {epoch}, {drawings:,} {self.split} drawings"
            f"{mirrored} of {len(self.labels)} categories"
        )

    def read_scores(self) -> Scores:
        """The scores.

        Raises:
          UserError: no epoch of the run is finished, or its evaluation.json is damaged.
        """
        if self.path:
            return parse_scores(self.fields)
        return read_evaluation(self.run.directory).of(self.checkpoint)

    def read_predictions(self) -> Predicted:
        """The predictions, not checked yet.

        Raises:
          UserError: no epoch of the run is finished, or the file is missing or damaged.
          RunError: the run's state is damaged.
        """
        if self.path:
            scores = self.read_scores()
            found = evaluation_files.read_predictions(self.path, self.fields)
            path = evaluation_files.predictions_path(self.path)
            return Predicted(path, scores.epoch, found, scores.confusion)
        state = run_directory.read_state(self.run.directory)
        saved = state.best if self.checkpoint == "best" else state.last
        if saved is None:
            raise UserError(f"{self.run.directory}: no epoch is finished yet")
        directory = os.path.join(self.run.directory, run_directory.CHECKPOINTS)
        path = predictions.path_of(directory, saved.name)
        try:
            confusion = np.array(saved.evaluation["confusion"], np.int64)
        except (KeyError, TypeError, ValueError) as error:
            state_path = os.path.join(self.run.directory, run_directory.STATE)
            raise RunError(f"{state_path}: damaged: {reason_of(error)}") from None
        return Predicted(path, saved.epoch, predictions.load(path), confusion)

    def check_dataset(self, directory: str) -> Manifest:
        """The manifest of the data set with the drawings.

        Raises:
          UserError: it is another data set, or none.
        """
        if not self.path:
            return self.run.check_dataset(directory)
        manifest = read_manifest(directory)
        if manifest.fingerprint != self.dataset_fingerprint:
            raise UserError(f"{self.path}: is of another data set than {directory}")
        return manifest


def validation_of(run: Run, checkpoint: str = "best") -> ShownEvaluation:
    """A checkpoint of a run on the validation split, as training left it."""
    config = run.config
    return ShownEvaluation(
        run, checkpoint, "validation", run.labels, config["dataset"], config["dataset_fingerprint"]
    )


def read_saved(path: str) -> ShownEvaluation:
    """What trainer.evaluate --output=path found; the run has a configuration, but no history.

    Raises:
      UserError: the file is not there, damaged, or of something else.
    """
    fields = evaluation_files.read(path)
    try:
        found = ShownEvaluation(
            run=parse_run(_typed(fields, "run_dir", str), _typed(fields, "run", dict)),
            checkpoint=_checkpoint(fields["checkpoint"]),
            split=_one_of(fields["split"], SPLITS),
            labels=_typed(fields, "labels", list),
            dataset=_typed(fields, "dataset", str),
            dataset_fingerprint=_typed(fields, "dataset_fingerprint", str),
            is_mirrored=_typed(fields, "mirror", bool),
            path=path,
            fields=fields,
        )
        scores = parse_scores(fields)
        if [score.label for score in scores.per_class] != list(found.labels):
            raise ValueError("per_class is not of the labels")
        if scores.confusion.sum() != scores.examples or not scores.examples:
            raise ValueError("the confusion matrix is not of so many examples")
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: damaged: {reason_of(error)}") from None
    return found


def read_saved_of(run: Run, path: str) -> ShownEvaluation:
    """The same, with the run that was evaluated.

    Raises:
      UserError: as `read_saved`, or it is of another run.
    """
    found = read_saved(path)
    there, here = found.run.config, run.config
    names = ("experiment", "architecture", "dataset_fingerprint", *IDENTITY)
    different = [
        name for name in names if name in there and name in here and there[name] != here[name]
    ]
    if different:
        raise UserError(
            f"{path}: of another run than {run.directory}, which differs in {different[0]}"
        )
    return dataclasses.replace(found, run=run)


def define_flags(*, with_dataset: bool = False) -> None:
    """The flags of a command that shows one evaluation; see `chosen`.

    Args:
      with_dataset: whether it shows drawings too, which --dataset holds.
    """
    cli.define_path(
        "run_dir", None, "Directory of the run, whose own validation is shown; or --evaluation."
    )
    define_checkpoint_flag("best")
    define_evaluation_flag("Instead of --run_dir: ")
    if with_dataset:
        define_dataset_flag()


def define_evaluation_flag(beginning: str) -> None:
    """--evaluation; `beginning` of its help."""
    cli.define_path(
        "evaluation",
        None,
        f"{beginning}what trainer.evaluate --output=FILE found is shown, of any split.",
        kind="FILE",
    )


def chosen() -> ShownEvaluation:
    """What --run_dir and --checkpoint, or --evaluation, say to show.

    Raises:
      UserError: there are neither or both, or what they name cannot be read.
    """
    args = flags.FLAGS
    if (args.run_dir is None) == (args.evaluation is None):
        raise UserError("either --run_dir or --evaluation is needed")
    check_checkpoint_flag()
    if args.evaluation:
        return read_saved(args.evaluation)
    return validation_of(read_run(args.run_dir), args.checkpoint)


def check_checkpoint_flag() -> None:
    """Raises UserError: --checkpoint is given together with --evaluation."""
    args = flags.FLAGS
    if args.evaluation and args["checkpoint"].present:
        raise UserError("--checkpoint chooses from a run; --evaluation is of one checkpoint")


def _typed(fields: dict[str, Any], name: str, kind: type) -> Any:
    if not isinstance(fields[name], kind):
        raise TypeError(f"{name} is no {kind.__name__}")
    return fields[name]


def _checkpoint(value: str) -> str:
    return value if value.isdigit() else _one_of(value, CHECKPOINTS)


def _one_of(value: str, values: Sequence[str]) -> str:
    if value not in values:
        raise ValueError(f"{value!r} is none of {', '.join(values)}")
    return value
