"""Sections of the report that compare several runs."""

import re
import statistics
from collections.abc import Callable, Sequence
from xml.etree.ElementTree import Element

from analysis.comparison import study_histories
from analysis.comparison.cost_scatter import plot_costs, studied_categories
from analysis.comparison.run_table import SETTINGS, TOP1, make_table, setting
from analysis.plot_histories import plot_histories
from analysis.reading.runs import Run
from analysis.sections.page import Column, TableCell, element, number_cell, picture, table
from analysis.throughput import plot_throughput
from trainer.models import study

Runs = Sequence[Run]


def runs_table(runs: Runs) -> list[Element]:
    """Return the table of runs, the best first, and one of runs that differ in their seeds."""
    shown = make_table(runs)
    fields = shown.fields
    columns = [Column(field.header, field.is_number) for field in fields]
    scored = 1 + [field.header for field in fields].index(TOP1)
    columns.insert(scored, Column("to the best"))
    top1 = [-1.0 if row["top1"] is None else row["top1"] for row in shown.rows]
    lines = shown.cells()
    cells = []
    for i in sorted(range(len(runs)), key=lambda i: -top1[i]):
        row = [
            TableCell(text, sort_value(text) if field.is_number else None)
            for text, field in zip(lines[i], fields, strict=True)
        ]
        row.insert(scored, _difference(top1[i], max(top1)))
        cells.append(row)
    notes = [element("p", text, class_="note") for text in shown.notes]
    text = f"{shown.heading}. s.e.: standard error."
    runs_ = table("Runs", columns, cells, sorted_by=(scored - 1, "descending"))
    return [element("p", text), runs_, *notes, *_seeds_table(runs)]


def _difference(top1: float, best: float) -> TableCell:
    if top1 < 0:  # no epoch yet
        return TableCell("-")
    return TableCell("best" if top1 == best else f"{top1 - best:.3f}", top1 - best)


def _seeds_table(runs: Runs) -> list[Element]:
    """Return a table of runs that are alike but for their seeds; nothing without any."""
    found = [(name, group) for name, group in seed_groups(runs).items() if len(group) > 1]
    if not found:
        return []
    headers = ("runs", "mean top-1", "standard deviation", "lowest", "highest")
    columns = [Column("settings", is_number=False), *map(Column, headers)]
    rows = []
    for name, group in sorted(found, key=lambda item: -statistics.mean(_last(item[1]))):
        accuracies = _last(group)
        values = (statistics.mean(accuracies), statistics.stdev(accuracies))
        numbers = map(number_cell, (*values, min(accuracies), max(accuracies)))
        rows.append([TableCell(name), number_cell(len(group), "d"), *numbers])
    text = "Runs that differ in nothing but their seeds, after their last epochs."
    return [element("p", text), table("Seeds", columns, rows, sorted_by=(2, "descending"))]


def seed_groups(runs: Runs) -> dict[str, list[Run]]:
    """Return the finished runs by their settings without the seed, named by what differs."""
    done = [run for run in runs if run.is_finished]
    settings = {run.directory: _settings(run) for run in done}
    first = next(iter(settings.values()), {})
    names = [name for name in first if len({each[name] for each in settings.values()}) > 1]
    groups: dict[str, list[Run]] = {}
    for run in done:
        values = settings[run.directory]
        different = [f"{name} {values[name]}" for name in names if name != "experiment"]
        groups.setdefault(", ".join([run.experiment, *different]), []).append(run)
    return groups


def _settings(run: Run) -> dict[str, str]:
    values = {name: str(setting(run, name)) for name in SETTINGS if name != "seed"}
    data = run.config["dataset_fingerprint"][:8]
    fixed = {"experiment": run.experiment, "epochs": str(run.planned_epochs), "data set": data}
    return fixed | values


def _last(runs: Runs) -> list[float]:
    return [run.history["val_accuracy"][-1] for run in runs]


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
