"""One patient as the rules see them, layer by layer: results, ranges, person, drugs, electrolytes, magnesium, kidney,
emergency, treatment.

Each layer may ask those beneath it; everything is lazy, pure and computed once.
"""

from __future__ import annotations

from service.logic.case.treatment import Treated


class Case(Treated):
    """All layers together: what a rule is asked about."""
