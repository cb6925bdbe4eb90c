"""python-tuf's metadata classes, imported in one place because it re-exports them implicitly."""

from __future__ import annotations

from securesystemslib.signer import (  # type: ignore[attr-defined] # re-exported without __all__
    CryptoSigner,
    HSMSigner,
    Signer,
    SSlibKey,
)
from tuf.api import exceptions as tuf_errors
from tuf.api.metadata import (  # type: ignore[attr-defined] # re-exported without __all__
    Key,
    Metadata,
    MetaFile,
    Root,
    Signature,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization import DeserializationError
from tuf.api.serialization.json import JSONSerializer
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet
from tuf.ngclient.config import EnvelopeType

__all__ = [
    "CryptoSigner",
    "DeserializationError",
    "EnvelopeType",
    "HSMSigner",
    "JSONSerializer",
    "Key",
    "MetaFile",
    "Metadata",
    "Root",
    "SSlibKey",
    "Signature",
    "Signer",
    "Snapshot",
    "TargetFile",
    "Targets",
    "Timestamp",
    "TrustedMetadataSet",
    "tuf_errors",
]
