"""From a finished job to a data set: lock, staging, checks, commit, the table for users."""

__all__ = ["acceptance", "commit", "output_lock", "publish", "report", "staging"]
