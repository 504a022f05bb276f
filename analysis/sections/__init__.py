"""Sections of the report, and the page that holds them."""

__all__ = [
    "comparison_sections",
    "data_sections",
    "map_section",
    "page",
    "page_heading",
    "pair_sections",
    "prediction_sections",
    "run_sections",
    "slice_sections",
]
