"""A rule of your own, that calls buy or sell: judged on past bars like ours, without a look ahead.

    python examples/own_rule.py

The `deeptrader` command reads such files from the folder that DEEPTRADER_PLUGINS_DIR names.
"""

import tempfile

from deeptrader.agents import answer_question
from deeptrader.core.settings import load_settings
from deeptrader.toolkits import Runtime
from deeptrader.toolkits.market_data.rules import Past, rule, signed


@rule("ten_day_fall", says="buy after a fall of a tenth in ten bars; sell after a rise of a tenth")
def ten_day_fall(past: Past):
    """From arrays of shape (bars, tokens) to a stance for each: 1 buy, -1 sell, 0 hold, NaN where it cannot be told."""
    move = past.change(past.close, 10)
    return signed(move < -0.1, move > 0.1, move)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings(data_dir=folder, market="recorded")
        with Runtime(settings) as runtime:
            runtime.engine.run_once()
            print(answer_question("What do the rules say about Microsoft?", runtime, memory_only=True).text)


if __name__ == "__main__":
    main()
