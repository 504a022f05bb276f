"""Exports the model of a run, and compares every file with the checkpoint on real drawings.

  python -m trainer.export --run_dir=runs/E3_8
  python -m trainer.export --formats=web --output=page

The first writes runs/E3_8/export/:

  model.keras           plain Keras loads it: image [B, 85, 85, 1] → probabilities [B, classes]
  saved_model           for TensorFlow Serving: bitmaps [B, 85, 85] uint8 → probabilities
  model_float32.tflite  for LiteRT (TensorFlow Lite): image → probabilities
  model_float16.tflite  the same in half the size, with weights in float16
  model_int8.tflite     the same in a quarter of the size and quicker, all in int8
  model.onnx            the same for ONNX Runtime, with --formats=onnx
  web                   the page of trainer.serve for any static host, with --formats=web
  export.json           scores of the comparison
  README.md             a model card: scores, confusions, data, training, limits, how to load it

Pixels are 0 and 1, where 1 is ink. Every export holds the labels; trainer.predict --model runs it.
If an export loses more than 0.01 of top-1, the command fails and keeps an earlier export. Otherwise
the earlier one is replaced as a whole, and the formats that this removes are named.

The page in web runs the int8 model in the browser, with LiteRT.js, which is downloaded from npm's
registry and checked against a known checksum; --litertjs takes it from a directory instead. The
page loads nothing from elsewhere. Browsers open it only from a server, for example
`python -m http.server --directory page`. The second command writes the page of the model that
comes with the package.
"""

import importlib.util
import os
import re
from collections.abc import Sequence

from absl import flags

from pipeline import cli
from pipeline.cli import UserError
from trainer.exports import litertjs
from trainer.exports.classifiers import (
    DEFAULT_FORMATS,
    FILES,
    WEB_DESCRIPTION,
    WEB_MODEL,
    read_page_labels,
)
from trainer.hardware.quiet_tensorflow import quiet_tensorflow
from trainer.page.page_files import static_files
from trainer.runs import run_directory
from trainer.runs.state import define_checkpoint_flag


def define_flags() -> None:
    cli.define_path(
        "run_dir",
        None,
        "Run directory of trainer.main; without it, the model that comes with the package is "
        "exported, as a page.",
        is_for_tensorflow=True,
    )
    cli.define_path("output", None, "Without --run_dir: directory for the page.")
    define_checkpoint_flag()
    flags.DEFINE_list(
        "formats",
        list(DEFAULT_FORMATS),
        f"All formats to write: {', '.join(FILES)}; an earlier export is replaced as a whole.",
    )
    cli.define_path(
        "dataset",
        None,
        "Data set directory to calibrate and compare on; by default the run's own.",
        is_for_tensorflow=True,
    )
    cli.define_integer(
        "drawings", 1000, "Validation drawings to compare on.", lower_bound=1, upper_bound=10**6
    )
    cli.define_path(
        "litertjs",
        None,
        "For format web: directory with LiteRT.js, node_modules/@litertjs of `npm install "
        f"@litertjs/core@{litertjs.VERSION}`; by default it is downloaded.",
    )
    flags.DEFINE_string(
        "npm_registry", litertjs.REGISTRY, "For format web: registry to download LiteRT.js from."
    )


def main(_: list[str]) -> None:
    args = flags.FLAGS
    check_formats(args.formats)
    check_flags(args.run_dir, args.output, args.formats)
    if args.run_dir is not None:  # refuse a wrong directory before TensorFlow starts
        run_directory.read_config(args.run_dir)
    library = load_litertjs() if "web" in args.formats else None
    with quiet_tensorflow():
        from trainer.exports import job
    if args.run_dir is None:
        job.export_pretrained(args.output, library or {})
        return
    job.export_run(
        args.run_dir, args.checkpoint, args.formats, args.dataset, args.drawings, library
    )


def load_litertjs() -> dict[str, bytes]:
    """Read or download LiteRT.js, as the flags say; raises what these functions do."""
    args = flags.FLAGS
    if args.litertjs is not None:
        return litertjs.read(args.litertjs)
    if not re.match("https?://[^/]", args.npm_registry):
        raise UserError(
            f"--npm_registry: {args.npm_registry!r} is not an http:// or https:// address"
        )
    return litertjs.download(args.npm_registry.rstrip("/"))


def check_flags(run_dir: str | None, output: str | None, formats: Sequence[str]) -> None:
    """Raise UserError for flags that do not go together.

    Either a run is exported, or the page of the model that comes with the package.
    """
    if run_dir is not None and output is not None:
        raise UserError("--run_dir or --output, not both: a run's export lies in its directory")
    if run_dir is None and (output is None or list(formats) != ["web"]):
        raise UserError(
            "--run_dir says what to export; without it, --formats=web --output=DIR writes the page "
            "of the model that comes with the package"
        )
    for name in ("checkpoint", "dataset", "drawings"):
        if run_dir is None and flags.FLAGS[name].present:
            raise UserError(f"--{name} is for the export of a --run_dir")
    for name in ("litertjs", "npm_registry"):
        if "web" not in formats and flags.FLAGS[name].present:
            raise UserError(f"--{name} is for --formats=web")
    if output is not None:
        check_output(output)


def check_output(output: str) -> None:
    """Raise UserError unless a page can be written there: nothing but a page is replaced."""
    if cli.is_remote(output):
        raise UserError(f"--output={output}: it has to be a directory on this machine")
    output = os.path.abspath(output)
    for path in (output, f"{output}.incomplete", f"{output}.former"):  # of job.replaced
        if os.path.lexists(path) and not _is_page(path, is_complete=path == output):
            raise UserError(f"--output: {path} exists and holds more than a page of trainer.export")


def _is_page(directory: str, is_complete: bool) -> bool:
    """Return whether a directory holds a page and nothing else, or nothing at all."""
    if not os.path.isdir(directory) or os.path.islink(directory):
        return False
    files = {name.partition("/")[0] for name in (*static_files({}), *litertjs.MODULES.values())}
    found = set(os.listdir(directory))
    if found - files - {WEB_MODEL, WEB_DESCRIPTION}:
        return False
    try:
        return not found or not is_complete or bool(read_page_labels(directory))
    except UserError:
        return False


def check_formats(formats: Sequence[str]) -> None:
    """Raise UserError for an unknown format, for none, and for a missing package."""
    for name in formats:
        if name not in FILES:
            raise UserError(f"--formats: no format {name!r}; there are {', '.join(FILES)}")
    if not formats:
        raise UserError(f"--formats: none given; there are {', '.join(FILES)}")
    needed = (
        ("tflite", "ai_edge_litert", "trainer"),
        ("web", "ai_edge_litert", "trainer"),
        ("onnx", "tf2onnx", "onnx"),
    )
    for start, module, extra in needed:
        is_needed = any(name.startswith(start) for name in formats)
        if is_needed and not importlib.util.find_spec(module):
            raise UserError(
                f"--formats: {start} needs {module.replace('_', '-')}: pip install '.[{extra}]'"
            )


if __name__ == "__main__":
    define_flags()
    cli.run(main)
