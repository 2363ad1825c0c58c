"""Many patients: a FHIR Bulk Data export -> buckets of whole patients -> a job for each patient -> results.

    export     files -> lines, each with its place; what is broken is named and skipped
    partition  lines -> bucket files by patient, and an index of the resources that patients share
    record     one patient's lines -> resources
    screening  one patient -> findings (knows nothing of the batch); one bucket -> a result file
    outcome    result files -> findings.ndjson or findings.csv, and summary.json
    journal    what was asked of which files, so that a later run goes on where this one stopped

Memory holds one bucket for each process, whatever the size of the export.
"""
