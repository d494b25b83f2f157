"""The demo: the models, what was measured of them, the page, and the sorting of catalogues."""
