"""Stages as a graph over content hashes: what a stage is, and when its work is already done.

A stage's key is the hash of its name, its code's version, its parameters and the outputs of the
stages it needs. The same key means the same work: a record under that key whose outputs are
still there is kept, and anything else is run again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from appliance.core.canonical import value_hash
from appliance.core.errors import PipelineGraphError

Outputs = dict[str, Any]


@dataclass(frozen=True)
class Stage:
    """One step of the pipeline.

    ``run`` takes the outputs of the stages named in ``needs`` (stage name -> outputs) and returns
    this stage's outputs: JSON values only, hashes wherever there is content. ``present`` says
    whether outputs recorded earlier are still there. A stage with ``always`` is run every time,
    since its answer is about now (the machine, the service, the log), not about content.
    """

    name: str
    title: str
    run: Callable[[Mapping[str, Outputs]], Outputs]
    needs: tuple[str, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    version: int = 1
    present: Callable[[Outputs], bool] = lambda _: True
    always: bool = False


def stage_key(stage: Stage, outputs: Mapping[str, Outputs]) -> str:
    """Return the content hash that names this stage's work, given the outputs it needs."""
    return value_hash(
        {
            "stage": stage.name,
            "version": stage.version,
            "params": dict(stage.params),
            "inputs": {name: outputs[name] for name in stage.needs},
        }
    )


def ordered(stages: list[Stage]) -> list[Stage]:
    """Return the stages so that each comes after what it needs, otherwise in the order given."""
    done: list[Stage] = []
    names: set[str] = set()
    left = list(stages)
    known = {stage.name for stage in stages}
    if len(known) != len(stages):
        raise PipelineGraphError(expected="one stage a name", found="a name used twice")
    for stage in stages:
        if missing := set(stage.needs) - known:
            raise PipelineGraphError(
                expected=f"stages that exist for {stage.name}", found=", ".join(sorted(missing))
            )
    while left:
        ready = next((s for s in left if names.issuperset(s.needs)), None)
        if ready is None:
            raise PipelineGraphError(
                expected="no circle among stages", found=", ".join(s.name for s in left)
            )
        left.remove(ready)
        done.append(ready)
        names.add(ready.name)
    return done
