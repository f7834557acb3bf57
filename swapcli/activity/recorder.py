"""Follows each request to a model from its arrival to its end, for the list and for the record.

What is made anew for each request is a msgspec struct, here and in the modules around: that costs a third of
what a class of attrs does, and is seen in the requests that the relay manages.
"""

from __future__ import annotations

from collections.abc import Callable
from time import time
from typing import TypeAlias

import attrs
import msgspec
import trio

from .captures import CaptureBuffer, captured_parts
from .ended_request import Body, EndedRequest, Exchanged
from .inflight import InflightList, InflightRequest, Nobody, Place
from .journal import Journal, open_database
from .response_meter import ResponseMeter

RawHeaders: TypeAlias = list[tuple[bytes, bytes]]


@attrs.frozen(eq=False)
class Recorder:
    """Where requests come to be followed. One for the whole server; it outlives configurations."""

    journal: Journal
    inflight: InflightList

    @classmethod
    def unattended(cls) -> Recorder:
        """Return one that keeps all in memory, and whose journal nobody runs: it writes when it is read."""
        journal = Journal(
            captures=CaptureBuffer(0), on_recorded=lambda _: None, database=open_database(), keep=1000
        )
        return cls(journal, InflightList(Nobody()))

    def follow(
        self,
        *,
        model: str,
        method: str,
        asked_path: str,
        path: str,
        headers: RawHeaders,
        body: Body,
        remote_ip: str,
        is_metered: bool,
        cancel: Callable[[], object],
    ) -> Recording:
        """A request arrived. The caller ends what this returns, whatever happens.

        Args:
          model: the model's id; for one of a peer, or of nobody, the name that was asked for.
          asked_path: as the client sent it.
          path: as the model's process will see it.
          is_metered: it goes into the record, and not only into the list.
          cancel: calls the request off.
        """
        inflight = self.inflight
        request = InflightRequest(
            id=inflight.next_id(),
            arrived_at=time(),
            model=model,
            path=asked_path,
            method=method,
            headers=headers,
            remote_ip=remote_ip,
            cancel=cancel,
        )
        inflight.add(request)
        if not is_metered:
            return Recording(self, request, path, body)
        room = self.journal.captures.limit
        keep = room if captured_parts(asked_path).response_body else 0
        return Recording(self, request, path, body, ResponseMeter(path, keep), captures=room > 0)


class Recording(msgspec.Struct, eq=False):
    """One request. For its task only; none of these methods blocks or fails."""

    _recorder: Recorder
    request: InflightRequest
    path: str
    body: Body
    """As it is sent on."""
    _meter: ResponseMeter | None = None
    captures: bool = False
    metadata: dict[str, str] = {}
    """What else is to be known of it, shown with its record."""
    _is_complete: bool = False
    _has_ended: bool = False

    @property
    def is_metered(self) -> bool:
        """It goes into the record."""
        return self._meter is not None

    def unlist(self) -> None:
        """Nobody hears of it any more: it holds nothing that another could wait for."""
        self._recorder.inflight.remove(self.request)

    def waits(self, place: Place) -> None:
        """It is in line for its model."""
        self.request.place, self.request.is_granted = place, False
        self._recorder.inflight.changed(self.request)

    def goes_to(self, model: str, body: Body) -> None:
        """It was decided who is to answer, and what that one gets."""
        self.request.model, self.body = model, body

    def granted(self, priority: int) -> None:
        """It has its model, which is one of this server's, and has that priority."""
        self.request.is_granted = True
        self.metadata["fifo_priority"] = str(priority)
        if self.request.place is not None:
            self._recorder.inflight.changed(self.request)

    def response_started(self, status: int, headers: RawHeaders) -> None:
        """The answer has begun."""
        self.request.response_headers = headers
        if self._meter is not None:
            self._meter.start(status, headers)
        self._recorder.inflight.changed(self.request)

    def response_body(self, data: bytes, *, is_last: bool) -> None:
        """The next piece of the answer was sent."""
        self.request.response_bytes += len(data)
        if self._meter is not None:
            self._meter.feed(data)
        self._is_complete = is_last

    def ended(self) -> None:
        """It is over, in whatever way. The second time means nothing."""
        if self._has_ended:
            return
        self._has_ended = True
        request = self.request
        self._recorder.inflight.remove(request)
        if self._meter is None:
            return
        journal = self._recorder.journal
        exchanged = None
        if self.captures and sum(map(len, self.body)) <= journal.captures.limit:
            exchanged = Exchanged(request.path, request.headers, self.body, request.response_headers or [])
        journal.add(
            EndedRequest(
                id=journal.next_id(),
                ended_at=int(time()),
                model=request.model,
                path=self.path,
                duration_ms=int((trio.current_time() - request.arrived) * 1000),
                metadata=self.metadata,
                meter=self._meter,
                is_complete=self._is_complete,
                exchanged=exchanged,
            )
        )
