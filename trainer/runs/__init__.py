"""Run directory: settings, state, predictions; uncertainty of scores. No TensorFlow here."""

__all__ = [
    "evaluation_files",
    "feature_map",
    "predictions",
    "run_directory",
    "state",
    "uncertainty",
]
