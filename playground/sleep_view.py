from __future__ import annotations

from .desk import Desk
from .dom import el


async def sleep_view(desk: Desk) -> None:
    el("p", "sleep")
