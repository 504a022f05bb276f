"""How pictures look: axes, scales, labels, grids, saving."""

__all__ = [
    "category_rows",
    "cost_scatter",
    "curves",
    "figures",
    "run_table",
    "scales",
    "similar_order",
    "study_histories",
    "text_lines",
    "tiles",
    "uncertainty",
]
