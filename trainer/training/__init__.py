"""One training step and what surrounds it: optimizer, checkpoints, evaluation, logging."""

__all__ = [
    "checkpoints",
    "evaluation",
    "initial_weights",
    "log",
    "loss_scale",
    "memory",
    "meter",
    "optimizer",
    "profile",
    "sessions",
    "steps",
]
