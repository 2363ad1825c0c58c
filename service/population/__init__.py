"""Many patients: a FHIR Bulk Data export -> buckets of whole patients -> a job for each patient -> results.

    export     files -> lines, each with its place; what is broken is named and skipped
    partition  lines -> bucket files by patient, and an index of the resources that patients share
    record     one patient's lines -> resources
    bucket     one bucket -> a result file, each patient by the function of the job
    screening  job: one patient -> findings at one moment; outcome: findings and summary.json
    moments    a resource -> from when until when it was on the chart, and what it said then (pure)
    history    one patient's resources in time: the chart at any moment
    events     the moments at which somebody would have asked
    backtest   job: one patient -> cards at each event, by one or more configurations; guard: who has seen what
    measure    what is counted of it; practice: what was done about magnesium; summary: the numbers
    comparison two runs side by side, whichever version made the earlier one
    production lines of the log -> the numbers of the same report
    units      job: how values are spread by site, code and unit; report/: the page of a back-test
    local      the built-in engine: tasks in processes of this machine
    spark      the engine for more than one machine, by Apache Spark: the same functions, the same bytes
    journal    what was asked of which files, so that a later run goes on where this one stopped

Memory holds one bucket for each process, whatever the size of the export.
"""
