"""The sections of the report that compare several runs."""

import re
from collections.abc import Callable, Sequence
from xml.etree.ElementTree import Element

from analysis.plot_histories import plot_histories
from analysis.reading.runs import Run
from analysis.sections.page import Cell, Column, element, picture, table
from analysis.style import run_table, study_histories
from analysis.style.cost_scatter import plot_costs
from analysis.throughput import plot_throughput
from trainer.models import study

Runs = Sequence[Run]


def runs_table(runs: Runs) -> list[Element]:
    """What the runs cost, what they achieve, in what their settings differ."""
    rows = run_table.make_rows(runs)
    columns = run_table.make_columns(rows)
    cells = [
        [
            Cell(text, sort_value(text) if column.is_number else None)
            for text, column in zip(line, columns, strict=True)
        ]
        for line in run_table.make_cells(rows, columns)
    ]
    heads = [Column(column.header, column.is_number) for column in columns]
    notes = [element("p", text, class_="note") for text in run_table.make_notes(rows)]
    text = f"{run_table.make_heading(rows)}. s.e.: standard error."
    return [element("p", text), table("Runs", heads, cells), *notes]


def sort_value(text: str) -> float | None:
    """The number with which a cell begins, in seconds if it is a duration; None without one."""
    if text.endswith((" s", " min")):
        units = {"h": 3600, "min": 60, "s": 1}
        return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+) (\w+)", text))
    number = re.match(r"-?[\d,]*\.?\d+(e-?\d+)?", text)
    return float(number[0].replace(",", "")) if number else None


def histories(runs: Runs) -> list[Element]:
    alt = f"Accuracy and loss of {len(runs)} runs over their epochs"
    return [picture(plot_histories(runs), alt)]


def cost(runs: Runs) -> list[Element]:
    alt = f"Accuracy of {len(runs)} runs and of the study's 20 against their costs"
    return [picture(plot_costs(runs), alt)]


def speed(runs: Runs) -> list[Element]:
    alt = f"Speed, input wait and learning rate of {len(runs)} runs"
    return [picture(plot_throughput(runs), alt)]


def study_groups(runs: Runs) -> list[Element]:
    """The study's own comparisons of which there are at least two experiments."""
    pictures = []
    for group in groups_of(runs):
        figure = study_histories.plot_group(group, runs, reference=True)
        names = ", ".join(study.GROUPS[group])
        pictures.append(picture(figure, f"Histories of the study's experiments {names}"))
    text = "Dashed: the study's own runs of the same experiments, on its own drawings."
    return [element("p", text), *pictures]


def groups_of(runs: Runs) -> list[str]:
    """The study's groups of which there are finished epochs of at least two experiments."""
    names = {run.experiment for run in runs if run.epochs}
    return [group for group, members in study.GROUPS.items() if len(names & {*members}) > 1]


def choose(runs: Runs) -> dict[str, Callable[[Runs], list[Element]]]:
    """What makes the sections about these runs, by title; none if there are no runs."""
    if not runs:
        return {}
    sections: dict[str, Callable[[Runs], list[Element]]]
    sections = {"Runs": runs_table, "Histories": histories, "Accuracy and cost": cost}
    if groups_of(runs):
        sections["The study's comparisons"] = study_groups
    return sections | {"Speed": speed}
