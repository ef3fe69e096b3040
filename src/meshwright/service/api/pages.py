"""Documentation made from the OpenAPI document: one page for browsers, one file for the repository. No scripts.

python -m meshwright.service.api.pages > docs/api.md
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from meshwright.service.api.problems import JOB_ERRORS, PROBLEMS

__all__ = ["html_page", "markdown_page"]

_STYLE = """
body{max-width:60rem;margin:2rem auto;padding:0 1rem;font:16px/1.5 system-ui,sans-serif;color:#222;background:#fff}
h2{margin-top:3rem;border-bottom:1px solid #ccc}h3{margin-top:2rem}
code,pre{font:14px/1.4 ui-monospace,monospace;background:#f4f4f4;border-radius:4px}
code{padding:.1em .3em}pre{padding:1rem;overflow-x:auto}pre code{padding:0}
table{border-collapse:collapse;width:100%;margin:1rem 0}td,th{text-align:left;vertical-align:top;padding:.3rem .6rem}
tr{border-bottom:1px solid #ddd}.method{font-weight:bold;text-transform:uppercase;color:#05a}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}code,pre{background:#2a2a2a}
tr,h2{border-color:#444}a,.method{color:#8bf}}
"""


class _Writer:
    """What both kinds of page are written with."""

    def heading(self, level: int, text: str, anchor: str = "") -> str:
        raise NotImplementedError

    def paragraph(self, text: str) -> str:
        raise NotImplementedError

    def table(self, head: list[str], rows: list[list[str]]) -> str:
        raise NotImplementedError

    def block(self, text: str, language: str) -> str:
        raise NotImplementedError


class _Markdown(_Writer):
    def heading(self, level: int, text: str, anchor: str = "") -> str:
        del anchor  # made of the text by whatever shows it
        return f"{'#' * level} {text}\n"

    def paragraph(self, text: str) -> str:
        return f"{text.strip()}\n"

    def table(self, head: list[str], rows: list[list[str]]) -> str:
        def line(cells: list[str]) -> str:
            return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

        return "\n".join([line(head), line(["---"] * len(head)), *map(line, rows)]) + "\n"

    def block(self, text: str, language: str) -> str:
        return f"```{language}\n{text.rstrip()}\n```\n"


class _Html(_Writer):
    def heading(self, level: int, text: str, anchor: str = "") -> str:
        mark = f' id="{escape(anchor)}"' if anchor else ""
        return f"<h{level}{mark}>{_inline(text)}</h{level}>"

    def paragraph(self, text: str) -> str:
        return "".join(f"<p>{_inline(part)}</p>" for part in text.strip().split("\n\n"))

    def table(self, head: list[str], rows: list[list[str]]) -> str:
        top = "".join(f"<th>{_inline(cell)}</th>" for cell in head)
        body = "".join("<tr>" + "".join(f"<td>{_inline(cell)}</td>" for cell in row) + "</tr>" for row in rows)
        return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"

    def block(self, text: str, language: str) -> str:
        del language
        return f"<pre><code>{escape(text)}</code></pre>"


def _inline(text: str) -> str:
    """Text with `code` in it."""
    parts = escape(text, quote=False).split("`")
    return "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))


def html_page(document: Mapping[str, Any]) -> str:
    """The documentation as one page that loads nothing else."""
    body = "\n".join(_pieces(document, _Html()))
    title = escape(f"{document['info']['title']} {document['info']['version']}")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>{body}</body></html>'
    )


def markdown_page(document: Mapping[str, Any]) -> str:
    """The documentation as Markdown."""
    return "\n".join(_pieces(document, _Markdown()))


def _pieces(document: Mapping[str, Any], out: _Writer) -> Iterator[str]:
    yield out.heading(1, "HTTP API")
    yield out.paragraph(document["info"]["description"])
    yield out.paragraph("The whole document for programs is at `/openapi.json` (OpenAPI 3.1).")
    for tag in document["tags"]:
        yield out.heading(2, tag["name"].capitalize())
        yield out.paragraph(tag["description"])
        for path, item in document["paths"].items():
            for method, operation in item.items():
                if tag["name"] in operation.get("tags", ()):
                    yield from _operation(document, out, path, method, operation)
    yield out.heading(2, "Schemas")
    for name, schema in sorted(document["components"]["schemas"].items()):
        yield from _schema(out, name, schema)
    yield out.heading(2, "Codes of refusals")
    yield out.paragraph("Every refusal is `application/problem+json`; programs go by its `code`.")
    for code, kind in PROBLEMS.items():
        yield out.heading(3, f"`{code}`", code)
        yield out.paragraph(f"{kind.title} (status {kind.status}, error `{kind.error}`). {kind.suggestion}")
    yield out.heading(2, "Codes of failed jobs")
    yield out.paragraph("In `error.code` of a job whose status is `failed`.")
    yield out.table(["Code", "Meaning"], [[f"`{code}`", meaning] for code, meaning in JOB_ERRORS.items()])


def _operation(
    document: Mapping[str, Any], out: _Writer, path: str, method: str, operation: Mapping[str, Any]
) -> Iterator[str]:
    yield out.heading(3, f"{method.upper()} {path}", operation["operationId"])
    yield out.paragraph(f"{operation['summary']}. {operation.get('description', '')}")
    parameters = [
        [f"`{item['name']}`", item["in"], _type(item["schema"]), item.get("description", "")]
        for item in operation.get("parameters", ())
    ]
    if parameters:
        yield out.table(["Parameter", "In", "Type", "Meaning"], parameters)
    body = operation.get("requestBody")
    if body is not None:
        for kind, content in body["content"].items():
            yield out.paragraph(f"Body: `{kind}`")
            schema = content["schema"]
            if "$ref" in schema:
                schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]]
            for form in schema.get("oneOf", [schema]):
                if "oneOf" in schema:
                    yield out.paragraph(f"{form['title']}:")
                yield out.table(["Field", "Type", "Meaning"], _properties(form))
    answers = []
    example = None
    for status, answer in operation["responses"].items():
        kinds = ", ".join(f"`{kind}`" for kind in answer.get("content", ())) or "no body"
        if len(answer.get("content", ())) > 2:
            kinds = "the file's type"
        answers.append([status, kinds, answer.get("description", "")])
        for content in answer.get("content", {}).values() if status.startswith("2") else ():
            example = content.get("example", example)
    yield out.table(["Status", "Body", "Meaning"], answers)
    if example is not None:
        text = example if isinstance(example, str) else json.dumps(example, indent=2)
        yield out.block(text, "" if isinstance(example, str) else "json")


def _schema(out: _Writer, name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    yield out.heading(3, name, f"schema-{name}")
    yield out.paragraph(schema.get("description", ""))
    if "enum" in schema:
        yield out.paragraph("One of " + ", ".join(f"`{value}`" for value in schema["enum"]) + ".")
    else:
        yield out.table(["Field", "Type", "Meaning"], _properties(schema))


def _properties(schema: Mapping[str, Any]) -> list[list[str]]:
    required = schema.get("required", ())
    return [
        [f"`{name}`" + ("" if name in required else " (optional)"), _type(part), part.get("description", "")]
        for name, part in schema.get("properties", {}).items()
    ]


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"].rsplit("/", 1)[-1])
    if "anyOf" in schema:
        return " or ".join(_type(part) for part in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    kind = str(schema.get("type", "any"))
    if kind == "array":
        return f"array of {_type(schema.get('items', {}))}"
    if "contentMediaType" in schema:
        return f"file, `{schema['contentMediaType']}`"
    bounds = [f"{word} {schema[key]}" for key, word in (("minimum", "from"), ("maximum", "to")) if key in schema]
    pattern = [f"`{schema['pattern']}`"] if "pattern" in schema else []
    return " ".join([kind, *bounds, *pattern])


def _main() -> None:
    """Prints the documentation as Markdown."""
    import sys

    from meshwright.service.api.app import documented_app

    sys.stdout.write(markdown_page(documented_app().openapi()))


if __name__ == "__main__":
    _main()
