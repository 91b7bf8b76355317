"""The pages for people: one to rate and see what else is predicted, and one about the addresses.

They load nothing from elsewhere, and a browser is told to let them load nothing.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi.responses import Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

HEADERS = [
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
]

_TEMPLATES = Path(__file__).parent / "templates"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class File:
    """What an address gives to a browser."""

    content: bytes
    media_type: str


def files() -> dict[str, File]:
    """The page and what belongs to it, by address."""
    names = {"/": "page.html", **{f"/{one}": one for one in ("page.css", "page.js", "star.svg")}}
    return {
        path: File((_TEMPLATES / name).read_bytes(), _TYPES[Path(name).suffix])
        for path, name in names.items()
    }


def reference(openapi: Mapping[str, Any]) -> File:
    """The page about the addresses, as OpenAPI has them."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template("reference.html").render(
        about=openapi["info"]["description"],
        operations=[
            _operation(openapi, path, method, operation)
            for path, methods in openapi["paths"].items()
            for method, operation in methods.items()
        ],
    )
    return File(html.encode(), _TYPES[".html"])


def giving(file: File) -> Callable[[], Awaitable[Response]]:
    """What answers with a file; a browser asks anew whether it is the same."""

    async def give() -> Response:
        headers = {"cache-control": "no-cache"}
        return Response(file.content, media_type=file.media_type, headers=headers)

    return give


def _operation(
    openapi: Mapping[str, Any], path: str, method: str, operation: Mapping[str, Any]
) -> dict[str, Any]:
    """What the page shows of one address."""
    schemas = openapi["components"]["schemas"]

    def fields(schema: Mapping[str, Any]) -> list[dict[str, str]]:
        found = schemas[schema["$ref"].rpartition("/")[2]]
        return [
            _field(name, one, required=name in found.get("required", ()))
            for name, one in found["properties"].items()
        ]

    content = operation.get("requestBody", {}).get("content", {})
    asked = [fields(one["schema"]) for one in content.values()]
    parameters = operation.get("parameters", ())
    given = operation["responses"]["200"]["content"]["application/json"]["schema"]
    return {
        "method": method.upper(),
        "path": path,
        "summary": operation["summary"],
        "takes": asked[0]
        if asked
        else [_field(one["name"], one["schema"], required=one["required"]) for one in parameters],
        "gives": fields(given),
    }


def _field(name: str, schema: Mapping[str, Any], *, required: bool) -> dict[str, str]:
    default = schema.get("default")
    examples = schema.get("examples")
    return {
        "name": name,
        "type": _type(schema),
        "about": schema.get("description", ""),
        "default": "needed" if required else "" if default is None else json.dumps(default),
        "example": json.dumps(examples[0]) if examples else "",
    }


def _type(schema: Mapping[str, Any]) -> str:
    """What a value is, for people."""
    if any_of := schema.get("anyOf"):
        kinds = [_type(one) for one in any_of if one.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if ref := schema.get("$ref"):
        return str(ref.rpartition("/")[2])
    kind = schema.get("type", "any")
    if kind == "array":
        inner = schema.get("items") or {}
        pair = schema.get("prefixItems")
        return f"[{', '.join(map(_type, pair))}]" if pair else f"list of {_type(inner)}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        return f"object of {_type(schema['additionalProperties'])}"
    names = {"string": "text", "integer": "whole number", "boolean": "true or false"}
    return names.get(kind, str(kind))
