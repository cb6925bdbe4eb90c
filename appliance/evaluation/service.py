"""What the pipeline and the command line call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from appliance.core.errors import EvaluationImpossibleError
from appliance.core.home import Home
from appliance.core.progress import NoProgress, Progress
from appliance.core.settings.evaluation import EvaluationSettings
from appliance.datasets.record import Split
from appliance.datasets.store import DatasetStore
from appliance.evaluation.measure import Measurement, group_records
from appliance.evaluation.result import EvaluationResult, EvaluationStore, Subject
from appliance.evaluation.scorer import Scorer

__all__ = ["HeldOut", "evaluate_model"]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The records to measure on: a dataset version and one of its splits."""

    dataset: str
    split: str = "test"


def evaluate_model(
    home: Home,
    scorer: Scorer,
    data: HeldOut,
    settings: EvaluationSettings,
    progress: Progress | None = None,
) -> EvaluationResult:
    """Measure ``scorer`` on held-out records and store the result.

    The same measurement made before is returned as it is stored.

    Raises:
        DatasetMissingError: no such version.
        EvaluationImpossibleError: the split holds nothing that can be measured.
    """
    version = DatasetStore(home).open(data.dataset)
    version.verify()
    wanted = next((s for s in get_args(Split) if s and s == data.split), None)
    if wanted is None:
        raise EvaluationImpossibleError(
            expected="the split train, validation or test", found=data.split[:20]
        )
    subject = Subject.model_validate(scorer.subject())
    options = settings.model_dump(mode="json")
    store = EvaluationStore(home)
    known = store.find(subject, version.hash, wanted, options)
    if known is not None:
        return known
    groups = group_records(version.iter_records(wanted), settings.max_records)
    if not groups.total:
        raise EvaluationImpossibleError(
            expected=f"answers, pairs or harmless questions in split {wanted}", found="none"
        )
    shown = progress or NoProgress()
    measurement = Measurement(scorer, settings, shown)
    cut_before = scorer.cut_prompts
    metrics, items = measurement.run(groups)
    shown.close()
    return store.save(
        EvaluationResult.of(
            subject=subject,
            dataset=version.hash,
            split=wanted,
            options=options,
            counts={
                "answers": len(groups.answers),
                "pairs": len(groups.pairs),
                "harmless": len(groups.harmless),
                "decisions": len(groups.decisions),
                "choices": len(groups.choices),
                "skipped": measurement.skipped,
                "cut_prompts": scorer.cut_prompts - cut_before,
            },
            metrics=metrics,
            items=items,
        )
    )
