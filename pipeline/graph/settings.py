"""Settings of a job, the same on every worker."""

from typing import NamedTuple

from pipeline.graph.progress import Progress
from pipeline.graph.sampling import Quotas
from pipeline.sources.input_files import InputFile


class PrepareSettings(NamedTuple):
    """Everything that the stages of the graph need to know."""

    files: tuple[InputFile, ...]
    staging: str  # directory
    file_categories: tuple[str, ...]  # of each file's drawings without a word; empty: not known
    labels: tuple[str, ...] | None = None  # None: the categories of the input, sorted
    quotas: Quotas = Quotas()
    sampling: str = "hash"  # or first
    recognized_only: bool = False
    frame: str = "auto"  # see pipeline.drawings.frame
    image_encoding: str = "packed"  # or png
    keep_fields: tuple[str, ...] = ()  # of records.FIELDS
    seed: int = 0
    excluded_keys: frozenset[int] = frozenset()  # see pipeline.graph.exclusion
    is_dry_run: bool = False  # nothing is to be written
    progress: Progress = Progress(None)
    spill_directory: str | None = None  # for drawings on their way, on a local run
