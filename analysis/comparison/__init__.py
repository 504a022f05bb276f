"""Runs beside each other and beside the study's: table, costs, histories."""

__all__ = ["cost_scatter", "run_table", "study_histories"]
