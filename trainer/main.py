"""Trains an experiment on a data set, with a validation after every epoch.

  python -m trainer.main --dataset=data --run_dir=runs/E3_8 --experiment=E3_8

Rerun the command to resume from the newest checkpoint; with more --epochs a finished run continues.
--init_from starts another run from its weights, on other categories too. Ctrl-C, SIGTERM and a
terminal that is closed save a checkpoint first; the exit status is then 75.

The same command gives bit-exactly the same weights, however often it was resumed, with the same
versions on the same type of machine with as many threads and replicas: always on the CPU, on GPUs
with --deterministic. On other hardware, or with another number of threads, replicas or hosts, sums
round differently.
"""

from absl import flags

from pipeline import cli
from pipeline.cli import UserError, is_remote
from pipeline.dataset.manifests import Manifest, read_manifest
from trainer import config
from trainer.config import TrainConfig
from trainer.hardware.quiet_tensorflow import quiet_tensorflow
from trainer.models import costs, experiments
from trainer.models.architecture_file import read_architecture
from trainer.models.experiments import Experiment
from trainer.runs.state import State
from trainer.training import initial_weights


def define_flags() -> None:
    config.define_group(config.DATA)
    flags.DEFINE_string(
        "experiment",
        "E2_7",
        f"Architecture: {', '.join(experiments.EXPERIMENTS)}.",
        module_name=config.MODEL,
    )
    cli.define_path(
        "architecture",
        None,
        "Instead of --experiment, your own architecture: a JSON file like a run's config.json, or "
        "like the architecture in it.",
        kind="FILE",
        is_for_tensorflow=True,
        module_name=config.MODEL,
    )
    flags.DEFINE_boolean(
        "batch_norm",
        None,
        "Add batch normalisation after every convolution, or leave it out; the study's experiments "
        "have none, our own have it.",
        module_name=config.MODEL,
    )
    config.define_group(config.MODEL)
    flags.DEFINE_boolean(
        "summary",
        False,
        "Print the model's stages, parameters and multiply-adds, for the classes of --dataset or "
        "else the study's, without training.",
        module_name=config.MODEL,
    )
    for group in (config.RECIPE, config.BEYOND, config.SPEED):
        config.define_group(group)


def main(_: list[str]) -> None:
    args = flags.FLAGS
    experiment = experiment_from_flags(args.experiment if args["experiment"].present else None)
    if args.summary:
        labels = read_dataset_manifest(args.dataset).labels if args.dataset else ()
        print(costs.summary(experiment, len(labels)))
        return
    settings = TrainConfig.from_flags(experiment)
    with quiet_tensorflow():
        from trainer.hardware.hosts import join_hosts
        from trainer.train import train
    hosts = join_hosts()
    print(result_lines(train(settings, hosts=hosts)))
    if hosts.is_first:
        print(
            "history, metrics, evaluation, checkpoints and TensorBoard events in "
            f"{settings.run_dir}"
        )


def read_dataset_manifest(directory: str) -> Manifest:
    """Read the manifest of --dataset as training does: TensorFlow reads gs://.

    Raises:
      UserError: there is no complete data set.
    """
    if not is_remote(directory):
        return read_manifest(directory)
    with quiet_tensorflow():
        from trainer.hardware import storage
    return read_manifest(directory, storage.read_file)


def experiment_from_flags(name: str | None) -> Experiment:
    """Return the experiment `name`, or that of --architecture or of the source of --init_from.

    Raises:
      UserError: the flags contradict each other, or there is no such experiment.
    """
    args = flags.FLAGS
    if args.architecture:
        if name:
            raise UserError("--architecture and --experiment: give one of them")
        experiment = read_architecture(args.architecture)
    elif args.init_from and not name:
        experiment = initial_weights.find_experiment(args.init_from, args.run_dir)
    else:
        experiment = experiments.find(name or args.experiment)
    if args.batch_norm is None:
        return experiment
    return experiment.with_batch_norm(args.batch_norm)


def result_lines(state: State) -> str:
    """Return the validation scores of the last and the best epoch, a line each."""
    return "\n".join(
        f"{name} epoch {checkpoint.epoch}: top-1 {checkpoint.evaluation['top1']:.4f}  "
        f"top-3 {checkpoint.evaluation['top3']:.4f}  MAP@3 {checkpoint.evaluation['map3']:.4f}  "
        f"on {checkpoint.evaluation['examples']:,} validation drawings"
        for name, checkpoint in (("last", state.last), ("best", state.best))
        if checkpoint
    )


if __name__ == "__main__":
    define_flags()
    cli.run(main)
