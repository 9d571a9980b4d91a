"""Checks records against the JSON Schemas of the package, as far as these use the language."""

import json
from importlib.resources import files
from typing import Any

TYPES: dict[str, tuple[type, ...]] = {
    "array": (list,),
    "boolean": (bool,),
    "integer": (int,),
    "null": (type(None),),
    "number": (int, float),
    "object": (dict,),
    "string": (str,),
}
KNOWN = {
    *("$schema", "$defs", "$ref", "title", "description", "type", "enum", "const", "anyOf"),
    *("properties", "required", "additionalProperties", "items", "minimum"),
}


def schema(name: str) -> dict[str, Any]:
    """A schema that the package contains."""
    text = files("zenvark_web").joinpath("schemas", f"{name}.json").read_text("utf-8")
    return dict(json.loads(text))


def check(record: object, name: str) -> None:
    """Fail unless a record is as a schema says."""
    whole = schema(name)
    _check(record, whole, whole, name)


def _check(value: Any, part: dict[str, Any], whole: dict[str, Any], where: str) -> None:
    assert part.keys() <= KNOWN, part.keys() - KNOWN
    if "$ref" in part:
        part = whole["$defs"][part["$ref"].removeprefix("#/$defs/")]
    if "anyOf" in part:
        _check_any(value, part["anyOf"], whole, where)
    if "const" in part:
        assert value == part["const"], where
    if "enum" in part:
        assert value in part["enum"], f"{where}: {value!r}"
    if "type" in part:
        named = part["type"] if isinstance(part["type"], list) else [part["type"]]
        assert any(_is(value, each) for each in named), f"{where}: {value!r} is no {named}"
    if "minimum" in part:
        assert value >= part["minimum"], where
    if isinstance(value, dict):
        _check_object(value, part, whole, where)
    if isinstance(value, list):
        for number, each in enumerate(value):
            _check(each, part.get("items", {}), whole, f"{where}[{number}]")


def _is(value: object, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, TYPES[kind])


def _check_any(value: Any, parts: list[dict[str, Any]], whole: dict[str, Any], where: str) -> None:
    failures = []
    for each in parts:
        try:
            _check(value, each, whole, where)
        except AssertionError as error:
            failures.append(str(error))
    assert len(failures) < len(parts), f"{where}: none fits: {failures}"


def _check_object(
    value: dict[str, Any], part: dict[str, Any], whole: dict[str, Any], where: str
) -> None:
    properties = part.get("properties", {})
    assert set(part.get("required", ())) <= value.keys(), f"{where} lacks something: {value}"
    for key, each in value.items():
        further = part.get("additionalProperties", {})
        inner = properties.get(key, further)
        assert inner is not False, f"{where} has {key!r}"
        _check(each, inner, whole, f"{where}.{key}")
