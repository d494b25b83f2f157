"""The seven categories of the marketplace and the study's description of each.

The one place where they are written: the loader's labels, the training, the zero-shot
models and the page all read them here. The order is the order of the class indices.
"""

DESCRIPTIONS: dict[str, str] = {
    "baby care": "toys, clothes, and accessories for baby boys and girls",
    "beauty and personal care": "products for skin care, body care, and personal beauty routines",
    "computers": "computing devices, peripherals, and accessories for computer science",
    "home decor & festive needs": ("decorative items and festive products for home decoration"),
    "home furnishing": "furnishing products and decorative items for home interiors",
    "kitchen & dining": "kitchen tools, dining accessories, and mugs",
    "watches": "timepieces including wristwatches and other types of watches",
}

CATEGORIES: list[str] = list(DESCRIPTIONS)
