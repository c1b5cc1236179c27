"""LoRA adapters: which are known, which fit their base, and what is said of those that don't."""

import json

import numpy
import pytest

from tests.support.gguf import write_adapter, write_gguf
from tidemill.core.errors import Configuration, Conflict, InvalidInput, ModelNotFound, NotFound
from tidemill.llm.catalog import SourceKind, adapter_version, find_model, list_models, model_version
from tidemill.llm.runtime.adapters import Adapter, Adapters, check_fits
from tidemill.settings import ModelSettings, Settings

HEAD = {"general.architecture": "llama", "llama.block_count": 1}
WEIGHTS = {
    "blk.0.attn_q.weight": (6, 4),
    "blk.0.attn_v.weight": (2, 4),
    "token_embd.weight": (10, 4),
    "output_norm.weight": (4,),
}
KIND = {"general.type": "adapter", "adapter.type": "lora", "adapter.lora.alpha": 2.0}


def zeros(*shape):
    return numpy.zeros(shape, numpy.float32)


@pytest.fixture
def base(tmp_path):
    return write_gguf(tmp_path / "base.gguf", HEAD, {name: zeros(*shape) for name, shape in WEIGHTS.items()})


@pytest.fixture
def settings(tmp_path, base):
    folder = tmp_path / "data" / "adapters"
    folder.mkdir(parents=True)
    write_adapter(folder / "kind.gguf", base)
    return Settings(data_dir=tmp_path / "data", models=ModelSettings(files={"tiny": base}))


def pair(name, first, second):
    return {f"{name}.lora_a": zeros(*first), f"{name}.lora_b": zeros(*second)}


def fits(folder, base, head, tensors):
    path = write_gguf(folder / "adapter.gguf", head, tensors)
    check_fits(Adapter("kind", "tiny", path), base)


def test_an_adapter_for_the_base_fits_its_embeddings_the_other_way_round_among_them(tmp_path, base):
    tensors = {
        **pair("blk.0.attn_q.weight", (2, 4), (6, 2)),
        **pair("token_embd.weight", (10, 2), (4, 2)),
    }
    fits(tmp_path, base, {**KIND, "general.architecture": "llama"}, tensors)


MISFITS = {
    "for another architecture": ({"general.architecture": "qwen2"}, {}, "architecture 'qwen2', not 'llama'"),
    "a whole model": ({"general.type": "model"}, {}, "is no LoRA adapter"),
    "another kind of adapter": ({"adapter.type": "control"}, {}, "is no LoRA adapter"),
    "without its strength": ({"adapter.lora.alpha": "2"}, {}, "is no LoRA adapter"),
    "for a wider base": ({}, pair("blk.0.attn_q.weight", (2, 8), (6, 2)), r"blk\.0\.attn_q\.weight is 4 x 6 there"),
    "for a deeper base": ({}, pair("blk.7.attn_q.weight", (2, 4), (6, 2)), r"has no tensor blk\.7\.attn_q\.weight"),
    "of two ranks": ({}, pair("blk.0.attn_q.weight", (2, 4), (6, 3)), "the factors are"),
    "with half a pair": ({}, {"blk.0.attn_q.weight.lora_a": zeros(2, 4)}, "not pairs"),
    "with a vector": ({}, pair("blk.0.attn_q.weight", (4,), (6,)), "has no two factors"),
    "on a norm": ({}, pair("output_norm.weight", (1, 4), (4, 1)), "has no two factors"),
    "with something else": ({}, {"something": zeros(1)}, "not pairs"),
    "without tensors": ({}, {}, "not pairs"),
}


@pytest.mark.parametrize(("head", "tensors", "said"), MISFITS.values(), ids=MISFITS)
def test_an_adapter_that_does_not_fit_is_refused_with_the_reason(tmp_path, base, head, tensors, said):
    with pytest.raises(InvalidInput, match=said):
        fits(tmp_path, base, {"general.architecture": "llama", **KIND, **head}, tensors)


@pytest.mark.parametrize(
    "data", [b"", b"text", b"GGUF" + b"\xff" * 40, b"GGUF\3\0\0\0" + b"\1" + b"\0" * 15 + b"\xff" * 9]
)
def test_a_file_that_is_no_gguf_file_is_the_clients_fault(tmp_path, base, data):
    path = tmp_path / "adapter.gguf"
    path.write_bytes(data)
    with pytest.raises(InvalidInput, match="kind can't be used"):
        check_fits(Adapter("kind", "tiny", path), base)


def test_a_registered_adapter_is_listed_found_and_has_a_version(settings, base):
    adapters = Adapters(settings)
    adapters.add(adapters.check_new(Adapter("kind", "tiny", "kind.gguf", 0.5)))
    entry = find_model(settings, "tiny:kind")
    assert (entry.kind, entry.adapter.base, entry.adapter.scale) == (SourceKind.ADAPTER, "tiny", 0.5)
    assert "tiny:kind" in [one.name for one in list_models(settings)]
    assert model_version(settings, entry) == model_version(settings, find_model(settings, "tiny"))
    version = adapter_version(settings, entry.adapter)
    assert version.startswith("kind@sha256:")
    assert version.endswith("*0.5")
    assert Adapters(settings).of("tiny") == (entry.adapter,)
    assert Adapters(settings).remove("kind") == entry.adapter
    with pytest.raises(ModelNotFound):
        find_model(settings, "tiny:kind")
    with pytest.raises(NotFound, match="no adapter 'kind'"):
        adapters.remove("kind")


def test_an_adapter_of_the_settings_is_known_and_not_removed_elsewhere(settings, base):
    kind = settings.data_dir / "adapters" / "kind.gguf"
    models = ModelSettings(files={"tiny": base}, adapters={"kind": {"base": "tiny", "path": kind}})
    configured = Settings(data_dir=settings.data_dir, models=models)
    assert find_model(configured, "tiny:kind").adapter.path == kind
    with pytest.raises(Conflict, match="stands in the settings"):
        Adapters(configured).remove("kind")
    with pytest.raises(Conflict, match="already"):
        Adapters(configured).check_new(Adapter("kind", "other", "kind.gguf"))
    kind.unlink()
    with pytest.raises(ModelNotFound, match=r"no file at .*kind\.gguf.*models\.adapters"):
        find_model(configured, "tiny:kind")


def test_a_path_that_leads_out_of_the_folder_is_refused(settings, base):
    outside = settings.data_dir / "adapters" / "link.gguf"
    outside.symlink_to(base)
    for path in ("../../base.gguf", str(base), "link.gguf", "none.gguf", ".", "a\0b", "x" * 900):
        with pytest.raises(InvalidInput, match="There is no file"):
            Adapters(settings).check_new(Adapter("kind", "tiny", path))


@pytest.mark.parametrize("name", ["", "a:b", "a/b", "-a", "ä", "a" * 65, "a\n"])
def test_a_name_that_requests_could_not_use_is_refused(settings, name):
    with pytest.raises(InvalidInput, match="name has 1 to 64"):
        Adapters(settings).check_new(Adapter(name, "tiny", "kind.gguf"))


@pytest.mark.parametrize("text", ["{", "[]", '{"kind": {}}', '{"kind": {"base": "b", "path": "p", "scale": "x"}}'])
def test_a_damaged_list_is_told_with_its_place(settings, text):
    (settings.data_dir / "adapters" / "adapters.json").write_text(text)
    with pytest.raises(Configuration, match=r"adapters\.json"):
        Adapters(settings).all()


def test_the_list_names_files_within_the_folder_so_that_it_can_be_moved(settings):
    adapters = Adapters(settings)
    adapters.add(adapters.check_new(Adapter("kind", "tiny", "kind.gguf")))
    rows = json.loads((settings.data_dir / "adapters" / "adapters.json").read_text())
    assert rows == {"kind": {"base": "tiny", "path": "kind.gguf", "scale": 1.0}}
