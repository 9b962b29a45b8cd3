"""The report of a check as JSON and as a page: complete, sorted, escaped, and readable without anything else."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema
import pytest
from playwright.sync_api import sync_playwright

from hokusai.records import CheckReport, Finding
from hokusai.report.check_document import check_document, sorted_findings
from hokusai.report.check_page import check_page
from hokusai.report.visible_text import visible_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "docs" / "formats" / "check-1.schema.json").read_text(encoding="utf-8"))
NAUGHTY = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "{{ 7 * 7 }}",
    "&lt;b&gt;",
    "\x1b[31mred\x1b[0m",
    "\u202etxt.exe",
    "zero\u200bwidth",
    "nul\x00",
    "مرحبا",
    "田中さん",
    "🐧",
    "half \ud800",
    "-->",
    "x" * 300,
]
FINDINGS = (
    Finding(check="new_class", severity="note", message="the base data have no such row.", column="species", rows=68),
    Finding(check="above_maximum", severity="error", message="too long.", column="bill", rows=9, first_rows=(4, 5)),
    Finding(check="unit_shift", severity="warning", message="another unit.", column="time", advice="Convert them."),
    Finding(check="missing_column", severity="error", message="not there."),
)
REPORT = CheckReport(
    source="data/dream.csv",
    contribution="dream",
    rows=1_234,
    columns=(("bill", "float"), ("species", "string")),
    file_sha256="a" * 64,
    digest="b" * 64,
    findings=FINDINGS,
    counts={"offered": 1_234, "duplicates": 3},
    personal_data=(("mail", "email", "certain", 12),),
)


def naughty(text: str) -> CheckReport:
    """A report that holds this text wherever a text of the contributor can stand."""
    return dataclasses.replace(
        REPORT,
        source=text,
        contribution=text,
        columns=((text, "string"),),
        findings=(Finding(check="new_class", severity="note", message=text, column=text, advice=text),),
        personal_data=((text, "email", "certain", 1),),
    )


class Reader(HTMLParser):
    """What a page is made of: its elements, their attributes, and its text outside of the style."""

    def __init__(self) -> None:
        """Begin with nothing."""
        super().__init__()
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.elements.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        """Note text."""
        if self.elements[-1:] != ["style"]:
            self.text += data


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    return reader


def test_the_document_keeps_its_published_schema_and_says_everything() -> None:
    document = json.loads(check_document(REPORT))
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(document, SCHEMA, cls=jsonschema.Draft202012Validator)
    assert document["format"] == "hokusai-check/1"
    assert (document["worst"], document["found"]) == ("error", {"error": 2, "warning": 1, "note": 1})
    assert [item["check"] for item in document["findings"]] == [
        "above_maximum",
        "missing_column",
        "unit_shift",
        "new_class",
    ]
    assert document["findings"][0]["first_rows"] == [4, 5]
    assert document["personal_data"] == [{"column": "mail", "kind": "email", "grade": "certain", "rows": 12}]
    # Every field of the record is in it.
    assert {each.name for each in dataclasses.fields(CheckReport)} <= set(document)
    assert {each.name for each in dataclasses.fields(Finding)} == set(document["findings"][0])


def test_the_schema_refuses_what_is_not_described() -> None:
    document = json.loads(check_document(REPORT))
    for change in ({"more": 1}, {"worst": "fatal"}, {"rows": -1}, {"format": "hokusai-check/2"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(document | change, SCHEMA)


@pytest.mark.parametrize("text", NAUGHTY)
def test_the_document_is_ascii_and_holds_any_text_as_it_is(text: str) -> None:
    document = check_document(naughty(text))
    assert all(letter == "\n" or letter.isprintable() for letter in document)
    assert document.isascii()
    assert json.loads(document)["contribution"] == text


def test_findings_are_sorted_by_severity_and_stay_in_order_within_one() -> None:
    assert [finding.check for finding in sorted_findings(REPORT)] == [
        "above_maximum",
        "missing_column",
        "unit_shift",
        "new_class",
    ]
    page = check_page(REPORT)
    places = [page.index(finding.message) for finding in sorted_findings(REPORT)]
    assert places == sorted(places)


@pytest.mark.parametrize("text", NAUGHTY)
def test_no_text_becomes_markup_and_what_is_hidden_is_written_out(text: str) -> None:
    page = check_page(naughty(text))
    found, plain = read(page), read(check_page(naughty("plain")))
    assert found.elements == plain.elements
    assert [name for name, _ in found.attributes] == [name for name, _ in plain.attributes]
    assert found.text.count(visible_text(text)) == plain.text.count("plain")
    assert all(letter == "\n" or letter.isprintable() for letter in page)
    assert page.encode("utf-8")


def test_the_page_asks_for_nothing_and_runs_nothing() -> None:
    found = read(check_page(REPORT))
    assert not {"script", "link", "img", "iframe", "object", "form"} & set(found.elements)
    assert not [name for name, _ in found.attributes if name in ("src", "href", "style") or name.startswith("on")]
    assert not re.search(r"https?://|@import|url\(", check_page(REPORT))


def test_a_clean_report_says_that_nothing_was_found() -> None:
    page = check_page(dataclasses.replace(REPORT, findings=(), personal_data=()))
    assert "Nothing was found." in read(page).text
    assert "Personal data" not in read(page).text
    assert "Nothing was found." not in read(check_page(REPORT)).text


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser that reaches nobody."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None and os.environ.get("CI") == "true":
        pytest.fail("no Chromium on this machine: `make browser` installs it")
    if path is None:
        pytest.skip("no Chromium on this machine: `make browser` installs it")
    flags = ["--no-sandbox", "--disable-gpu", "--no-proxy-server", "--host-resolver-rules=MAP * ~NOTFOUND"]
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=flags)
        yield opened
        opened.close()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1_000), ("dark", 1_000), ("light", 360)])
def test_the_page_can_be_read_in_light_and_dark_and_on_a_phone(
    browser: Browser, tmp_path: Path, scheme: str, width: int
) -> None:
    path = tmp_path / "check.html"
    columns = (*REPORT.columns, ("a_very_long_name_" * 12, "float"), (NAUGHTY[0], "string"))
    path.write_text(check_page(dataclasses.replace(REPORT, columns=columns)), encoding="utf-8")
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)  # type: ignore[arg-type]
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    page.goto(path.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("article .severity").all_inner_texts() == ["ERROR", "ERROR", "WARNING", "NOTE"]
    luminance = """element => {
        const parts = getComputedStyle(element).color.match(/[0-9.]+/g).slice(0, 3).map(Number);
        const [red, green, blue] = parts.map(part => part / 255)
            .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    }"""
    paper = {"light": 0.93, "dark": 0.015}[scheme]  # the luminance of a finding's card
    for text in page.locator("article p, article span").all():
        lighter, darker = sorted((text.evaluate(luminance), paper), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5  # WCAG 2.2, level AA
    assert dialogs == []
    page.close()
