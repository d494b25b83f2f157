"""What a comparison of models on labelled photos found."""
