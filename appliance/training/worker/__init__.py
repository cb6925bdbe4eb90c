"""What runs in the trainer environment, as a process of its own.

Nothing in this package may import the agent's packages other than this one: the trainer
environment has torch, transformers, trl and unsloth, not what the agent needs; and the agent never
imports this package (parts of the trainer are AGPL-3.0). They speak through a job file, a pipe of
JSON lines and the exit code.
"""
