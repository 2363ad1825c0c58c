"""An order that is signed again stands among the drafts and among what is taken: it is one dose, not two."""

from __future__ import annotations

from dataclasses import replace

from service.logic.model import Finding, Hook
from tests.vignettes.patients import judged, patient

DRIP = "magnesium sulfate, iv, 5 g, over 12 h"


def _result(*, same: bool) -> str:
    chart = patient(
        "mg 0.60 mmol/L", "creatinine 70 umol/L", drugs=[f"{DRIP}, since -2h"], orders=[DRIP], hook=Hook.ORDER_SIGN
    )
    (order,), (running,) = chart.orders, chart.medications
    assert order.medication is not None
    known_as = order.medication.reference if same else running.reference
    found = judged(replace(chart, medications=(replace(running, reference=known_as),))).outcome("R-092")
    assert isinstance(found, Finding)
    return found.result


def test_an_order_signed_again_counts_once() -> None:
    assert _result(same=True) == "no-issue"


def test_another_order_of_the_same_drip_counts_beside_it() -> None:
    assert _result(same=False) == "dose"
