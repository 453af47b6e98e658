"""What Pillow does to pictures."""


def resize_rows_first(image, size, filter):
    """Rows, then columns: what Pillow did up to version 12, for every size. Since then it sometimes starts with the
    columns, which moves single grey levels; two calls of one pass each are the same in every version."""
    return image.resize((size[0], image.height), filter).resize(size, filter)
