"""The core: pure judgement about one patient. No I/O, no clock, no FHIR, no logging."""
