"""The recipes of docs/extending.md, walked in a copy: each step leaves a test red until the next, the last leaves none."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from shutil import copy, copytree, ignore_patterns

import pytest

from service.governance.paper import SECTIONS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "extending.md"
NOT_COPIED = ignore_patterns("__pycache__", "node_modules", ".*")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the project in which a newcomer works; nothing of the project itself is written to."""
    for folder in ("service", "tests", "tools", "docs"):
        copytree(ROOT / folder, tmp_path / folder, ignore=NOT_COPIED)
    copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def run(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTEST_ADDOPTS": "", "PYTHONPATH": str(tree)}
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, timeout=300)


def failing(tree: Path, *tests: str) -> set[str]:
    """Names of the tests that fail in the copy; an error that keeps tests from running at all is raised."""
    done = run(tree, "pytest", "-p", "no:cacheprovider", "-n", "0", *tests)
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    return set(re.findall(r"^(?:FAILED|ERROR) [\w/.]+::(\w+)", done.stdout, re.MULTILINE))


def untranslated(tree: Path) -> set[str]:
    """Languages that lack the sentence of this walk; what the project itself may lack is told by its own test."""
    done = run(tree, "pytest", "-p", "no:cacheprovider", "-vvv", TRANSLATED)
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    parts = re.split(r"^_+ test_every_message_is_translated\[(\w+)\] _+$", done.stdout, flags=re.MULTILINE)
    return {language for language, told in zip(parts[1::2], parts[2::2], strict=True) if SENTENCE in told}


def extend(path: Path, text: str, *, before: str = "") -> None:
    """Put text before the last occurrence of some words, or at the end; what stands there stays."""
    said = path.read_text("utf-8")
    head, found, tail = said.rpartition(before) if before else (said, "", "")
    assert bool(before) == bool(found), f"{path.name} no longer holds {before!r}"
    path.write_text(head + text + found + tail, "utf-8")


def changed(tree: Path) -> set[str]:
    """The files of the copy that differ from the project's."""
    return {name for name in _files(tree) if not _same(tree / name, ROOT / name)}


def _files(tree: Path) -> Iterator[str]:
    paths = (p for p in tree.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    return (str(p.relative_to(tree)) for p in paths if not p.relative_to(tree).parts[0].startswith("."))


def _same(one: Path, other: Path) -> bool:
    return other.exists() and one.read_bytes() == other.read_bytes()


def section(title: str) -> str:
    return PAGE.read_text("utf-8").partition(f"\n## {title}")[2].partition("\n## ")[0]


# ---- a rule -----------------------------------------------------------------------------------------------------

FUNCTION = '''def acid_blocker_on_dialysis(case: Case) -> Answer:
    """R-103: a proton pump inhibitor lowers magnesium on dialysis too."""
    if not case.medications_known:
        return MissingInputs(("medications",))
    if not (case.dialysis and case.ppis):
        return NotMet()
    return Finding(
        "reviewed-on-dialysis",
        Indicator.INFO,
        text=Message("Walked in a copy: acid blocker on dialysis."),
        evidence=references(*case.ppis),
        context_only=True,
    )


'''
LINE = '    Rule("R-103", "acid-blocker-on-dialysis", acid_blocker_on_dialysis, priority=48),\n'
ROW = """
[R-103]
title = "Acid blocker on dialysis"
question = "Is a proton pump inhibitor taken on dialysis?"
inputs = ["conditions", "medications"]
condition = "Fires, as information, when dialysis is on file and a proton pump inhibitor is active."
override = ["known-chronic", "will-monitor", "not-needed"]
parameters = []
cite = [["engineering", "a walk through the recipe"]]
"""
CASES = """
[[case]]
title = "Walked in a copy: omeprazole on dialysis"
labs = ["mg 0.85 mmol/L"]
drugs = ["omeprazole, oral, since -100d"]
conditions = ["dialysis"]
finds = { R-103 = "reviewed-on-dialysis" }
urgency = { R-103 = "info" }

[[case]]
title = "Walked in a copy: omeprazole without dialysis"
labs = ["mg 0.85 mmol/L", "creatinine 70 umol/L"]
drugs = ["omeprazole, oral, since -100d"]
silent = ["R-103"]
"""
SENTENCE = "Walked in a copy: acid blocker on dialysis."
TRANSLATIONS = {
    "ru": "Пройдено в копии: ингибитор кислоты на диализе.",
    "fa": "در نسخه آزمون شد: مهارکننده اسید در دیالیز.",
}
GROUP, TABLE = "service/logic/rules/nephrology.py", "service/logic/knowledge/rules.toml"
VIGNETTES, KNOWLEDGE = "tests/vignettes/K-nephrology.toml", "service/logic/knowledge/__init__.py"
LANGUAGES = tuple(f"service/cds/languages/{language}.po" for language in TRANSLATIONS)
ROWS = "tests/logic/test_catalogue.py::test_every_rule_has_a_row_and_every_row_a_rule_in_the_same_order"
SPOKEN = "tests/logic/test_vignettes.py::test_every_rule_has_a_patient_in_whom_it_speaks_and_one_in_whom_it_does_not"
VERSIONED = "tests/logic/test_version.py::test_the_version_is_that_of_the_content"
GOVERNANCE = "tests/docs/test_governance.py::test_the_pages_are_what_rules_guards_and_tests_say"
CLINICAL = "tests/docs/test_pages.py::test_the_clinical_page_is_what_the_knowledge_says"
TRANSLATED = "tests/cds/test_languages.py::test_every_message_is_translated"
JUDGED = "tests/logic/test_vignettes.py"
AFFECTED = ("tests/logic/test_catalogue.py", JUDGED, VERSIONED, CLINICAL, GOVERNANCE)


def test_a_rule_is_added_by_its_recipe(tree: Path) -> None:
    extend(tree / GROUP, FUNCTION, before="RULES = (\n")
    extend(tree / GROUP, LINE, before=")\n")
    assert failing(tree, ROWS) == {ROWS.rpartition("::")[2]}

    extend(tree / TABLE, ROW)
    assert failing(tree, ROWS, SPOKEN, VERSIONED) == {test.rpartition("::")[2] for test in (SPOKEN, VERSIONED)}

    extend(tree / VIGNETTES, CASES)
    _raise_version(tree)
    assert untranslated(tree) == set(TRANSLATIONS)
    assert failing(tree, CLINICAL) == {CLINICAL.rpartition("::")[2]}

    _translate(tree)
    assert run(tree, "tools.clinical_page").returncode == run(tree, "tools.governance_page").returncode == 0
    assert untranslated(tree) == set()
    assert failing(tree, *AFFECTED) == set()

    by_hand = {GROUP, TABLE, KNOWLEDGE, VIGNETTES, *LANGUAGES}
    generated = {"docs/clinical.md", *(f"docs/governance/{section.id}.md" for section in SECTIONS)}
    assert changed(tree) == by_hand | generated
    assert len(by_hand) <= 6, "a newcomer adds a rule in at most 6 files"


def _raise_version(tree: Path) -> None:
    module = tree / KNOWLEDGE
    content = b"".join(path.read_bytes() for path in sorted(module.parent.glob("*.toml")))
    said = re.sub(r'^VERSION = "[^"]+"', 'VERSION = "2999.1.0"', module.read_text("utf-8"), flags=re.MULTILINE)
    mark = f'FINGERPRINT = "{sha256(content).hexdigest()[:16]}"'
    module.write_text(re.sub(r'^FINGERPRINT = "[^"]+"', mark, said, flags=re.MULTILINE), "utf-8")


def _translate(tree: Path) -> None:
    for language, words in TRANSLATIONS.items():
        extend(tree / f"service/cds/languages/{language}.po", f'\nmsgid "{SENTENCE}"\nmsgstr "{words}"\n')


# ---- a drug -----------------------------------------------------------------------------------------------------

DRUGS, READ = "service/terminology/drugs.toml", "tests/terminology/test_drugs.py"
DRUG = """
[drug.loop_diuretic.walkosemide]
ru = ["волкосемид"]
brands = ["Walkix"]
"""
DRUG_CASES = '    ("Walkosemide 20 mg tablet", ["walkosemide"]),\n    ("Волкосемид", ["walkosemide"]),\n'
TAKEN = """
[[case]]
title = "Walked in a copy: a new loop diuretic explains a low magnesium"
labs = ["mg 0.60 mmol/L", "k 4.2 mmol/L", "creatinine 70 umol/L"]
drugs = ["walkosemide, oral, since -100d"]
finds = { R-050 = "diuretic" }
"""


def test_a_drug_is_added_by_its_recipe(tree: Path) -> None:
    extend(tree / READ, DRUG_CASES, before='    ("Furosemide 20 MG Oral Tablet"')
    assert failing(tree, READ) == {"test_a_name_names_its_ingredients"}

    extend(tree / DRUGS, DRUG, before="\n[drug.loop_diuretic.furosemide]")
    assert failing(tree, READ) == set()
    assert changed(tree) == {DRUGS, READ}

    extend(tree / "tests/vignettes/F-drugs.toml", TAKEN)
    assert failing(tree, JUDGED) == set(), "a drug's class alone makes the rules go by it"


# ---- the page itself --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("title", "files"),
    [
        ("A rule", (TABLE.rsplit("/", 1)[1], "__init__.py", "tests/vignettes/", "docs/clinical.md", "ru.po", "fa.po")),
        ("A drug", (DRUGS.rsplit("/", 1)[1], READ)),
    ],
)
def test_the_page_names_what_the_walk_touched(title: str, files: tuple[str, ...]) -> None:
    assert [name for name in files if name not in section(title)] == []


def test_every_path_that_the_page_names_exists() -> None:
    named = re.findall(r"`((?:service|tests|docs|tools)/[\w/.-]*)`", PAGE.read_text("utf-8"))
    assert len(named) > 10
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_target_that_the_page_names_is_one_of_make() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", PAGE.read_text("utf-8"))) <= targets
