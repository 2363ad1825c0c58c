"""One patient as the rules see them, layer by layer: results, ranges, person, drugs, electrolytes, magnesium, kidney,
emergency, excess, treatment, follow-up.

Each layer may ask those beneath it; everything is lazy, pure and computed once.
"""

from __future__ import annotations

from service.logic.case.follow_up import FollowUp


class Case(FollowUp):
    """All layers together: what a rule is asked about."""
