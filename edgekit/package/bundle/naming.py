"""Names that hold in Maven, Java, Swift and npm at once; what does not is refused before anything is written."""

import re
from dataclasses import dataclass

from edgekit.errors import UserError

ECOSYSTEMS = ("android", "ios", "react-native", "web")
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z]+(\.[0-9A-Za-z]+)*)?")
LICENSE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*( (AND|OR|WITH) [A-Za-z0-9][A-Za-z0-9.+-]*)*")
PART = re.compile(r"[a-z][a-z0-9_]*")
LONGEST = 64
JAVA_WORDS = frozenset(
    [
        "abstract",
        "assert",
        "boolean",
        "break",
        "byte",
        "case",
        "catch",
        "char",
        "class",
        "const",
        "continue",
        "default",
        "do",
        "double",
        "else",
        "enum",
        "extends",
        "final",
        "finally",
        "float",
        "for",
        "goto",
        "if",
        "implements",
        "import",
        "instanceof",
        "int",
        "interface",
        "long",
        "native",
        "new",
        "package",
        "private",
        "protected",
        "public",
        "return",
        "short",
        "static",
        "strictfp",
        "super",
        "switch",
        "synchronized",
        "this",
        "throw",
        "throws",
        "transient",
        "try",
        "void",
        "volatile",
        "while",
        "true",
        "false",
        "null",
    ]
)


@dataclass(frozen=True, kw_only=True)
class Names:
    """What the bundle is called everywhere.

    Attributes:
        java_package: Also the Maven group.
    """

    name: str
    version: str
    license: str
    java_package: str

    @property
    def class_name(self) -> str:
        """The class in Java, Kotlin and Swift."""
        return "".join(part.capitalize() for part in self.name.split("-")) + "Model"


def names_of(name: str, version: str, license_id: str, java_package: str | None) -> Names:
    """Checks the names of a bundle.

    Args:
        name: Its name.
        version: Its version, as Semantic Versioning has it.
        license_id: An SPDX expression.
        java_package: In place of org.edgekit.<name>.

    Raises:
        UserError: One of them does not hold in every ecosystem.
    """
    if not NAME.fullmatch(name) or len(name) > LONGEST or name in JAVA_WORDS:
        raise UserError(
            f"--name {name!r} is not valid in Java, Swift and npm; allowed are lower-case letters, digits and single hyphens, "
            f"a letter first, at most {LONGEST}, no word of Java: digits or my-model"
        )
    if not VERSION.fullmatch(version):
        raise UserError(f"--version {version!r} is not a semantic version; write it as 1.2.0 or 1.2.0-rc.1")
    if not LICENSE.fullmatch(license_id):
        raise UserError(
            f"--license {license_id!r} is not an SPDX expression; write Apache-2.0, or LicenseRef-Mine for your own"
        )
    package = java_package or f"org.edgekit.{name.replace('-', '_')}"
    parts = package.split(".")
    if len(parts) < 2 or not all(PART.fullmatch(part) and part not in JAVA_WORDS for part in parts):
        raise UserError(
            f"--java-package {package!r} is no Java package; write two or more lower-case words with dots, none of them a "
            "word of Java: com.acme.digits"
        )
    return Names(name=name, version=version, license=license_id, java_package=package)


def ecosystems_of(text: str) -> tuple[str, ...]:
    """Reads the list of --for. Raises UserError for another word, or none."""
    found = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for one in found:
        if one not in ECOSYSTEMS:
            raise UserError(
                f"--for {one!r} is unknown; allowed: {', '.join(ECOSYSTEMS)}, with commas between"
            )
    return found
