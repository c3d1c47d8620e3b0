"""The JSON schemas of requests and responses, in the form that client generators understand.

A type that is sent and received has two schemas, because a request with an unknown field is refused
but a response may have fields that an older client does not know: "Options" is what is returned,
"OptionsInput" what is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from inspect import cleandoc
from typing import Any, cast

import msgspec

from .request_bounds import BOUNDS, EXCLUDED, MAX_INTEGER, Schema

REFERENCE = "#/components/schemas/{name}"
SUFFIX = "Input"


class Schemas(msgspec.Struct, frozen=True):
    """The schemas of requests and of responses by their type's repr, and the named components."""

    requests: dict[str, Schema]
    responses: dict[str, Schema]
    components: dict[str, Schema]


def generate_schemas(requests: Iterable[Any], responses: Iterable[Any]) -> Schemas:
    """Return the schemas of the types of requests and responses."""
    sent, sent_components = _generate(requests)
    received, components = _generate(responses)
    for name, schema in sent_components.items():
        _close(name, schema)
    names = {
        name: name + SUFFIX if components.get(name, schema) != schema else name
        for name, schema in sent_components.items()
    }
    rename = {REFERENCE.format(name=old): REFERENCE.format(name=new) for old, new in names.items()}
    components |= {
        names[name]: _bound_integers(_map(schema, lambda each: _renamed(each, rename)))
        for name, schema in sent_components.items()
    }
    requests_by_type = {
        kind: _map(schema, lambda each: _renamed(each, rename)) for kind, schema in sent.items()
    }
    return Schemas(
        requests_by_type,
        {kind: _map(schema, _portable) for kind, schema in received.items()},
        {name: {**_map(schema, _portable), "title": name} for name, schema in components.items()},
    )


def _generate(types: Iterable[Any]) -> tuple[dict[str, Schema], dict[str, Schema]]:
    listed = list(types)
    schemas, components = msgspec.json.schema_components(listed, ref_template=REFERENCE)
    return dict(zip(map(repr, listed), schemas, strict=True)), components


_BOUNDS = {kind.__name__: bounds for kind, bounds in BOUNDS.items()}
_EXCLUDED = {kind.__name__: excluded for kind, excluded in EXCLUDED.items()}


def _close(name: str, schema: Schema) -> None:
    """Forbid unknown fields in a request's object, and add the bounds of its fields."""
    properties = schema.get("properties")
    if properties is None:
        return
    schema["additionalProperties"] = False
    if name in _EXCLUDED:
        schema["not"] = _EXCLUDED[name]
    for field, bounds in _BOUNDS.get(name, {}).items():
        kept: Schema = {} if "type" in bounds or "anyOf" in bounds else properties[field]
        default = {key: properties[field][key] for key in ("default",) if key in properties[field]}
        properties[field] = {**kept, **bounds, **default}


def _renamed(schema: Schema, names: dict[str, str]) -> Schema:
    """Return a schema whose references are to other components."""
    changed = dict(schema)
    if "$ref" in schema:
        changed["$ref"] = names[schema["$ref"]]
    if "discriminator" in schema:
        mapping = schema["discriminator"]["mapping"]
        mapping = {tag: names[reference] for tag, reference in mapping.items()}
        changed["discriminator"] = {**schema["discriminator"], "mapping": mapping}
    return changed


def _bound_integers(schema: Schema) -> Schema:
    """Return a request's schema whose integers fit into 64 bits, as stores keep them."""
    least, most = {"minimum": -MAX_INTEGER}, {"maximum": MAX_INTEGER}

    def bound(each: Schema) -> Schema:
        return {**least, **most, **each} if each.get("type") == "integer" else each

    return cast("Schema", _map(schema, bound))


def _portable(schema: Schema) -> Schema:
    """Return a schema without what client generators reject.

    Objects as defaults: openapi-python-client cannot write them; the description of the API says
    what a missing object means. `items: false` repeats `maxItems`. Where all items are alike, one
    schema of them says the same as a list.
    """
    changed = dict(schema)
    if isinstance(schema.get("default"), dict | list | tuple):
        del changed["default"]
    if schema.get("items") is False:
        del changed["items"]
        first, *others = schema["prefixItems"]
        if all(each == first for each in others):
            del changed["prefixItems"]
            changed["items"] = first
    changed.pop("uniqueItems", None)  # a set is sent as a list; duplicates do no harm
    if schema.get("type") == "integer":
        changed["format"] = "int64"
    if isinstance(schema.get("description"), str):
        changed["description"] = cleandoc(schema["description"])
    return changed


def _map(schema: Any, change: Callable[[Schema], Schema]) -> Any:
    """Return a schema in which each schema is changed, from the inside out."""
    match schema:
        case dict():
            found = cast("Schema", schema)
            return change({key: _map(value, change) for key, value in found.items()})
        case list():
            return [_map(each, change) for each in cast("list[Any]", schema)]
        case _:
            return schema
