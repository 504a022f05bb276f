"""Runs beside each other and beside the study's: table, costs, histories."""

__all__ = ["cost_scatter", "pairs", "run_table", "study_histories"]
