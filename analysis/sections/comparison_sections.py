"""Sections of the report that compare several runs."""

import re
from collections.abc import Callable, Sequence
from xml.etree.ElementTree import Element

from analysis.comparison import study_histories
from analysis.comparison.cost_scatter import plot_costs, studied_categories
from analysis.comparison.run_table import make_table
from analysis.plot_histories import plot_histories
from analysis.reading.runs import Run
from analysis.sections.page import Column, TableCell, element, picture, table
from analysis.throughput import plot_throughput
from trainer.models import study

Runs = Sequence[Run]


def runs_table(runs: Runs) -> list[Element]:
    """Return the table of runs."""
    shown = make_table(runs)
    fields = shown.fields
    cells = [
        [
            TableCell(text, sort_value(text) if field.is_number else None)
            for text, field in zip(line, fields, strict=True)
        ]
        for line in shown.cells()
    ]
    columns = [Column(field.header, field.is_number) for field in fields]
    notes = [element("p", text, class_="note") for text in shown.notes]
    text = f"{shown.heading}. s.e.: standard error."
    return [element("p", text), table("Runs", columns, cells), *notes]


def sort_value(text: str) -> float | None:
    """Return the number with which a cell begins, seconds of a duration; None without one."""
    if text.endswith((" s", " min")):
        units = {"h": 3600, "min": 60, "s": 1}
        return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+) (\w+)", text))
    number = re.match(r"-?[\d,]*\.?\d+(e-?\d+)?", text)
    return float(number[0].replace(",", "")) if number else None


def histories(runs: Runs) -> list[Element]:
    """Return accuracy and loss over the epochs."""
    alt = f"Accuracy and loss of {len(runs)} runs over their epochs"
    return [picture(plot_histories(runs), alt)]


def cost(runs: Runs) -> list[Element]:
    """Return accuracy against cost."""
    beside = " and of the study's" if studied_categories(runs) else ""
    alt = f"Accuracy of {len(runs)} runs{beside} against their costs"
    return [picture(plot_costs(runs), alt)]


def speed(runs: Runs) -> list[Element]:
    """Return images/s, input wait and learning rate."""
    alt = f"Speed, input wait and learning rate of {len(runs)} runs"
    return [picture(plot_throughput(runs), alt)]


def study_groups(runs: Runs) -> list[Element]:
    """Return the study's comparisons of which there are at least two experiments."""
    pictures = []
    for group in groups_of(runs):
        figure = study_histories.plot_group(group, runs, reference=True)
        names = ", ".join(study.GROUPS[group])
        pictures.append(picture(figure, f"Histories of the study's experiments {names}"))
    text = "Dashed: the study's own runs of the same experiments, on its own drawings."
    return [element("p", text), *pictures]


def groups_of(runs: Runs) -> list[str]:
    """Return the study's groups with finished epochs of at least two experiments."""
    names = {run.experiment for run in runs if run.epochs}
    return [group for group, members in study.GROUPS.items() if len(names & {*members}) > 1]


def choose(runs: Runs) -> dict[str, Callable[[Runs], list[Element]]]:
    """Return what makes the sections about these runs, by title; none without runs."""
    if not runs:
        return {}
    sections: dict[str, Callable[[Runs], list[Element]]]
    sections = {"Runs": runs_table, "Histories": histories, "Accuracy and cost": cost}
    if groups_of(runs):
        sections["The study's comparisons"] = study_groups
    return sections | {"Speed": speed}
