"""The page, a tab a pair of files, and what its events have in common."""

# What runs the networks takes all cores, and is done one after the other.
NETWORKS = {"concurrency_id": "networks", "concurrency_limit": 1}
PRIVATE = {"api_visibility": "private", "show_progress": "hidden"}
