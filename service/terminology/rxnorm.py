"""Reads a site's own RxNorm release into a small table: product and NDC codes -> ingredients of `drugs.toml`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from service.errors import SettingsError
from service.terminology.drugs import DRUG_VOCABULARY, NDC, RXNORM, DrugVocabulary

Progress = Callable[[int, int], None]  # bytes read, bytes in all

# "concept 2 RELA concept 1": the relations that lead from a product to what is in it.
_TOWARDS_INGREDIENT: Final = frozenset(
    b"consists_of contains form_of has_ingredient has_ingredients has_part has_precise_ingredient isa "
    b"quantified_form_of tradename_of".split()
)
_LINES_PER_REPORT: Final = 100_000


class Products(msgspec.Struct, frozen=True):
    """All products with the same listed ingredients."""

    ingredients: tuple[str, ...]  # names as in drugs.toml
    rxnorm: tuple[str, ...]
    ndc: tuple[str, ...]


class RxNormTable(msgspec.Struct, frozen=True):
    """What one release says about the drugs of `drugs.toml`; a few hundred kilobytes on disk."""

    release: str  # as in RXNSAB.RRF, "" if that file is absent
    products: tuple[Products, ...]

    def codes(self) -> dict[tuple[str, str], tuple[str, ...]]:
        """(system, code) -> ingredient names, for `DrugVocabulary.with_codes`."""
        found = {(RXNORM, code): group.ingredients for group in self.products for code in group.rxnorm}
        return found | {(NDC, code): group.ingredients for group in self.products for code in group.ndc}

    def write(self, path: Path) -> None:
        """Stores the table; a reader sees the old file or the new one, never a part."""
        draft = path.with_name(path.name + ".new")
        draft.write_bytes(msgspec.msgpack.encode(self))
        draft.replace(path)


def read(path: Path) -> RxNormTable:
    """The table that `write` stored. Raises SettingsError if the file is missing or is something else."""
    try:
        return msgspec.msgpack.decode(path.read_bytes(), type=RxNormTable)
    except (OSError, msgspec.MsgspecError) as error:
        raise SettingsError([f"{path.name}: not a readable RxNorm table ({type(error).__name__})"]) from error


def load(rrf_dir: Path, progress: Progress | None = None, vocabulary: DrugVocabulary = DRUG_VOCABULARY) -> RxNormTable:
    """Builds the table from RXNCONSO.RRF and RXNREL.RRF, with NDC codes if RXNSAT.RRF is there too.

    Products that act where they are applied (eye drops, creams, irrigation) are left out: their code recognises
    nothing. Reads line by line; memory grows with the number of concepts (some hundred megabytes), not with the files.
    Columns: NLM, RxNorm technical documentation, section 12. Raises SettingsError if a file is missing or malformed.
    """
    files = _Files(rrf_dir, progress or (lambda _done, _total: None))
    brands, local = _brands_and_local(files, vocabulary)
    holders = _holders(files, brands)
    ingredients: dict[bytes, set[str]] = defaultdict(set)
    for (system, code), drugs in vocabulary.codes.items():
        if system == RXNORM:
            for product in _products_of(code.encode(), holders, local):
                ingredients[product] |= {drug.name for drug in drugs}
    return RxNormTable(_release(files), _grouped(ingredients, _ndc(files, ingredients)))


class _Files:
    """Rows of the release's files as columns, and how far the reading is."""

    def __init__(self, folder: Path, progress: Progress) -> None:
        self._folder = folder
        self._progress = progress
        self._done = 0
        missing = [name for name in ("RXNCONSO.RRF", "RXNREL.RRF") if not (folder / name).is_file()]
        if missing:
            raise SettingsError([f"RxNorm release: {name} is missing" for name in missing])
        names = ("RXNCONSO.RRF", "RXNREL.RRF", "RXNSAT.RRF", "RXNSAB.RRF")
        self._total = sum((folder / name).stat().st_size for name in names if (folder / name).is_file())

    def rows(self, name: str, width: int) -> Iterator[Sequence[bytes]]:
        """The rows that concern RxNorm itself; none if the file is absent."""
        path = self._folder / name
        if not path.is_file():
            return
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                self._done += len(line)
                if number % _LINES_PER_REPORT == 0:
                    self._progress(self._done, self._total)
                if b"|RXNORM|" in line:
                    columns = line.rstrip(b"\r\n").split(b"|")
                    if len(columns) <= width:
                        raise SettingsError([f"{name} line {number}: {len(columns)} columns, expected {width + 1}"])
                    yield columns
        self._progress(self._done, self._total)


def _brands_and_local(files: _Files, vocabulary: DrugVocabulary) -> tuple[set[bytes], set[bytes]]:
    """Brand names, and products that act where they are applied."""
    brands: set[bytes] = set()
    local: set[bytes] = set()
    for row in files.rows("RXNCONSO.RRF", 18):
        rxcui, source, kind, name = row[0], row[11], row[12], row[14]
        if source != b"RXNORM":
            continue
        if kind == b"BN":
            brands.add(rxcui)
        elif kind.startswith((b"S", b"GPCK", b"BPCK")) and vocabulary.local_name(name.decode("utf-8", "replace")):
            local.add(rxcui)
    return brands, local


def _holders(files: _Files, brands: set[bytes]) -> Mapping[bytes, Sequence[bytes]]:
    """Concept -> concepts that hold it.

    A brand says nothing about what is in one product of that name ("Maalox" has been calcium carbonate and magnesium
    hydroxide), so nothing is concluded through a brand.
    """
    holders: dict[bytes, list[bytes]] = defaultdict(list)
    for row in files.rows("RXNREL.RRF", 16):
        part, whole, relation, source = row[0], row[4], row[7], row[10]
        if source == b"RXNORM" and relation in _TOWARDS_INGREDIENT and part and whole and part not in brands:
            holders[part].append(whole)
    return holders


def _products_of(ingredient: bytes, holders: Mapping[bytes, Sequence[bytes]], local: set[bytes]) -> set[bytes]:
    found: set[bytes] = set()
    ahead = [ingredient]
    while ahead:
        for whole in holders.get(ahead.pop(), ()):
            if whole not in found and whole not in local:
                found.add(whole)
                ahead.append(whole)
    return found


def _ndc(files: _Files, products: Container[bytes]) -> dict[bytes, list[str]]:
    """Product -> its NDC codes, from RXNSAT.RRF where a site has it."""
    codes: dict[bytes, list[str]] = defaultdict(list)
    for row in files.rows("RXNSAT.RRF", 13):
        rxcui, attribute, source, value = row[0], row[8], row[9], row[10]
        if attribute == b"NDC" and source == b"RXNORM" and rxcui in products:
            codes[rxcui].append(value.decode("ascii", "replace"))
    return codes


def _grouped(ingredients: Mapping[bytes, set[str]], ndc: Mapping[bytes, Sequence[str]]) -> tuple[Products, ...]:
    groups: dict[tuple[str, ...], list[bytes]] = defaultdict(list)
    for product in sorted(ingredients, key=lambda code: (len(code), code)):
        groups[tuple(sorted(ingredients[product]))].append(product)
    return tuple(
        Products(
            names,
            tuple(code.decode() for code in codes),
            tuple(sorted({number for code in codes for number in ndc.get(code, ())})),
        )
        for names, codes in sorted(groups.items())
    )


def _release(files: _Files) -> str:
    versions = (row[2] for row in files.rows("RXNSAB.RRF", 4) if row[3] == b"RXNORM")
    return next(versions, b"").decode("ascii", "replace")
