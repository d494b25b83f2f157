"""The categories, the photos and what reads them."""
