"""A file's hash is that of the published test vectors, whatever its size."""

from pathlib import Path

import pytest

from worldr1.digests import file_sha256


@pytest.mark.parametrize(
    ("content", "digest"),  # NIST's examples of FIPS 180: one block, and a million times "a"
    [
        (b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (b"a" * 1_000_000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
    ],
)
def test_the_digits_of_the_standard(content: bytes, digest: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    assert file_sha256(tmp_path / "file") == digest
