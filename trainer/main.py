"""Trains an experiment on a data set, validating after every epoch.

  python -m trainer.main --dataset=data --run_dir=runs/E3_8 --experiment=E3_8

The same command again resumes after the last finished epoch; with more --epochs it goes on.
"""

from absl import flags

from pipeline import command
from trainer import experiments
from trainer.config import PRECISIONS, TrainConfig
from trainer.quiet_start import quiet_start
from trainer.run_directory import State


def define_flags() -> None:
    flags.DEFINE_string(
        "dataset", None, "Data set directory that pipeline.main has written.", required=True
    )
    flags.DEFINE_string(
        "run_dir", None, "Directory to keep this run in: checkpoints, metrics.", required=True
    )
    flags.DEFINE_string(
        "experiment", "E2_7", f"Architecture: {', '.join(experiments.EXPERIMENTS)}."
    )
    flags.DEFINE_integer("epochs", 12, "Passes over the training split.", lower_bound=1)
    flags.DEFINE_integer(
        "batch_size", 100, "Images a step, over all devices together.", lower_bound=1
    )
    flags.DEFINE_float("learning_rate", 1e-3, "Adam's step size.", lower_bound=0.0)
    flags.DEFINE_enum(
        "precision",
        "auto",
        ["auto", *PRECISIONS],
        "Number format of the computation; auto takes the fastest that the hardware has.",
    )
    flags.DEFINE_integer(
        "seed", 0, "Of the first weights, the dropout and the order of the drawings.", lower_bound=0
    )


def main(_: list[str]) -> None:
    args = flags.FLAGS
    experiment = experiments.find(args.experiment)
    with quiet_start():
        from trainer.train import train
    config = TrainConfig(
        dataset=args.dataset,
        run_dir=args.run_dir,
        experiment=experiment,
        epochs=args.epochs,
        batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        precision=args.precision,
        seed=args.seed,
    )
    print(result_lines(train(config)))
    print(f"history, metrics, evaluation, checkpoints and TensorBoard events in {config.run_dir}")


def result_lines(state: State) -> str:
    """The validation figures of the last and the best epoch, a line each."""
    checkpoints = {"last": state.last, "best": state.best}
    return "\n".join(
        f"{name} epoch {checkpoint.epoch}: top-1 {checkpoint.evaluation['top1']:.4f}  "
        f"top-3 {checkpoint.evaluation['top3']:.4f}  MAP@3 {checkpoint.evaluation['map3']:.4f}  "
        f"on {checkpoint.evaluation['examples']:,} validation drawings"
        for name, checkpoint in checkpoints.items()
        if checkpoint
    )


if __name__ == "__main__":
    define_flags()
    command.run(main)
