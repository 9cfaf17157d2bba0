# SPDX-License-Identifier: AGPL-3.0-or-later
"""The API's description as one plain page, made from its OpenAPI document: no script, nothing from outside."""

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

_STYLE: Final = """
:root{color-scheme:light dark;font:15px/1.5 system-ui,"Noto Sans CJK SC",sans-serif}
body{max-width:64rem;margin:2rem auto;padding:0 1rem}
h2{margin:2.2rem 0 .3rem;border-bottom:1px solid #8886;text-transform:capitalize}
details{border:1px solid #8884;border-radius:6px;margin:.4rem 0;padding:.45rem .8rem}
summary{cursor:pointer;display:flex;gap:.8rem;align-items:baseline}
summary span{opacity:.75}
code,pre{font:13px/1.45 ui-monospace,monospace}
pre{background:#8881;padding:.7rem;border-radius:6px;overflow:auto;white-space:pre-wrap}
b.get{color:#2d7ff0}b.post{color:#2a9d4a}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.2rem .6rem;border-bottom:1px solid #8883}
"""
_Json = Mapping[str, Any]


def describe(document: _Json) -> str:
    """Return the page for an OpenAPI 3.1 document."""
    info = document["info"]
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(info['title'])}</title>",
        f"<style>{_STYLE}</style><h1>{escape(info['title'])} {escape(info['version'])}</h1>",
        f"<p>{escape(info.get('description', ''))}</p>",
        "<p>The same for programs: <a href=/openapi.json>/openapi.json</a></p>",
    ]
    for tag, operations in _by_tag(document).items():
        parts.append(f"<h2>{escape(tag)}</h2>")
        parts.extend(_operation(*operation) for operation in operations)
    parts.append("<h2>Shapes</h2>")
    parts.extend(_shapes(document))
    return "".join(parts)


def _by_tag(document: _Json) -> dict[str, list[tuple[str, str, _Json]]]:
    tags: dict[str, list[tuple[str, str, _Json]]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            tags.setdefault(operation.get("tags", ["other"])[0], []).append((method, path, operation))
    return tags


def _operation(method: str, path: str, operation: _Json) -> str:
    return (
        f"<details id={escape(operation['operationId'])}><summary><b class={escape(method)}>{escape(method.upper())}</b>"
        f"<code>{escape(path)}</code><span>{escape(operation.get('summary', ''))}</span></summary>"
        f"<p>{escape(operation.get('description', ''))}</p>{_parameters(operation)}{_body(operation)}"
        f"<p>Answers: {', '.join(_answers(operation))}</p></details>"
    )


def _parameters(operation: _Json) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(parameter['name'])}</code><td>{escape(parameter['in'])}"
        f"<td><code>{escape(_type(parameter.get('schema', {})))}</code><td>{escape(parameter.get('description', ''))}"
        for parameter in operation.get("parameters", [])
    )
    return f"<table><tr><th>name<th>in<th>type<th>meaning{rows}</table>" if rows else ""


def _body(operation: _Json) -> str:
    content = operation.get("requestBody", {}).get("content", {})
    return "".join(
        f"<p>Body: {_reference(entry.get('schema', {}))} as {escape(kind)}" for kind, entry in content.items()
    )


def _answers(operation: _Json) -> Iterator[str]:
    for status, answer in operation.get("responses", {}).items():
        content = answer.get("content", {})
        shapes = [
            _reference(entry.get("schema", {})) or f"<code>{escape(kind)}</code>"
            for kind, entry in content.items()
        ]
        yield f"{escape(status)} {' '.join(shapes)}".strip()


def _reference(schema: _Json) -> str:
    name = schema.get("$ref", "").rpartition("/")[2]
    return f'<a href="#{escape(name)}">{escape(name)}</a>' if name else ""


def _type(schema: _Json) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " | ".join(_type(one) for one in schema["anyOf"])
    return str(schema.get("type", "any"))


def _shapes(document: _Json) -> Iterator[str]:
    for name, schema in document.get("components", {}).get("schemas", {}).items():
        text = escape(json.dumps(schema, ensure_ascii=False, indent=1))
        yield f"<details id={escape(name)}><summary><code>{escape(name)}</code></summary><pre>{text}</pre></details>"
