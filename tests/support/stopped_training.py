"""A training run that is killed or asked to stop at a certain point: see the tests of resuming.

  python -m tests.support.stopped_training DATASET RUN_DIR CHANGES [POINT NUMBER SIGNAL]

CHANGES are fields of the configuration, as JSON. The signal comes when POINT is reached for the
NUMBER-th time. With a TF_CONFIG it is one of several hosts.
"""

import json
import os
import signal

from pipeline import cli
from tests.support.trainer_data import tiny_experiment
from trainer import train
from trainer.config import Interval, TrainConfig
from trainer.hardware import hosts
from trainer.runs import predictions, run_directory
from trainer.training import checkpoints, evaluation
from trainer.training.log import Log

# Where a run can be hit, and the module or class that calls the function of that name.
POINTS = {
    "training step": (train.Meter, "add"),
    "validation batch": (evaluation.Predictions, "from_logits"),
    "checkpoint written, not yet on the disk": (checkpoints.os, "fsync"),
    "checkpoint complete, not yet named": (run_directory, "commit"),
    "predictions": (predictions, "save"),
    "epoch logged, not yet committed": (Log, "epoch"),
}


def make_config(dataset: str, run_dir: str, **changes) -> TrainConfig:
    fields = {
        "epochs": 3,
        "batch_size": 8,
        "learning_rate": 1e-2,
        "precision": "float32",
        "seed": 5,
    }
    return TrainConfig(
        dataset=str(dataset), run_dir=str(run_dir), experiment=tiny_experiment(), **fields | changes
    )


def send_at(point: str, number: int, which: signal.Signals) -> None:
    owner, name = POINTS[point]
    original = getattr(owner, name)
    calls = []

    def hit(*args, **kwargs):
        calls.append(args)
        if len(calls) == number:
            os.kill(os.getpid(), which)
        return original(*args, **kwargs)

    setattr(owner, name, hit)


def main(argv: list[str]) -> None:
    dataset, run_dir, changes, *stop = argv[1:]
    config = make_config(
        dataset, run_dir, **json.loads(changes), checkpoint_every=Interval(steps=2)
    )
    hosts.SYNC_SECONDS = 0.0  # after every step: tests say where they stop
    joined = hosts.join_hosts()
    if stop:
        point, number, name = stop
        send_at(point, int(number), signal.Signals[name])
    train.train(config, hosts=joined)


if __name__ == "__main__":
    cli.run(main, takes_arguments=True)
