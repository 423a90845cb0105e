"""Give type checkers a `deeptrader` folder to look into: links to the rooms, inside the virtual environment.

The folders at the root install as sub-packages of `deeptrader` through an import hook, which a static checker does not
run. Called by `make lint`.
"""

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / ".venv" / "typing" / "deeptrader"


def main() -> None:
    TARGET.mkdir(parents=True, exist_ok=True)
    folders = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-dir"]
    for folder in {path.split("/")[0] for path in folders.values()}:
        link = TARGET / folder
        if not link.exists():
            link.symlink_to(ROOT / folder, target_is_directory=True)


if __name__ == "__main__":
    main()
