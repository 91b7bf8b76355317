"""The pages for people: one to rate and see what else is predicted, and one about the addresses.

They load nothing from elsewhere, and a browser is told to let them load nothing.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi.responses import Response

from study.templates import template

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

NEEDED = "needed"

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
    html = template(_TEMPLATES / "reference.html").render(
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

    def gives(schema: Mapping[str, Any], prefix: str = "") -> list[dict[str, str]]:
        """The fields of an answer, below each those of what stands in it."""
        rows = []
        for name, one in schemas[_name(schema)]["properties"].items():
            rows.append(_field(prefix + name, one))
            for option in one.get("anyOf", [one]):
                if _name(option):
                    rows += gives(option, f"{prefix}{name}.")
                elif _name(option.get("items", {})):
                    rows += gives(option["items"], f"{prefix}{name}[].")
        return rows

    takes = [
        _field(one["name"], one["schema"], required=one["required"])
        for one in operation.get("parameters", ())
    ]
    for content in operation.get("requestBody", {}).get("content", {}).values():
        found = schemas[_name(content["schema"])]
        needed = found.get("required", ())
        takes += [
            _field(name, one, required=name in needed) for name, one in found["properties"].items()
        ]
    return {
        "method": method.upper(),
        "path": path,
        "summary": operation["summary"],
        "takes": sorted(takes, key=lambda one: one["default"] != NEEDED),
        "gives": gives(operation["responses"]["200"]["content"]["application/json"]["schema"]),
    }


def _field(name: str, schema: Mapping[str, Any], *, required: bool = False) -> dict[str, str]:
    default, examples = schema.get("default"), schema.get("examples")
    told = "" if default is None else f"{json.dumps(default)} if not told"
    return {
        "name": name,
        "type": _type(schema),
        "about": schema.get("description", ""),
        "default": NEEDED if required else told,
        "example": json.dumps(examples[0]) if examples else "",
    }


def _name(schema: Mapping[str, Any]) -> str:
    """What the schema is called that this one refers to; empty if it refers to none."""
    return str(schema.get("$ref", "")).rpartition("/")[2]


def _type(schema: Mapping[str, Any]) -> str:
    """What a value is, for people."""
    if any_of := schema.get("anyOf"):
        kinds = [_type(one) for one in any_of if one.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    kind = str(schema.get("type", "object"))
    if kind == "array" and "prefixItems" in schema:
        return f"[{', '.join(map(_type, schema['prefixItems']))}]"
    if kind == "array":
        return f"list of {_type(schema['items'])}"
    if isinstance(schema.get("additionalProperties"), Mapping):
        return f"object of {_type(schema['additionalProperties'])}"
    names = {"string": "text", "integer": "whole number", "boolean": "true or false"}
    return names.get(kind, kind)
