"""ClickHouse's HTTP interface as pure functions: what a request asks for, what an error becomes.

Source: https://clickhouse.com/docs/interfaces/http and, for the statuses,
src/Server/HTTP/exceptionCodeToHTTPStatus.cpp of ClickHouse.
"""

import base64
import binascii
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from python_multipart import parse_form
from python_multipart.exceptions import FormParserError

# Parameters that the interface itself reads, and those that only concern transport.
_NOT_SETTINGS = frozenset(
    {
        "query",
        "database",
        "default_format",
        "user",
        "password",
        "quota_key",
        "query_id",
        "session_id",
        "session_timeout",
        "session_check",
        "close_session",
        "role",
        "stacktrace",
        "compress",
        "decompress",
        "buffer_size",
        "wait_end_of_query",
        "client_protocol_version",
        "enable_http_compression",
        "send_progress_in_http_headers",
        "http_headers_progress_interval_ms",
        "add_http_cors_header",
        "cancel_http_readonly_queries_on_client_close",
        "http_write_exception_in_output_format",
    }
)
_SETTING_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TOKEN = re.compile(
    rb"--[^\n]*|/\*.*?\*/|'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|`(?:[^`\\]|\\.)*`"
    rb"|[A-Za-z_][A-Za-z0-9_]*|\s+|.",
    re.DOTALL,
)
_AFTER_FORMAT = re.compile(rb"[ \t\f]*\r?\n?")
_TRAILING_FORMAT = re.compile(r"\bFORMAT\s+(\w+)[\s;]*\Z", re.IGNORECASE)
_LEADING_NOISE = re.compile(r"(?:\s+|--[^\n]*(?:\n|\Z)|/\*.*?\*/|\()*", re.DOTALL)
_RESULT_WORDS = ("SELECT", "WITH", "SHOW", "DESCRIBE", "DESC", "EXISTS", "EXPLAIN")
_ERROR_CODE = re.compile(r"\bCode: (\d+)\b")

# Error codes of ClickHouse that this interface raises itself.
BAD_ARGUMENTS = 36
NOT_IMPLEMENTED = 48
EMPTY_QUERY = 62  # SYNTAX_ERROR: ClickHouse's own answer to nothing at all
QUERY_IS_TOO_LARGE = 264
AUTHENTICATION_FAILED = 516
UNKNOWN_EXCEPTION = 1002

_BAD_REQUEST = (6, 20, 26, 27, 36, 38, 41, 43, 53, 62, 69, 70, 72, 73, 117, 130, 158, 190, 242)
_STATUSES = {
    **dict.fromkeys(_BAD_REQUEST, 400),
    194: 401,  # REQUIRED_PASSWORD
    **dict.fromkeys((192, 193, 497, AUTHENTICATION_FAILED), 403),
    **dict.fromkeys((16, 35, 46, 47, 50, 56, 60, 61, 63, 73, 81, 82, 115, 119, 511), 404),
    **dict.fromkeys((131, 241, QUERY_IS_TOO_LARGE), 413),
    **dict.fromkeys((1, NOT_IMPLEMENTED, 344), 501),
    **dict.fromkeys((76, 203, 252), 503),
    159: 504,  # TIMEOUT_EXCEEDED
}


class ProtocolError(Exception):
    """The request cannot be understood; `code` is ClickHouse's number for it."""

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        super().__init__(f"Code: {code}. DB::Exception: {message}")


@dataclass(frozen=True)
class Query:
    """One request, understood.

    `data` is what follows `INSERT … FORMAT x`, in that format; None for every other statement.
    """

    sql: str
    format: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    database: str | None = None
    session_id: str | None = None
    session_timeout: float = 60.0  # seconds
    query_id: str | None = None
    data: bytes | None = None

    @property
    def returns_rows(self) -> bool:
        noise = _LEADING_NOISE.match(self.sql)
        start = noise.end() if noise else 0
        return self.sql[start : start + 10].upper().startswith(_RESULT_WORDS)


def understand(query_string: bytes, headers: Mapping[str, str], body: bytes) -> Query:
    """Raises ProtocolError. `headers` has lower-case names."""
    arguments = dict(parse_qsl(query_string.decode("latin-1"), keep_blank_values=True))
    if headers.get("content-encoding", "identity") != "identity":
        raise ProtocolError(NOT_IMPLEMENTED, "Compressed requests are not supported.")
    if arguments.get("compress") == "1" or arguments.get("decompress") == "1":
        raise ProtocolError(NOT_IMPLEMENTED, "Compression is not supported: use compress=False.")
    content_type = headers.get("content-type", "")
    if content_type.startswith("multipart/form-data"):
        arguments |= _form_fields(content_type, body)
        body = b""
    # ClickHouse joins `?query=` and the body: an INSERT in the one, its data in the other.
    prefix = arguments.get("query", "").encode()
    whole = prefix + b"\n" + body if prefix and body else prefix or body
    if not whole.strip():
        raise ProtocolError(EMPTY_QUERY, "Syntax error: the query is empty. (SYNTAX_ERROR)")
    head, data_format, data = split_insert(whole)
    try:
        sql = head.decode()
    except UnicodeDecodeError as error:
        raise ProtocolError(BAD_ARGUMENTS, "The query is not UTF-8. (BAD_ARGUMENTS)") from error
    trailing = _TRAILING_FORMAT.search(sql)
    default = arguments.get("default_format") or headers.get("x-clickhouse-format")
    return Query(
        sql=sql,
        format=data_format or (trailing[1] if trailing else default or "TabSeparated"),
        parameters={
            name.removeprefix("param_"): value
            for name, value in arguments.items()
            if name.startswith("param_")
        },
        settings=_settings(arguments),
        database=arguments.get("database") or headers.get("x-clickhouse-database"),
        session_id=arguments.get("session_id") or None,
        session_timeout=_seconds(arguments.get("session_timeout", "60")),
        query_id=arguments.get("query_id") or None,
        data=data,
    )


def _settings(arguments: Mapping[str, str]) -> dict[str, str]:
    settings = {
        name: value
        for name, value in arguments.items()
        if name not in _NOT_SETTINGS and not name.startswith("param_")
    }
    for name in settings:
        if not _SETTING_NAME.fullmatch(name):
            raise ProtocolError(115, "A parameter is not the name of a setting. (UNKNOWN_SETTING)")
    return settings


def _seconds(text: str) -> float:
    try:
        return min(3600.0, max(1.0, float(text)))
    except ValueError as error:
        raise ProtocolError(BAD_ARGUMENTS, "session_timeout is not a number.") from error


def _form_fields(content_type: str, body: bytes) -> dict[str, str]:
    fields: dict[str, str] = {}

    def keep(part: object) -> None:
        name, value = getattr(part, "field_name", None), getattr(part, "value", None)
        if not name or value is None:
            raise ProtocolError(NOT_IMPLEMENTED, "External tables are not supported.")
        fields[name.decode()] = value.decode()

    try:
        parse_form({"Content-Type": content_type.encode()}, io.BytesIO(body), keep, keep)
    except (FormParserError, UnicodeDecodeError) as error:
        raise ProtocolError(BAD_ARGUMENTS, "The form is malformed. (BAD_ARGUMENTS)") from error
    return fields


def split_insert(statement: bytes) -> tuple[bytes, str | None, bytes | None]:
    """`INSERT … FORMAT x` and the data after it; anything else comes back whole.

    Returns (statement without FORMAT, format, data), or (statement, None, None).
    """
    depth = 0
    first = True
    tokens = _TOKEN.finditer(statement)
    for match in tokens:
        token = match[0]
        if token == b"(":
            depth += 1
        elif token == b")":
            depth -= 1
        word = token.upper()
        if token.isspace() or token.startswith((b"--", b"/*")):
            continue
        if first:
            if word != b"INSERT":
                break
            first = False
        if depth == 0 and word in {b"VALUES", b"SELECT", b"WITH", b"INFILE"}:
            break
        if depth == 0 and word == b"FORMAT":
            name = next((found for found in tokens if not found[0].isspace()), None)
            if name is None:
                break
            gap = _AFTER_FORMAT.match(statement, name.end())
            start = gap.end() if gap else name.end()
            return statement[: match.start()].rstrip(), name[0].decode("latin-1"), statement[start:]
    return statement, None, None


def credentials(query_string: bytes, headers: Mapping[str, str]) -> tuple[str, str] | None:
    """User and password from Basic, the X-ClickHouse headers or the query; None without any."""
    scheme, _, encoded = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        return user, password
    if "x-clickhouse-user" in headers:
        return headers["x-clickhouse-user"], headers.get("x-clickhouse-key", "")
    arguments = dict(parse_qsl(query_string.decode("latin-1")))
    if "user" in arguments:
        return arguments["user"], arguments.get("password", "")
    return None


def error_code(message: str) -> int:
    found = _ERROR_CODE.search(message)
    return int(found[1]) if found else UNKNOWN_EXCEPTION


def status_of(code: int) -> int:
    return _STATUSES.get(code, 500)


def error_text(message: str, version: str) -> str:
    """The exception as ClickHouse writes it: from `Code:` on, with the version at its end."""
    start = message.find("Code: ")
    text = message[max(start, 0) :].strip()
    return f"{text}\n" if "(version " in text else f"{text} (version {version})\n"
