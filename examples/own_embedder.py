"""An embedder of your own: what turns notes, analyses and questions into vectors.

    python examples/own_embedder.py

Any agno embedder or Chroma embedding function may be passed in the same place. The setting `embedder` takes a name:
DEEPTRADER_EMBEDDER=my_package.my_module:MyEmbedder. After a change run `deeptrader repair --reembed`.
"""

import tempfile
import zlib

import numpy as np

from deeptrader.core.settings import load_settings
from deeptrader.toolkits import Runtime


class LetterEmbedder:
    """Counts triples of letters: no meaning, but no misspelt ticker is lost."""

    id = "letters-512"  # vectors of different ids are never compared
    dimension = 512

    def embed(self, texts):
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in enumerate(texts):
            for at in range(len(text) - 2):
                vectors[row, zlib.crc32(text[at : at + 3].lower().encode()) % self.dimension] += 1
        return vectors


def main() -> None:
    settings = load_settings(data_dir=tempfile.mkdtemp(), market="recorded")
    with Runtime(settings, embedder=LetterEmbedder()) as runtime:
        runtime.engine.run_once()
        for hit in runtime.khala.search("microsft", where={"kinds": ("analysis",)}, limit=2):
            print(f"{hit.similarity:.2f} {hit.kind} {', '.join(hit.symbols)}, found by {hit.found_by}")


if __name__ == "__main__":
    main()
