"""Style of pictures: colours, axes, scales, labels, image grids, files."""

__all__ = ["category_rows", "figures", "image_grid", "labels", "scales", "stroke_files", "texts"]
