from __future__ import annotations


def answer_from_memory(question, khala):
    from ..agents.served import served_answer
    from ..toolkits.sleep_mode.reading import Reader

    reading = Reader(khala).read(text=question)
    whole = served_answer(reading, khala)
    if whole:
        return whole
    return "\n\n".join(r.analysis.report for r in reading.recalls if r.analysis) or "Memory holds nothing about that."
