"""Errors of the container images. Exit code 125."""

from __future__ import annotations

from appliance.core.errors.base import ApplianceError


class ImageRefusedError(ApplianceError):
    """The image breaks a rule that every image keeps."""

    id = "image-refused"
    exit_code = 125
    http_status = 422
    remedy = "Take what is named out of the image's recipe, then build it again."
