"""amqtt's contributed plugins, as far as their libraries are here.

`amqtt.contrib` imports SQLAlchemy for all of them, though few need it. So each file is loaded on its own, unchanged.
"""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import amqtt


def load(name: str) -> ModuleType:
    """Load `amqtt/contrib/NAME.py` as `amqtt_contrib_NAME`."""
    known = sys.modules.get(f"amqtt_contrib_{name}")
    if known is not None:
        return known
    spec = spec_from_file_location(f"amqtt_contrib_{name}", Path(amqtt.__file__).parent / "contrib" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
