"""Programs for another machine: one file each, the standard library of Python 3.8 and no more."""
