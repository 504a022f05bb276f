"""Run directory: settings, state, predictions. No TensorFlow here."""

__all__ = [
    "evaluation_files",
    "predictions",
    "run_directory",
    "state",
]
