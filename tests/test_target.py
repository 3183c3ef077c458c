"""Profiles are closed: every built-in one loads, and each way to get one wrong has its sentence."""

import re
from pathlib import Path

import pytest

from edgekit.errors import TargetError, UserError
from edgekit.ladder.profiles import load_targets
from edgekit.profile.reading import load_target, profile_dir, target_names
from edgekit.records import Budget, Quant
from edgekit.target import Target

COMPLETE = """
summary = "a board"
runtime = "onnxruntime"
format = "onnx"
precisions = ["int8", "float32"]

[quant]
activation_dtype = "uint8"
weight_bits = 8
granularity = "per_channel"
symmetric_activations = false

[isa]
arch = ["riscv64"]

[isa.levels]
rvv = { weight_bits = 7 }
rvv2 = {}

[[ladder]]
technique = "ptq"
precision = "int8"
options = { estimator = "minmax" }
needs = ["calibration"]
reason = "small"

[[ladder]]
technique = "float32"
precision = "float32"
reason = "always right"

[budget]
max_drop = 0.02
"""


def write(folder: Path, text: str = COMPLETE, name: str = "board.toml") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def message(reference: str) -> str:
    with pytest.raises(TargetError) as caught:
        load_target(reference)
    return str(caught.value)


def changed(old: str, new: str) -> str:
    assert COMPLETE.count(old) >= 1
    return COMPLETE.replace(old, new, 1)


def test_the_four_targets_of_the_first_issue_are_there() -> None:
    assert {"arm-mobile", "coreml-fp16", "tflite-int8", "x86-server"} <= set(target_names())
    assert target_names() == sorted(target_names())


@pytest.mark.parametrize("name", target_names())
def test_built_in_profiles(name: str) -> None:
    target = load_target(name)
    assert target.name == name
    assert target.summary and target.isa.arch and target.default_isa == next(iter(target.isa.levels))
    assert all(len(rung.reason) > 10 for rung in target.ladder)
    assert {rung.precision for rung in target.ladder} <= set(target.precisions)
    if not target.full_integer:
        assert target.ladder[-1].technique == "float32", "something right to ship stands last"
        assert not target.ladder[-1].needs
    assert load_target(str(profile_dir() / f"{name}.toml")) == target


@pytest.mark.parametrize(("isa", "bits"), [("avx2", 7), ("avx512", 7), ("avx-vnni", 8), ("avx512-vnni", 8)])
def test_x86_weights_are_7_bits_wherever_products_saturate(isa: str, bits: int) -> None:
    from edgekit_runner.host.isa import int8_saturates

    quant = load_target("x86-server").quant_for(isa)
    assert quant == Quant(
        activation_dtype="uint8",
        weight_bits=bits,
        granularity="per_channel",
        symmetric_activations=False,
        products=True,
    )
    assert int8_saturates(isa) == (bits == 7)


@pytest.mark.parametrize("name", ["arm-mobile", "tflite-int8"])
def test_arm_weights_are_full_range_on_every_level(name: str) -> None:
    target = load_target(name)
    quants = [target.quant_for(level) for level in target.isa.levels]
    assert [quant.weight_bits for quant in quants if quant] == [8] * len(target.isa.levels)


def test_core_ml_has_no_integer_arithmetic() -> None:
    target = load_target("coreml-fp16")
    assert target.quant_for("apple") is None
    assert "int8" not in target.precisions


def test_every_level_is_one_the_runner_can_report() -> None:
    from edgekit_runner.host.isa import ISA_CLASSES

    levels = {level for name in target_names() for level in load_target(name).isa.levels}
    assert levels - {"apple"} <= set(ISA_CLASSES)


def test_the_weakest_level_is_the_default_and_an_unknown_one_lists_the_allowed() -> None:
    target = load_target("x86-server")
    assert target.default_isa == "avx2"
    with pytest.raises(TargetError) as caught:
        target.quant_for("sse2")
    assert str(caught.value) == (
        "target x86-server does not admit the instruction set 'sse2'; allowed: avx2, avx512, avx-vnni, avx512-vnni"
    )


@pytest.mark.parametrize(
    ("arch", "isa", "admitted"),
    [
        ("x86_64", "avx2", True),
        ("x86_64", "x86-64", False),
        ("aarch64", "avx2", False),
        ("x86_64", "", False),
    ],
)
def test_admits(arch: str, isa: str, admitted: bool) -> None:
    assert load_target("x86-server").admits(arch, isa) is admitted


def test_a_users_own_profile_works_by_path(tmp_path: Path) -> None:
    target = load_target(write(tmp_path))
    assert isinstance(target, Target)
    assert target.name == "board"
    assert target.default_isa == "rvv"
    weak, strong = target.quant_for("rvv"), target.quant_for("rvv2")
    assert weak and strong and (weak.weight_bits, strong.weight_bits) == (7, 8)
    assert target.budget == Budget(max_drop=0.02)
    assert target.ladder[0].options == {"estimator": "minmax"}


# ---------------------------------------------------------------------------------------------- what can be wrong

TOP = "summary, runtime, format, precisions, isa, ladder, quant, channel_multiple, precision_share, full_integer, on_request, free_batch, other_runtimes, devices, budget, deployment"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('colour = "red"\n' + COMPLETE, f"unknown key 'colour'; allowed: {TOP}"),
        (
            changed("weight_bits = 8", "weight_bits = 8\nbits = 4"),
            "unknown key 'bits' in [quant]; allowed: activation_dtype, weight_bits, granularity, symmetric_activations, integer_io, products",
        ),
        (
            changed('arch = ["riscv64"]', 'arch = ["riscv64"]\nvendor = "x"'),
            "unknown key 'vendor' in [isa]; allowed: arch, levels, verify_exact",
        ),
        (
            changed('reason = "always right"', 'reason = "always right"\nwhy = "x"'),
            "unknown key 'why' in [ladder[1]]; allowed: technique, reason, options, before, data, networks, unfit",
        ),
        (
            changed("max_drop = 0.02", "max_drop = 0.02\nmax_loss = 1"),
            "unknown key 'max_loss' in [budget]; allowed: max_drop, min_speedup, max_size_bytes, max_latency_s, "
            "max_memory_bytes, min_agreement, min_snr_db, floor",
        ),
        (
            COMPLETE + "\n[deployment]\nios = 17\n",
            "unknown key 'ios' in [deployment]; allowed: abi, min_ios, min_android_sdk, min_runtime",
        ),
        (
            changed("rvv = { weight_bits = 7 }", "rvv = { weigth_bits = 7 }"),
            "unknown key 'weigth_bits' in [isa.levels.rvv]; allowed: activation_dtype, weight_bits, granularity, "
            "symmetric_activations, integer_io, products - at `$.isa`",
        ),
    ],
    ids=["top", "quant", "isa", "ladder", "budget", "deployment", "level"],
)
def test_an_unknown_key_lists_the_allowed(tmp_path: Path, text: str, expected: str) -> None:
    path = write(tmp_path, text)
    assert message(path) == f"{path}: {expected}"


def test_a_ladder_names_shared_rungs_and_may_say_otherwise(tmp_path: Path) -> None:
    ladder = 'ladder = ["qat", { use = "ptq-mse", reason = "mine" }, "float32"]\n'
    without = COMPLETE[: COMPLETE.index("[[ladder]]")] + COMPLETE[COMPLETE.index("[budget]") :]
    path = write(tmp_path, ladder + without)
    found = load_target(str(path))
    assert [rung.technique for rung in found.ladder] == ["qat", "ptq", "float32"]
    assert found.ladder[1].reason == "mine" and found.ladder[1].options == {"estimator": "mse"}
    assert found.ladder[0] == load_target("arm-mobile").ladder[9]
    path = write(tmp_path, ladder.replace('"qat"', '"quat"') + without)
    assert message(path).startswith(f"{path}: unknown rung 'quat' in ladder; allowed: ptq-mse, dynamic, ")


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        (changed("weight_bits = 8", 'weight_bits = "8"'), r"Expected `int`, got `str` - at `\$\.quant\.weight_bits`"),
        (changed("weight_bits = 8", "weight_bits = true"), r"Expected `int`, got `bool` - at `\$\.quant\.weight_bits`"),
        (changed('precisions = ["int8", "float32"]', 'precisions = "int8"'), r"got `str` - at `\$\.precisions`"),
        (changed("max_drop = 0.02", 'max_drop = "2 %"'), r"Expected `float`, got `str` - at `\$\.budget\.max_drop`"),
        (changed('reason = "small"', "reason = 1"), r"Expected `str`, got `int` - at `\$\.ladder\[0\]\.reason`"),
        (changed('needs = ["calibration"]', 'needs = ["photos"]'), r"needs of ptq is \['calibration'\] and need not be given; leave the key out"),
        (changed('needs = ["calibration"]', 'networks = ["cnn"]'), r"Invalid enum value 'cnn' - at .*networks"),
        (changed('needs = ["calibration"]', 'networks = ["linear"]'), r"networks and unfit go together"),
        (changed('needs = ["calibration"]', 'unfit = "slow"'), r"networks and unfit go together"),
        (changed('runtime = "onnxruntime"', 'runtime = "ort"'), r"runtime is 'ort'; allowed: onnxruntime, openvino, litert, coreml"),
        (changed('precision = "int8"', 'precision = "int4"'), r"precision of ptq is 'int8' and need not be given; leave the key out"),
        (changed("weight_bits = 8", "weight_bits = 9"), r"weight_bits is 9; allowed are 2 to 8"),
        (changed("rvv2 = {}", "rvv2 = { weight_bits = 16 }"), r"weight_bits is 16; allowed are 2 to 8"),
        (changed("rvv2 = {}", "rvv2 = 7"), r"Expected `object`, got `int`"),
        (changed("max_drop = 0.02", "max_drop = -0.1"), r"budget max_drop is -0\.1; it must be a finite number of"),
        (changed("max_drop = 0.02", "max_drop = nan"), r"budget max_drop is nan; it must be a finite number"),
        (changed("max_drop = 0.02", "min_speedup = inf"), r"budget min_speedup is inf; it must be a finite number"),
        (changed("rvv = { weight_bits = 7 }\nrvv2 = {}", ""), r"\[isa\.levels\] is empty; it needs at least one"),
        (changed('summary = "a board"', ""), r"missing required field `summary`"),
        (changed("[quant]", "[deployment]").replace("activation_dtype", "min_runtime").replace(
            "weight_bits = 8\ngranularity = \"per_channel\"\nsymmetric_activations = false\n", ""),
         r"precisions admit int8 but there is no \[quant\] table"),
    ],
)  # fmt: skip
def test_a_wrong_value_names_the_place(tmp_path: Path, text: str, pattern: str) -> None:
    path = write(tmp_path, text)
    found = message(path)
    assert found.startswith(f"{path}: ")
    assert re.search(pattern, found), found
    assert "\n" not in found


def test_a_level_cannot_override_a_table_that_is_not_there(tmp_path: Path) -> None:
    """Silently ignored it would look as if the weights had 7 bits."""
    coreml = (profile_dir() / "coreml-fp16.toml").read_text(encoding="utf-8")
    path = write(tmp_path, coreml.replace("apple = {}", "apple = { weight_bits = 7 }"))
    assert message(path) == (
        f"{path}: [isa.levels] overrides fields of [quant], but there is no [quant] table"
    )


def test_the_name_is_not_a_key(tmp_path: Path) -> None:
    path = write(tmp_path, 'name = "other"\n' + COMPLETE)
    assert message(path) == f"{path}: unknown key 'name'; the file's stem is the target's name"


@pytest.mark.parametrize(
    ("given", "hint"), [("x86-servr", " (did you mean x86-server?)"), ("ptq", ""), ("", ""), ("X86", "")]
)
def test_an_unknown_target(given: str, hint: str) -> None:
    names = ", ".join(target_names())
    assert message(given) == (
        f"unknown target {given!r}{hint}; allowed: {names}, or the path of a .toml file"
    )


def test_a_missing_file_a_folder_and_no_toml(tmp_path: Path) -> None:
    assert message(f"{tmp_path}/no.toml") == f"target file {tmp_path}/no.toml does not exist"
    (tmp_path / "dir.toml").mkdir()
    assert message(f"{tmp_path}/dir.toml") == f"target file {tmp_path}/dir.toml does not exist"
    path = write(tmp_path, "summary = [", "broken.toml")
    assert message(path).startswith(f"{path}: not a TOML file: ")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    assert message(f"{tmp_path}/binary.toml").startswith(f"{tmp_path}/binary.toml: not a TOML file: ")


def test_a_name_is_not_a_way_out_of_the_folder() -> None:
    assert message("../targets/x86-server").startswith("unknown target")


def test_other_runtimes_are_other_known_ones(tmp_path: Path) -> None:
    text = (profile_dir() / "x86-server.toml").read_text()
    for given, said in (
        ('["onnxruntime"]', "which is the runtime itself"),
        ('["tvm"]', "runtime is 'tvm'; allowed"),
    ):
        path = tmp_path / "mine.toml"
        path.write_text(text.replace('["openvino"]', given))
        with pytest.raises(TargetError, match=said):
            load_target(str(path))


@pytest.mark.parametrize(
    "name", [".", "a\nb", "\x1b[31m", "report.json", "report.html", "baselines", "SHA256SUMS", "-x", " x", "a*b", "n" * 101]
)  # fmt: skip
def test_a_name_that_cannot_be_a_folder_of_an_export(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.toml"
    path.write_text(COMPLETE)
    with pytest.raises(TargetError, match="the file's stem names the target and its folder"):
        load_target(str(path))


@pytest.mark.parametrize("name", ["my-board", "board 2", "Kärtchen_1.5+x"])
def test_a_name_of_letters_and_a_few_signs(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.toml").write_text(COMPLETE)
    assert load_target(str(tmp_path / f"{name}.toml")).name == name


def test_two_that_differ_have_two_names(tmp_path: Path) -> None:
    for folder, text in (("a", COMPLETE), ("b", COMPLETE.replace("a board", "another board")), ("c", COMPLETE)):  # fmt: skip
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.toml").write_text(text)
    a, b, c = (str(tmp_path / folder / "x.toml") for folder in "abc")
    assert [target.name for target in load_targets([a, c])] == ["x"]
    with pytest.raises(
        UserError, match=r"two targets that differ are called x, the second one by .*/b/x\.toml"
    ):
        load_targets([a, b])
