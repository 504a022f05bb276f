"""One training step and what surrounds it: optimizer, metrics, evaluation, logging."""

__all__ = [
    "evaluation",
    "log",
    "loss_scale",
    "memory",
    "meter",
    "optimizer",
    "profile",
    "steps",
]
