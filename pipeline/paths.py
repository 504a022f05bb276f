"""Which paths lead away from this machine."""


def is_remote(path: str) -> bool:
    """Whether a path is not this machine's, but gs://… or the like."""
    return "://" in path
