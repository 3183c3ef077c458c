"""The command line: verbs, thin. Results go to stdout, progress to stderr.

Exit codes: 0 fine, 1 budget or verification failed, 2 user error, 3 a runtime is missing; `compare`: 0 faster,
1 slower, 4 inconclusive; 130 stopped.
"""

import click

from edgekit.cli.bundles import index, package
from edgekit.cli.devices import bench, compare
from edgekit.cli.exports import demo, export, plan
from edgekit.cli.folders import explain, report, schema, verify
from edgekit.cli.kept_stages import cache
from edgekit.cli.minimal_builds import ort
from edgekit.cli.models import inspect, new
from edgekit.cli.options import json_option
from edgekit.cli.pipelines import check, compare_models, diff
from edgekit.cli.printing import print_json, put
from edgekit.cli.techniques import techniques
from edgekit.cli.verbs import Verbs


def _version(context: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked:
        from edgekit_runner import __version__

        put(__version__)
        context.exit()


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Print the version."
)
def main() -> None:
    """One trained model in; for each target a small, fast artifact that meets the accuracy budget, proven and measured."""


@main.command()
@json_option
def targets(as_json: bool) -> None:
    """List the target profiles."""
    from edgekit.profile.reading import load_target, target_names

    profiles = [load_target(name) for name in target_names()]
    if as_json:
        print_json(profiles)
        return
    width = max(len(profile.name) for profile in profiles)
    for profile in profiles:
        put(f"{profile.name:<{width}}  {profile.summary}; {profile.default_isa} unless --isa")


@main.command()
@json_option
def doctor(as_json: bool) -> None:
    """What is installed, what each target still needs, and the instruction set found."""
    from edgekit.cli.doctor import examine, lines

    found = examine()
    if as_json:
        print_json(found)
        return
    for line in lines(found):
        put(line)


for verb in (
    bench,
    cache,
    check,
    compare,
    compare_models,
    demo,
    diff,
    explain,
    export,
    index,
    inspect,
    new,
    ort,
    package,
    plan,
    report,
    schema,
    techniques,
    verify,
):
    main.add_command(verb)


if __name__ == "__main__":
    main()
