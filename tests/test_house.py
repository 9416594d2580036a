"""The house: who may import whom, what an import costs, and that the distribution holds every part."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NOT_PARTS = {"tests", "bench", "examples", "docs", "deploy", "build", "dist", "data"}

# Each package and what it may import from the rest of wardenmq; itself it may always.
MAY_IMPORT = {
    "broker.protocol": set[str](),
    "broker.routing": set[str](),
    "broker": {"broker.protocol", "broker.routing"},
    "plugins": {"broker", "broker.protocol", "broker.routing", "store"},
    "store": {"broker.routing.topics"},
    "config": {"broker.listeners.addresses", "broker.listeners.options"},
    "mgmt_api": {"broker", "broker.protocol", "broker.routing", "store"},
}
NO_INPUT_OR_OUTPUT = {"broker.protocol", "broker.routing"}
IO_MODULES = {
    "asyncio",
    "socket",
    "time",
    "logging",
    "aiohttp",
    "sqlite3",
    "aiosqlite",
    "ssl",
    "threading",
    "selectors",
}


def modules() -> Iterator[tuple[str, Path]]:
    """Give the dotted name, without the package's own, and the file of every production module."""
    for file in sorted(ROOT.rglob("*.py")):
        parts = file.relative_to(ROOT).with_suffix("").parts
        if parts[0] in NOT_PARTS or any(part.startswith(".") for part in parts):
            continue
        yield ".".join(part for part in parts if part != "__init__"), file


MODULES = dict(modules())


def imports(name: str, file: Path) -> Iterator[str]:
    """Give what a module imports, its own package's modules as "wardenmq.<dotted name>"."""
    package = ["wardenmq", *name.split(".")] if name else ["wardenmq"]
    if file.name != "__init__.py":
        package.pop()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            # `from ..store import directory` imports a module, `from ..store.directory import Directory` does not.
            for alias in node.names:
                full = f"{source}.{alias.name}"
                yield full if full.removeprefix("wardenmq.") in MODULES else source


def layer(name: str) -> str | None:
    """Give the innermost layer that a module belongs to; None for the files at the root."""
    return max((known for known in MAY_IMPORT if f"{name}.".startswith(f"{known}.")), key=len, default=None)


def test_there_is_something_to_look_at() -> None:
    assert {layer(name) for name in MODULES} == {None, *MAY_IMPORT}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_only_lower_layers(name: str) -> None:
    own = layer(name)
    if own is None:
        return
    for imported in imports(name, MODULES[name]):
        if not f"{imported}.".startswith("wardenmq."):
            continue
        target = imported.removeprefix("wardenmq").removeprefix(".")
        allowed = MAY_IMPORT[own]
        assert layer(target) == own or target in allowed or layer(target) in allowed, f"{name} imports {imported}"


@pytest.mark.parametrize("name", [name for name in MODULES if layer(name) in NO_INPUT_OR_OUTPUT])
def test_the_core_does_no_input_or_output(name: str) -> None:
    assert {imported.partition(".")[0] for imported in imports(name, MODULES[name])} & IO_MODULES == set()


def run_python(code: str, cwd: Path) -> str:
    completed = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, timeout=60)
    assert completed.returncode == 0, completed.stderr
    return completed.stdout


def test_the_broker_needs_no_http_and_no_settings_library(tmp_path: Path) -> None:
    code = "import sys, wardenmq.broker.broker; print(*sorted(sys.modules))"
    loaded = {name.partition(".")[0] for name in run_python(code, tmp_path).split()}
    by_amqtt = {
        name.partition(".")[0] for name in run_python("import sys, amqtt.broker; print(*sys.modules)", tmp_path).split()
    }
    heavy = {"aiohttp", "pydantic", "pydantic_settings", "typer", "rich", "graphql", "aiosqlite", "sqlite3", "uvloop"}
    assert loaded & heavy <= by_amqtt
    assert "aiohttp" not in loaded


def test_the_package_itself_imports_nothing_until_asked(tmp_path: Path) -> None:
    code = "import sys, wardenmq; print(*[name for name in sys.modules if name.startswith('wardenmq.')])"
    assert run_python(code, tmp_path).strip() == ""
    assert run_python("import wardenmq; print(wardenmq.Broker)", tmp_path).strip() == (
        "<class 'wardenmq.broker.broker.Broker'>"
    )
    assert run_python("import wardenmq; print(dir(wardenmq))", tmp_path).count("'Broker'") == 1
    with pytest.raises(AssertionError, match="AttributeError: module 'wardenmq' has no attribute 'Brokr'"):
        run_python("import wardenmq; wardenmq.Brokr", tmp_path)


def test_pytest_loads_no_module_twice(tmp_path: Path) -> None:
    """pytest imports the root `__init__.py` once more, under the name of the checkout's directory."""
    plugin = tmp_path / "list_modules.py"
    plugin.write_text(
        "import sys\n"
        "def pytest_sessionfinish():\n"
        "    import wardenmq.broker.broker\n"
        "    for name, module in list(sys.modules.items()):\n"
        "        print('loaded', getattr(module, '__file__', None), name)\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "list_modules", "-p", "no:cacheprovider", "-q", "-s"]
    completed = subprocess.run(
        [*command, "tests/test_house.py::test_there_is_something_to_look_at", "tests/engine/test_publish.py", "--co"],
        cwd=ROOT,
        env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
    names: dict[str, list[str]] = {}
    for line in completed.stdout.splitlines():
        if line.startswith("loaded "):
            _, file, name = line.rsplit(" ", 2)
            names.setdefault(file, []).append(name)
    ours = {str(file) for name, file in MODULES.items() if name}
    assert names.keys() & ours
    assert {file: found for file, found in names.items() if file in ours and len(found) > 1} == {}


def test_the_distribution_lists_every_package_and_data_file() -> None:
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    packages = {f"wardenmq.{name}".rstrip(".") for name, file in MODULES.items() if file.name == "__init__.py"}
    assert set(setuptools["packages"]) == packages
    for package, patterns in setuptools["package-data"].items():
        folder = ROOT.joinpath(*package.split(".")[1:])
        for pattern in patterns:
            assert list(folder.glob(pattern)), f"{package}: {pattern}"
    data = {
        file.relative_to(ROOT)
        for folder in ("broker", "config", "mgmt_api", "plugins", "store")
        for file in (ROOT / folder).rglob("*")
        if file.is_file() and file.suffix not in (".py", ".pyc")
    }
    listed = {
        file.relative_to(ROOT)
        for package, patterns in setuptools["package-data"].items()
        for pattern in patterns
        for file in ROOT.joinpath(*package.split(".")[1:]).glob(pattern)
    }
    assert data <= listed


def test_no_code_of_others_is_vendored() -> None:
    assert [path for path in ROOT.rglob("VENDOR*") if ".venv" not in path.parts] == []
    assert [path for path in ROOT.rglob("vendor*") if ".venv" not in path.parts and path.is_dir()] == []
