"""The wire: FHIR JSON to and from the words of `logic/`. Past `snapshot.py` there are words, not dicts."""
