"""One training step and what surrounds it: optimizer, checkpoints, evaluation, logging."""

__all__ = [
    "checkpoints",
    "evaluation",
    "initial_weights",
    "log",
    "memory",
    "metrics",
    "optimizer",
    "session",
    "steps",
]
