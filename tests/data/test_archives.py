"""Archives written to do harm: every one is refused, and nothing is ever put on disk."""

import io
import os
import stat
import tarfile
import warnings
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad.data import streams
from minigrad.data.streams import open_zip, read_member, safe_name, tar_members
from minigrad.errors import DataFormatError


def entry(name: str, content: bytes = b"hello", **fields) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.size = len(content) if fields.get("type", tarfile.REGTYPE) == tarfile.REGTYPE else 0
    for key, value in fields.items():
        setattr(member, key, value)
    return member, content


def tar(path, *entries, mode: str = "w:gz"):
    with tarfile.open(path, mode) as archive:
        for member, content in entries:
            archive.addfile(member, io.BytesIO(content))
    return path


def zipped(path, *entries):
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")  # zipfile warns of duplicate names
        for info, content in entries:
            archive.writestr(info, content)
    return path


def read(path, wanted=("d/a", "d/b"), **limits):
    return dict(tar_members(path, wanted, **limits))


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_wanted_members_are_read_and_ignored_ones_passed_over(tmp_path, mode):
    path = tar(
        tmp_path / "x",
        entry("d", type=tarfile.DIRTYPE),
        entry("./d/a", b"one"),
        entry("d/readme"),
        entry("d/b", b"two"),
        mode=mode,
    )
    assert read(path, ignored=["d/readme"]) == {"d/a": b"one", "d/b": b"two"}


HOSTILE = {
    "parent": (entry("../evil"), "points outside"),
    "inner_parent": (entry("d/../../evil"), "points outside"),
    "absolute": (entry("/etc/evil"), "points outside"),
    "drive": (entry("c:/evil"), "points outside"),
    "backslash": (entry("d\\..\\..\\evil"), "points outside"),
    "symlink": (entry("d/a", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "link or device"),
    "hardlink": (entry("d/a", type=tarfile.LNKTYPE, linkname="d/b"), "link or device"),
    "device": (entry("d/a", type=tarfile.CHRTYPE), "link or device"),
    "fifo": (entry("d/a", type=tarfile.FIFOTYPE), "link or device"),
    "unexpected": (entry("d/other"), "unexpected member 'd/other'"),
    "large": (entry("d/a", bytes(5000)), "has 5000 bytes, limit 1000"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_tar_members_are_refused(tmp_path, name):
    member, message = HOSTILE[name]
    path = tar(tmp_path / "x.tar.gz", entry("d/b"), member)
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(DataFormatError, match=message):
        read(path, member_limit=1000)
    assert sorted(os.listdir(tmp_path)) == before


def test_a_name_that_comes_twice_is_refused(tmp_path):
    with pytest.raises(DataFormatError, match="'d/a' comes twice"):
        read(tar(tmp_path / "x", entry("d/a"), entry("d/a", b"other")))


def test_a_tar_bomb_stops_at_the_limit(tmp_path):
    path = tar(tmp_path / "x.tar.gz", entry("d/a", bytes(20 << 20)))
    assert path.stat().st_size < 40_000
    with pytest.raises(DataFormatError, match="unpacks to more than 1048576 bytes"):
        read(path, total_limit=1 << 20)
    header = tarfile.TarInfo("d/a")
    header.type, header.size = tarfile.XHDTYPE, 1 << 40  # a header that claims a terabyte
    path.write_bytes(header.tobuf() + bytes(4096))
    with pytest.raises(DataFormatError):
        read(path, total_limit=1 << 20)


def test_too_many_members_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "MAX_MEMBERS", 50)
    folders = [entry(f"d/{k}", type=tarfile.DIRTYPE) for k in range(60)]
    with pytest.raises(DataFormatError, match="more than 50 members"):
        read(tar(tmp_path / "x", *folders))
    with pytest.raises(DataFormatError, match="more than 50 members"):
        open_zip(zipped(tmp_path / "x.zip", *[(f"{k}", b"") for k in range(60)]))
    monkeypatch.setattr(streams, "MAX_MEMBERS", 60)
    open_zip(tmp_path / "x.zip").close()
    monkeypatch.setattr(streams, "MAX_DIRECTORY", 1000)  # refused before it is parsed
    with pytest.raises(DataFormatError, match="more than 60 members"):
        open_zip(tmp_path / "x.zip")


@given(st.data())
def test_any_changed_tar_gives_the_contents_or_a_data_format_error(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp()
    mode = data.draw(st.sampled_from(["w", "w:gz"]))
    path = tar(folder / "fuzz", entry("d/a", b"one"), entry("d/b", b"two" * 300), mode=mode)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    try:
        found = read(path)
    except DataFormatError:
        return
    assert set(found) <= {"d/a", "d/b"}


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([("../evil", b"")], "points outside"),
        ([("/etc/evil", b"")], "points outside"),
        ([("a\\..\\..\\evil", b"")], "points outside"),
        ([("a", b"1"), ("a", b"2")], "'a' comes twice"),
        ([("a", b"1"), ("./a", b"2")], "'a' comes twice"),
        ([(link("a"), b"/etc/passwd")], "link or device"),
        ([("bomb", bytes(30 << 20))], "claims 31457280 bytes from .*ratio 200"),
    ],
)
def test_hostile_zip_archives_are_refused(tmp_path, entries, message):
    with pytest.raises(DataFormatError, match=message):
        open_zip(zipped(tmp_path / "x.zip", *entries))


def test_encrypted_and_damaged_zips_are_refused(tmp_path):
    path = zipped(tmp_path / "x.zip", ("a", b"hello" * 50))
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\1\2")
    content[at + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(DataFormatError, match="encrypted"):
        open_zip(path)
    content[at + 8] &= 0xFE
    content[35] ^= 0xFF  # inside the compressed data
    path.write_bytes(content)
    with open_zip(path) as z, pytest.raises(DataFormatError, match="damaged"):
        read_member(z, "a", 1000)


def test_an_offset_before_the_start_of_the_file_is_damage(tmp_path):
    path = zipped(tmp_path / "x.zip", ("a", b"hello"))
    content = bytearray(path.read_bytes())
    end = content.rindex(b"PK\5\6")
    content[end + 16] += 3  # the directory's offset, from which zipfile infers a shift by -3
    path.write_bytes(content)
    with open_zip(path) as z, pytest.raises(DataFormatError, match="damaged"):
        read_member(z, "a", 1000)
    content[end + 12 : end + 14] = b"\xff\xff"  # a directory longer than the file
    path.write_bytes(content)
    with pytest.raises(DataFormatError, match="damaged"):
        open_zip(path)


def test_other_compression_methods_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_BZIP2) as z:
        z.writestr("a", b"hello")
    with pytest.raises(DataFormatError, match="neither stored nor deflated"):
        open_zip(tmp_path / "x.zip")


def test_a_member_is_read_up_to_its_limit(tmp_path):
    with open_zip(zipped(tmp_path / "x.zip", ("a", b"hello"))) as z:
        assert read_member(z, "a", 5) == b"hello"
        with pytest.raises(DataFormatError, match="longer than 4 bytes"):
            read_member(z, "a", 4)
        with pytest.raises(DataFormatError, match="missing"):
            read_member(z, "b", 4)


@given(st.data())
def test_any_changed_zip_gives_the_content_or_a_data_format_error(tmp_path_factory, data):
    path = zipped(tmp_path_factory.getbasetemp() / "fuzz.zip", ("a", b"hello" * 20), ("b", b"x"))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    try:
        with open_zip(path) as z:
            contents = [read_member(z, name, 1000) for name in z.namelist()]
    except DataFormatError:
        return
    assert all(c in (b"hello" * 20, b"x") for c in contents)


@given(st.text(max_size=12))
def test_a_safe_name_never_leaves_its_folder(name):
    try:
        safe = safe_name(name, "x")
    except DataFormatError:
        return
    root = os.path.abspath(os.sep + "root")
    assert os.path.normpath(os.path.join(root, safe)).startswith(root)
