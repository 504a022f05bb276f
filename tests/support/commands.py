"""Every command of the project, and its flags."""

import contextlib
import importlib
import pathlib
from collections.abc import Iterator

from absl import flags

import analysis
import benchmarks
import pipeline
import trainer

DECLARATIONS = ("\ndef define_flags(", "\nCOMMAND = ")
MODULES = sorted(
    f"{package.__name__}.{path.stem}"
    for package in (pipeline, trainer, analysis, benchmarks)
    for path in pathlib.Path(next(iter(package.__path__))).glob("*.py")
    if any(line in path.read_text(encoding="utf-8") for line in DECLARATIONS)
)


@contextlib.contextmanager
def flags_of(module: str) -> Iterator[list[flags.Flag]]:
    """Inside, the flags of a command are defined, as when it is run; its own, by name."""
    imported = importlib.import_module(module)
    before = set(flags.FLAGS)  # those of libraries, too
    getattr(imported, "COMMAND", imported).define_flags()
    names = set(flags.FLAGS) - before
    try:
        yield [flags.FLAGS[name] for name in sorted(names)]
    finally:
        for name in names:
            delattr(flags.FLAGS, name)
