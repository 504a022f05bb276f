"""Exports the model of a run, and compares every file with the checkpoint on real drawings.

  python -m trainer.export --run_dir=runs/E3_8

writes runs/E3_8/export/:

  model.keras           plain Keras loads it: image [B, 85, 85, 1] → probabilities [B, classes]
  saved_model           for TensorFlow Serving: bitmaps [B, 85, 85] uint8 → probabilities
  model_float32.tflite  for LiteRT (TensorFlow Lite): image → probabilities
  model_float16.tflite  the same in half the size, with weights in float16
  model_int8.tflite     the same in a quarter of the size and quicker, all in int8
  model.onnx            the same for ONNX Runtime, with --formats=onnx
  export.json           scores of the comparison
  README.md             a model card: scores, confusions, data, training, limits, how to load it

Pixels are 0 and 1, where 1 is ink. Every export holds the labels; trainer.predict --model runs it.
An export that loses more than 0.01 of top-1 fails the command, and an earlier one stays.
"""

import importlib.util
from collections.abc import Sequence

from absl import flags

from pipeline import cli
from pipeline.cli import UserError
from trainer.exports.classifiers import DEFAULT_FORMATS, FILES
from trainer.hardware.quiet_tensorflow import quiet_tensorflow
from trainer.runs import run_directory
from trainer.runs.state import define_checkpoint_flag


def define_flags() -> None:
    cli.define_path(
        "run_dir",
        None,
        "Run directory of trainer.main.",
        is_for_tensorflow=True,
        required=True,
    )
    define_checkpoint_flag()
    flags.DEFINE_list("formats", list(DEFAULT_FORMATS), f"Formats to write: {', '.join(FILES)}.")
    cli.define_path(
        "dataset",
        None,
        "Data set directory to calibrate and compare on; by default the run's own.",
        is_for_tensorflow=True,
    )
    cli.define_integer(
        "drawings", 1000, "Validation drawings to compare on.", lower_bound=1, upper_bound=10**6
    )


def main(_: list[str]) -> None:
    args = flags.FLAGS
    check_formats(args.formats)
    run_directory.read_config(args.run_dir)  # refuse a wrong directory before TensorFlow starts
    with quiet_tensorflow():
        from trainer.exports.job import export_run
    export_run(args.run_dir, args.checkpoint, args.formats, args.dataset, args.drawings)


def check_formats(formats: Sequence[str]) -> None:
    """Raise UserError for an unknown format, for none, and for a missing package."""
    for name in formats:
        if name not in FILES:
            raise UserError(f"--formats: no format {name!r}; there are {', '.join(FILES)}")
    if not formats:
        raise UserError(f"--formats: none given; there are {', '.join(FILES)}")
    needed = {"ai_edge_litert": ("tflite", "trainer"), "tf2onnx": ("onnx", "onnx")}
    for module, (start, extra) in needed.items():
        is_needed = any(name.startswith(start) for name in formats)
        if is_needed and not importlib.util.find_spec(module):
            raise UserError(
                f"--formats: {start} needs {module.replace('_', '-')}: pip install '.[{extra}]'"
            )


if __name__ == "__main__":
    define_flags()
    cli.run(main)
