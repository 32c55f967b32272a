import struct
from pathlib import Path

import pytest

from bb3.core.errors import AssetError
from bb3.lm.gguf import GgufInfo, read_gguf


def string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


TEXT, NUMBER, SIGNED, ARRAY = 8, 4, 5, 9


def gguf(
    *, version: int = 3, tensors: int = 1, pairs: int = 1, shape=(8,), more=b"", more_pairs: int = 0
) -> bytes:
    """A tiny file: one key, one float32 tensor of 8."""
    head = b"GGUF" + struct.pack("<IQQ", version, tensors, pairs + more_pairs)
    head += string("general.architecture") + struct.pack("<I", TEXT) + string("tiny") + more
    head += string("weight") + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, 0)
    return head + bytes(-len(head) % 32) + bytes(32)


def pair(name: str, kind: int, value: bytes) -> dict[str, object]:
    return {"more": string(name) + struct.pack("<I", kind) + value, "more_pairs": 1}


def array(kind: int, *values: bytes) -> bytes:
    return struct.pack("<IQ", kind, len(values)) + b"".join(values)


def number(value: int) -> bytes:
    return struct.pack("<i", value)


def read(tmp_path: Path, content: bytes):
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    return read_gguf(path)


def test_reads_a_model(smollm_path):
    info = read_gguf(smollm_path)
    assert info.tensors == 272
    assert info.trained_context == 8192
    assert info.has_chat_template
    assert {"<|im_start|>", "<|im_end|>"} <= set(info.special_tokens)


def test_reads_a_small_file(tmp_path):
    info = read(tmp_path, gguf())
    assert info.trained_context == 0
    assert not info.has_chat_template
    assert info.special_tokens == ()


def test_reads_what_the_file_says_of_itself(tmp_path):
    known = {
        "tiny.context_length": (NUMBER, number(512)),
        "general.alignment": (NUMBER, number(64)),
        "tokenizer.chat_template": (TEXT, string("{{ x }}")),
        "tokenizer.ggml.tokens": (ARRAY, array(TEXT, string("a"), string("<|x|>"), string(" "))),
        "tokenizer.ggml.token_type": (ARRAY, array(SIGNED, number(1), number(3), number(3))),
    }
    more = b"".join(string(n) + struct.pack("<I", kind) + v for n, (kind, v) in known.items())
    info = read(tmp_path, gguf(more=more, more_pairs=len(known)) + bytes(64))
    assert info == GgufInfo(
        tensors=1, trained_context=512, has_chat_template=True, special_tokens=("<|x|>",)
    )


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (pair("general.alignment", ARRAY, array(NUMBER, number(32))), "general.alignment"),
        (pair("general.alignment", TEXT, string("32")), "general.alignment"),
        (pair("general.alignment", NUMBER, number(0)), "general.alignment"),
        (pair("general.alignment", SIGNED, number(-32)), "general.alignment"),
        (pair("tiny.context_length", TEXT, string("long")), "tiny.context_length"),
        (pair("tiny.context_length", SIGNED, number(-1)), "tiny.context_length"),
        (pair("general.architecture", ARRAY, array(TEXT)), "general.architecture"),
        (pair("tokenizer.chat_template", NUMBER, number(1)), "tokenizer.chat_template"),
        (pair("tokenizer.ggml.tokens", NUMBER, number(1)), "tokenizer.ggml.tokens"),
        (pair("tokenizer.ggml.tokens", ARRAY, array(NUMBER, number(1))), "tokenizer.ggml.tokens"),
        (pair("tokenizer.ggml.token_type", TEXT, string("3")), "tokenizer.ggml.token_type"),
        ({"shape": (2,) * 5}, "5 dimensions"),
        ({"shape": (1 << 63,) * 20_000}, "20000 dimensions"),
    ],
)
def test_refuses_fields_of_another_type(tmp_path, fields, said):
    with pytest.raises(AssetError, match=said):
        read(tmp_path, gguf(**fields))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "begins with b''"),
        (b"PK\x03\x04" + bytes(100), "begins with"),
        (gguf()[:60], "within its header"),
        (gguf()[:-1], "bytes of the"),
        (gguf(version=9), "version 9"),
        (gguf(tensors=1 << 60), "announces"),
        (gguf(pairs=1 << 60), "announces"),
        (gguf(tensors=0), "no tensors"),
        (gguf()[:24] + struct.pack("<Q", 1 << 40) + bytes(50), "string of"),
        (gguf().replace(struct.pack("<I", 8) + string("tiny"), struct.pack("<I", 77)), "type 77"),
    ],
)
def test_refuses_damaged_files(tmp_path, content, said):
    with pytest.raises(AssetError, match=said):
        read(tmp_path, content)


def test_every_cut_of_a_file_is_refused(tmp_path):
    whole = gguf()
    for length in range(len(whole)):
        with pytest.raises(AssetError):
            read(tmp_path, whole[:length])


def test_deep_nesting_is_refused(tmp_path):
    nested = b"".join(struct.pack("<IQ", 9, 1) for _ in range(5000))
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + string("a") + struct.pack("<I", 9)
    with pytest.raises(AssetError):
        read(tmp_path, head + nested)
