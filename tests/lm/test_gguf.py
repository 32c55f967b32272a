import struct
from pathlib import Path

import pytest

from bb3.core.errors import AssetError
from bb3.lm.gguf import read_gguf


def string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def gguf(*, version: int = 3, tensors: int = 1, pairs: int = 1, kind: int = 0) -> bytes:
    """A tiny file: one key, one float32 tensor of 8."""
    head = b"GGUF" + struct.pack("<IQQ", version, tensors, pairs)
    head += string("general.architecture") + struct.pack("<I", 8) + string("tiny")
    head += string("weight") + struct.pack("<IQIQ", 1, 8, kind, 0)
    return head + bytes(-len(head) % 32) + bytes(32)


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
    assert info.metadata == {"general.architecture": "tiny"}
    assert info.trained_context == 0
    assert not info.has_chat_template
    assert info.special_tokens == ()


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
