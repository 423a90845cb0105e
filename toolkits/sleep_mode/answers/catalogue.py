"""Every question template by name: those of one token, of pairs and the past, and of the whole market."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from . import readings, relations, scenarios, verdicts
from .templates import Template


@cache
def templates() -> Mapping[str, Template]:
    """All templates, in the order in which they are listed."""
    listed = [*verdicts.TEMPLATES, *readings.TEMPLATES, *relations.TEMPLATES, *scenarios.TEMPLATES]
    return {template.name: template for template in listed}
