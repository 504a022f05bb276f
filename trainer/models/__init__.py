"""Descriptions of models, their costs, the study's 20 and their histories. No TensorFlow here."""

__all__ = [
    "architecture_file",
    "costs",
    "experiments",
    "study",
]
