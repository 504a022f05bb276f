"""--checkpoint of the commands that take a trained model from a run directory."""

import re

from absl import flags

flags.disclaim_key_flags()  # it belongs to the command that asks for it


def define_checkpoint_flag(condition: str = "") -> None:
    """Define --checkpoint: see `trainer.runs.state.State.find`; `condition` begins its help."""
    flags.DEFINE(
        _CheckpointParser(),
        "checkpoint",
        "best",
        f"{condition}Weights of the epoch with the highest validation accuracy, of the last one, "
        "or of the epoch of that number (trainer.main --keep_checkpoints).",
    )


class _CheckpointParser(flags.ArgumentParser):
    def parse(self, argument: str) -> str:
        if not re.fullmatch(r"best|last|[1-9]\d{0,8}", argument):
            raise ValueError("best, last, or the number of an epoch")
        return argument

    def flag_type(self) -> str:
        return "best|last|EPOCH"
