"""Two files of `trainer.evaluate --output`: scores; of every drawing prediction and place on a map.

No TensorFlow here: analysis reads them.
"""

import contextlib
import hashlib
import os
from typing import Any

import numpy as np

from pipeline.cli import UserError
from trainer.runs import predictions, run_directory
from trainer.runs.feature_map import FeatureMap
from trainer.runs.predictions import Predictions

FORMAT = "evaluation of trainer.evaluate"
FORMAT_VERSION = 1
PLACES = "places"  # of the map, an array beside the predictions
VARIANCE = "map_variance"


def predictions_path(path: str) -> str:
    """Return the path of the predictions beside an evaluation's JSON file `path`."""
    return predictions.path_of(os.path.dirname(path), os.path.basename(path).removesuffix(".json"))


def check_no_run_file(path: str) -> None:
    """Raise UserError if `path`, the value of --output, is a file of a run directory."""
    directory, name = os.path.split(path)
    if os.path.exists(os.path.join(directory, run_directory.CONFIG)) and name in (
        run_directory.CONFIG,
        run_directory.HISTORY,
        run_directory.METRICS,
        run_directory.EVALUATION,
    ):
        raise UserError(f"--output={path}: a file of the run itself; choose another name")


def write(
    path: str,
    evaluation: dict[str, Any],
    made: Predictions,
    feature_map: FeatureMap | None = None,
) -> None:
    """Write both files, the map of the drawings with the predictions; old ones stay if that fails.

    The JSON file holds the other's hash: a kill between the two renames leaves files that do not
    match, which `read_predictions` reports.

    Raises:
      UserError: they cannot be written.
    """
    beside = predictions_path(path)
    new, new_beside = f"{path}.new", f"{beside}.new"
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        places = {PLACES: feature_map.places} if feature_map else {}
        predictions.save(new_beside, made, **places)
        evaluation = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            **evaluation,
            **({VARIANCE: feature_map.variance} if feature_map else {}),
            "predictions_sha256": _sha256(new_beside),
        }
        run_directory.write_json(new, evaluation)
        os.replace(new_beside, beside)
        os.replace(new, path)
    except OSError as error:
        for leftover in (new, f"{new}.tmp", new_beside):
            with contextlib.suppress(OSError):
                os.remove(leftover)
        raise UserError(f"{error.filename or path}: cannot be written: {error.strerror}") from None


def read(path: str) -> dict[str, Any]:
    """Read the JSON file.

    Raises:
      UserError: it is missing, damaged, or no file of `write`.
    """
    fields = run_directory.read_json(path)
    if fields.get("format") != FORMAT:
        raise UserError(f"{path}: not written by this version's trainer.evaluate --output")
    if fields.get("format_version") != FORMAT_VERSION:
        raise UserError(f"{path}: format version {fields.get('format_version')}, unknown here")
    return fields


def read_predictions(path: str, evaluation: dict[str, Any]) -> Predictions:
    """Read the predictions beside `path`, whose content is `evaluation`.

    Raises:
      UserError: they are missing, damaged, or of another evaluation.
    """
    return predictions.load(_check_own(path, evaluation))


def read_map(path: str, evaluation: dict[str, Any]) -> FeatureMap | None:
    """Read the map of the drawings beside `path`, whose content is `evaluation`.

    Returns:
      The map; None if an older version's trainer.evaluate wrote the files.

    Raises:
      UserError: the file is missing, damaged, or of another evaluation.
    """
    beside = _check_own(path, evaluation)
    if VARIANCE not in evaluation:
        return None
    try:
        first, second = evaluation[VARIANCE]
        with np.load(beside) as arrays:
            places = arrays[PLACES]
        if places.shape != (evaluation["examples"], 2):
            raise ValueError(f"{PLACES} does not fit the drawings")
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{beside}: damaged: {error}") from None
    return FeatureMap(places, (float(first), float(second)))


def _check_own(path: str, evaluation: dict[str, Any]) -> str:
    """Return the path of the predictions, which are those of the evaluation."""
    beside = predictions_path(path)
    try:
        is_its_own = _sha256(beside) == evaluation.get("predictions_sha256")
    except OSError as error:
        raise UserError(f"{beside}: {error.strerror}") from None
    if not is_its_own:
        raise UserError(
            f"{beside}: damaged, or not of {path}; run trainer.evaluate --output={path} again"
        )
    return beside


def _sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()
