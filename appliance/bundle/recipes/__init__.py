"""The shipped recipes; a package so that the agent's wheel carries them."""
