"""Recognition of conditions: codes in four systems, words in three languages, and what must not be recognised."""

from __future__ import annotations

import csv
import tomllib
from decimal import Decimal
from pathlib import Path
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.terminology import conditions
from service.terminology.conditions import ACUTE, TAGS, by_code, by_text, dialysate_magnesium

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT.parent / "shared" / "clinical" / "tags.csv"
ICD10 = "http://hl7.org/fhir/sid/icd-10"
ICD10_CM = "http://hl7.org/fhir/sid/icd-10-cm"
ICD9_CM = "http://hl7.org/fhir/sid/icd-9-cm"
SNOMED = "http://snomed.info/sct"


# ---------------------------------------------------------------- codes


@pytest.mark.skipif(not REFERENCE.exists(), reason="the reference table ../shared/clinical/tags.csv is not here")
def test_every_row_of_the_reference_table_carries_its_tag() -> None:
    with REFERENCE.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    missed = [(row["tag"], row["code"]) for row in rows if row["tag"] not in by_code(row["system"], row["code"])]
    assert len(rows) > 1000
    assert missed == []


@pytest.mark.parametrize(
    ("system", "code", "tags"),
    [
        # the nearest listed parent decides
        (ICD10_CM, "E26.81", "tubulopathy"),
        (SNOMED, "707756004", "tubulopathy"),
        (SNOMED, "714749008", "ckrt dialysis"),
        (ICD10, "R34", "oliguria"),
        (ICD9_CM, "25000", "t2dm"),
        (ICD9_CM, "250.00", "t2dm"),
        (ICD9_CM, "25001", ""),
        (ICD9_CM, "2501", "dka"),
        (ICD9_CM, "427.31", "atrial_fibrillation"),
        (ICD9_CM, "4271", "vt"),
        (ICD9_CM, "42789", "arrhythmia"),
        (ICD9_CM, "V4511", "dialysis"),
        (ICD9_CM, "5856", "ckd"),
        (ICD9_CM, "30303", ""),  # in remission
        (ICD9_CM, "2752", ""),  # low or high
        (ICD9_CM, "1749", "cancer"),
        (ICD9_CM, "037", "tetanus"),
        (ICD9_CM, "E9421", "digoxin_toxicity"),
        ("urn:oid:2.16.840.1.113883.6.103", "5849", "aki"),
        (ICD9_CM, "99999", ""),
        (ICD10, "K92.1", "gi_bleed ppi_indication"),
        (ICD10, "I46.9", "cardiac_arrest hemodynamic_instability"),
        (ICD10_CM, "T46.0X1A", "digoxin_toxicity"),
        (ICD10_CM, "T46.0X6A", ""),
        (ICD10, "E43", "refeeding_risk"),
        (ICD10, "I47.1", "arrhythmia arrhythmia_acute"),
        (ICD10, "I47.2", "vt"),
        (ICD10_CM, "I47.20", "vt"),
        (ICD10_CM, "I47.21", "torsades"),
        (ICD10_CM, "I48.91", "atrial_fibrillation"),
        (ICD10_CM, "I48.92", "arrhythmia"),
        (ICD10_CM, "K90.821", "short_bowel"),
        (ICD10, "K91.2", "malabsorption"),
        (ICD10_CM, "E11.65", "t2dm"),
        (ICD10, "E11.1", "t2dm dka"),
        (ICD10_CM, "E10.10", "dka"),
        (ICD10_CM, "G40.909", "epilepsy"),
        (ICD10_CM, "G40.901", "epilepsy seizure_acute"),
        (ICD10, "F41.2", "anxiety depression"),
        (ICD10, "N17.9", "aki"),
        (ICD10, "J46", "asthma_severe"),
        (ICD10_CM, "J45.902", "asthma_severe"),
        (ICD10_CM, "J45.50", ""),
        (ICD10_CM, "J45.909", ""),
        (ICD10, "C50.9", "cancer"),
        (ICD10, "C97", "cancer"),
        (ICD10, "D12.6", ""),
        (ICD10_CM, "C7A.00", "cancer"),
        (ICD10, "O21.0", "vomiting pregnant"),
        (ICD10_CM, "O14.13", "preeclampsia"),
        (ICD10, "O15.2", "eclampsia"),
        (ICD10, "O35.9", "pregnant"),
        (ICD10, "O80", ""),
        (ICD10_CM, "R11.10", "vomiting"),
        (ICD10_CM, "R11.0", ""),
        (ICD10, "R25.2", "muscle_cramps symptomatic_hypomg"),
        (ICD10, "K85.9", "pancreatitis"),
        (ICD10, "Z99.2", "dialysis"),
        (ICD10, "Z49.0", ""),
        (ICD10, "R57.0", "hemodynamic_instability"),
        # in remission, or no disorder at all
        (ICD10_CM, "F10.20", "alcohol"),
        (ICD10_CM, "F10.21", ""),
        (ICD10_CM, "F33.42", ""),
        # one code, two meanings: CKD in the American edition, no more than kidney disease in WHO's
        (ICD10_CM, "I12.9", "ckd"),
        (ICD10, "I12.9", ""),
        # too little said: low or high magnesium?
        (ICD10, "E83.4", ""),
        (ICD10_CM, "E83.42", "hypomagnesemia"),
        (ICD10_CM, "E83.41", "hypermagnesemia"),
        # spellings
        (ICD10, " n18.3 ", "ckd"),
        (ICD10, "N183", "ckd"),
        (ICD10, "E11.9†", "t2dm"),
        (ICD10, "F00.0*", "alzheimer"),
        ("http://fhir.de/CodeSystem/bfarm/icd-10-gm", "I48.0!", "atrial_fibrillation"),
        ("http://fhir.de/CodeSystem/dimdi/icd-10-gm", "G43.-", "migraine"),
        ("urn:oid:1.2.643.5.1.13.13.11.1005", "Е11.9", "t2dm"),  # Cyrillic Е
        ("urn:oid:1.2.643.5.1.13.13.11.1005", "R29.0", "tetany"),
        ("urn:oid:2.16.840.1.113883.6.90", "I12.0", "ckd"),
        ("urn:oid:2.16.840.1.113883.6.3", "N18.5", "ckd"),
        ("http://hl7.org/fhir/sid/icd-10-cm|2026", "R29.0", "tetany"),
        ("http://snomed.info/sct|http://snomed.info/sct/731000124108", "398254007", "preeclampsia"),
        ("http://snomed.info/sct/900000000000207008/version/20250701", "14669001", "aki"),
        ("urn:oid:2.16.840.1.113883.6.96", "236435004", "ckd dialysis"),
        (SNOMED, "55300003 |Cramp (finding)|", "muscle_cramps symptomatic_hypomg"),
        # what is not a condition code
        (SNOMED, "I48", ""),
        (SNOMED, "", ""),
        (ICD10, "", ""),
        (ICD10, "unknown", ""),
        (ICD10, "R29.0.1", ""),
        (ICD10, "44054006", ""),
        ("urn:oid:2.16.840.1.113883.6.4", "N18", ""),  # ICD-10-PCS
        ("http://hl7.org/fhir/sid/icd-10-pcs", "N18", ""),
        ("http://hl7.org/fhir/sid/icd-9-cm", "E11.9", ""),
        ("http://example.org/own", "N18", ""),
        ("", "N18", ""),
    ],
)
def test_codes(system: str, code: str, tags: str) -> None:
    assert by_code(system, code) == set(tags.split())


def test_no_code_is_listed_that_its_parent_already_implies() -> None:
    listed = conditions._ICD10_CM  # of both kinds
    assert [code for code, tags in listed.items() if len(code) > 3 and tags == by_code(ICD10_CM, code[:-1])] == []


def test_the_table_has_only_known_fields_and_tags() -> None:
    table = tomllib.loads((ROOT / "service/terminology/conditions.toml").read_text(encoding="utf-8"))
    known = {"acute", "passing", "also", "icd9_cm", "icd10", "icd10_cm", "snomed", "en", "ru", "fa", "de", "es"}
    assert {field for tag, row in table.items() if tag != "cues" for field in row} <= known
    assert {tag for row in table.values() for tag in row.get("also", "").split()} <= TAGS


def test_acute_tags_are_those_that_count_only_while_recent() -> None:
    events = "torsades vt polymorphic_vt hemodynamic_instability cardiac_arrest tetany seizure_acute arrhythmia_acute"
    illnesses = "aki asthma_severe digoxin_toxicity dka pancreatitis refeeding vomiting oliguria anuria"
    deficiency = "symptomatic_hypomg"
    excess = """symptomatic_hypermg areflexia hyporeflexia respiratory_depression hypotension bradycardia drowsiness
        apnea hypotonia jitteriness"""
    assert set(" ".join((events, illnesses, deficiency, excess)).split()) == ACUTE


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_code_raises(system: str, code: str) -> None:
    assert by_code(system, code) <= TAGS
    assert by_code(ICD10, code) <= TAGS
    assert by_code(SNOMED, code) <= TAGS


# ---------------------------------------------------------------- words

STATED = """
    at risk of refeeding syndrome = refeeding_risk
    severe malnutrition = refeeding_risk
    refeeding syndrome = refeeding
    acute diarrhoea = diarrhea
    haematemesis = gi_bleed ppi_indication
    bleeding duodenal ulcer = gi_bleed ppi_indication
    Barrett's oesophagus = ppi_indication
    столбняк = tetanus
    generalised tetanus = tetanus
    pulseless VT = cardiac_arrest hemodynamic_instability vt
    cardiac arrest = cardiac_arrest hemodynamic_instability
    остановка сердца = cardiac_arrest hemodynamic_instability
    polymorphic ventricular tachycardia = polymorphic_vt vt
    anuria = anuria oliguria
    oliguric, 20 mL in 4 h = oliguria
    олигурия = oliguria
    Oliguria and anuria = oliguria
    الیگوری = oliguria
    CRRT with citrate = ckrt citrate_ckrt dialysis
    CVVHDF = ckrt dialysis
    on continuous renal replacement therapy = ckrt dialysis
    regional citrate anticoagulation = citrate_ckrt ckrt dialysis
    haemodialysis three times a week = dialysis
    digoxin toxicity = digoxin_toxicity
    дигиталисная интоксикация = digoxin_toxicity
    after CABG, day 2 = cardiac_surgery
    состояние после АКШ = cardiac_surgery
    جراحی قلب باز = cardiac_surgery
    threatened preterm labour = tocolysis
    magnesium for fetal neuroprotection = fetal_neuroprotection
    Gitelman syndrome = tubulopathy
    Bartter's syndrome = tubulopathy
    синдром Гительмана = tubulopathy
    سندرم بارتر = tubulopathy
    Familial hypomagnesaemia with hypercalciuria and nephrocalcinosis = hypomagnesemia tubulopathy
    jittery newborn = jitteriness
    muscular hypotonia = hypotonia
    apnoeic, floppy infant = apnea hypotonia symptomatic_hypermg
    reflexes absent = areflexia symptomatic_hypermg
    reflexes sluggish = hyporeflexia symptomatic_hypermg
    acute respiratory failure = symptomatic_hypermg
    ventricular fibrillation = arrhythmia arrhythmia_acute
    seizure today = seizure_acute
    drowsy, reflexes reduced = drowsiness hyporeflexia symptomatic_hypermg
    maintenance haemodialysis, dialysate Mg 0.5 mmol/L = dialysis
    severe pre-eclampsia = preeclampsia
    nil by mouth = npo
    N.P.O. since midnight = npo
    NPO = npo
    NBM pre-op = npo
    alcohol use disorder = alcohol
    alcohol = alcohol
    chronic_diarrhea = chronic_diarrhea diarrhea
    kidney_transplant = kidney_transplant
    symptomatic_hypermg = symptomatic_hypermg
    symptomatic_hypomg = symptomatic_hypomg
    seizure_acute = seizure_acute
    ischemic_stroke = ischemic_stroke
    oral_intolerance = oral_intolerance
    hemodynamic_instability = hemodynamic_instability
    Torsades de pointes = torsades
    polymorphic VT, now in sinus rhythm = polymorphic_vt vt
    Non-sustained ventricular tachycardia = vt
    supraventricular tachycardia = arrhythmia arrhythmia_acute
    haemodynamically unstable = hemodynamic_instability
    cardiogenic shock = hemodynamic_instability
    carpopedal spasm = tetany symptomatic_hypomg
    Chvostek's sign positive = symptomatic_hypomg
    positive Trousseau sign = symptomatic_hypomg
    status epilepticus = seizure_acute
    generalised tonic-clonic seizure at 09:00 = seizure_acute
    epileptic seizure = epilepsy seizure_acute
    seizure disorder = epilepsy
    atrial flutter = arrhythmia
    frequent PVCs = arrhythmia
    new-onset AFib = arrhythmia arrhythmia_acute atrial_fibrillation
    paroxysmal AF = atrial_fibrillation
    atrial fibrillation/flutter = atrial_fibrillation
    prolonged QTc interval = long_qt
    congenital long-QT syndrome = long_qt
    perioral tingling = symptomatic_hypomg
    muscle twitching and fasciculations = symptomatic_hypomg
    brisk reflexes = symptomatic_hypomg
    nocturnal leg cramps = muscle_cramps symptomatic_hypomg
    essential tremor = tremor symptomatic_hypomg
    generalised weakness = symptomatic_hypomg symptomatic_hypermg
    areflexia = areflexia symptomatic_hypermg
    hyporeflexia = hyporeflexia symptomatic_hypermg
    absent deep tendon reflexes = areflexia symptomatic_hypermg
    deep tendon reflexes are markedly diminished = hyporeflexia symptomatic_hypermg
    loss of patellar reflexes = areflexia symptomatic_hypermg
    no deep tendon reflexes = areflexia symptomatic_hypermg
    DTRs absent bilaterally = areflexia symptomatic_hypermg
    somnolence = drowsiness symptomatic_hypermg
    bradycardia 38/min = bradycardia symptomatic_hypermg
    hypotensive, BP 80/40 = hypotension symptomatic_hypermg
    respiratory depression = respiratory_depression symptomatic_hypermg
    comatose = drowsiness symptomatic_hypermg
    unable to tolerate oral medication = oral_intolerance
    not tolerating PO = oral_intolerance
    intractable vomiting = oral_intolerance vomiting
    paralytic ileus = oral_intolerance
    short gut syndrome = short_bowel
    coeliac disease = malabsorption
    bile acid malabsorption = malabsorption
    persistent diarrhoea for 3 months = chronic_diarrhea diarrhea
    alcohol withdrawal = alcohol
    alcoholic pancreatitis = alcohol pancreatitis
    EtOH abuse = alcohol
    Type 2 diabetes mellitus = t2dm
    T2DM on metformin = t2dm
    Diabetes mellitus, type 2 = t2dm
    stroke, ischemic = ischemic_stroke
    diabetes mellitus type II = t2dm
    CKD stage 4 = ckd
    CKD3b A2 = ckd
    ESRD on HD = ckd dialysis
    CKD 5D = ckd dialysis
    chronic renal failure = ckd
    acute-on-chronic kidney injury = ckd aki
    acute kidney injury (KDIGO 2) = aki
    CAPD = dialysis
    s/p renal transplant 2019 = kidney_transplant
    history of kidney transplant = kidney_transplant
    deceased-donor kidney allograft = kidney_transplant
    HELLP syndrome = preeclampsia
    eclampsia = eclampsia
    eclamptic seizure = eclampsia seizure_acute
    preeclampsia, no eclampsia = preeclampsia
    Mobitz II = heart_block
    complete heart block = heart_block
    first-degree AV block = heart_block
    myasthenia gravis = myasthenia
    acute severe asthma = asthma_severe
    status asthmaticus = asthma_severe
    chronic migraine with aura = migraine
    insomnia and anxiety = insomnia anxiety
    major depressive disorder = depression
    ME/CFS = chronic_fatigue
    Parkinson’s disease = parkinson
    Alzheimer's dementia = alzheimer
    left MCA infarct = ischemic_stroke
    history of ischaemic stroke = ischemic_stroke
    refractory epilepsy = epilepsy
    pregnant, 32 weeks = pregnant
    gestational diabetes = pregnant
    HFrEF, EF 25 % = heart_failure
    congestive heart failure = heart_failure
    refeeding syndrome = refeeding
    chronic pancreatitis = pancreatitis
    on TPN since 2025-05-01 = tpn
    diabetic ketoacidosis = dka
    nausea and vomiting = vomiting
    hypomagnesaemia = hypomagnesemia
    magnesium toxicity = hypermagnesemia symptomatic_hypermg
    long-term use of antacids = antacid_long_use
    chronic stress = chronic_stress
    Huntington's chorea = neurodegenerative
    metastatic colon cancer = cancer
    no known allergies; seizure today = seizure_acute
    no known drug allergies, seizure today = seizure_acute
    denies chest pain. Seizure this morning = seizure_acute
    no fever but tetany = tetany
    no fever, seizure today = seizure_acute
    no seizures, drowsy, reflexes absent = areflexia drowsiness symptomatic_hypermg
    denies cramps but has tremor = tremor symptomatic_hypomg
    denies seizures; seizure witnessed by nurse = seizure_acute
    seizures not controlled = seizure_acute
    eclampsia cannot be excluded = eclampsia
    history of epilepsy, seizure today = epilepsy seizure_acute
    mother has epilepsy; patient has tetany = tetany
    suspected seizure = seizure_acute
    planned caesarean for severe pre-eclampsia = preeclampsia
    consider magnesium for eclampsia = eclampsia
    no urine output after acute kidney injury = aki anuria oliguria
    67-year-old man, seizures and tetany = seizure_acute tetany
    mother reports seizure this morning = seizure_acute
    wife witnessed a seizure = seizure_acute
    seizures have not been ruled out = seizure_acute
    torsades without hypotension = torsades
    epilepsy without seizure prophylaxis = epilepsy
    absence of deep tendon reflexes = areflexia symptomatic_hypermg
    без сознания после судорог = drowsiness seizure_acute symptomatic_hypermg
    denies cramps, drowsy = drowsiness symptomatic_hypermg
    denies cramps, seizure today = seizure_acute
    no fever, tetany = tetany
    no fever, seizure today or yesterday = seizure_acute
    DROWSY; BRADYCARDIC = bradycardia drowsiness symptomatic_hypermg
    Vorhofflimmern = atrial_fibrillation
    Präeklampsie = preeclampsia
    chronische Niereninsuffizienz, dialysepflichtig = ckd dialysis
    fibrilación auricular = atrial_fibrillation
    судороги = seizure_acute
    судорожный синдром = seizure_acute
    генерализованный судорожный припадок сегодня = seizure_acute
    эпилептический статус = seizure_acute
    судорожная готовность = symptomatic_hypomg
    судороги икроножных мышц = muscle_cramps symptomatic_hypomg
    ночные судороги = muscle_cramps symptomatic_hypomg
    тетания = tetany
    желудочковая тахикардия типа «пируэт» = vt torsades
    мерцательная аритмия = atrial_fibrillation
    фибрилляция предсердий, постоянная форма = atrial_fibrillation
    нарушение ритма сердца = arrhythmia
    удлинённый интервал QT = long_qt
    сонливость, рефлексы снижены = drowsiness hyporeflexia symptomatic_hypermg
    снижение сухожильных рефлексов = hyporeflexia symptomatic_hypermg
    арефлексия = areflexia symptomatic_hypermg
    угнетение дыхания, брадикардия = bradycardia respiratory_depression symptomatic_hypermg
    заторможенность, спутанность сознания = drowsiness symptomatic_hypermg
    артериальная гипотония = hypotension symptomatic_hypermg
    парестезии, тремор век = symptomatic_hypomg tremor
    мышечная слабость = symptomatic_hypomg symptomatic_hypermg
    симптом Хвостека положительный = symptomatic_hypomg
    ничего через рот = npo
    непереносимость перорального приёма = oral_intolerance
    синдром короткой кишки = short_bowel
    мальабсорбция = malabsorption
    хроническая диарея = chronic_diarrhea diarrhea
    хронический алкоголизм = alcohol
    злоупотребляет алкоголем = alcohol
    сахарный диабет 2 типа = t2dm
    СД 2 типа, ХБП С4 = t2dm ckd
    хроническая болезнь почек 5 стадии на программном гемодиализе = ckd dialysis
    ХПН, терминальная = ckd
    ОПП = aki
    острое повреждение почек = aki
    трансплантация почки в 2019 г. = kidney_transplant
    тяжёлая преэклампсия = preeclampsia
    эклампсия = eclampsia
    АВ-блокада II степени = heart_block
    миастения = myasthenia
    астматический статус = asthma_severe
    мигрень с аурой = migraine
    бессонница; тревожно-депрессивное расстройство = insomnia anxiety depression
    хроническая усталость = chronic_fatigue
    болезнь Паркинсона = parkinson
    болезнь Альцгеймера = alzheimer
    ишемический инсульт = ischemic_stroke
    ОНМК по ишемическому типу = ischemic_stroke
    эпилепсия = epilepsy
    беременность 30 недель = pregnant
    ХСН IIА = heart_failure
    хронический панкреатит = pancreatitis
    парентеральное питание = tpn
    диабетический кетоацидоз = dka
    многократная рвота = vomiting
    дефицит магния = hypomagnesemia
    длительный приём антацидов = antacid_long_use
    хронический стресс = chronic_stress
    рак лёгкого = cancer
    лихорадки нет, судороги сегодня = seizure_acute
    эпилепсия в анамнезе = epilepsy
    аллергии нет. Тетания = tetany
    تشنج = seizure_acute
    بیمار امروز تشنج داشت = seizure_acute
    تتانی = tetany
    تورساد دو پوینت = torsades
    تاکی‌کاردی بطنی = vt
    آریتمی قلبی = arrhythmia
    فیبریلاسیون دهلیزی = atrial_fibrillation
    فقدان رفلکس = areflexia symptomatic_hypermg
    خواب‌آلودگی و برادی‌کاردی = bradycardia drowsiness symptomatic_hypermg
    تضعیف فعالیت تنفسی = respiratory_depression symptomatic_hypermg
    ضعف عضلانی = symptomatic_hypomg symptomatic_hypermg
    تحریک پذیری عصبی-عضلانی = symptomatic_hypomg
    ترمور = tremor symptomatic_hypomg
    گرفتگی عضلات ساق پا = muscle_cramps symptomatic_hypomg
    ناشتا = npo
    سندرم روده کوتاه = short_bowel
    سوء جذب = malabsorption
    اسهال مزمن = chronic_diarrhea diarrhea
    الکلی مزمن = alcohol
    ديابت نوع ۲ = t2dm
    نارسایی مزمن کلیه تحت همودیالیز = ckd dialysis
    نارسایی حاد کلیه = aki
    پیوند کلیه = kidney_transplant
    پره‌اکلامپسی شدید = preeclampsia
    اکلامپسی = eclampsia
    بلوک قلبی = heart_block
    میاستنی گراویس = myasthenia
    میگرن = migraine
    بی‌خوابی و اضطراب = insomnia anxiety
    افسردگی = depression
    بیماری پارکینسون = parkinson
    آلزایمر = alzheimer
    سکته مغزی ایسکمیک = ischemic_stroke
    صرع = epilepsy
    باردار، هفته ۳۰ = pregnant
    نارسایی قلبی = heart_failure
    پانکراتیت حاد = pancreatitis
    کتواسیدوز دیابتی = dka
    استفراغ = vomiting
    هیپومنیزیمی = hypomagnesemia
    سرطان پستان = cancer
    تب ندارد، تشنج امروز = seizure_acute
"""

NOT_STATED = """
    tetanus immunisation
    tetanus up to date
    floppy mitral valve
    no urine culture
    uterine hypotonia
    cardiac surgery consultation
    Alcohol abuse, in remission
    Presence of aortocoronary bypass graft
    Pneumonitis due to inhalation of food or vomitus
    Alcoholism in father
    alcohol dependence in his father
    epilepsy in sister
    эпилепсия у брата
    Epilepsie bei der Mutter
    tetanus prophylaxis
    no oliguria
    no anuria or oliguria
    denies diarrhoea
    no GI bleeding
    father has Gitelman syndrome
    no digoxin toxicity
    not malnourished
    no preterm labour
    no seizures
    no VT/VF
    no hx of CKD
    no prior epilepsy
    no known epilepsy
    denies any previous history of seizures
    no need for dialysis
    dialysis not started
    TPN stopped
    non-dialysis patient
    awaiting a kidney transplant
    mother has epilepsy
    No seizures, tetany or cramps
    no fever, cramps or tremor
    no seizures, no tetany
    denies cramps
    denies cramps, tingling in the hands, tremor
    denies any seizure
    without tetany
    without seizures or tetany
    no evidence of acute kidney injury
    no signs of tetany
    negative for seizures
    tetany absent
    tetany ruled out
    seizures have been ruled out
    seizures: none
    Seizures - no
    seizure denied
    cramps, tetany and tremor denied
    rule out eclampsia
    not drowsy
    is not somnolent
    no longer drowsy
    did not have seizures
    has never had seizures
    reflexes not reduced
    reflexes normal
    no history of epilepsy
    family history of epilepsy
    Family history: epilepsy, migraine
    mother with seizures
    brother has epilepsy
    risk of seizures
    seizure prophylaxis
    prophylaxis of migraine
    seizure precautions
    seizure-free since 2019
    history of seizures
    h/o torsades
    previous eclampsia
    seizures in childhood
    eclampsia 10 years ago
    past medical history of tetany
    not on dialysis
    awaiting kidney transplant
    kidney transplant candidate
    refuses dialysis
    non-pregnant
    not pregnant
    pregnancy test negative
    non-alcoholic fatty liver disease
    nonalcoholic steatohepatitis
    alcohol dependence in remission
    isopropyl alcohol wipe
    detoxification
    inpouring
    unpo
    NPOX
    antiepileptic drug level
    anti-epileptic drug monitoring
    antihypertensive therapy
    antiarrhythmic drug
    non-epileptic attack
    psychogenic non-epileptic seizures
    electroconvulsive therapy
    electric shock
    shock-wave lithotripsy
    ST depression
    bone marrow depression
    Wolff-Parkinson-White syndrome
    Trousseau syndrome
    coeliac artery stenosis
    menstrual cramps
    left arm weakness
    sleep apnoea
    Glasgow Coma Scale 15
    glaucoma
    transplant 2025-05-25
    liver transplant
    haemorrhagic stroke
    type 1 diabetes mellitus
    diabetes mellitus
    hyperlipidaemia
    tetanus immunisation
    afibrinogenaemia
    bronchospasm
    predialysis
    xCKD
    malignant hypertension
    нет судорог
    судорог нет
    судороги отрицает
    отрицает судороги
    судорог не было
    без судорог и тетании
    без судорог
    не сонлив
    судороги не отмечались
    судороги в детстве
    судороги в анамнезе
    профилактика мигрени
    риск эклампсии
    отсутствие судорог
    признаков тетании нет
    противосудорожная терапия
    неалкогольная жировая болезнь печени
    не беременна
    тест на беременность отрицательный
    у матери эпилепсия
    семейный анамнез: эпилепсия
    депрессия сегмента ST
    сахарный диабет 1 типа
    ожидает трансплантации почки
    геморрагический инсульт
    данных за острое повреждение почек нет
    بدون تشنج
    تشنج ندارد
    تشنج یا لرزش ندارد
    سابقه تشنج
    سابقه خانوادگی صرع
    مادر بیمار صرع دارد
    پیشگیری از تشنج
    خطر تشنج
    عدم وجود تتانی
    داروی ضد تشنج
    باردار نیست
    دیابت نوع ۱
    کبد چرب غیر الکلی
    قند خون ناشتا
"""


def _cases() -> list[tuple[str, set[str]]]:
    stated = (line.rpartition("=") for line in STATED.strip().splitlines())
    return [(text.strip(), set(tags.split())) for text, _, tags in stated]


NEGATED = [line.strip() for line in NOT_STATED.strip().splitlines()]


@pytest.mark.parametrize(("text", "tags"), _cases())
def test_what_a_text_states(text: str, tags: set[str]) -> None:
    assert by_text(text) == tags


@pytest.mark.parametrize("text", NEGATED)
def test_what_a_text_does_not_state(text: str) -> None:
    assert by_text(text) == frozenset()


def test_every_tag_is_recognised_by_its_own_name_in_either_spelling() -> None:
    assert {tag for tag in TAGS if tag not in by_text(tag) or tag not in by_text(tag.replace("_", " "))} == set()


def test_every_tag_has_words_in_the_three_languages() -> None:
    table = tomllib.loads((ROOT / "service/terminology/conditions.toml").read_text(encoding="utf-8"))
    without = {(tag, language) for tag in TAGS for language in ("en", "ru", "fa") if not table[tag].get(language)}
    assert without == set()


@pytest.mark.parametrize("word", ["seizure", "судороги", "تشنج"])
def test_negation_ends_with_its_clause(word: str) -> None:
    for negation in ("no cramps", "нет тремора", "بدون لرزش"):
        assert by_text(f"{negation}; {word}") == {"seizure_acute"}
        assert by_text(f"{word}. {negation}") == {"seizure_acute"}


@given(st.text(max_size=200))
def test_no_text_raises(text: str) -> None:
    assert by_text(text) <= TAGS
    dialysate_magnesium(text)


@given(
    st.lists(
        st.sampled_from(
            ["no", "denies", "seizure", ",", "нет", "судорог", "или", "تشنج", "ندارد", "reflexes", "absent"]
        ),
        max_size=12,
    ),
    st.text(alphabet=" \t\n\r\u00a0", max_size=4),
    st.sampled_from([str.upper, str.lower, str.title, str.swapcase]),
)
def test_case_and_surrounding_space_do_not_matter(words: list[str], space: str, change: type[str]) -> None:
    text = " ".join(words)
    assert by_text(f"{space}{change(text)}{space}") == by_text(text)


def test_a_very_long_text_is_read_in_bounded_time() -> None:
    started = perf_counter()
    for piece in ("no seizure, tetany and ", "reflexes ", "seizure denied ", "absent reflexes, ", "no ", "((("):
        assert by_text(piece * 100_000) <= {"seizure_acute", "tetany", "areflexia", "symptomatic_hypermg"}
    for piece in ("mg ", " ", "= ", "dialysate mg of ", "mg dialysate ", "0,5 mg "):
        assert dialysate_magnesium("dialysate mg" + piece * 100_000) is None
    assert perf_counter() - started < 2  # seconds; about 0.1 as a rule


# ---------------------------------------------------------------- the dialysate


@pytest.mark.parametrize(
    ("text", "mmol_per_litre"),
    [
        ("maintenance haemodialysis, dialysate Mg 0.5 mmol/L", "0.5"),
        ("dialysate magnesium 0.75 mmol/l", "0.75"),
        ("Dialysate: K 2.0 mmol/L, Ca 1.25 mmol/L, Mg 0.25 mmol/L", "0.25"),
        ("dialysate with a magnesium concentration of 1.0 mEq/L", "0.5"),
        ("magnesium in dialysate: 0.5 mmol/L", "0.5"),
        ("Mg 0.5 mmol/L in the dialysate", "0.5"),
        ("0.5 mmol/L magnesium dialysate", "0.5"),
        ("гемодиализ, диализат Mg 0,5 ммоль/л", "0.5"),
        ("магний в диализате 1,0 мэкв/л", "0.5"),
        ("محلول دیالیز منیزیم ۰٫۵ میلی‌مول در لیتر", "0.5"),
        ("Dialysat Mg 0,5 mmol/l", "0.5"),
        ("dialysate Mg 0.5", None),
        ("dialysate Mg 50 mmol/L", None),
        ("dialysate K 2.0 mmol/L, serum Mg 0.5 mmol/L", None),
        ("serum Mg 0.5 mmol/L on haemodialysis", None),
        ("haemodialysis", None),
        ("", None),
    ],
)
def test_dialysate(text: str, mmol_per_litre: str | None) -> None:
    assert dialysate_magnesium(text) == (None if mmol_per_litre is None else Decimal(mmol_per_litre))
