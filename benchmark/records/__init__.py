"""The results folder: its files, its models, and the state of each cell."""
