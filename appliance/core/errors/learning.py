"""Errors of the learning part. Exit codes 50 to 64."""

from __future__ import annotations

from appliance.core.errors.base import ApplianceError


class RecipeInvalidError(ApplianceError):
    """The training recipe cannot be used."""

    id = "recipe-invalid"
    exit_code = 50
    http_status = 422
    remedy = "Correct the named key; `appliance train plan` checks a recipe without training."


class WeightsRefusedError(ApplianceError):
    """These model files are not taken in."""

    id = "weights-refused"
    exit_code = 51
    http_status = 422
    remedy = "Import safetensors or GGUF files from a source you trust; nothing was kept."


class ModelUnknownError(ApplianceError):
    """No such model, adapter or GGUF file is in the registry."""

    id = "model-unknown"
    exit_code = 52
    http_status = 404
    remedy = "Run `appliance models list` and name one of the hashes shown."


class GateRefusedError(ApplianceError):
    """The evaluation gate does not let this adapter be promoted."""

    id = "gate-refused"
    exit_code = 53
    http_status = 409
    remedy = "Read the evaluation report, change the data or the recipe, and train again."


class SampleTooLongError(ApplianceError):
    """A training sample does not fit; cutting it would teach half an answer."""

    id = "sample-too-long"
    exit_code = 54
    http_status = 422
    remedy = "Raise max_length in the recipe or shorten the named samples."


class TrainingDivergedError(ApplianceError):
    """Training went wrong and was stopped."""

    id = "training-diverged"
    exit_code = 55
    http_status = 500
    remedy = "Lower the learning rate of that stage in the recipe and train again."


class ConversionFailedError(ApplianceError):
    """The model could not be converted to GGUF."""

    id = "conversion-failed"
    exit_code = 56
    http_status = 500
    remedy = "Read worker.log in the named run folder; the model itself is unchanged."


class ApprovalMissingError(ApplianceError):
    """This promotion needs a second person."""

    id = "approval-missing"
    exit_code = 57
    http_status = 403
    remedy = "Have another person run `appliance models approve` with the same hashes."


class EvaluationImpossibleError(ApplianceError):
    """There is nothing here that can be measured."""

    id = "evaluation-impossible"
    exit_code = 58
    http_status = 422
    remedy = "Name a dataset version whose split holds answers or contrastive pairs."


class EvaluationMissingError(ApplianceError):
    """There is no such evaluation."""

    id = "evaluation-missing"
    exit_code = 59
    http_status = 404
    remedy = "List them with: appliance evaluate report; make one with: appliance evaluate run."


class DatasetNotReadyError(ApplianceError):
    """This dataset version may still hold identifiers; nothing is trained on it."""

    id = "dataset-not-ready"
    exit_code = 64
    http_status = 409
    remedy = "Run `appliance deid apply` and `appliance data split`, and name the version made."
