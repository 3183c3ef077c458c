"""Kinds of runs, one a file, found by their file name; a new kind is one new file here.

A module of a kind holds:
    Spec     a frozen dataclass over `spec.Spec`: the keys of this kind, its name in `kind`, and in `stated` which keys
             its record states
    Record   a TypedDict over `record.Head` or `record.OneArtifact`: the sections of this kind
    run(spec, listener) -> Record        in the process of the caller: starts the workers, makes one record of theirs; left out
                                         where a single fresh worker fills the record
    work(spec, record, parent)           in the fresh process of a worker: fills the record; `parent` is its stdout

The sections are described by schema/record-N.schema.json too, and a verb for the command line goes to `cli.commands`.
What a worker holds lies in memory beside the model, so `run` imports what only a caller needs, and `work` what only a
worker needs. A file whose name begins with an underscore is no kind: it holds what kinds share, or their workers.
"""
