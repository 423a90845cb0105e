"""Do prepared figures help a language model to answer questions about the market, and what do they cost?

    python -m benchmarks.market_qa --model openai-like:NAME --base-url http://127.0.0.1:8080/v1 --out results

Questions on real recorded bars at ten moments and on simulated ones, with the truth worked out from the bars by code of
this package's own (`truth`), asked in several ways (`arms`, `team_arms`), scored by code (`scoring`). No model judges.
"""
