"""The reference page: complete, true to the contract, and able to live under its own policy without the internet."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urljoin

import msgspec
import pytest
from flask.testing import FlaskClient

from service.api.pages import page as module
from tests.contract.openapi import CONTRACT, examples, operations

STATIC = Path(module.__file__).parent / "static"
VOID = {"meta", "link", "img", "input"}


class Page(HTMLParser):
    """What the page holds: ids, links, files, fields with their labels, and what a strict policy would block."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.files: list[str] = []
        self.fields: set[str] = set()
        self.labelled: set[str] = set()
        self.inline: list[str] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.inline += [name for name in given if name == "style" or name.startswith("on")] + [tag] * (tag == "style")
        self.ids += [given["id"]] if "id" in given else []
        if tag == "a":
            self.links.append(given["href"])
        else:
            self.files += [given[name] for name in ("src", "href") if name in given]
        if tag in {"input", "select", "textarea"}:
            self.fields.add(given["id"])
        if tag == "label":
            self.labelled.add(given["for"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        self.text.append(data)
        if self.open[-1:] == ["script"] and data.strip():
            self.inline.append("script")


@pytest.fixture(scope="module")
def page(client: FlaskClient) -> Page:
    return Page(client.get("/docs").text)


def test_the_page_is_sent_with_a_strict_policy_and_once(client: FlaskClient):
    first = client.get("/docs")
    again = client.get("/docs", headers={"If-None-Match": first.headers["ETag"]})
    assert (first.status_code, first.mimetype) == (200, "text/html")
    assert "default-src 'self'" in first.headers["Content-Security-Policy"]
    assert "unsafe" not in first.headers["Content-Security-Policy"]
    assert (again.status_code, again.data) == (304, b"")


def test_the_page_is_well_formed_and_holds_nothing_inline(page: Page):
    assert page.open == []
    assert page.inline == []
    assert len(set(page.ids)) == len(page.ids)


def test_every_file_of_the_page_is_served_from_here(client: FlaskClient, page: Page):
    assert {"static/style.css", "static/docs.css", "static/docs.js"} <= set(page.files)
    assert [name for name in page.files if client.get(f"/{name}").status_code != 200] == []


def test_every_link_leads_somewhere(client: FlaskClient, page: Page):
    inside = {link.removeprefix("#") for link in page.links if link.startswith("#")}
    outside = {link for link in page.links if not link.startswith("#")}
    assert inside - set(page.ids) == set()
    assert {client.get(urljoin("/docs", link)).status_code for link in outside} == {200}


def test_every_operation_and_schema_has_its_place(page: Page):
    assert {operation.id for operation in operations()} <= set(page.ids)
    assert {f"schema-{name}" for name in CONTRACT["components"]["schemas"]} <= set(page.ids)


def test_every_field_has_a_label(page: Page):
    assert page.fields == page.labelled


def test_every_description_and_example_is_on_the_page(page: Page):
    text = " ".join("".join(page.text).split())
    said = [operation.body.get("description", operation.body["summary"]) for operation in operations()]
    for description in said:
        assert " ".join(description.replace("`", "").split()) in text
    for example in examples():
        shown = msgspec.json.format(msgspec.json.encode(example.answer), indent=2).decode()
        assert " ".join(shown.split()) in text, example.name


def test_the_script_never_parses_a_string_as_html_and_names_no_other_place():
    script = (STATIC / "docs.js").read_text(encoding="utf-8")
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "DOMParser", "eval(", "Function("):
        assert way not in script
    style = (STATIC / "docs.css").read_text(encoding="utf-8")
    assert not re.search(r"https?:|//\w|@import|url\(", script.replace("// ", "") + style)
