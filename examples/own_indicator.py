"""An indicator of your own, a statement that says what it means, and a topic that it answers.

    python examples/own_indicator.py

In your own program importing them is enough. For the `deeptrader` command put such a file into a folder and name it:
DEEPTRADER_PLUGINS_DIR=my-plugins.
"""

import tempfile

from deeptrader.agents import answer_question
from deeptrader.core.settings import load_settings
from deeptrader.toolkits import Runtime
from deeptrader.toolkits.market_data import indicator
from deeptrader.toolkits.sleep_mode import Said, View, statement, topic


@indicator(
    "distance_vwap_20",
    definition="close / mean price of the last 20 bars, weighted by volume, - 1",
    label="distance from VWAP(20)",
    form="signed_percent",
    bars=20,
)
def distance_vwap_20(bars):
    """`bars`: a pandas frame of closed bars, oldest first, columns open, high, low, close, volume."""
    last = bars.iloc[-20:]
    return last["close"].iloc[-1] / ((last["close"] * last["volume"]).sum() / last["volume"].sum()) - 1


# What a question may be about: a model chooses it by its name, and without one it is found by its words.
topic("fair_price", label="close against mean price", words=("vwap", "fair price"), statements=("vwap", "bands"))


@statement("vwap", topics=("price", "entry"))
def vwap(view: View) -> Said | None:
    """One true sentence about a token, or None: what an answer, a brief and a model then read."""
    distance = view.value("distance_vwap_20")
    if distance is None:
        return None
    side = "above" if distance > 0 else "below"
    text = f"The close of {view.symbol} is {side} its VWAP(20): {view.text('distance_vwap_20')}."
    return Said(text, ("distance_vwap_20",), leaning="bearish" if distance > 0 else "bullish", weight=0.6)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, Runtime(load_settings(data_dir=folder, market="recorded")) as runtime:
        runtime.engine.run_once()
        print(answer_question("Where does Apple stand against its fair price?", runtime, memory_only=True).text)


if __name__ == "__main__":
    main()
