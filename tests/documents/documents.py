"""Commands that the documents show, what they claim to print, and whether that was printed."""

import difflib
import pathlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from tests.support.ndjson import ROOT

ANY_LINES = "…"  # a line of an output that stands for any number of lines

_PROGRAMS = "docker|go|head|make|mypy|pip|python|ruff|source|tensorboard"
_COMMAND = re.compile(rf"(?:\w+=\S+ )*(?:{_PROGRAMS}) ")
_NAME = re.compile(r"python -m ([\w.]+)|make ([\w-]+)")  # of a command, without arguments
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?")


class Example(NamedTuple):
    """Commands that stand together, and the output that follows them."""

    document: str
    commands: tuple[str, ...] = ()  # each on one line
    output: tuple[str, ...] = ()  # lines; none where no output follows


def documents() -> list[pathlib.Path]:
    paths = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
    # The README's commands leave what the other documents' go on from.
    return sorted(paths, key=lambda path: (path.name != "README.md", path))


def read_examples(path: pathlib.Path) -> list[Example]:
    """All examples of a document in its order: blocks of commands, and commands in the text."""
    examples: list[Example] = []
    for language, text in _parts(path.read_text(encoding="utf-8")):
        if language == "sh":
            examples.append(Example(path.name, tuple(_block_commands(text))))
        elif language == "text":
            found = [code for code in _inline_code(text) if _is_command(code)]
            examples += [Example(path.name, (command,)) for command in found]
        elif not language:
            output = tuple(text.splitlines())
            if examples and examples[-1].commands and not examples[-1].output:
                examples[-1] = examples[-1]._replace(output=output)
            else:
                examples.append(Example(path.name, output=output))
    return examples


def read_names(path: pathlib.Path) -> set[str]:
    """Commands of a document that it only names: `python -m trainer.main`, `make test`."""
    texts = (text for language, text in _parts(path.read_text("utf-8")) if language == "text")
    return {code for text in texts for code in _inline_code(text) if _NAME.fullmatch(code)}


def name_exists(name: str) -> bool:
    """Return whether there is such a module with a command, or such a target of the Makefile."""
    found = _NAME.fullmatch(name)
    assert found, name
    module, target = found.groups()
    if module:
        source = ROOT / f"{module.replace('.', '/')}.py"
        return source.is_file() and '__name__ == "__main__"' in source.read_text("utf-8")
    return target in make_targets()


def make_targets() -> list[str]:
    """Return the Makefile's targets that are no files."""
    (names,) = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    return str(names).split()


def difference(
    claimed: Iterable[str], printed: Iterable[str], replacements: Sequence[tuple[str, str]]
) -> str:
    """Return a diff from what the document claims to what was printed; empty where they agree.

    Figures, the width of columns and blank lines do not count, nor how often lines are repeated:
    figures aside, the rows of a table are the same. `replacements`, of regular expressions, are
    made in both before; a line of which nothing is left does not count either.
    """
    ours = _without_repetitions([_normal(line, replacements) for line in claimed])
    theirs = _without_repetitions([_normal(line, replacements) for line in printed])
    pattern = "".join(
        r"(?:.*\n)*?" if line == ANY_LINES else re.escape(f"{line}\n") for line in ours
    )
    if re.fullmatch(pattern, "".join(f"{line}\n" for line in theirs)):
        return ""
    diff = difflib.unified_diff(ours, theirs, "the document", "printed", n=99, lineterm="")
    return "\n".join(diff)


def _normal(line: str, replacements: Sequence[tuple[str, str]]) -> str:
    for pattern, text in replacements:
        line = re.sub(pattern, text, line)
    line = _NUMBER.sub("#", line)
    line = re.sub(r"# [kMGT]?B\b", "# B", line)
    return " ".join(line.split())


def _without_repetitions(lines: Sequence[str]) -> list[str]:
    """Lines, or groups of lines, that follow themselves, once, or whose repetition is left out."""
    found = [line for line in lines if line]
    for index in range(len(found) - 2, 0, -1):
        if found[index] == ANY_LINES and found[index - 1] == found[index + 1]:
            del found[index]
    size = 1
    while size <= len(found) // 2:
        repeated = (
            start
            for start in range(len(found) - 2 * size + 1)
            if found[start : start + size] == found[start + size : start + 2 * size]
        )
        if (start := next(repeated, None)) is None:
            size += 1
        else:
            del found[start : start + size]
            size = 1
    return found


def _parts(text: str) -> Iterator[tuple[str, str]]:
    """(language, text) of all fenced blocks, and ("text", text) of what stands between them."""
    end = 0
    for match in _FENCE.finditer(text):
        yield "text", text[end : match.start()]
        yield match[1], match[2]
        end = match.end()
    yield "text", text[end:]


def _inline_code(text: str) -> list[str]:
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", text)]


def _is_command(code: str) -> bool:
    return bool(_COMMAND.match(code)) and not _NAME.fullmatch(code)


def _block_commands(text: str) -> Iterator[str]:
    """Lines of a block, continued ones as one, without comments."""
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if command := re.sub(r"(^|\s+)#\s.*$", "", line).strip():
            yield " ".join(command.split())
