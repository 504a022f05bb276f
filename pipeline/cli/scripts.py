"""Console script `quickdraw`: `quickdraw train …` is `python -m trainer.main …`."""

import importlib.util
import runpy
import sys

# By the word of the command line.
MODULES = {
    "download": "pipeline.download",
    "synthetic": "pipeline.synthetic",
    "prepare": "pipeline.main",
    "verify": "pipeline.verify",
    "convert": "pipeline.convert",
    "train": "trainer.main",
    "sweep": "trainer.sweep",
    "evaluate": "trainer.evaluate",
    "export": "trainer.export",
    "predict": "trainer.predict",
    "serve": "trainer.serve",
    "report": "analysis.report",
    "plot": "analysis.…",
}


def main() -> None:
    """Run the command that the first argument names; `quickdraw plot NAME …` is a picture."""
    arguments = sys.argv[1:]
    word = arguments.pop(0) if arguments else "--help"
    module = MODULES.get(word, "")
    if word == "plot" and arguments:
        word = arguments.pop(0)
        module = f"analysis.{word}"
    if word in ("--help", "-h"):
        print("usage: quickdraw COMMAND …, where COMMAND --help says more\n")
        print("\n".join(f"  {name:<12}python -m {each}" for name, each in MODULES.items()))
    elif not module or not _is_there(module):
        words = " ".join(sys.argv[1:])
        print(f"quickdraw: no command {words!r}: see quickdraw --help", file=sys.stderr)
        sys.exit(2)
    else:
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)


def _is_there(module: str) -> bool:
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        return False
    return spec is not None and not spec.submodule_search_locations  # not a package
