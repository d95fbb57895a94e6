"""Addresses on loopback that lead to a server for as long as nobody cuts them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

TO, FROM = "to", "from"  # the server
_CHUNK = 1 << 16


class Link:
    """One way to one server. Every method may be called from any thread."""

    def __init__(self, links: Links, port: int, server: int) -> None:
        """`port`: where clients come to; `server`: the port that they are led to."""
        self.port = port
        self._links = links
        self._server = server
        self._open = {TO: asyncio.Event(), FROM: asyncio.Event()}
        self._delay = 0.0
        self._ends: set[asyncio.StreamWriter] = set()
        for way in self._open.values():
            way.set()

    def cut(self, way: str) -> None:
        """Nothing passes this way any more, and nobody is told: what is sent is held up."""
        self._links.call(self._open[way].clear)

    def slow(self, seconds: float) -> None:
        """Whatever the server says takes so much longer."""
        self._delay = seconds

    def mend(self) -> None:
        """As if nothing had been: what was held up arrives."""
        self._delay = 0.0
        for way in self._open.values():
            self._links.call(way.set)

    def reset(self) -> None:
        """Every connection ends at once for both sides, with what was on its way; new ones are as good as ever."""
        self._links.call(self._abort)
        self.mend()

    async def serve(self) -> None:
        await asyncio.start_server(self._connected, "127.0.0.1", self.port)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            theirs, mine = await asyncio.open_connection("127.0.0.1", self._server)
        except OSError:  # a server that is away refuses
            _end(writer)
            return
        both = {writer, mine}
        self._ends |= both
        try:
            await asyncio.gather(self._pump(reader, mine, TO), self._pump(theirs, writer, FROM))
        except OSError:  # one side hung up: the other is told
            pass
        finally:
            self._ends -= both
            for end in both:
                _end(end)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: str) -> None:
        while data := await reader.read(_CHUNK):
            if way == FROM and self._delay:
                await asyncio.sleep(self._delay)
            await self._open[way].wait()
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()

    def _abort(self) -> None:
        for end in self._ends:
            _end(end)


def _end(writer: asyncio.StreamWriter) -> None:
    """With a reset, not with a farewell."""
    raw: Any = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Links:
    """The loop that carries all links, in a thread of its own, until it is closed."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="links", daemon=True)
        self._thread.start()

    def lead(self, port: int, server: int) -> Link:
        link = Link(self, port, server)
        asyncio.run_coroutine_threadsafe(link.serve(), self._loop).result(10)
        return link

    def call(self, function: Callable[[], Any]) -> None:
        self._loop.call_soon_threadsafe(function)

    def close(self) -> None:
        """Nothing is left under way: a coroutine that is collected later prints a traceback amid whatever runs then."""
        asyncio.run_coroutine_threadsafe(self._end_all(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _end_all(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
