import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ibex.access_tokens import new_token
from ibex.ids import new_id
from ibex.memory.redaction import Kind, redact

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
        ("-----BEGIN PRIVATE KEY-----\nMIIEow (cut off", "[PRIVATE_KEY] (cut off"),
        (f"{{'key': '{KEY}'}}".replace("\n", "\\n"), "{'key': '[PRIVATE_KEY]'}"),
        ("ann.lee [at] example [dot] com", "[EMAIL]"),
        ("我的邮箱是ann@example.com，谢谢", "我的邮箱是[EMAIL]，谢谢"),
        ("O'Brien <o'brien@example.com>", "O'Brien <[EMAIL]>"),
        ("root@[192.0.2.7]", "[EMAIL]"),
        ("4111 1111 1111 1111 12/27, 2 of them", "[CARD] 12/27, 2 of them"),
        ("card: 30569309025904, then 6759649826438453", "card: [CARD], then [CARD]"),
        ("SSN: 123456789", "SSN: [SSN]"),
        ("DE89-3704-0044-0532-0130-00 BIC COBADEFF", "[IBAN] BIC COBADEFF"),
        ("10.0.0.1 and 192.168.100.200/24", "[IP] and [IP]/24"),
        ("from 2001:db8::7334: ok, ::ffff:192.0.2.1", "from [IP]: ok, [IP]"),
        ("http://[2001:db8:0:0:0:0:2:1]:80/", "http://[[IP]]:80/"),
        ("0049 30 1234567 or 020 7946 0958 or 030/1234567", "[PHONE] or [PHONE] or [PHONE]"),
        ("my mobile is 4155552671", "my mobile is [PHONE]"),
        ("4155552671 is my number", "[PHONE] is my number"),
        ("Tel. 030 1234567 ext. 12", "Tel. [PHONE]"),
        ("+49 (0)30 1234 5678 x12, 8 (495) 123-45-67", "[PHONE], [PHONE]"),
        ("电话13812345678。", "电话[PHONE]。"),
        ("password=hunter2&user=ann", "password=[SECRET]&user=ann"),
        (
            "The password for the guest wifi is Sommer2024!",
            "The password for the guest wifi is [SECRET]",
        ),
        ('{"password": "correct horse"}', '{"password": "[SECRET]"}'),
        ("DB_PASSWORD: letmein", "DB_PASSWORD: [SECRET]"),
        ("**Password:** `hunter2`", "**Password:** `[SECRET]`"),
        ("Passwort ist: Geheim99.", "Passwort ist: [SECRET]."),
        ("密码是abc12345，谢谢", "密码是[SECRET]，谢谢"),
        ("postgres://app:p@ss@db.example.com/x", "postgres://app:[SECRET]@db.example.com/x"),
        ("AccountKey=Zm9vYmFy12345+/==;Suffix=core", "AccountKey=[SECRET];Suffix=core"),
        ("Authorization: Basic dXNlcjpwYXNz", "Authorization: Basic [SECRET]"),
        (
            "curl -H 'Authorization: Bearer 4f9aB2c7D1e8F3'",
            "curl -H 'Authorization: Bearer [SECRET]'",
        ),
        ("my password is r(5Dr)uO$3, not &Y0TwIn47V", "my password is [SECRET], not &Y0TwIn47V"),
        ("CVV 123, PIN: 4711", "CVV [SECRET], PIN: [SECRET]"),
        ("a\\nghp_" + "a1B2" * 9, "a\\n[API_KEY]"),
        (
            "hooks.slack.com/services/T0123ABCD/B0123ABCD/abcDEF0123456789xyz",
            "hooks.slack.com/services/[API_KEY]",
        ),
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
        "127.0.0.1:8000, 0.0.0.0, ::1 and netmask 255.255.255.0",
        "version 10.2.3.4, v1.2.3.4, x==1.2.3.4, 1.3.6.1.4.1",
        "a[1::2], std::vector<int>, 12:30:45, 00:1B:44:11:3A:B7",
        "EAN 4006381333931, 4532015112830, ba300a44-8ae2-4431-a9c7-482cfb7a394a",
        "ISBN 978-3-16-148410-0, 036000 291452, order 4155552671",
        "call me on 2024-01-15, it costs $1500000, called 12345678 times",
        "array([+1.12345679, -2.5]) at +1980-02-29",
        "The password is required and has at least 12 characters.",
        "password: str = Field(), api_key=os.environ['KEY'], token = get_token(12)",
        "password: ${DB_PASSWORD}, secret: <your-secret>, pwd=********",
        "if password == expected: raise PasswordError",
        "max_tokens: 4096; a token is 4 letters; secretary: Ann99",
        "see https://example.com/reset-password?step=2 and [Bearer](https://example.com/a1)",
        "git@github.com:example/project.git, icon@2x.png",
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


def test_what_stands_after_a_card_s_own_length_is_not_part_of_it() -> None:
    redacted = redact("see 4111 1111 1111 1111 2026 now")
    assert redacted.text == "see [CARD] 2026 now"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ａｎｎ＠ｅｘａｍｐｌｅ．ｃｏｍ！", "[EMAIL]！"),
        ("4111\u200b1111\u200b11111111\u200b!", "[CARD]!"),
        ("١٢٣-٤٥-٦٧٨٩", "[SSN]"),
        ("+४९ ३० १२३४५६७", "[PHONE]"),
        ("ju\u0308rgen@mu\u0308ller.de\u0301x", "[EMAIL]"),
        ("DE89\u00a03704\u00a00044\u00a00532\u00a00130\u00a000", "[IBAN]"),
        ("123\u201345\u20116789 ﬁnally", "[SSN] ﬁnally"),
        ("sk\u00ad-proj-4f9aB2c7D1e8F3a6B5c4D7e2", "[API_KEY]"),
    ],
)
def test_no_disguise_helps(text: str, expected: str) -> None:
    assert redact(text).text == expected


def test_findings_are_places_in_the_text_as_it_was_written() -> None:
    text = "ﬁrst: ａｎｎ@example.com, then 123-45-6789"
    found = redact(text).findings
    assert [(one.kind, text[one.start : one.end]) for one in found] == [
        (Kind.EMAIL, "ａｎｎ@example.com"),
        (Kind.SSN, "123-45-6789"),
    ]


FRAGMENTS = st.sampled_from(
    [
        *("ann@example.com", "+49 30 1234567", "415-555-2671", "(415) 555-2671", "123-45-6789"),
        *("4111 1111 1111 1111", "4111111111111111", "DE89370400440532013000", "192.0.2.7"),
        *("2001:db8::1", JWT, KEY, "ghp_" + "a1B2" * 9, "password", "Passwort ist ", "token: "),
        *("Authorization: Bearer ", "://user:", "hunter2", "call ", "version ", "order ", "pin "),
        *(
            " ",
            "-",
            ".",
            ",",
            "@",
            "/",
            ":",
            "=",
            "+",
            "(",
            ")",
            "'",
            '"',
            "\n",
            "\u200b",
            "是",
            "１",
        ),
        *("[EMAIL]", "[SECRET]", "[", "]", "0", "12", "x", "é", "-----BEGIN PRIVATE KEY-----"),
    ]
)


@given(st.lists(FRAGMENTS | st.text(max_size=4), max_size=14).map("".join))
@example("call 1234567 415 555 2671")
def test_redacting_twice_changes_nothing(text: str) -> None:
    once = redact(text).text
    again = redact(once)
    assert again.text == once
    assert again.counts == {}


@given(st.lists(FRAGMENTS | st.text(max_size=4), max_size=14).map("".join))
def test_only_the_findings_change(text: str) -> None:
    redacted = redact(text)
    kept: list[str] = []
    end = 0
    for one in redacted.findings:
        assert end <= one.start < one.end <= len(text)
        kept += text[end : one.start], f"[{one.kind}]"
        end = one.end
    assert redacted.text == "".join([*kept, text[end:]])
    assert sum(redacted.counts.values()) == len(redacted.findings)


@pytest.mark.parametrize(
    "unit",
    [
        *("a@", "a.", "o'", "1 ", "1-", "12 34 ", "+1 ", "00 1", "(0", "1.1.1.1", "::", "fe80:"),
        *(
            "password for ",
            "token ",
            "-----BEGIN ",
            "-----BEGIN PRIVATE KEY-----\n",
            "://a:",
            "eyJa.",
        ),
        *("[at]", "a[at]b[dot]", "DE89 ", "我@", 'password="', "+49301234567", "A" * 60 + "."),
    ],
)
def test_hostile_texts_take_as_long_as_others(unit: str) -> None:
    """What is not linear does not end on 100,000 characters."""
    assert redact(unit * (100_000 // len(unit))).text
