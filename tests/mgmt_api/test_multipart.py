"""Forms with a file: what browsers, curl and scripts send, and what nobody should."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wardenmq.mgmt_api.errors import ApiError
from wardenmq.mgmt_api.multipart import MAX_PARTS, UploadedFile, read_file

from .callers import form

TYPE = "multipart/form-data; boundary=cut"


def part(disposition: str, content: bytes = b"x", *more: str) -> bytes:
    head = "\r\n".join(("--cut", f"Content-Disposition: {disposition}", *more))
    return head.encode() + b"\r\n\r\n" + content + b"\r\n"


def read(*parts: bytes, content_type: str = TYPE) -> UploadedFile:
    return read_file(b"".join(parts) + b"--cut--\r\n", content_type, "filename")


FILE = part('form-data; name="filename"; filename="a.csv"', b"1,2\r\n3,4\r\n")


@given(st.binary(max_size=200).filter(lambda data: b"\r\n--cut" not in data))
def test_a_file_arrives_as_it_was_sent(data: bytes) -> None:
    body, headers = form("users.csv", data)
    assert read_file(body, headers["Content-Type"], "filename") == UploadedFile("users.csv", data)


def test_what_stands_around_and_between_is_left_out() -> None:
    other = part('form-data; name="other"', b"value")
    kinds = part('form-data; name="filename"; filename="a.csv"', b"z", "Content-Type: text/csv", "X-More: 1")
    assert read(b"preamble\r\n", other, kinds, other) == UploadedFile("a.csv", b"z")
    body = b"\r\n--cut \t\r\n" + FILE.partition(b"\r\n")[2] + b"--cut--\r\nepilogue"
    assert read_file(body, TYPE, "filename").data == b"1,2\r\n3,4\r\n"


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('form-data; name="filename"; filename="a b;c.csv"', "a b;c.csv"),
        ("form-data; name=filename; filename=a.csv", "a.csv"),
        ('FORM-DATA; NAME="filename"; FileName="a.csv"', "a.csv"),
        ('form-data; name="filename"; filename="say \\"hi\\".csv"', 'say "hi".csv'),
        ('form-data; name="filename"; filename="say %22hi%22.csv"', 'say "hi".csv'),
        ('form-data; name="filename"; filename="früh.csv"', "früh.csv"),
        ('form-data; name="filename"; filename="x"; filename*=UTF-8\'\'fr%C3%BCh.csv', "früh.csv"),
        ('form-data; filename="../../etc/passwd"; name="filename"', "../../etc/passwd"),
    ],
)
def test_names_of_files(disposition: str, name: str) -> None:
    assert read(part(disposition)).name == name


@pytest.mark.parametrize("quoted", ['"cut"', "cut; charset=utf-8", '"cut" ; x=y'])
def test_forms_of_the_boundary(quoted: str) -> None:
    assert read(FILE, content_type=f"Multipart/Form-Data; boundary={quoted}").name == "a.csv"


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (FILE + b"--cut--\r\n", "multipart/form-data"),
        (FILE + b"--cut--\r\n", "multipart/form-data; boundary="),
        (FILE + b"--cut--\r\n", f"multipart/form-data; boundary={'x' * 71}"),
        (FILE + b"--cut--\r\n", "multipart/form-data; boundary=other"),
        (b"", TYPE),
        (b"--cut--\r\n", TYPE),
        (b"--cut", TYPE),
        (b"--cut\r\n", TYPE),
        (FILE, TYPE),
        (FILE[:-5], TYPE),
        (b"--cutting\r\n" + FILE[7:] + b"--cut--", TYPE),
        (b"--cut\r\nno headers\r\n--cut--\r\n", TYPE),
        (b"--cut\r\n\r\n\r\nx\r\n--cut--\r\n", TYPE),
        (part('attachment; name="filename"; filename="a"') + b"--cut--", TYPE),
        (part('form-data; name="filename"') + b"--cut--", TYPE),
        (part('form-data; name="filename"; filename=""') + b"--cut--", TYPE),
        (part('form-data; name="file"; filename="a"') + b"--cut--", TYPE),
        (FILE + FILE + b"--cut--", TYPE),
        (part('form-data; name="filename"; filename="a"', b"x", "X: " + "y" * 10_000) + b"--cut--", TYPE),
        (part('form-data; name="n"') * (MAX_PARTS + 1) + FILE + b"--cut--", TYPE),
    ],
)
def test_what_is_no_form_with_this_file(body: bytes, content_type: str) -> None:
    with pytest.raises(ApiError) as caught:
        read_file(body, content_type, "filename")
    assert (caught.value.status, caught.value.code) == (400, "BAD_REQUEST")


@given(st.binary(max_size=300), st.text(max_size=80))
def test_any_bytes_are_a_file_or_a_400(data: bytes, content_type: str) -> None:
    for body in (data, b"--cut\r\n" + data, b"--cut\r\n" + data + b"\r\n--cut--"):
        for kind in (TYPE, content_type):
            try:
                read_file(body, kind, "filename")
            except ApiError as error:
                assert error.status == 400


@given(st.integers(0, len(FILE)))
def test_a_form_that_is_cut_off_is_refused(length: int) -> None:
    with pytest.raises(ApiError):
        read_file(FILE[:length], TYPE, "filename")


def test_a_long_name_is_cut() -> None:
    assert len(read(part(f'form-data; name="filename"; filename="{"x" * 5_000}"')).name) == 1_000
