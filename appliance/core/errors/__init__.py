"""The one error tree: stable id, exit code, HTTP status, remedy.

Exit codes: 0 fine, 1 the answer is no, 2 used wrongly, 3 and more one per class. A part has a
module and a range of its own: general 3-19, audit 20-34, data 35-49 (de-identification and
datasets), learning 50-64 (registry, training, evaluation), serving 65-74 (inference, gateway),
bundle 75-94, host 95-109, hardware 110-119, console 120-124.
"""

from appliance.core.errors.base import ApplianceError, all_errors
from appliance.core.errors.data import (
    DatasetDamagedError,
    DatasetMissingError,
    FormatUnknownError,
    IdentifierSearchError,
    InputCutError,
    InputEmptyError,
    InputEncodingError,
    InputHeaderError,
    InputInvalidError,
    InputTooLongError,
    NothingImportedError,
    PseudonymKeyError,
    SplitImpossibleError,
)
from appliance.core.errors.general import (
    BusyError,
    DiskFullError,
    HomeUnusableError,
    InputMissingError,
    InterruptedRunError,
    NetworkUsedError,
    SettingsInvalidError,
    StateDamagedError,
    ToolFailedError,
    ToolMissingError,
)
from appliance.core.errors.learning import (
    ApprovalMissingError,
    ConversionFailedError,
    GateRefusedError,
    ModelUnknownError,
    RecipeInvalidError,
    SampleTooLongError,
    TrainingDivergedError,
    WeightsRefusedError,
)

__all__ = [
    "ApplianceError",
    "ApprovalMissingError",
    "BusyError",
    "ConversionFailedError",
    "DatasetDamagedError",
    "DatasetMissingError",
    "DiskFullError",
    "FormatUnknownError",
    "GateRefusedError",
    "HomeUnusableError",
    "IdentifierSearchError",
    "InputCutError",
    "InputEmptyError",
    "InputEncodingError",
    "InputHeaderError",
    "InputInvalidError",
    "InputMissingError",
    "InputTooLongError",
    "InterruptedRunError",
    "ModelUnknownError",
    "NetworkUsedError",
    "NothingImportedError",
    "PseudonymKeyError",
    "RecipeInvalidError",
    "SampleTooLongError",
    "SettingsInvalidError",
    "SplitImpossibleError",
    "StateDamagedError",
    "ToolFailedError",
    "ToolMissingError",
    "TrainingDivergedError",
    "WeightsRefusedError",
    "all_errors",
]
