"""What can go wrong, as one tree.

EventbusError
├── ConfigError             the configuration, or user code that it names; exit code 2
├── BindingError            a handler whose signature can't be bound (reported as a ConfigError's problem)
├── ResourceError           a resource that can't be opened or closed
├── DecodeError             a payload that does not decode to what the handler asked for
├── BusError                a broker connection
│   ├── BusUnavailableError       not connected, or no answer in time; retryable
│   │   └── NotPermittedError           the server does not permit the subject
│   ├── AuthenticationError       the server refuses the credentials
│   ├── JetStreamDisabledError    reached, but JetStream is off for this account
│   ├── PayloadTooLargeError      more than the server's max_payload; never sent
│   └── ApiError                  the JetStream API answered with an error
│       └── NotFoundError               the stream or consumer does not exist
├── PublishError            a publish that was not confirmed; retryable, where not said otherwise
│   ├── NoStreamError             no stream stores the subject
│   ├── StreamFullError           the stream, or its account, is at a limit
│   ├── WrongSequenceError        somebody else has published meanwhile; not retryable
│   └── MessageTooLargeError      more than the stream's max_msg_size; not retryable
├── TopologyError           a stream or consumer that can't be made as declared
├── DeadLetterError         dead letters that can't be shown, replayed or dropped
└── TriggerError            a trigger that can't run

`retryable` says whether trying again can help; `exit_code` is what `eventbus-run` exits with when nothing catches it.
A message says what, where and how to mend it.
"""

from __future__ import annotations

from dataclasses import dataclass


class EventbusError(Exception):
    """Root of all errors of this package."""

    retryable = False
    exit_code = 1


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a configuration.

    Args:
        where: `file:line`, the name of an environment variable, or `--set key`.
        key: dotted key, as `triggers.billing.max_in_flight`; empty for a mistake of the whole file.
        text: what is wrong, what was expected, and how to mend it.
    """

    where: str
    key: str
    text: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, self.key, self.text) if part)


class ConfigError(EventbusError):
    """The configuration can't be used. Carries every problem that was found, in file order."""

    exit_code = 2

    def __init__(self, problems: list[Problem] | str) -> None:
        self.problems = [Problem("", "", problems)] if isinstance(problems, str) else problems
        super().__init__("\n".join(str(problem) for problem in self.problems))


class BindingError(EventbusError):
    """A handler's signature can't be bound: what parameter, and what would do."""

    exit_code = 2


class ResourceError(EventbusError):
    """A resource of runtime scope could not be opened or closed: which one, where, and what it raised."""


class DecodeError(EventbusError):
    """A payload does not decode to the type that its handler asked for."""


class BusError(EventbusError):
    """Something about a broker connection."""


class BusUnavailableError(BusError):
    """The bus is not connected, or did not answer in time."""

    retryable = True


class NotPermittedError(BusUnavailableError):
    """The server does not permit our user to publish to `subject`, so that nothing was done. It may permit it later."""

    def __init__(self, subject: str) -> None:
        self.subject = subject
        super().__init__(f"the server does not permit it to publish to {subject!r}: give its user that permission")


class AuthenticationError(BusError):
    """The server refuses our credentials."""


class JetStreamDisabledError(BusError):
    """The server answers, but JetStream is off (for this account)."""

    retryable = True


class PayloadTooLargeError(BusError):
    """A message with its headers is larger than the server's max_payload."""


class ApiError(BusError):
    """The JetStream API answered with an error.

    Args:
        code: HTTP-like code of the answer, such as 400 or 404.
        err_code: the server's own number, such as 10058.
        description: the server's text.
        subject: the API subject that was asked.
    """

    def __init__(self, code: int, err_code: int, description: str, subject: str) -> None:
        self.code, self.err_code, self.description, self.subject = code, err_code, description, subject
        super().__init__(f"{description} (error {err_code}, asked of {subject})")


class NotFoundError(ApiError):
    """The stream or consumer does not exist (code 404)."""


class PublishError(EventbusError):
    """A publish was not confirmed by a stream. `err_code` is the server's number, 0 when it said nothing."""

    retryable = True

    def __init__(self, text: str, err_code: int = 0) -> None:
        self.err_code = err_code
        super().__init__(text)


class NoStreamError(PublishError):
    """No stream stores the subject. The server said so, and again whenever it was tried later (NATS ADR-22)."""


class StreamFullError(PublishError):
    """The stream refuses new messages at its limit (`discard = "new"`), or server or account have no room left."""


class WrongSequenceError(PublishError):
    """The last sequence is not the expected one: somebody else has published meanwhile.

    `sequence` is the stream's or subject's last one, None where the server does not tell it.
    """

    retryable = False

    def __init__(self, text: str, err_code: int, sequence: int | None) -> None:
        self.sequence = sequence
        super().__init__(text, err_code)


class MessageTooLargeError(PublishError):
    """A message with its headers is larger than the stream's max_msg_size."""

    retryable = False


class TopologyError(EventbusError):
    """A stream or consumer can't be made as declared: which object, which field, old and new value."""


class DeadLetterError(EventbusError):
    """Dead letters can't be shown, replayed or dropped as asked: which ones, and why."""


class TriggerError(EventbusError):
    """A trigger can't run, and trying again without a change can't help."""


class ContractError(EventbusError):
    """A value does not keep its contract: which message, which field, what was expected (S-40)."""


class StepError(EventbusError):
    """A step failed; begins with the step's name, as `step.eventbus.publish: subject is required` (S-33)."""
