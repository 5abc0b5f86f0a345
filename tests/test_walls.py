"""The architecture's walls, read from imports and syntax trees."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from gantrick import registry

PACKAGE = Path(__file__).parents[1] / "gantrick"
FILES = sorted(PACKAGE.rglob("*.py"))
COMPONENTS = [
    PACKAGE / group / f"{name}.py" for group in ("loss", "regularizer", "trick") for name in registry.names(group)
]
OPEN_TO_COMPONENTS = {"types", "stages", "papers", "input_gradient", "parallel", "layers"}


def where(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def imports(path: Path) -> set[str]:
    """Every module that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{where(path)}: imports are absolute"
            module = node.module or ""
            found |= {f"{module}.{alias.name}" if module == "gantrick" else module for alias in node.names}
    return found


def calls(path: Path) -> list[tuple[str, int]]:
    """Names of the methods and functions called in a file, with their lines."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            found.append((name, node.lineno))
    return found


@pytest.mark.parametrize("path", COMPONENTS, ids=where)
def test_a_component_knows_no_other(path: Path) -> None:
    rooms = {module.split(".")[1] for module in imports(path) if module.startswith("gantrick.")}
    assert rooms <= OPEN_TO_COMPONENTS
    outside = {module.split(".")[0] for module in imports(path)} - {"gantrick"}
    assert outside <= {"torch", "__future__", "typing", "collections", "copy", "dataclasses", "fnmatch", "math"}


@pytest.mark.parametrize("path", FILES, ids=where)
def test_where_things_may_stand(path: Path) -> None:
    place = where(path)
    used = {name for name, _ in calls(path)}
    modules = {module.split(".")[0] for module in imports(path)}
    moving = {"backward", "step"} & used
    shown = ("trainer.py", "adagan.py")  # theirs is the progress bar's
    assert not moving or place in ("step.py", *shown), f"{moving} outside the step"
    assert "item" not in used or place.startswith("tracking/")
    assert "hydra" not in modules or place in ("config.py", "train.py", "cli.py")
    assert "print" not in used or place in ("cli.py", "tracking/console.py")
    assert "wandb" not in modules or place in ("tracking/wandb_log.py", "tracking/wandb_api.py")
    if "autograd.grad" in path.read_text(encoding="utf-8"):
        assert place in ("input_gradient.py", "step.py"), "D is differentiated in its input in one place"


def test_the_step_is_one_page_and_names_no_component() -> None:
    text = (PACKAGE / "step.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 220
    names = {name for group in ("loss", "regularizer", "trick") for name in registry.names(group)}
    words = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    words |= {
        node.value
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert not names & words


def test_the_command_line_is_light() -> None:
    heavy = {"torch", "hydra", "wandb", "omegaconf", "numpy", "torchvision"}
    tree = ast.parse((PACKAGE / "cli.py").read_text(encoding="utf-8"))
    top = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = {alias.name.split(".")[0] for node in top if isinstance(node, ast.Import) for alias in node.names}
    names |= {(node.module or "").split(".")[0] for node in top if isinstance(node, ast.ImportFrom)}
    assert not names & heavy
