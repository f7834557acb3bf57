"""The web framework, imported when it is wanted: it costs more than the rest of the start together."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio
from hypercorn.typing import ASGIFramework, ASGIReceiveCallable, ASGISendCallable, Scope


@attrs.define(eq=False)
class LatePages:
    """An ASGI application that is made by its first request, or by `prepare`, whichever comes first."""

    _make: Callable[[], ASGIFramework]
    """Called once, in a worker thread, because it imports."""
    _app: ASGIFramework | None = attrs.field(default=None, init=False)
    _making: trio.Lock = attrs.field(factory=trio.Lock, init=False)

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        app = self._app or await self.prepare()
        await app(scope, receive, send)

    async def prepare(self) -> ASGIFramework:
        """Make the application if that was not done yet. Cancellation: the import goes on by itself."""
        async with self._making:
            if self._app is None:
                self._app = await trio.to_thread.run_sync(self._make, abandon_on_cancel=True)
            return self._app
