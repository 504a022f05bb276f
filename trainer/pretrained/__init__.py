"""A trained model of Quick, Draw!'s 345 categories and its card, made by `make pretrained`."""

__all__: list[str] = []
