"""Prepares a data set: Quick, Draw! ndjson in, sharded TFRecords of 85×85 bitmaps out.

  python -m pipeline.main --input='drawings/*.ndjson' --output=data

Runs on all cores of this machine (in one process if there are few drawings, which is faster), or in
--direct_num_workers=N processes; --runner=DirectRunner means the same. Beam's own flags pass
through: with --runner=DataflowRunner, FlinkRunner, SparkRunner, PortableRunner or
PrismRunner the same job runs there. All machines must see the input and the output under the same
names.
"""

import argparse
import difflib
import os
import re
import sys
import time
from collections.abc import Iterable
from typing import Any

from absl import flags
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline import cli, job
from pipeline.cli import UserError
from pipeline.dataset.manifests import read_labels
from pipeline.dataset.records import ENCODERS, FIELDS
from pipeline.drawings.frame import FRAMES
from pipeline.graph.exclusion import read_keys
from pipeline.graph.sampling import PRIORITY, Quotas
from pipeline.output import report
from pipeline.runners.dataflow import is_dry_run

MAX_PER_CATEGORY = 10**9


def define_flags() -> None:
    group = "Input and output"
    cli.define_paths(
        "input",
        None,
        "Globs of files: ndjson, JSON, csv or upstream's .bin, also as .gz or .bz2, or parquet; "
        "any of them in .zip; recognised by their content.",
        kind="GLOB",
        module_name=group,
    )
    cli.define_path("output", None, "Directory to write the data set to.", module_name=group)
    flags.DEFINE_boolean(
        "overwrite",
        False,
        "Replace the data set in the output directory once the new one is complete.",
        module_name=group,
    )
    flags.DEFINE_boolean(
        "dry_run",
        False,
        "Count the drawings of each category and the rejects, and write nothing. With "
        "--runner=DataflowRunner: build the job without sending it.",
        module_name=group,
    )
    flags.DEFINE_boolean(
        "finish",
        False,
        "Complete the data set of a finished job in --output whose run was interrupted. Flags for "
        "input and selection are ignored: the job keeps its own, and its --max_reject_fraction "
        "unless another is given.",
        module_name=group,
    )
    flags.DEFINE_enum(
        "image_encoding",
        "packed",
        list(ENCODERS),
        "packed: 904 bytes of bits, as the trainer reads them. png: PNG files of one bit a pixel.",
        module_name=group,
    )
    flags.DEFINE_list(
        "keep_fields",
        [],
        "Additional fields to store in each record, separated by commas: countrycode, recognized "
        "(1 or 0, -1 if unknown), strokes (their number) and timestamp. The report shows the "
        "accuracy by each of them.",
        module_name=group,
    )
    cli.define_float(
        "max_reject_fraction",
        0.01,
        "Fail if more than this fraction of the lines, 0 to 1, is rejected.",
        lower_bound=0.0,
        upper_bound=1.0,
        module_name=group,
    )

    group = "Which drawings"
    cli.define_path(
        "labels",
        None,
        "File with one label a line; the line number from 0 is the class index, drawings of other "
        "categories are dropped. A word that is a number, as in Hugging Face's rows, is such an "
        "index. Default: all categories of the input, sorted.",
        kind="FILE",
        module_name=group,
    )
    flags.DEFINE_string(
        "train_per_category",
        None,
        "Training drawings of each category, or 'all' that remain after the other splits. Default: "
        "2000, or all if another split is a share.",
        module_name=group,
    )
    for split, default in (("validation", 1000), ("test", 0)):
        cli.define_integer(
            f"{split}_per_category",
            default,
            f"{split.capitalize()} drawings of each category.",
            lower_bound=0,
            upper_bound=MAX_PER_CATEGORY,
            module_name=group,
        )
    for split in ("validation", "test"):
        cli.define_float(
            f"{split}_share",
            None,
            f"Instead of --{split}_per_category: a share of each category's drawings, e.g. 0.2.",
            lower_bound=0.0,
            upper_bound=1.0,
            module_name=group,
        )
    flags.DEFINE_enum(
        "sampling",
        "hash",
        list(PRIORITY),
        "hash: random, independent of the order of the input. first: in the order of the input, "
        "training first, then validation, then test, as in the study.",
        module_name=group,
    )
    flags.DEFINE_enum(
        "frame",
        "auto",
        FRAMES,
        "auto: move, scale and simplify drawings outside Google's frame, such as from a canvas, as "
        "Google did. keep: use all drawings as they are. normalise: do this to all drawings.",
        module_name=group,
    )
    cli.define_integer(
        "seed",
        0,
        "Random seed of --sampling=hash: another seed puts other drawings of each category into "
        "each split. The samples of two seeds may overlap.",
        lower_bound=0,
        upper_bound=2**63 - 1,
        module_name=group,
    )
    cli.define_path(
        "exclude",
        None,
        "File with the key_ids of drawings to leave out, one per line, e.g. of another test set.",
        kind="FILE",
        module_name=group,
    )
    flags.DEFINE_boolean(
        "recognized_only",
        False,
        "Use only drawings that Google's model recognized in the game.",
        module_name=group,
    )


def main(argv: list[str]) -> None:
    args = flags.FLAGS
    options, more_input = _beam_options(argv[1:])
    start = time.monotonic()
    only_counts = args.dry_run and not is_dry_run(options)
    needed = ["output"] if args.finish else ["input"] if only_counts else ["input", "output"]
    for name in needed:
        if not flags.FLAGS[name].value:
            raise UserError(f"--{name} is needed (--help lists the flags)")
    if args.finish and args.dry_run:
        raise UserError("--finish and --dry_run cannot be used together")
    if args.finish:
        allowed = args.max_reject_fraction if args["max_reject_fraction"].present else None
        summary, manifest = job.finish(args.output, allowed, options)
    elif only_counts:
        return _dry_run([*args.input, *more_input], options)
    else:
        summary, manifest = job.run(
            patterns=[*args.input, *more_input],
            output=args.output,
            image_encoding=args.image_encoding,
            keep_fields=_keep_fields(args.keep_fields),
            overwrite=args.overwrite,
            options=options,
            **_selection(),
        )
    print(report.table(summary, manifest))
    quotas = Quotas.from_settings(manifest.sampling)
    _warn(report.warnings(summary, quotas, args.output))
    _warn(report.file_warnings(summary, manifest))
    print(f"Wrote {args.output} in {time.monotonic() - start:.0f} s.")


def _dry_run(patterns: list[str], options: PipelineOptions) -> None:
    """Print what a run would count; raises the error with which it would end."""
    summary, manifest, error = job.dry_run(patterns=patterns, options=options, **_selection())
    print(report.table(summary, manifest))
    _warn(report.warnings(summary, _quotas()))
    if error:
        raise error
    _warn(report.file_warnings(summary, manifest))
    print("Nothing was written: this was a dry run.")


def _selection() -> dict[str, Any]:
    """Return the arguments of job.run and job.dry_run that say which drawings are chosen."""
    args = flags.FLAGS
    return {
        "quotas": _quotas(),
        "labels": read_labels(args.labels) if args.labels else None,
        "sampling_method": args.sampling,
        "recognized_only": args.recognized_only,
        "frame": args.frame,
        "seed": args.seed,
        "excluded_keys": read_keys(args.exclude) if args.exclude else (),
        "max_reject_fraction": args.max_reject_fraction,
    }


def _warn(warnings: Iterable[str]) -> None:
    for warning in warnings:
        print("warning:", warning, file=sys.stderr)


def _keep_fields(names: list[str]) -> list[str]:
    for name in names:
        if name not in FIELDS:
            raise UserError(f"--keep_fields: {', '.join(FIELDS)}, not {name!r}")
    return names


def _quotas() -> Quotas:
    args = flags.FLAGS
    shares = {split: getattr(args, f"{split}_share") for split in ("validation", "test")}
    for split, share in shares.items():
        if share is not None and flags.FLAGS[f"{split}_per_category"].present:
            raise UserError(f"--{split}_share and --{split}_per_category say the same; give one")
    quotas = Quotas(
        _train_quota(args.train_per_category, "all" if any(shares.values()) else "2000"),
        args.validation_per_category,
        args.test_per_category,
        shares["validation"],
        shares["test"],
    )
    if sum(share or 0 for share in shares.values()) >= 1 and quotas.train != 0:
        raise UserError("--validation_share and --test_share leave nothing to train on")
    return quotas


def _train_quota(text: str | None, default: str) -> int | None:
    text = default if text is None else text
    if text == "all":
        return None
    if not re.fullmatch(r"\d{1,10}", text) or int(text) > MAX_PER_CATEGORY:
        raise UserError(
            f"--train_per_category: a whole number or 'all', not {text!r}; at most "
            f"{MAX_PER_CATEGORY:,}"
        )
    return int(text)


def _beam_options(arguments: list[str]) -> tuple[PipelineOptions, list[str]]:
    """Parse Beam's own flags; one that neither Beam nor this command knows is refused.

    Returns:
      Beam's options, and files that no flag takes: a shell made them of `--input *.ndjson`.
    """
    parsers: list[argparse.ArgumentParser] = []  # Beam's, with the flags of all its option classes
    PipelineOptions([]).get_all_options(add_extra_args_fn=parsers.append)
    parsers[0].exit_on_error = False
    try:
        _, unknown = parsers[0].parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise UserError(str(error)) from None
    files = [word for word in unknown if os.path.isfile(word)]
    unknown = [word for word in unknown if word not in files]
    if unknown:
        name = unknown[0].lstrip("-").split("=")[0]
        close = difflib.get_close_matches(name, flags.FLAGS)
        hint = f"; did you mean --{close[0]}?" if close else " (--help lists the flags)"
        raise UserError(f"unknown flag or argument {unknown[0]}{hint}")
    arguments = [word for word in arguments if word not in files]
    if flags.FLAGS.dry_run:  # which is a flag of Beam's, too
        arguments.append("--dry_run=True")
    # 0: by the input; Beam's own default is 1.
    return PipelineOptions(["--direct_num_workers=0", *arguments]), files


if __name__ == "__main__":
    define_flags()
    cli.run(main, pass_unknown_flags=True)
