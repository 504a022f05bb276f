"""Makes the model that comes with the package: make pretrained DATA=DIR

Trains on the drawings of all categories in DIR, compares the int8 export with the checkpoint on all
validation drawings, and writes the export and its model card to trainer/pretrained/. Rerun the
command to resume.
"""

import os
import shutil
import sys

from absl import flags

from benchmarks.results import make_dataset, run_command
from pipeline import cli
from pipeline.dataset.manifests import read_manifest

FILES = ("model_int8.tflite", "README.md")


def define_flags() -> None:
    cli.define_paths("input", None, "Globs of ndjson files.", kind="GLOB", required=True)
    cli.define_path("output", "results", "Directory of the data set and the run.", kind="DIR")
    cli.define_path("package", "trainer/pretrained", "Where the model goes.", kind="DIR")
    flags.DEFINE_string("experiment", "medium", "To train, with the recipe best.")
    counts = {
        "epochs": (20, "Passes over the training split."),
        "train_per_category": (190, "Training drawings of each category."),
        "validation_per_category": (10, "Validation drawings of each category."),
    }
    for name, (default, text) in counts.items():
        cli.define_integer(name, default, text, lower_bound=1, upper_bound=10**6)


def main(_: list[str]) -> None:
    args = flags.FLAGS
    quotas = (args.train_per_category, args.validation_per_category)
    dataset = os.path.join(args.output, f"data-{quotas[0]}+{quotas[1]}")
    run_dir = os.path.join(args.output, "pretrained")
    make_dataset(args.input, dataset, *quotas)
    run_command(
        "trainer.main",
        *(f"--dataset={dataset}", f"--run_dir={run_dir}", f"--experiment={args.experiment}"),
        *("--recipe=best", f"--epochs={args.epochs}"),
    )
    drawings = read_manifest(dataset).splits["validation"].records
    run_command(
        "trainer.export",
        *(f"--run_dir={run_dir}", "--checkpoint=last", "--formats=tflite_int8"),
        f"--drawings={drawings}",
        output=sys.stdout,
    )
    os.makedirs(args.package, exist_ok=True)
    for name in FILES:
        shutil.copyfile(os.path.join(run_dir, "export", name), os.path.join(args.package, name))
    with open(os.path.join(args.package, FILES[1]), "a", encoding="utf-8") as card:
        card.write(
            "\n## Rebuild it\n\n`make pretrained DATA=DIR`, where DIR holds the ndjson files.\n"
        )
    print(f"model and card in {args.package}")


if __name__ == "__main__":
    define_flags()
    cli.run(main)
