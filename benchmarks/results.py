"""Trains models on real drawings and prints their results as a table: make results DATA=DIR

Makes a data set for each number of training drawings a category, trains each experiment with each
recipe and seed, evaluates the last epoch, alone and with mirror images, and prints a row of
Markdown for each: the mean over the seeds, with their standard deviation. Rerun the command to
resume; what is finished is not trained again.
"""

import os
import statistics
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from absl import flags

from analysis.reading.runs import read_run, read_training_time
from pipeline import cli
from pipeline.cli import UserError
from pipeline.dataset.manifests import MANIFEST, read_manifest
from pipeline.sources.input_files import match_files
from trainer.config import RECIPES
from trainer.models import experiments
from trainer.runs.run_directory import EVALUATION, read_json

OWN = "own"  # the recipe that an experiment has by itself
HEADERS = (
    *("training drawings", "experiment", "recipe", "parameters", "mult-adds", "epochs", "seconds"),
    *("images/s", "seeds", "top-1", "top-3", "MAP@3", "top-1 with mirror", "MAP@3 with mirror"),
)


class Group(NamedTuple):
    """Runs that differ in their seed alone."""

    dataset: str
    experiment: str
    recipe: str
    run_dirs: list[str]


def run_command(module: str, *arguments: str, output: Any = sys.stderr) -> None:
    """Run a command of ours.

    `output`: a file for what it prints.

    Raises:
      SystemExit: with its status, if it fails: it has said why.
    """
    process = subprocess.run([sys.executable, "-m", module, *arguments], stdout=output)
    if process.returncode:
        raise SystemExit(process.returncode)


def make_dataset(patterns: Sequence[str], directory: str, train: int, validation: int) -> None:
    """Make a data set of so many drawings a category, unless it is there.

    Raises:
      UserError: the one that is there was made of other files.
    """
    if os.path.exists(os.path.join(directory, MANIFEST)):
        made_of = {each["file"] for each in read_manifest(directory).inputs}
        if made_of != {file.path for file in match_files(list(patterns))}:
            raise UserError(f"{directory}: made of other files; choose another --output")
        return
    run_command(
        "pipeline.main",
        f"--input={','.join(patterns)}",
        f"--output={directory}",
        f"--train_per_category={train}",
        f"--validation_per_category={validation}",
    )


def train(
    dataset: str, runs: str, experiment: str, recipe: str, seeds: int, settings: Mapping[str, Any]
) -> Group:
    """Train an experiment with all seeds, and evaluate each with mirror images, too.

    `settings`: other flags of trainer.main.
    """
    found = experiments.find(experiment)
    recipe = found.recipe if recipe == OWN else recipe
    words = [f"{name}={_last_name(value)}" for name, value in settings.items()]
    run_dirs = []
    for seed in range(seeds):
        run_dir = os.path.join(runs, "-".join([found.name, recipe, *words, f"seed={seed}"]))
        run_command(
            "trainer.main",
            *(f"--dataset={dataset}", f"--run_dir={run_dir}", f"--experiment={found.name}"),
            *(f"--recipe={recipe}", f"--seed={seed}"),
            *(f"--{name}={value}" for name, value in settings.items()),
        )
        if not os.path.exists(mirrored(run_dir)):
            run_command(
                "trainer.evaluate",
                *(f"--run_dir={run_dir}", "--checkpoint=last", "--mirror"),
                f"--output={mirrored(run_dir)}",
            )
        run_dirs.append(run_dir)
    changes = []
    if "learning_rate" in settings:
        changes.append(f"learning_rate={settings['learning_rate']:g}")
    if "init_from" in settings:
        changes.append(f"from {_last_name(settings['init_from'])}")
    return Group(dataset, found.name, ", ".join([recipe, *changes]), run_dirs)


def mirrored(run_dir: str) -> str:
    """Return the path of a run's evaluation with mirror images."""
    return f"{run_dir}.mirror.json"


def row(group: Group) -> list[str]:
    """Return the cells of a group, as in HEADERS."""
    runs = [read_run(run_dir) for run_dir in group.run_dirs]
    first = runs[0]
    times = [time for run in runs if (time := read_training_time(run))]
    alone = [read_json(os.path.join(run.directory, EVALUATION)) for run in runs]
    mirror = [read_json(mirrored(run.directory)) for run in runs]
    manifest = read_manifest(group.dataset)
    drawings = manifest.splits["train"].records
    return [
        f"{len(manifest.labels)} × {round(drawings / len(manifest.labels)):,}",
        group.experiment,
        group.recipe,
        f"{first.parameters:,}",
        f"{first.config['multiply_adds'] / 1e6:,.0f} M",
        f"{first.epochs}",
        f"{statistics.mean(seconds for seconds, _ in times):,.0f}",
        f"{statistics.harmonic_mean([speed for _, speed in times]):,.0f}",
        f"{len(runs)}",
        *(mean(each[score] for each in alone) for score in ("top1", "top3", "map3")),
        *(mean(each[score] for each in mirror) for score in ("top1", "map3")),
    ]


def mean(values: Iterable[float]) -> str:
    """Return the mean, with the standard deviation if there are several."""
    values = list(values)
    deviation = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{deviation}"


def print_row(cells: Sequence[str]) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


def _last_name(value: object) -> str:
    return os.path.basename(os.path.normpath(str(value)))


def define_flags() -> None:
    cli.define_paths("input", None, "Globs of ndjson files.", kind="GLOB", required=True)
    cli.define_path("output", "results", "Directory of data sets and runs.", kind="DIR")
    flags.DEFINE_list("experiments", ["small", "medium", "large"], "To train.")
    flags.DEFINE_list(
        "recipes", [OWN], f"To train each with: {', '.join(RECIPES)}; {OWN}: the experiment's."
    )
    flags.DEFINE_list("train_per_category", ["1500"], "Training drawings, a data set for each.")
    cli.define_integer(
        "validation_per_category", 400, "Validation drawings.", lower_bound=1, upper_bound=10**6
    )
    cli.define_integer(
        "epochs", None, "Default: those of the recipe.", lower_bound=1, upper_bound=10**6
    )
    cli.define_float(
        "learning_rate", None, "Default: that of the recipe.", lower_bound=0.0, upper_bound=1e3
    )
    cli.define_path(
        "init_from", None, "Run whose weights all start from. Default: random.", kind="PATH"
    )
    cli.define_integer("seeds", 3, "Runs of each, from seed 0 on.", lower_bound=1, upper_bound=100)


def main(_: list[str]) -> None:
    args = flags.FLAGS
    for experiment in args.experiments:
        experiments.find(experiment)
    if unknown := set(args.recipes) - {OWN, *RECIPES}:
        raise UserError(f"--recipes: no {', '.join(sorted(unknown))}; see --help")
    names = ("epochs", "learning_rate", "init_from")
    settings = {name: args[name].value for name in names if args[name].present}
    print_row(HEADERS)
    print_row(["---"] * len(HEADERS))
    for number in args.train_per_category:
        if not number.isdecimal():
            raise UserError(f"--train_per_category={number}: not a number of drawings")
        name = f"{number}+{args.validation_per_category}"
        dataset = os.path.join(args.output, f"data-{name}")
        runs = os.path.join(args.output, f"runs-{name}")
        make_dataset(args.input, dataset, int(number), args.validation_per_category)
        for experiment in args.experiments:
            for recipe in args.recipes:
                print_row(row(train(dataset, runs, experiment, recipe, args.seeds, settings)))


if __name__ == "__main__":
    define_flags()
    cli.run(main)
