import pytest

from ibex.access_tokens import new_token
from ibex.ids import new_id
from ibex.memory.redaction import redact

KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow==\n-----END RSA PRIVATE KEY-----"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Write to ann.lee+x@mail.example.com.", "Write to [EMAIL]."),
        ("<bob@example.org>, cc:eve@example.org", "<[EMAIL]>, cc:[EMAIL]"),
        ("jürgen@müller.de wrote", "[EMAIL] wrote"),
        ("SSN 123-45-6789.", "SSN [SSN]."),
        ("Card 4111 1111 1111 1111, exp 12/27", "Card [CARD], exp 12/27"),
        ("Card 4111-1111-1111-1111", "Card [CARD]"),
        ("amex 3782 822463 10005", "amex [CARD]"),
        ("5500005555555559", "[CARD]"),
        ("IBAN DE89 3704 0044 0532 0130 00!", "IBAN [IBAN]!"),
        ("gb29nwbk60161331926819", "[IBAN]"),
        ("Call +49 30 12345678 or (415) 555-2671", "Call [PHONE] or [PHONE]"),
        ("415-555-2671, +14155552671", "[PHONE], [PHONE]"),
        ("key sk-proj-4f9aB2c7D1e8F3a6B5c4D7e2", "key [API_KEY]"),
        ("ghp_" + "a1B2" * 9, "[API_KEY]"),
        ("AKIAIOSFODNN7EXAMPLE", "[API_KEY]"),
        (f"Bearer {JWT}", "Bearer [JWT]"),
        (f"Use\n{KEY}\nthen", "Use\n[PRIVATE_KEY]\nthen"),
        ("-----BEGIN PRIVATE KEY-----\nMIIEow (cut off", "[PRIVATE_KEY]"),
    ],
)
def test_personal_data_and_secrets_become_placeholders(text: str, expected: str) -> None:
    assert redact(text).text == expected


@pytest.mark.parametrize(
    "text",
    [
        "My database host is db.smoketest.example.com on port 5432.",
        "https://api.example.com:8443/v1/items?page=2026-01-31",
        "Version 1.13.27 of 2026-11-20, at 2026-11-20T05:51:00.123Z",
        "Request 0197f2f0-7c1e-7b3a-9d6e-3f2b1c0d4e5f took 1234567890 ns",
        "order 1234567890123456, invoice 2024-000123",
        "git 3f2b1c0d4e5f6a7b8c9d0e1f2a3b4c5d6e7f8a9b",
        "10.0.0.1 and 192.168.100.200/24",
        "from 1990-2005, 3.141592653589793, 1,000,000",
        "npm i @scope/package@1.2.3, follow @ann",
        "sk-learn is not a key; neither is sk-something-with-words-only-here",
        "666-12-3456 and 000-12-3456 were never issued",
        "-----BEGIN CERTIFICATE-----",
        "GB00NWBK60161331926819 has a wrong checksum",
        "[EMAIL] [CARD]",
    ],
)
def test_what_only_looks_like_it_stays(text: str) -> None:
    assert redact(text).text == text
    assert redact(text).counts == {}


def test_counts_are_kept_by_kind_and_no_content_shows() -> None:
    redacted = redact("a@example.com, b@example.com, 123-45-6789")
    assert redacted.counts == {"EMAIL": 2, "SSN": 1}
    assert "EMAIL" in repr(redacted)
    assert "123" not in repr(redact("my dog is 123"))


def test_our_own_tokens_are_secrets() -> None:
    assert redact(f"token={new_token(new_id()).text}").text == "token=[API_KEY]"


def test_redacting_twice_changes_nothing() -> None:
    once = redact(f"ann@example.com {JWT} +49 30 12345678").text
    assert redact(once).text == once
