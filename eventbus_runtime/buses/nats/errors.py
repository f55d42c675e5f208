"""What nats-py, the operating system and the server say, as this package's errors and as sentences for people.

The only place that knows nats-py's exceptions: none of them leaves `buses`.
"""

from __future__ import annotations

import socket
import ssl

import nats.errors

from eventbus_runtime.errors import (
    ApiError,
    BusError,
    JetStreamDisabledError,
    MessageTooLargeError,
    NotFoundError,
    PublishError,
    StreamFullError,
    WrongSequenceError,
)

# The server's texts for credentials that it does not take, now or any more (nats-server, server/errors.go).
# Not "authentication timeout": that says that one of both was too slow.
_REFUSALS = ("authorization violation", "authentication expired", "authentication revoked")
PERMISSIONS_VIOLATION = "permissions violation"

# JSNotEnabledErr and JSNotEnabledForAccountErr (nats-server, server/errors.json).
_DISABLED = {10076: "JetStream is off on this server", 10039: "JetStream is not enabled for this account"}
# What a stream refuses a publish with (the same file). A store that fails has one number for all causes.
_WRONG_SEQUENCE, _TOO_LARGE, _STORE_FAILED = (10071, 10164), 10054, 10077
_NO_ROOM = (10002, 10023)  # of the account, of the server


def is_refusal(text: str) -> bool:
    """Whether a server's error text says that it refuses the credentials."""
    lowered = text.lower()
    return any(refusal in lowered for refusal in _REFUSALS)


def sentence(error: BaseException | None) -> str:
    """Why a connection could not be made, or was lost, in a few words."""
    match error:
        case None:
            return "the connection was closed"
        case ConnectionRefusedError():
            return "connection refused"
        case socket.gaierror():
            return "the host name is not known"
        case ssl.SSLCertVerificationError():
            return f"the server's certificate is not trusted: {error.verify_message}"
        case ssl.SSLError():
            return f"the TLS handshake failed: {error.reason or error}"
        case nats.errors.UnexpectedEOF() | ConnectionResetError() | BrokenPipeError():
            return "the server closed the connection"
        case nats.errors.StaleConnectionError():
            return "the server stopped answering"
        case TimeoutError():
            return "no answer in time"
    return str(error).removeprefix("nats: ").strip("'") or type(error).__name__


def api_error(error: dict[str, object], subject: str) -> BusError:
    """The error object of a JetStream API answer."""
    code, err_code = _number(error.get("code")), _number(error.get("err_code"))
    if err_code in _DISABLED:
        return JetStreamDisabledError(f"{_DISABLED[err_code]} (asked of {subject})")
    kind = NotFoundError if code == 404 else ApiError
    return kind(code, err_code, str(error.get("description", "unknown error")), subject)


def refusal(error: dict[str, object], subject: str) -> PublishError:
    """The error object of a stream's answer to a publish to `subject`."""
    err_code, description = _number(error.get("err_code")), str(error.get("description", "unknown error"))
    text = f"{subject!r} was refused: {description} (error {err_code})"
    if err_code in _WRONG_SEQUENCE:
        last = description.rpartition(": ")[2]
        return WrongSequenceError(text, err_code, int(last) if last.isdecimal() else None)
    if err_code == _TOO_LARGE:
        return MessageTooLargeError(text, err_code)
    if err_code in _NO_ROOM or (err_code == _STORE_FAILED and description.startswith("maximum ")):
        return StreamFullError(text, err_code)
    return PublishError(text, err_code)


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
