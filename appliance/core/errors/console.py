"""Errors of the console part. Exit codes 120 to 124."""

from __future__ import annotations

from appliance.core.errors.base import ApplianceError


class ConsoleAccountError(ApplianceError):
    """The account cannot be made or changed like this."""

    id = "console-account"
    exit_code = 120
    http_status = 400
    remedy = "Correct what is named; `appliance console user list` shows the accounts."


class ConsoleForbiddenError(ApplianceError):
    """The role of this account does not allow it."""

    id = "console-forbidden"
    exit_code = 121
    http_status = 403
    remedy = "Ask somebody whose role allows it; roles are listed in docs/officers/en/console.md."


class ReviewRefusedError(ApplianceError):
    """The review or sign-off breaks a rule of the four eyes."""

    id = "review-refused"
    exit_code = 122
    http_status = 409
    remedy = "Have a second person with another account, not concerned by the event, do it."


class ConsoleInsecureError(ApplianceError):
    """The console would send passwords over the network in clear."""

    id = "console-insecure"
    exit_code = 123
    remedy = "Name a certificate with --tls-cert and --tls-key, or listen on 127.0.0.1."


class ConsoleInputError(ApplianceError):
    """The form holds something that cannot be used."""

    id = "console-input"
    exit_code = 124
    http_status = 400
    remedy = "Correct the field and send the form again."
