"""The paper that a hospital asks for, written from rules, guards and tests, so that it cannot drift from them.

Data: `statements.toml` (what is said once) and `hazards.toml` (each hazard with its guards in code and its tests).
"""
