"""Each package names what others take of it: sorted, there, and no more than they take."""

import importlib
from types import ModuleType

import pytest

import orchestrator
from tests.house.sources import MODULES, ORCHESTRATOR, ROOT, imports, module_name, tree_of

PACKAGES = sorted(path.name for path in (ROOT / "orchestrator").iterdir() if (path / "__init__.py").is_file())


def taken_of(package: str) -> set[str]:
    """Return the names that modules of other packages import from a package."""
    inside = f"orchestrator.{package}"
    others = [path for path in ORCHESTRATOR if not module_name(path).startswith(inside)]
    pairs = [(module, name) for path in others for module, name in imports(tree_of(path)) if name]
    return {name for module, name in pairs if module == inside or module.startswith(f"{inside}.")}


def door_of(package: str) -> ModuleType:
    return importlib.import_module(f"orchestrator.{package}")


@pytest.mark.parametrize("package", PACKAGES)
def test_a_front_door_is_sorted(package: str) -> None:
    names = door_of(package).__all__
    assert names == sorted(names)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_front_door_has_what_others_take_and_no_more(package: str) -> None:
    assert set(door_of(package).__all__) == taken_of(package)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_front_door_gives_what_it_names(package: str) -> None:
    door = door_of(package)
    for name, module in door.NAMES.items():
        whole = f"orchestrator.{package}.{module or name}"
        assert whole in MODULES
        if module:
            assert getattr(door, name) is getattr(importlib.import_module(whole), name)


def test_the_orchestrators_front_door_is_sorted_and_gives_what_it_names() -> None:
    assert orchestrator.__all__ == sorted(orchestrator.__all__)
    assert all(getattr(orchestrator, name) is not None for name in orchestrator.__all__)


def test_a_front_door_refuses_what_it_does_not_name() -> None:
    with pytest.raises(AttributeError, match=r"module `orchestrator.runs` has no attribute `nothing`"):
        _ = door_of("runs").nothing
