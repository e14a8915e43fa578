"""A window on the screen, by the standard library's tkinter; closing it, Escape or q end the watching."""

from __future__ import annotations

from types import TracebackType

from PIL import Image

from tasks.errors import BuildError
from tasks.read import Frame

_HINT = "run with --no-show, and -o FILE.mp4 or --json to see what it finds"


class Window:
    """Shows one frame after the other; `closed` once the user has had enough.

    Raises BuildError where there is no tkinter, or no display to show on.
    """

    def __init__(self, title: str) -> None:
        try:
            import tkinter

            from PIL import ImageTk
        except ImportError as error:
            raise BuildError(
                f"this Python has no window toolkit ({error}); install it (Debian: python3-tk), or {_HINT}"
            ) from error
        try:
            self._root = tkinter.Tk()
        except tkinter.TclError as error:
            raise BuildError(f"there is no display to show a window on ({error}); {_HINT}") from error
        self._photo_of = ImageTk.PhotoImage
        self._label = tkinter.Label(self._root, borderwidth=0)
        self._label.pack()
        self._root.title(title)
        self._root.protocol("WM_DELETE_WINDOW", self._close)
        for key in ("<Escape>", "q"):
            self._root.bind(key, lambda _: self._close())
        self.closed = False

    def __enter__(self) -> Window:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._root.destroy()

    def show(self, image: Frame) -> None:
        """Put a frame (H, W, 3) uint8 on the screen, and let the window answer."""
        self._photo = self._photo_of(Image.fromarray(image), master=self._root)  # kept: Tk holds no reference itself
        self._label.configure(image=self._photo)
        self._root.update()

    def _close(self) -> None:
        self.closed = True
