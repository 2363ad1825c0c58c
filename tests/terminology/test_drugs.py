"""Drugs are recognised by code and by name, in four scripts, and what only sounds like one is not."""

from __future__ import annotations

import csv
import re
import tomllib
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import SettingsError
from service.terminology import drugs, rxnorm
from service.terminology.drugs import ATC, DRUG_VOCABULARY, NDC, RXNORM, SNOMED, Drug, local_code

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "terminology"


def names(found: tuple[Drug, ...]) -> list[str]:
    return sorted(drug.name for drug in found)


# ------------------------------------------------------------------------------------------------------------- names

NAMED = [
    # text, ingredients
    ("Furosemide 20 MG Oral Tablet", ["furosemide"]),
    ("furosemide (LASIX) tablet 40 mg", ["furosemide"]),
    ("[Lasix]", ["furosemide"]),
    ("20 MG omeprazole", ["omeprazole"]),
    ("12 HR potassium chloride 10 MEQ Extended Release Oral Tablet", ["potassium chloride"]),
    ("1000 ML Mannitol 200 MG/ML Injection", ["mannitol"]),
    ("ONDANSETRON", ["ondansetron"]),
    ("Inj. Magnesium sulphate 50 %", ["magnesium sulfate"]),
    ("Tab. furosemide", ["furosemide"]),
    ("frusemide", ["furosemide"]),
    ("Thyroxine 0.112 MG Oral Tablet [Levoxyl]", ["levothyroxine"]),
    ("Magnesium Sulf 2gm/50mL 50mL BAG", ["magnesium sulfate"]),
    ("MgSO4 4 g", ["magnesium sulfate"]),
    ("KCl 40 mEq", ["potassium chloride"]),
    ("Cisplatin IV cycle 3 (see oncology protocol)", ["cisplatin"]),
    ("Product containing only magnesium sulfate in parenteral dose form", ["magnesium sulfate"]),
    ("Gastric Acid Secretion Reducing Agents - Proton Pump Inhibitors (PPIs)", ["proton pump inhibitor (unnamed)"]),
    # salts lead to the ingredient
    ("furosemide sodium", ["furosemide"]),
    ("omeprazole magnesium", ["omeprazole"]),
    ("magnesium oxide heavy", ["magnesium oxide"]),
    ("ethacrynate sodium", ["etacrynic acid"]),
    ("foscarnet sodium", ["foscarnet"]),
    ("gentamicin sulfate", ["gentamicin"]),
    ("tetracycline hydrochloride", ["tetracycline"]),
    # combinations
    ("Hydrochlorothiazide 25 MG / Triamterene 37.5 MG Oral Tablet", ["hydrochlorothiazide", "triamterene"]),
    ("Amiloride hydrochloride 5 mg and furosemide 40 mg oral tablet", ["amiloride", "furosemide"]),
    ("magnesium lactate dihydrate 470 mg + pyridoxine 5 mg", ["magnesium lactate", "pyridoxine"]),
    ("sodium chloride 0.9 % with KCl 20 mEq/L", ["potassium chloride"]),
    ("lisinopril-hydrochlorothiazide (ZESTORETIC) 20-12.5 mg", ["hydrochlorothiazide"]),
    ("Losartan HCTZ 50/12.5", ["hydrochlorothiazide"]),
    ("Ramipril HCT", ["hydrochlorothiazide"]),
    ("{4 (amoxicillin) / 2 (clarithromycin 500 MG) / 2 (lansoprazole 30 MG)} Pack", ["clarithromycin", "lansoprazole"]),
    ("co-amilofruse 5mg/40mg tablets", ["amiloride", "furosemide"]),
    ("Co-amilozide", ["amiloride", "hydrochlorothiazide"]),
    ("co-triamterzide", ["hydrochlorothiazide", "triamterene"]),
    ("Dyazide", ["hydrochlorothiazide", "triamterene"]),
    ("Maxzide-25", ["hydrochlorothiazide", "triamterene"]),
    ("Rennie", ["calcium carbonate", "magnesium carbonate"]),
    ("calcium acetate and magnesium carbonate", ["calcium acetate and magnesium carbonate"]),
    ("Osvaren 435 mg/235 mg", ["calcium acetate and magnesium carbonate"]),
    # brands of magnesium
    ("Maalox", ["magnesium hydroxide"]),
    ("Phillips' Milk of Magnesia", ["magnesium hydroxide"]),
    ("Mag-Ox 400", ["magnesium oxide"]),
    ("Slow-Mag", ["magnesium chloride"]),
    ("MagneB6", ["magnesium lactate", "pyridoxine"]),
    ("Epsom salt", ["magnesium sulfate"]),
    ("Magnesium Verla N", ["magnesium citrate"]),
    ("Gaviscon Infant", ["magnesium-containing antacid (unnamed)"]),
    # Russian
    ("Таб. Фуросемид 40 мг", ["furosemide"]),
    ("Р-р магния сульфата 25% 10 мл в/в", ["magnesium sulfate"]),
    ("Магнезия", ["magnesium sulfate"]),
    ("Магне В6", ["magnesium lactate", "pyridoxine"]),  # Cyrillic В
    ("Магне B6 форте", ["magnesium citrate", "pyridoxine"]),
    ("Магнелис B6", ["magnesium lactate", "pyridoxine"]),
    ("Панангин", ["magnesium aspartate", "potassium aspartate"]),
    ("Калия и магния аспарагинат 500 мл", ["magnesium aspartate", "potassium aspartate"]),
    ("Аспаркам", ["magnesium aspartate", "potassium aspartate"]),
    ("Диувер", ["torasemide"]),
    ("Омез", ["omeprazole"]),
    ("Омез Д", ["domperidone", "omeprazole"]),
    ("Нексиум 40 мг", ["esomeprazole"]),
    ("Нольпаза", ["pantoprazole"]),
    ("Арифон ретард", ["indapamide"]),
    ("Эзомепразол магния", ["esomeprazole"]),
    ("Железо", ["iron (unnamed)"]),
    # German, Spanish, Dutch
    ("Pantozol 40", ["pantoprazole"]),
    ("Magnesium-Diasporal 300 mg Granulat", ["magnesium citrate"]),
    ("L-Thyroxin Henning 75", ["levothyroxine"]),
    ("Etacrynsäure", ["etacrynic acid"]),
    ("Óxido de magnesio 400", ["magnesium oxide"]),
    ("omeprazol y amoxicilina", ["omeprazole"]),
    ("MAGNESIUMHYDROXIDE KAUWTABLET 724MG", ["magnesium hydroxide"]),
    # Persian: both orders of a salt, Arabic letters, joiners, digits
    ("قرص فوروزماید ۴۰", ["furosemide"]),
    ("آمپول سولفات منیزیم ۲۰٪", ["magnesium sulfate"]),
    ("منیزیم سولفات", ["magnesium sulfate"]),
    ("سیس‌پلاتین", ["cisplatin"]),
    ("سيكلوسپورين", ["ciclosporin"]),
    ("کپسول امپرازول 20", ["omeprazole"]),
    ("تریامترن اچ", ["hydrochlorothiazide", "triamterene"]),
    ("آمپول لازیکس", ["furosemide"]),
    # trademarks, soft hyphens, glued strengths
    ("Nexium™ 40 mg", ["esomeprazole"]),
    ("LASIX® 40", ["furosemide"]),
    ("Furo\u00adsemid 40 mg", ["furosemide"]),
    ("Furosemid40 1-0-0", ["furosemide"]),
    ("furosemide40mg tab", ["furosemide"]),
    ("KCl20mEq", ["potassium chloride"]),
    # words before the name
    ("IVPB magnesium sulfate 2 gram/50 mL", ["magnesium sulfate"]),
    ("patient's own omeprazole 20 mg", ["omeprazole"]),
    ("Home med: furosemide 40 mg", ["furosemide"]),
    ("continue furosemide 40 mg po daily", ["furosemide"]),
    # combinations
    ("Ramipril comp 5/25", ["hydrochlorothiazide"]),
    ("Losartan plus", ["hydrochlorothiazide"]),
    ("Triamteren comp.", ["hydrochlorothiazide", "triamterene"]),
    ("Calcium-Magnesium-Zink", ["calcium (unnamed)", "magnesium"]),
    ("Calcium Magnesium Zinc tablets", ["calcium (unnamed)", "magnesium"]),
    ("Kalium-Magnesium", ["magnesium", "potassium (unnamed)"]),
    ("Picolax", ["bowel preparation (unnamed)", "magnesium oxide", "sodium picosulfate"]),
    # French, Italian, Portuguese
    ("furosémide 40 mg comprimé", ["furosemide"]),
    ("sulfate de magnésium 15 %", ["magnesium sulfate"]),
    ("magnesio solfato fiale", ["magnesium sulfate"]),
    ("sulfato de magnésio", ["magnesium sulfate"]),
    ("gentamicine", ["gentamicin"]),
    ("cisplatino", ["cisplatin"]),
    ("omeprazolo 20 mg", ["omeprazole"]),
    ("idroclorotiazide", ["hydrochlorothiazide"]),
    ("digossina", ["digoxin"]),
    ("amiodarona", ["amiodarone"]),
    ("ciclosporine", ["ciclosporin"]),
    ("chlorure de potassium", ["potassium chloride"]),
    ("cloruro di potassio", ["potassium chloride"]),
    # fluids and preparations
    ("PrismaSol BGK 4/2.5", ["haemofiltration solution (unnamed)"]),
    ("TPN adult", ["parenteral nutrition (unnamed)"]),
    ("SmofKabiven 1477 mL", ["parenteral nutrition (unnamed)"]),
    ("МультиБик 4 калий", ["haemofiltration solution (unnamed)"]),
    ("MoviPrep", ["bowel preparation (unnamed)"]),
    # what else is denied in the same text is not this
    ("furosemide 40 mg; PPI: none", ["furosemide"]),
    ("omeprazole 20 mg no 28", ["omeprazole"]),
    ("furosemide 6x daily", ["furosemide"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), NAMED, ids=[text for text, _ in NAMED])
def test_a_name_names_its_ingredients(text: str, expected: list[str]) -> None:
    assert names(DRUG_VOCABULARY.by_name(text)) == sorted(expected)


NOT_NAMED = [
    "Little Pink Pill for water retention",
    "",
    "   / , + [",
    "magnesium-free dialysate",
    "hydration fluid without magnesium",
    "magnesium level",
    "Magnesium, serum",
    "Pitavastatin (magnesium)",
    "esomeprazolum",
    "antifurosemide",
    "non-magnesium antacid",
    "low-potassium diet",
    "potassium iodide 65 mg",
    "Penicillin V potassium",
    "losartan potassium 50 mg",
    "Calcium Channel Blockers - Benzothiazepines",
    "pre-cisplatin hydration",
    "everolimus-eluting stent",
    "Gaviscon",  # alginate: no magnesium in most countries
    "Кардиомагнил",  # aspirin with a trace of magnesium hydroxide
    "Magnesium phosphoricum D6",
    "Magnesium muriaticum D6",
    "Magnesium metallicum 30C",
    "Magnesium globuli",
    "Schüßler Nr. 7 Magnesium",
    "MGO 400 Manuka honey",
    "PPI: none",
    "no PPI",
    "no longer taking omeprazole",
    "cisplatin allergy",
    "allergic to cisplatin",
    "Allergies: cisplatin",
    "furosemide 40 mg contraindicated",
    "Magnesium sulfate - discontinued",
    "омепразол отменён",
    "аллергия на цисплатин",
    "حساسیت به سیس‌پلاتین",
    "Omeprazol abgesetzt",
    "kein Furosemid",
    "alergia a cisplatino",
    "Magnesium Lvl",
    "Tacrolimus level",
]


@pytest.mark.parametrize("text", NOT_NAMED)
def test_what_only_sounds_like_a_drug_names_nothing(text: str) -> None:
    assert DRUG_VOCABULARY.by_name(text) == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("magnesium salicylate 600 MG Oral Tablet", "TRAP_mg_salt_not_supplement"),
        ("Doan’s Extra Strength", "TRAP_mg_salt_not_supplement"),
        ("magnesium stearate", "TRAP_mg_salt_not_supplement"),
        ("choline magnesium trisalicylate", "TRAP_mg_salt_not_supplement"),
        ("magnesium valproate", "TRAP_mg_salt_not_supplement"),
        ("DigiFab (digoxin immune fab [ovine]) 40 mg", "TRAP_not_glycoside"),
        ("digoxin-specific antibody fragments", "TRAP_not_glycoside"),
        ("digoxin immune fab", "TRAP_not_glycoside"),
    ],
)
def test_a_trap_is_recognised_as_a_trap_and_as_nothing_else(text: str, expected: str) -> None:
    assert {drug.drug_class for drug in DRUG_VOCABULARY.by_name(text)} == {expected}


@pytest.mark.parametrize(
    "text", ["esomeprazole (as magnesium trihydrate)", "esomeprazole magnesium", "esomeprazole-magnesium"]
)
def test_a_counter_ion_is_not_a_supplement(text: str) -> None:
    assert names(DRUG_VOCABULARY.by_name(text)) == ["esomeprazole"]


def test_the_brand_in_brackets_does_not_add_what_another_product_of_that_brand_holds() -> None:
    assert names(DRUG_VOCABULARY.by_name("Calcium Carbonate 600 MG Chewable Tablet [Maalox]")) == ["calcium carbonate"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Neomycin / Polymyxin B Ophthalmic Ointment", True),
        ("tacrolimus 0.1% ointment", True),
        ("гентамицин капли глазные", True),
        ("قطره چشمی جنتامایسین", True),
        ("gentamicin 0.1 % topical cream", True),
        ("tobramycin 3 MG/ML / dexamethasone 1 MG/ML Ophthalmic Suspension", True),
        ("Gentamicine collyre", True),
        ("tacrolimus crema", True),
        ("Гентамицин мазь для наружного применения", True),
        ("gentamicin bone cement", True),
        ("tacrolimus 1 mg capsule", False),
        ("gentamicin 40 MG/ML Injection", False),
        ("Omeprazole 20 MG Oral Capsule", False),
    ],
)
def test_local_use_is_told_from_the_name(text: str, expected: bool) -> None:
    assert DRUG_VOCABULARY.local_name(text) is expected


def test_a_very_long_or_hostile_name_is_read_without_harm() -> None:
    assert DRUG_VOCABULARY.by_name("furosemide " + "[" * 1_000_000) == DRUG_VOCABULARY.by_name("furosemide")
    assert names(DRUG_VOCABULARY.by_name("\x00\ud800\u202e magnesium\n")) == ["magnesium"]


# ------------------------------------------------------------------------------------------------------------- codes

CODED = [
    (RXNORM, "4603", ["furosemide"]),
    ("http://www.nlm.nih.gov/research/umls/rxnorm/", "4603", ["furosemide"]),
    ("HTTP://www.nlm.nih.gov/research/umls/RXNORM", " 4603 ", ["furosemide"]),
    ("urn:oid:2.16.840.1.113883.6.88", "7646", ["omeprazole"]),
    ("http://hl7.org/fhir/sid/rxnorm", "6585", ["magnesium sulfate"]),
    (ATC, "C03CA01", ["furosemide"]),
    (ATC, "c03ca01", ["furosemide"]),
    ("http://fhir.de/CodeSystem/bfarm/atc", "L01XA01", ["cisplatin"]),
    ("http://fhir.de/CodeSystem/dimdi/atc", "A02BC01", ["omeprazole"]),
    ("urn:oid:2.16.840.1.113883.6.73", "A12CC05", ["magnesium aspartate"]),
    (SNOMED, "57066004", ["cisplatin"]),
    ("http://snomed.info/sct/900000000000207008/version/20240101", "387475002", ["furosemide"]),
    ("urn:oid:2.16.840.1.113883.6.96", "387137007", ["omeprazole"]),
    # combinations
    (ATC, "C03EB01", ["furosemide", "potassium-sparing diuretic (unnamed)"]),
    (ATC, "C03EA01", ["hydrochlorothiazide", "potassium-sparing diuretic (unnamed)"]),
    (ATC, "C03CB01", ["furosemide", "potassium (unnamed)"]),
    (ATC, "C09DX01", ["hydrochlorothiazide"]),
    (ATC, "A02BD02", ["lansoprazole", "tetracycline"]),
    (ATC, "A10BD20", ["empagliflozin", "metformin"]),
    (ATC, "V03AE04", ["calcium acetate and magnesium carbonate"]),
    # groups
    (ATC, "C09BA04", ["thiazide diuretic (unnamed)"]),
    (ATC, "C09DA01", ["thiazide diuretic (unnamed)"]),
    (ATC, "C07BA12", ["thiazide diuretic (unnamed)"]),
    (ATC, "C02LA01", ["thiazide diuretic (unnamed)"]),
    (ATC, "C08GA01", ["nifedipine", "thiazide diuretic (unnamed)"]),
    (ATC, "C03CA", ["loop diuretic (unnamed)"]),
    (ATC, "A12CC99", ["magnesium"]),
    (ATC, "A02BC99", ["proton pump inhibitor (unnamed)"]),
    # potassium-competitive acid blockers are not proton pump inhibitors
    (ATC, "A02BC08", ["vonoprazan"]),
    (ATC, "A02BC10", []),
    (ATC, "A06AD11", []),  # lactulose
    (ATC, "A06AD04", ["magnesium sulfate"]),
    (ATC, "B05XA05", ["magnesium sulfate"]),
    (ATC, "B05XA03", []),  # sodium chloride
    (ATC, "C09BX02", []),  # perindopril and bisoprolol
    (ATC, "C09AA03", []),
    # only systemic use counts
    (ATC, "D11AH01", []),
    (ATC, "L04AD02", ["tacrolimus"]),
    (ATC, "S01XA18", []),
    (ATC, "S01AA11", []),
    (ATC, "J01GB03", ["gentamicin"]),
    (ATC, "S01EC01", ["acetazolamide"]),
    (ATC, "B05BC01", ["mannitol"]),
    (ATC, "R05CB16", []),
    (ATC, "A07AA01", []),
    # an identifier of another system is not ours
    ("http://example.org/local", "4603", []),
    ("", "4603", []),
    (RXNORM, "", []),
]


@pytest.mark.parametrize(("system", "code", "expected"), CODED)
def test_a_code_names_its_ingredients(system: str, code: str, expected: list[str]) -> None:
    assert names(DRUG_VOCABULARY.by_code(system, code)) == sorted(expected)


@pytest.mark.parametrize(
    ("code", "expected"),
    [("S01AA11", True), ("D11AH01", True), ("A07AA01", True), ("S01EC01", False), ("J01GB03", False)],
)
def test_local_use_is_told_from_the_atc_code(code: str, expected: bool) -> None:
    assert local_code("http://fhir.de/CodeSystem/bfarm/atc", code) is expected
    assert local_code(SNOMED, code) is False


def test_a_site_adds_its_own_codes() -> None:
    site = {("https://his.example/drugs/", "furo40i"): ["furosemide"], (NDC, "0409-6102-10"): ["furosemide"]}
    vocabulary = DRUG_VOCABULARY.with_codes(site)
    for system, code in [
        ("https://his.example/drugs", "FURO40I"),
        (NDC, "00409610210"),
        ("urn:oid:2.16.840.1.113883.6.69", "00409-6102-10"),
    ]:
        assert names(vocabulary.by_code(system, code)) == ["furosemide"], code
    assert DRUG_VOCABULARY.by_code("https://his.example/drugs", "FURO40I") == ()
    assert names(vocabulary.by_code(ATC, "C03CA01")) == ["furosemide"]
    assert vocabulary.by_name("Lasix") == DRUG_VOCABULARY.by_name("Lasix")


def test_a_site_code_for_an_unknown_ingredient_is_refused_by_name() -> None:
    with pytest.raises(SettingsError, match="unobtainium"):
        DRUG_VOCABULARY.with_codes({("x", "1"): ["furosemide", "unobtainium"]})


# ------------------------------------------------------------------------------------------------------------- table

TABLE = tomllib.loads((ROOT / "service" / "terminology" / "drugs.toml").read_text("utf-8"))
ROWS = [(of, name, row) for of, group in TABLE["drug"].items() for name, row in group.items()]
LANGUAGES = ("en", "ru", "de", "es", "fa", "brands", "alone")


def test_no_name_means_two_things() -> None:
    meanings: dict[tuple[str, ...], set[str]] = {}
    for _, name, row in ROWS:
        for text in (name, *(text for language in LANGUAGES for text in row.get(language, ()))):
            meanings.setdefault(drugs._split(text), set()).add(name)
    for item in TABLE["combination"]:
        for text in item["names"]:
            meanings.setdefault(drugs._split(text), set()).add(" + ".join(item["ingredients"]))
    assert {text: of for text, of in meanings.items() if len(of) > 1} == {}


def test_no_word_mixes_latin_and_cyrillic_letters() -> None:
    mixed = [
        word
        for word in re.findall(r"[^\W\d_]{2,}", str(TABLE))
        if len({unicodedata.name(letter).split()[0] for letter in word} & {"LATIN", "CYRILLIC"}) > 1
    ]
    assert sorted(mixed) == ["МагнеB", "МагнелисB"]  # as written on the box


def test_every_name_of_the_table_is_recognised_as_its_own_row() -> None:
    for of, name, row in ROWS:
        for language in LANGUAGES:
            for text in row.get(language, ()):
                assert DRUG_VOCABULARY.by_name(text) == (Drug(name, of),), text
    for item in TABLE["combination"]:
        for text in item["names"]:
            assert names(DRUG_VOCABULARY.by_name(text)) == sorted(item["ingredients"]), text


def shared(name: str) -> list[dict[str, str]]:
    path = SHARED / name
    if not path.is_file():
        pytest.skip(f"reference data {name} is not here")
    with path.open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def test_every_ingredient_of_the_reference_table_is_here_with_its_class_and_codes() -> None:
    for row in shared("drugs.csv"):
        drug = DRUG_VOCABULARY.drugs[row["ingredient_inn"]]
        assert drug.drug_class == row["class"]
        if row["rxcui_ingredient"]:
            assert DRUG_VOCABULARY.by_code(RXNORM, row["rxcui_ingredient"]) == (drug,)


# Where the yardstick leaves out an ingredient that the name states, or maps an antibody-drug conjugate to its antibody.
STATED_BUT_NOT_IN_THE_YARDSTICK = re.compile(
    r"vitamin D3|^Aldactazide$|althiazide|Magnesium Salicylate|Zegerid with Magnesium", re.IGNORECASE
)


def test_products_of_a_public_release_are_recognised_by_name() -> None:
    classes = {row["ingredient_inn"]: row["class"] for row in shared("drugs.csv")}
    products = [row for row in shared("rxnorm_products.csv") if "not seen" not in row["name"]]
    missed, wrong = [], []
    for row in products:
        expected = {classes[name.strip()] for name in row["ingredients"].split(";")}
        found = {drug.drug_class for drug in DRUG_VOCABULARY.by_name(row["name"]) if drug.name in classes}
        if expected - found:
            missed.append(row["name"])
        if found - expected and not STATED_BUT_NOT_IN_THE_YARDSTICK.search(row["name"]):
            wrong.append(row["name"])
    assert wrong == []
    assert len(products) > 4_000
    assert len(missed) / len(products) < 0.002, missed


def test_a_magnesium_trap_of_a_public_release_stays_out_of_the_magnesium_classes() -> None:
    for row in shared("rxnorm_products.csv"):
        if row["classes"].startswith("TRAP") and ";" not in row["classes"]:
            found = {drug.drug_class for drug in DRUG_VOCABULARY.by_name(row["name"])}
            assert all(name.startswith("TRAP_") for name in found), row["name"]


# ------------------------------------------------------------------------------------------------------------ RxNorm


def conso(rxcui: int, kind: str, name: str, source: str = "RXNORM") -> str:
    return f"{rxcui}|ENG||||||A{rxcui}||{rxcui}||{source}|{kind}|{rxcui}|{name}||N||\n"


def rel(whole: int, relation: str, part: int, source: str = "RXNORM") -> str:
    """ "`whole` relation `part`": the second concept of a row has the relation to the first."""
    return f"{part}||CUI|RO|{whole}||CUI|{relation}|1||{source}|{source}||||4096|\n"


CONCEPTS = [
    (4603, "IN", "furosemide"),
    (644, "IN", "amiloride"),
    (7646, "IN", "omeprazole"),
    (1897, "IN", "calcium carbonate"),
    (6581, "IN", "magnesium hydroxide"),
    (1596450, "IN", "gentamicin"),
    (900, "PIN", "omeprazole magnesium"),
    (901, "SCDC", "furosemide 40 MG"),
    (902, "SCD", "furosemide 40 MG Oral Tablet"),
    (903, "SBD", "furosemide 40 MG Oral Tablet [Lasix]"),
    (904, "BN", "Lasix"),
    (905, "SCDC", "amiloride hydrochloride 5 MG"),
    (906, "SCD", "amiloride hydrochloride 5 MG / furosemide 40 MG Oral Tablet"),
    (907, "GPCK", "{7 (furosemide 40 MG Oral Tablet) / 7 (amiloride) } Pack"),
    (908, "SCDC", "omeprazole magnesium 20 MG"),
    (909, "SCD", "omeprazole magnesium 20 MG Oral Tablet"),
    (910, "BN", "Maalox"),
    (911, "SCDC", "calcium carbonate 600 MG"),
    (912, "SBDC", "calcium carbonate 600 MG [Maalox]"),
    (913, "SBD", "calcium carbonate 600 MG Chewable Tablet [Maalox]"),
    (914, "SCDC", "gentamicin 3 MG/ML"),
    (915, "SCD", "gentamicin 3 MG/ML Ophthalmic Solution"),
    (916, "SCD", "aspirin 81 MG Oral Tablet"),
    (917, "SCDG", "furosemide Pill"),
]
RELATIONS = [
    (900, "form_of", 7646),
    (901, "has_ingredient", 4603),
    (902, "consists_of", 901),
    (902, "isa", 917),
    (917, "has_ingredient", 4603),
    (903, "tradename_of", 902),
    (903, "has_ingredient", 904),
    (904, "tradename_of", 4603),
    (905, "has_ingredient", 644),
    (906, "consists_of", 901),
    (906, "consists_of", 905),
    (907, "contains", 902),
    (907, "contains", 906),
    (908, "has_precise_ingredient", 900),
    (909, "consists_of", 908),
    (910, "tradename_of", 1897),
    (910, "tradename_of", 6581),
    (911, "has_ingredient", 1897),
    (912, "tradename_of", 911),
    (912, "has_ingredient", 910),
    (913, "consists_of", 912),
    (914, "has_ingredient", 1596450),
    (915, "consists_of", 914),
    (4603, "ingredient_of", 901),  # the inverse rows of a release lead nowhere
    (902, "constitutes", 916),
]


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A release of a few concepts, written by hand in the layout of NLM's files."""
    foreign = conso(901, "DP", "FUROSEMIDE 40mg", "MTHSPL") + conso(916, "BN", "not a brand of ours", "MMSL")
    (tmp_path / "RXNCONSO.RRF").write_text(foreign + "".join(conso(*concept) for concept in CONCEPTS), "utf-8")
    stray = rel(916, "has_ingredient", 4603, "MMSL")
    (tmp_path / "RXNREL.RRF").write_text(stray + "".join(rel(*relation) for relation in RELATIONS), "utf-8")
    ndc = [(902, "00054829725"), (916, "00000000001")]
    (tmp_path / "RXNSAT.RRF").write_text(
        "".join(f"{rxcui}||||AUI|{rxcui}|AT1||NDC|RXNORM|{code}|N|4096|\n" for rxcui, code in ndc), "utf-8"
    )
    (tmp_path / "RXNSAB.RRF").write_text("C1|C2|RXNORM_24AA_240304F|RXNORM|RxNorm|\n", "utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("system", "code", "expected"),
    [
        (RXNORM, "902", ["furosemide"]),
        (RXNORM, "903", ["furosemide"]),
        (RXNORM, "904", ["furosemide"]),
        (RXNORM, "906", ["amiloride", "furosemide"]),
        (RXNORM, "907", ["amiloride", "furosemide"]),
        (RXNORM, "909", ["omeprazole"]),
        (RXNORM, "910", ["calcium carbonate", "magnesium hydroxide"]),  # the brand as such
        (RXNORM, "913", ["calcium carbonate"]),  # one product of it
        (RXNORM, "915", []),  # eye drops
        (RXNORM, "916", []),
        (RXNORM, "917", ["furosemide"]),
        (NDC, "00054829725", ["furosemide"]),
        (NDC, "0054-8297-25", ["furosemide"]),
        (NDC, "00000000001", []),
    ],
)
def test_a_product_of_a_release_leads_to_its_ingredients(
    release: Path, system: str, code: str, expected: list[str]
) -> None:
    vocabulary = DRUG_VOCABULARY.with_codes(rxnorm.load(release).codes())
    assert names(vocabulary.by_code(system, code)) == sorted(expected)


def test_a_table_survives_writing_and_reading_and_tells_how_far_it_is(release: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    table = rxnorm.load(release, lambda done, total: seen.append((done, total)))
    table.write(tmp_path / "rxnorm.table")
    assert rxnorm.read(tmp_path / "rxnorm.table") == table
    assert table.release == "RXNORM_24AA_240304F"
    assert seen[-1][0] == seen[-1][1] == sum(path.stat().st_size for path in release.glob("*.RRF"))


def test_a_release_without_ndc_codes_is_enough(release: Path) -> None:
    (release / "RXNSAT.RRF").unlink()
    (release / "RXNSAB.RRF").unlink()
    table = rxnorm.load(release)
    assert table.release == ""
    assert table.codes()[(RXNORM, "902")] == ("furosemide",)


def test_what_is_no_release_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"RXNCONSO\.RRF is missing"):
        rxnorm.load(tmp_path)
    (tmp_path / "RXNCONSO.RRF").write_text("1|RXNORM|\n", "utf-8")
    (tmp_path / "RXNREL.RRF").write_text("", "utf-8")
    with pytest.raises(SettingsError, match=r"RXNCONSO\.RRF line 1"):
        rxnorm.load(tmp_path)


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rxnorm.table"
    with pytest.raises(SettingsError, match="not a readable RxNorm table"):
        rxnorm.read(path)
    path.write_bytes(b"something else")
    with pytest.raises(SettingsError, match="not a readable RxNorm table"):
        rxnorm.read(path)


# ---------------------------------------------------------------------------------------- the scanner at large

_DRUG = st.sampled_from(["furosemide", "Omeprazol", "цисплатин", "magnesium sulfate", "KCl", "امپرازول"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("PPI: none", True),
        ("cisplatin allergy", True),
        ("Magnesium muriaticum D6", True),
        ("furosemide 40 mg; PPI: none", False),
        ("furosemide", False),
        ("something unknown", False),
        ("penicillin allergy", False),  # not a drug of the list: not identified
    ],
)
def test_a_text_that_names_drugs_only_to_deny_them(text: str, expected: bool) -> None:
    assert DRUG_VOCABULARY.says_none(text) is expected


@given(st.text(max_size=120))
def test_no_text_raises(text: str) -> None:
    assert set(DRUG_VOCABULARY.by_name(text)) <= set(DRUG_VOCABULARY.drugs.values())


@given(_DRUG, st.text(alphabet="abcdefghiklmnoprstuvабвгд", min_size=1, max_size=8))
def test_a_name_inside_a_longer_word_is_none(name: str, more: str) -> None:
    assert DRUG_VOCABULARY.by_name(more + name.replace(" ", "") + more) == ()


@given(
    _DRUG,
    st.sampled_from(
        [" {}: none", " {} allergy", "no {}", "allergic to {}", "{} contraindicated", "нет {}", "{} отменен"]
    ),
)
def test_a_denied_name_is_none_and_the_next_still_one(name: str, denied: str) -> None:
    assert DRUG_VOCABULARY.by_name(denied.format(name)) == ()
    assert DRUG_VOCABULARY.by_name(f"{denied.format(name)}; {name} 40 mg") == DRUG_VOCABULARY.by_name(name) != ()
