"""The rows as one Markdown table, what they quote below it."""

from result_file import markdown

from trust._records import Results, Row

HEAD = ("section", "what", "n", "figure", "claim", "verdict")


def render(results: Results) -> str:
    """The whole text: machine, table, quotes, and what a short run does not prove."""
    host = results.machine
    where = (
        f"{host['cpu_model']}, {host['cpu_usable_count']} CPUs, {host['isa']}, {host['os']}, {host['python']}"
    )
    lines = [f"edgekit-runner {results.settings.runner_version}; {where}", ""]
    lines += markdown([list(HEAD), *(_cells(row) for row in results.rows)])
    for row in results.rows:
        if row.quotes:
            lines += ["", f"{row.section}, {row.what}:", *(f"    {quote}" for quote in row.quotes)]
    if any(row.verdict == "short" for row in results.rows):
        lines += ["", "short: nothing failed, but the claim is about more trials than were made."]
    if results.settings.quick:
        lines += ["", "--quick: models and runs too short to prove anything."]
    return "\n".join(lines) + "\n"


def _cells(row: Row) -> list[str]:
    return [row.section, row.what, str(row.n), row.figure, row.claim, row.verdict]
