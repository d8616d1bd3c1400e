"""docs/method.md and the docstrings name the same parts and losses of the paper, side by side."""

import importlib
import inspect
import pkgutil
import re

import flax.linen as nn
from command_line import ROOT

import vqad.anomalies
import vqad.models
import vqad.stages
from vqad.models import layers
from vqad.stages import STAGES, losses

PAGE = (ROOT / "docs" / "method.md").read_text()
CITED = re.compile(r"\bDSR: ([a-z][^.)]+)[.)]")
PACKAGES = (vqad.anomalies, vqad.models, vqad.stages)


def table():
    """Pairs (name, code) of the page's tables of parts and losses."""
    return {
        (name.lower(), code)
        for name, codes in re.findall(r"^\| \[([^\]]+)\]\(#[\w-]+\) \| (.+) \|$", PAGE, re.M)
        for code in re.findall(r"\[`(vqad\.[\w.]+)`\]", codes)
    }


def documented():
    """Everything with a docstring in the packages of the method, by qualified name."""
    found = {}
    for package in PACKAGES:
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            module = importlib.import_module(module.name)
            found[module.__name__] = module
            for name, value in vars(module).items():
                if getattr(value, "__module__", None) != module.__name__:
                    continue
                found[f"{module.__name__}.{name}"] = value
                for method, function in vars(value).items() if inspect.isclass(value) else ():
                    if inspect.isfunction(function) and function.__doc__:
                        found[f"{module.__name__}.{name}.{method}"] = function
    return found


def cited(value):
    """Names of the paper's parts in a docstring."""
    text = " ".join((value.__doc__ or "").split())
    return {name.strip() for names in CITED.findall(text) for name in names.split(";")}


def test_docstrings_cite_what_the_page_lists_beside_them():
    listed, in_docstrings = table(), documented()
    assert len(listed) > 30
    for name, code in sorted(listed):
        assert code in in_docstrings, code
        assert name in cited(in_docstrings[code]), (name, code)
    for code, value in in_docstrings.items():
        for name in cited(value):
            assert (name, code) in listed, (name, code)


def test_each_name_has_its_own_heading():
    headings = re.findall(r"^### (.+)$", PAGE, re.M)
    for name in {name for name, _ in table()}:
        assert [heading.lower() for heading in headings].count(name) == 1, name


def test_each_network_and_each_loss_is_listed():
    codes = {code for _, code in table()}
    networks = {
        name
        for name, value in documented().items()
        if inspect.isclass(value)
        and issubclass(value, nn.Module)
        and value.__module__ != layers.__name__
    }
    assert len(networks) >= 8
    assert networks <= codes
    of_stages = {f"{stage.loss.__module__}.{stage.loss.__name__}" for stage in STAGES.values()}
    assert of_stages | {f"{losses.__name__}.focal_loss"} <= codes
