"""The house rules that a reader relies on: imports point downwards, and the steps know nothing of the orchestrator."""

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

MAY_IMPORT = {
    "flows": {"simulation", "tasks", "training", "liveness", "prnet", "storage"},
    "simulation": {"tasks", "prnet", "storage"},
    "tasks": {"prnet", "storage"},
    "training": {"liveness", "storage"},
    "liveness": set(),
    "prnet": set(),
    "storage": set(),
}
NEVER_IMPORT = {
    "tasks": {"prefect", "dask", "distributed"},  # a step is a plain function
    "storage": {"prefect", "dask", "distributed"},
    "prnet": {"prefect", "dask", "distributed"},
    "training": {"prefect", "dask", "distributed"},
    "liveness": {"prefect", "dask", "distributed", "torch"},  # what is shipped runs on onnxruntime
    "simulation": {"prefect", "dask", "distributed", "torch"},
    "flows": set(),
}


def imports_of(path: Path) -> set[str]:
    """Top-level names that a module imports anywhere, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; the house uses absolute ones"
            found.add((node.module or "").split(".")[0])
    return found


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_imports_point_downwards(package: str) -> None:
    modules = sorted((ROOT / package).rglob("*.py"))
    assert modules
    for module in modules:
        found = imports_of(module)
        upwards = (found & MAY_IMPORT.keys()) - MAY_IMPORT[package] - {package}
        assert not upwards, f"{module.relative_to(ROOT)} imports {upwards}, which is not below it"
        assert not found & NEVER_IMPORT[package], f"{module.relative_to(ROOT)} imports {found & NEVER_IMPORT[package]}"


def test_nothing_imports_opencv() -> None:
    # its wheels need libGL, which a slim image lacks; only the optional detectors' own packages may pull it in
    for package in MAY_IMPORT:
        for module in (ROOT / package).rglob("*.py"):
            assert "cv2" not in imports_of(module), module


def test_every_module_has_one_idea_and_a_name_for_it() -> None:
    for package in MAY_IMPORT:
        for module in (ROOT / package).rglob("*.py"):
            assert module.stem not in {"utils", "helpers", "common", "misc"}, module
            assert len(module.read_text().splitlines()) <= 400, f"{module}: two rooms in one?"


def test_no_flow_hides_a_standard_module() -> None:
    # a runner may put the folder of a flow on sys.path; then flows/inspect.py would be everybody's `import inspect`
    for module in (ROOT / "flows").glob("*.py"):
        assert module.stem == "__init__" or module.stem not in sys.stdlib_module_names, module


def test_help_answers_in_under_a_second_and_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['pseudodepth', '--help']\n"
        "import flows.cli\n"
        "try:\n    flows.cli.main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "heavy = {'torch', 'prefect', 'distributed', 'numba', 'onnxruntime', 'pyarrow'}\n"
        "print('LOADED', sorted(heavy & sys.modules.keys()))"
    )
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "LOADED []" in done.stdout
    assert "build" in done.stdout
    assert time.perf_counter() - started < 5  # a loaded machine; what it loads is the real check
