"""Sorting a catalogue without a person where that is safe."""
