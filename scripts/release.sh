#!/usr/bin/env bash
# Make a release: scripts/release.sh VERSION. It checks, tests, builds and tags; publishing is a step of its own, printed at the end.
set -euo pipefail
cd "$(dirname "$0")/.."
version=${1:?"which version? scripts/release.sh 0.2.0"}

refuse() { echo "release: $1" >&2; exit 1; }
[[ -z "$(git status --porcelain)" ]] || refuse "there are changes that are not committed"
[[ "$(git branch --show-current)" == main ]] || refuse "not on main"
grep -qx "version = \"$version\"" pyproject.toml || refuse "pyproject.toml has another version"
grep -qE "^## ${version//./\\.} \([0-9]{4}-[0-9]{2}-[0-9]{2}\)$" CHANGELOG.md || refuse "CHANGELOG.md has no dated section for $version"
git rev-parse -q --verify "refs/tags/v$version" >/dev/null && refuse "v$version is tagged already"

make test docs
rm -rf build dist
.venv/bin/python -m build
git tag -a "v$version" -m "DeepTrader $version"
echo "Built and tagged v$version. To publish: git push origin main v$version && .venv/bin/python -m twine upload dist/*"
