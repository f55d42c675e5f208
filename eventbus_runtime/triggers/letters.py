"""Sends the dead letters of one trigger, and says which of them its stream has."""

from __future__ import annotations

from eventbus_runtime.buses.base import Bus, PubAck
from eventbus_runtime.errors import EventbusError, PayloadTooLargeError, PublishError
from eventbus_runtime.message import Message
from eventbus_runtime.triggers import dead_letter
from eventbus_runtime.triggers.consumer import ConsumerFinder

# No stream answered; or another one did than `Nats-Expected-Stream` names.
_NOT_THERE = (0, 10060)


class UnconfirmedError(Exception):
    """A dead letter is not known to be stored: its message must stay. `too_large`: trying again soon can't help."""

    def __init__(self, text: str, *, too_large: bool = False) -> None:
        self.too_large = too_large
        super().__init__(text)


class DeadLetters:
    """Publishes dead letters, and waits until they are confirmed.

    Args:
        subject: where to; None where the trigger has no `dead_letter`, and nothing may be sent.
        bus: where to.
        finder: knows the stream that must store them.
    """

    def __init__(self, subject: str | None, bus: Bus, finder: ConsumerFinder) -> None:
        self._subject, self._bus, self._finder = subject, bus, finder
        self._referenced: set[str] = set()

    async def send(self, message: Message, reason: str, error: str) -> PubAck:
        """Publish the dead letter of a message, without its error's text where it would be too large with it.

        Args:
            message: what could not be handled.
            reason: why, in one word.
            error: the error's text.

        Raises:
            UnconfirmedError: it is not confirmed. Of one that is too large for the subject, a reference was sent.
        """
        letter = dead_letter.build(message, reason, error)
        for candidate in (letter, dead_letter.without_error(letter)):
            try:
                return await self._publish(candidate)
            except PayloadTooLargeError:
                continue
            except (EventbusError, ValueError) as failed:
                if isinstance(failed, PublishError) and failed.err_code in _NOT_THERE:
                    self._finder.no_dead_letters()
                raise UnconfirmedError(f"the dead letter was not confirmed: {failed}") from failed
        text = "it is too large for the dead-letter subject; a reference is dead-lettered, the message stays"
        if letter.id not in self._referenced:
            try:
                await self._publish(dead_letter.reference(letter))
                self._referenced.add(letter.id)
            except (EventbusError, ValueError) as failed:
                text = f"it is too large for the dead-letter subject, and a reference to it was not confirmed: {failed}"
        raise UnconfirmedError(text, too_large=True)

    async def _publish(self, letter: dead_letter.DeadLetter) -> PubAck:
        assert self._subject is not None, "the policy has no dead letter"
        return await self._bus.publish(
            self._subject,
            letter.payload,
            letter.headers,
            id=letter.id,
            expect_stream=self._finder.dead_letter_stream,
        )
