"""The scenarios, by subject."""

import importlib
import pkgutil


def load():
    for module in sorted(each.name for each in pkgutil.iter_modules(__path__)):
        importlib.import_module(f"scenarios.{module}")
