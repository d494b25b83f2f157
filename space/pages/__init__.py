"""The page, a tab a pair of files."""
