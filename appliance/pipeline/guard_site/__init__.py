"""The folder that puts the network guard into Python children."""
