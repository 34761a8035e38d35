"""Chapter 13. The same pool under a window: Tk draws the window, Twisted hears of the pictures.

python window.py ada grace      as if somebody had typed these, and closed the window
"""

from __future__ import annotations

import sys
import tkinter
from collections.abc import Sequence
from typing import Any

from ampacity import Pool
from mailroom import WallClock, hang, render
from twisted.internet import task, tksupport
from twisted.internet.defer import Deferred, gatherResults


class Window:
    """A line to type a message, a button, and the wall."""

    def __init__(self, root: tkinter.Tk, pool: Pool) -> None:
        self.pool = pool
        self.clock = WallClock()
        self.drawing: list[Deferred[None]] = []
        self.closed: Deferred[None] = Deferred()
        self.message = tkinter.Entry(root)
        self.button = tkinter.Button(root, text="draw", command=self.clicked)
        self.wall = tkinter.Label(root, text="nothing hangs here yet")
        for part in (self.message, self.button, self.wall):
            part.pack()
        root.protocol("WM_DELETE_WINDOW", lambda: self.closed.callback(None))

    def clicked(self) -> None:
        """Somebody has pressed the button: back at once, and the picture comes later."""
        message = self.message.get()
        self.message.delete(0, tkinter.END)
        self.drawing.append(Deferred.fromCoroutine(self.draw(message)))

    async def draw(self, message: str) -> None:
        picture = await self.pool.submit(render, message)
        hang(message, picture)
        self.picture = tkinter.PhotoImage(data=picture)  # Tk does not keep it for us
        self.wall.configure(image=self.picture)


async def main(reactor: Any, messages: Sequence[str]) -> None:
    root = tkinter.Tk()
    tksupport.install(root)  # Twisted calls Tk now and then, as one of its timers
    async with Pool(reactor=reactor) as pool:
        await pool.submit(render, "somebody")  # the first child is warm
        window = Window(root, pool)
        ticking = task.LoopingCall(window.clock.tick)
        ticking.start(window.clock.EVERY)
        window.clock.mail_came()
        for message in messages:
            window.message.insert(0, message)
            window.button.invoke()
        if messages:
            await gatherResults(window.drawing)
            window.closed.callback(None)
        await window.closed
        print("on the wall:", window.picture.width(), "x", window.picture.height())
        ticking.stop()
        window.clock.close()
    tksupport.uninstall()
    root.destroy()


if __name__ == "__main__":
    task.react(lambda reactor: Deferred.fromCoroutine(main(reactor, sys.argv[1:])))
