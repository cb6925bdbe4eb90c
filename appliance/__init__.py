"""An AI appliance a hospital installs on its own hardware; it never needs the internet."""

__version__ = "0.1.0"
