"""The verbs that make bundles for app builds."""

from pathlib import Path
from typing import Literal

import click

from edgekit.cli.options import json_option
from edgekit.cli.printing import print_json, put


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="What an app's build calls it: my-model.")
@click.option("--version", required=True, help="Its semantic version: 1.2.0.")
@click.option("--license", "license_id", required=True, help="An SPDX expression: Apache-2.0.")
@click.option(
    "--for", "ecosystems", required=True, help="Of android, ios, react-native, web; commas between."
)
@click.option("--java-package", help="In place of org.edgekit.<name>; also the Maven group.")
@click.option("--sign", "key", type=click.Path(path_type=Path), help="An ed25519 private key in PEM.")
@click.option("--previous", type=click.Path(path_type=Path), help="The bundle that this one follows.")
@click.option("--image-input", is_flag=True, help="ONNX and Core ML files take an image and normalise it.")
@click.option("--classifier", is_flag=True, help="Core ML packages give the label and its probabilities.")
@click.option(
    "--tflite-numbers",
    "numbers",
    type=click.Choice(["float32", "uint8", "int8"]),
    help="What an int8 TFLite file takes and gives.",
)
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Folder to write.")
@json_option
def package(
    folder: Path,
    name: str,
    version: str,
    license_id: str,
    ecosystems: str,
    java_package: str | None,
    key: Path | None,
    previous: Path | None,
    image_input: bool,
    classifier: bool,
    numbers: Literal["float32", "uint8", "int8"] | None,
    out: Path,
    as_json: bool,
) -> None:
    """Package an exported FOLDER as what an app's build depends on by version, checks and calls."""
    from edgekit.package.bundle.assemble import assemble, summary
    from edgekit.package.bundle.interface_change import Wishes
    from edgekit.package.bundle.naming import ecosystems_of, names_of

    names = names_of(name, version, license_id, java_package)
    wishes = Wishes(image=image_input, classifier=classifier, numbers=numbers or "")
    made = assemble(folder, names, ecosystems_of(ecosystems), out, key, previous, wishes)
    if as_json:
        print_json(summary(made))
        return
    signed = ", signed" if key else ""
    put(
        f"{out}: {made.name} {made.version} for {', '.join(made.ecosystems)}; {len(made.files)} files{signed}"
    )
    for target in made.targets:
        must = f"; {target.app_must}" if target.app_must else ""
        put(f"  {target.name}: {target.format} for {target.runtime}, {target.content_version[:16]}{must}")


@click.command()
@click.argument("bundles", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--sign",
    "key",
    required=True,
    type=click.Path(path_type=Path),
    help="The ed25519 private key of the bundles, in PEM.",
)
@click.option(
    "--days",
    default=30,
    show_default=True,
    type=click.IntRange(1, 3650),
    help="For how long an app accepts the index.",
)
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder to write; it follows the index that is there.",
)
@json_option
def index(bundles: tuple[Path, ...], key: Path, days: int, out: Path, as_json: bool) -> None:
    """Publish BUNDLES of one name as updates over the air: a signed index, and the files by their hash."""
    from edgekit.package.bundle.update_index import publish

    made = publish(bundles, key, days, out)
    if as_json:
        print_json(made)
        return
    versions = ", ".join(version.version for version in made.versions)
    put(f"{out}: index {made.serial} of {made.name} {versions}; apps accept it for {days} days")
