"""Updates over the air: what `edgekit index` publishes, and what the generated Java and JavaScript make of it."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from commands import edgekit, run_here
from exported_net import PREPROCESSING, write_export
from update_clients import Question, Signed, ask_java, ask_node

from edgekit.engine import process
from edgekit.package import manifest_file, schemas
from edgekit.package.bundle.bundle_file import interface_of
from edgekit.package.bundle.member import Member
from edgekit.records import Preprocessing

pytest.importorskip("cryptography")
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

CLIENTS = {"java": ask_java, "node": ask_node}
KEYS = {
    name: Ed25519PrivateKey.from_private_bytes(bytes([i] * 32)) for i, name in enumerate(("ours", "theirs"))
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """key-<name>.pem, and bundles: 1.0.0, 1.1.0 with other weights, 2.0.0 for another app, 1.2.0 of other content twice."""
    root = tmp_path_factory.mktemp("updates")
    pem = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    for name, key in KEYS.items():
        (root / f"key-{name}.pem").write_bytes(key.private_bytes(*pem))
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        (root / f"pub-{name}.pem").write_bytes(public)
    other = Preprocessing(mean=(0.5,), std=(0.5,), resize=12, crop=(8, 8))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "run", run_here)
        for folder, version, image, scale in (
            ("1.0.0", "1.0.0", PREPROCESSING, 1.0), ("1.1.0", "1.1.0", PREPROCESSING, 2.0), ("2.0.0", "2.0.0", other, 1.0),
            ("again", "1.1.0", PREPROCESSING, 3.0), ("rc", "1.2.0-rc.1", PREPROCESSING, 1.0),
        ):  # fmt: skip
            export = write_export(root / f"export-{folder}", image, scale=scale)
            options = ("--name", "tiny", "--version", version, "--license", "MIT", "--for", "web")
            done = edgekit("package", export, *options, "--sign", root / "key-ours.pem", "-o", root / folder)
            assert done.exit_code == 0, done.output
    return root


def publish(place: Path, out: Path, *bundles: str, key: str = "ours") -> Any:
    return edgekit("index", *(place / b for b in bundles), "--sign", place / f"key-{key}.pem", "-o", out)


@pytest.mark.parametrize("epoch", ["soon", "-1", "1e9", "9" * 5000, "\u0661"])
def test_a_time_that_is_none(
    place: Path, tmp_path: Path, epoch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    done = publish(place, tmp_path / "ota", "1.0.0")
    assert done.exit_code == 2 and "it must be a time in seconds since 1970" in done.stderr
    assert list(tmp_path.iterdir()) == []


def hashes(bundle: Path) -> list[str]:
    return [path.name for path in (bundle / "files").iterdir()]


# ------------------------------------------------------------------------------------------ what is published


def test_an_index_names_every_file_by_its_hash(place: Path, tmp_path: Path) -> None:
    assert publish(place, tmp_path / "ota", "1.1.0", "1.0.0").exit_code == 0
    data = json.loads((tmp_path / "ota" / "index.json").read_text())
    jsonschema.validate(data, schemas.schema("index"))
    assert [version["version"] for version in data["versions"]] == ["1.0.0", "1.1.0"]
    assert data["serial"] == 1 and data["expires_s"] - data["issued_s"] == 30 * 86_400
    assert {p.name for p in (tmp_path / "ota" / "files").iterdir()} == {
        *hashes(place / "1.0.0"),
        *hashes(place / "1.1.0"),
    }
    done = edgekit("verify", tmp_path / "ota", "--key", place / "pub-ours.pem")
    assert (
        done.exit_code == 0 and "index 1 of tiny 1.0.0, 1.1.0: ok; signature and files match" in done.stdout
    )


def test_the_serial_rises_and_the_same_bytes_come_out_twice(
    place: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1800000000")
    for out in ("a", "b"):
        publish(place, tmp_path / out, "1.0.0")
        assert "index 2 of tiny 1.0.0, 1.1.0" in publish(place, tmp_path / out, "1.0.0", "1.1.0").stdout
    for name in ("index.json", "index.json.sig"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


REFUSED = {
    "back": (("1.0.0",), "ours", 2, "offers tiny 1.1.0, and apps refuse to go back to 1.0.0"),
    "other content": (("1.0.0", "again"), "ours", 2, "offers tiny 1.1.0 already, with other content"),
    "twice": (("1.1.0", "again"), "ours", 2, "a version is given twice: 1.1.0, 1.1.0"),
    "suffix": (("1.1.0", "rc"), "ours", 2, "updates have versions as 1.2.0, without a suffix"),
    "other key": (("1.0.0", "1.1.0"), "theirs", 1, "is not the signature of index.json by this key"),
    "no bundle": (("export-1.0.0",), "ours", 2, "bundle.json: No such file or directory; give a folder that"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_published(place: Path, tmp_path: Path, name: str) -> None:
    bundles, key, code, sentence = REFUSED[name]
    publish(place, tmp_path / "ota", "1.1.0")
    before = (tmp_path / "ota" / "index.json").read_bytes()
    done = publish(place, tmp_path / "ota", *bundles, key=key)
    assert done.exit_code == code and sentence in done.stderr and done.stderr.count("\n") == 1
    assert (tmp_path / "ota" / "index.json").read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_an_altered_bundle_and_a_folder_of_someone_else(place: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(place / "1.0.0", tmp_path / "copy"))
    (copy / "web" / "model.js").write_text("evil")
    done = edgekit("index", copy, "--sign", place / "key-ours.pem", "-o", tmp_path / "ota")
    assert (
        done.exit_code == 1
        and "was altered after packaging" in done.stderr
        and not (tmp_path / "ota").exists()
    )
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x").write_text("x")
    done = publish(place, tmp_path / "mine", "1.0.0")
    assert done.exit_code == 2 and "holds no updates; give another -o" in done.stderr


DAMAGED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "file": (lambda d: next((d / "files").iterdir()).write_bytes(b"x"), "was altered after packaging"),
    "gone": (lambda d: next((d / "files").iterdir()).unlink(), "is missing"),
    "more": (lambda d: (d / "files" / "evil").write_bytes(b"x"), "evil is not in index.json"),
    "index": (lambda d: (d / "index.json").write_text("{}"), "is not the signature of index.json by this key"),
    "unsigned": (lambda d: (d / "index.json.sig").unlink(), "is not signed"),
    "link": (lambda d: (d / "files" / "link").symlink_to("/etc/passwd"), "link is not in index.json"),
    "expired": (lambda d: _signed(d, lambda index: index.update(expires_s=1)), "has expired"),
    "tomorrow": (lambda d: _signed(d, lambda index: index.update(issued_s=2**39, expires_s=2**40)), "is of tomorrow"),
    "leaves": (lambda d: _signed(d, lambda index: _first(index).update(path="../x")), "points outside its folder"),
    "no hash": (lambda d: _signed(d, lambda index: _first(index).update(sha256="../x")), "does not hold an index of updates: "),
    "version": (lambda d: _signed(d, lambda index: index.update(schema_version=9)), "has schema_version 9"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_verify_refuses_what_an_app_would(place: Path, tmp_path: Path, name: str) -> None:
    damage, sentence = DAMAGED[name]
    publish(place, tmp_path / "ota", "1.0.0")
    damage(tmp_path / "ota")
    done = edgekit("verify", tmp_path / "ota", "--key", place / "pub-ours.pem")
    assert done.exit_code in (1, 2) and sentence in done.stderr and done.stderr.count("\n") == 1


def _first(index: dict[str, Any]) -> dict[str, Any]:
    return index["versions"][0]["targets"][0]["files"][0]  # type: ignore[no-any-return]


def _signed(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    data = json.loads((folder / "index.json").read_text())
    change(data)
    content = json.dumps(data).encode()
    (folder / "index.json").write_bytes(content)
    (folder / "index.json.sig").write_bytes(KEYS["ours"].sign(content))


# ------------------------------------------------------------------------------------------ what an app makes of it


@pytest.mark.parametrize("client", CLIENTS)
def test_the_app(client: str, place: Path, tmp_path: Path) -> None:
    """An app that was built with tiny 1.0.0, asked about every index that it may meet."""
    ota, now_s = tmp_path / "ota", int(time.time())
    publish(place, ota, "1.0.0")
    publish(place, ota, "1.0.0", "1.1.0", "2.0.0")
    content = (ota / "index.json").read_bytes()
    bad = Path(shutil.copytree(ota / "files", tmp_path / "bad"))
    for path in bad.iterdir():
        path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1]))
    good = {
        "index": ota / "index.json",
        "signature": ota / "index.json.sig",
        "files": ota / "files",
        "now_s": now_s,
    }
    asked: list[tuple[Question | Signed, str]] = []

    def ask(answer: str, **changes: Any) -> None:
        asked.append((Question(**{**good, **changes}), answer))

    def offer(answer: str, change: Callable[[dict[str, Any]], Any] | bytes, **changes: Any) -> None:
        """Another index, signed by the right key."""
        data = json.loads(content)
        made = change if isinstance(change, bytes) else (change(data), json.dumps(data).encode())[1]
        path = tmp_path / f"{len(asked)}.json"
        path.write_bytes(made)
        path.with_suffix(".sig").write_bytes(KEYS["ours"].sign(made))
        ask(answer, index=path, signature=path.with_suffix(".sig"), **changes)

    held = hashes(place / "1.0.0")
    fetched = sorted(set(hashes(place / "1.1.0")) - set(held))
    ask("serial 2 version 1.1.0", held=held)  # 2.0.0 is for other code
    ask("serial 2 version 1.1.0", held=held, files=bad)
    ask("serial 2 version null", installed="1.1.0", seen=2)
    ask("refused edgekit: index 2 is older than 3, which was seen", seen=3)
    ask("refused edgekit: the index goes back behind 3.0.0", installed="3.0.0")
    ask("refused edgekit: the index has expired", now_s=now_s + 31 * 86_400)
    ask("refused edgekit: the index is of tomorrow", now_s=now_s - 86_400)
    for signature in (
        KEYS["theirs"].sign(content),
        KEYS["ours"].sign(content)[:-1],
        b"",
        KEYS["ours"].sign(content + b" "),
    ):
        path = tmp_path / f"{len(asked)}.sig"
        path.write_bytes(signature)
        ask("refused edgekit: the index is not signed by the key of this app", signature=path)
    offer("refused edgekit: the index is of another model", lambda index: index.update(name="other"))
    offer(
        "refused edgekit: the index is of another schema version",
        lambda index: index.update(schema_version=2),
    )
    for wrong in ("../x", "a/../../x", "/etc/x", "C:x", "a\\..\\x", "\\x", ""):
        offer(
            "refused edgekit: the index points outside its folder",
            lambda index, wrong=wrong: _newest(index).update(path=wrong),
        )
    offer(
        "refused edgekit: the index points outside its folder",
        lambda index: _newest(index).update(sha256="../../x"),
    )
    for made in (b"{", b"[" * 100_000, b"\xff", b"", content + b"x"):
        offer("refused edgekit: the index is not what edgekit writes", made)
    offer("refused edgekit: the index is not what edgekit writes", lambda index: index.update(serial="2"))
    offer(
        "refused edgekit: the index is not what edgekit writes",
        lambda index: index["versions"][1].update(version="1.1"),
    )

    bundle = place / "1.0.0" / "bundle.json"
    for signed, content_file in (("true", bundle), ("false", place / "1.1.0" / "bundle.json")):
        asked.append(
            (Signed(content=content_file, signature=bundle.with_name("bundle.json.sig")), f"signed {signed}")
        )
    folder = write_export(tmp_path / "member")
    member = Member(
        folder=folder, manifest=manifest_file.read(folder), app_must="", golden={"image": {"channels": 3}}
    )
    data = json.loads((place / "1.0.0" / "bundle.json").read_text())
    assert data["targets"][0]["interface"] == interface_of(member.manifest)
    told = CLIENTS[client](
        member, KEYS["ours"].public_key().public_bytes_raw(), [q for q, _ in asked], tmp_path / "code"
    )
    assert len(told) == len(asked)
    for (_, answer), found in zip(asked, told, strict=True):
        assert found == answer or found.startswith(f"{answer} "), (found, answer)
    right, wrong = (dict(each.split(":") for each in line.split()[4:]) for line in told[:2])
    assert len(right) == len(fetched) and "golden/image.u8" not in right  # the golden image did not change
    assert set(right.values()) == {"true"} and set(wrong.values()) == {"false"}


def _newest(index: dict[str, Any]) -> dict[str, Any]:
    return index["versions"][1]["targets"][0]["files"][0]  # type: ignore[no-any-return]
