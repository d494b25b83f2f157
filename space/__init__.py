"""What the demo runs on: the classifiers, the comparison and the page."""
