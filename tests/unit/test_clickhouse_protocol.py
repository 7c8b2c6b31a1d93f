import base64

import pytest

from ibex.embedded.clickhouse_protocol import (
    ProtocolError,
    credentials,
    error_code,
    error_text,
    split_insert,
    status_of,
    understand,
)


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (
            b"INSERT INTO t (`a`) FORMAT Native\n\x01\x02",
            (b"INSERT INTO t (`a`)", "Native", b"\x01\x02"),
        ),
        (b"insert into t format CSV \r\n1\n", (b"insert into t", "CSV", b"1\n")),
        (
            b"/* FORMAT x */ INSERT INTO t SETTINGS a=1 FORMAT TSV\n\n1",
            (b"/* FORMAT x */ INSERT INTO t SETTINGS a=1", "TSV", b"\n1"),
        ),
        (
            b"INSERT INTO `a FORMAT b` (`FORMAT`) FORMAT Native\n",
            (b"INSERT INTO `a FORMAT b` (`FORMAT`)", "Native", b""),
        ),
    ],
)
def test_data_is_cut_off_an_insert(
    statement: bytes, expected: tuple[bytes, str | None, bytes | None]
) -> None:
    assert split_insert(statement) == expected


@pytest.mark.parametrize(
    "statement",
    [
        b"SELECT 1 FORMAT Native",
        b"INSERT INTO t VALUES (' FORMAT CSV 1')",
        b"INSERT INTO t SELECT 1 FORMAT CSV",
        b"INSERT INTO t FORMAT",
    ],
)
def test_other_statements_stay_whole(statement: bytes) -> None:
    assert split_insert(statement) == (statement, None, None)


def test_the_query_may_come_apart() -> None:
    query = understand(b"query=INSERT+INTO+t+FORMAT+CSV&database=ibex", {}, b"1,2\n")
    assert (query.sql, query.format, query.data) == ("INSERT INTO t", "CSV", b"1,2\n")
    assert query.database == "ibex"


def test_parameters_are_neither_settings_nor_transport() -> None:
    query = understand(
        b"param_n=5&max_threads=1&session_id=s&query_id=q&wait_end_of_query=1&session_timeout=7",
        {},
        b"SELECT {n:UInt8}",
    )
    assert query.parameters == {"n": "5"}
    assert query.settings == {"max_threads": "1"}
    assert (query.session_id, query.session_timeout, query.query_id) == ("s", 7.0, "q")


@pytest.mark.parametrize(
    ("sql", "arguments", "expected"),
    [
        ("SELECT 1", b"", "TabSeparated"),
        ("SELECT 1", b"default_format=JSON", "JSON"),
        ("SELECT 1 FORMAT CSV", b"default_format=JSON", "CSV"),
        ("SELECT 'FORMAT CSV'", b"", "TabSeparated"),
    ],
)
def test_the_format(sql: str, arguments: bytes, expected: str) -> None:
    assert understand(arguments, {}, sql.encode()).format == expected


def test_a_long_parameter_arrives_in_a_form() -> None:
    body = (
        b'--x\r\nContent-Disposition: form-data; name="query"\r\n\r\nSELECT {s:String}\r\n'
        b'--x\r\nContent-Disposition: form-data; name="param_s"\r\n\r\na\nb\r\n--x--\r\n'
    )
    query = understand(b"", {"content-type": "multipart/form-data; boundary=x"}, body)
    assert query.sql == "SELECT {s:String}"
    assert query.parameters == {"s": "a\nb"}


@pytest.mark.parametrize(
    ("arguments", "headers", "body"),
    [
        (b"", {}, b" \n"),
        (b"", {"content-encoding": "gzip"}, b"SELECT 1"),
        (b"compress=1", {}, b"SELECT 1"),
        (b"a%3D1%3B+DROP=1", {}, b"SELECT 1"),
        (b"session_timeout=soon", {}, b"SELECT 1"),
        (b"", {}, b"SELECT '\xff'"),
    ],
)
def test_what_cannot_be_understood(arguments: bytes, headers: dict[str, str], body: bytes) -> None:
    with pytest.raises(ProtocolError):
        understand(arguments, headers, body)


def test_credentials_come_three_ways() -> None:
    basic = base64.b64encode(b"ibex:a:b").decode()
    assert credentials(b"", {"authorization": f"Basic {basic}"}) == ("ibex", "a:b")
    headers = {"x-clickhouse-user": "ibex", "x-clickhouse-key": "k"}
    assert credentials(b"", headers) == ("ibex", "k")
    assert credentials(b"user=ibex&password=p", {}) == ("ibex", "p")
    assert credentials(b"", {}) is None
    assert credentials(b"user=ibex", {"authorization": "Basic !"}) is None


def test_an_error_keeps_its_code() -> None:
    message = "Streaming insert finish failed: Code: 60. DB::Exception: No table. (UNKNOWN_TABLE)"
    assert error_code(message) == 60
    assert status_of(60) == 404
    assert status_of(error_code("something else")) == 500
    assert error_text(message, "26.9") == (
        "Code: 60. DB::Exception: No table. (UNKNOWN_TABLE) (version 26.9)\n"
    )
