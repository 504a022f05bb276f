"""The run directory: settings, state, checkpoints, predictions."""

__all__ = [
    "checkpoint_flag",
    "checkpoints",
    "evaluation_files",
    "initial_weights",
    "predictions",
    "run_directory",
    "saved_runs",
    "sessions",
    "state",
    "storage",
]
