"""Collecting what a recipe names, on a machine that has a network."""
