"""What a model costs, as far as the settings say. A price that is not given is unknown; none is ever assumed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from .token import Record


class ModelPrice(Record):
    """US dollars per million input and output tokens."""

    input: Annotated[float, Field(ge=0)]
    output: Annotated[float, Field(ge=0)]

    def cost(self, input_tokens: float, output_tokens: float) -> float:
        """US dollars of one call."""
        return (self.input * input_tokens + self.output * output_tokens) / 1e6


class PriceList:
    """Prices by model, from `settings.model_prices`: `{"openai:gpt-5-mini": {"input": ..., "output": ...}}`.

    A model is found as `provider:id` or as `id` alone, in any case.
    """

    def __init__(self, prices: Mapping[str, ModelPrice] | None = None) -> None:
        self._prices = {name.lower(): price for name, price in (prices or {}).items()}

    def find(self, model: str | None, provider: str | None = None) -> ModelPrice | None:
        """The price of a model, None when it is not known."""
        if not model:
            return None
        model = model.lower()
        names = [f"{provider.lower()}:{model}", model] if provider else [model]
        names.append(model.partition(":")[2])
        return next((self._prices[name] for name in names if name in self._prices), None)
