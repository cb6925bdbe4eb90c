"""The verifier that travels on the medium; a package so that the agent's wheel carries it."""
