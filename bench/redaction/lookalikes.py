"""What only looks like it: numbers, names and code that must stay, and plain sentences."""

import string
from collections.abc import Callable, Mapping
from random import Random
from types import MappingProxyType
from typing import Final
from uuid import UUID

from bench.redaction.values import with_luhn

_HEX: Final = "0123456789abcdef"
_PLAIN: Final = """
I moved to Berlin in 2019 and like it here.
The password is required and must have at least 12 characters.
Reset your password at https://example.com/reset?step=2 before 2026-05-01.
password: str = Field(min_length=8)
if password == expected_password: return True
api_key = os.environ["API_KEY"]
api_key: ${{ secrets.API_KEY }}
token = get_token(user_id=42)
max_tokens: 4096, temperature=0.7, top_p=0.95
A token is about four characters of English text.
The secret of good bread is time: 24 hours at 4 degrees.
Our secretary is Ann; the secret santa is on 12/20.
git clone git@github.com:example/project.git
npm install @scope/package@1.2.3 && yarn add left-pad@^1.3.0
from dataclasses import dataclass, field
@app.route("/users/<int:id>")
std::vector<std::pair<int, int>> edges; a[1::2] = b[::2]
It is 12:30:45 now; the train leaves at 14:05 from platform 7.
She called three times and texted twice about the order.
The phone costs 1200000 won, about 899.00 USD.
We sold 4111 units in 2025 and 5500 in 2026.
The dev server listens on 127.0.0.1:8000 and on 0.0.0.0.
The netmask is 255.255.255.0.
Das Passwort ist abgelaufen, bitte ändern.
Die Telefonzelle von 1987 steht noch, Baujahr 1926.
Le mot de passe est obligatoire.
La contraseña es obligatoria para entrar.
Пароль обязателен, минимум 12 символов.
密码必须至少包含12个字符。
パスワードは12文字以上です。
Meet me @noon at the cafe, bring photo@2x.png and icon@3x.svg
The pin on GPIO 13 is high; pin: 13
x = 3.141592653589793 + 2.718281828459045j
Use bearer bonds or basic understanding of finance.
ratio 16:9, 4:3 and 21:9; score 3:2:1
SELECT * FROM users WHERE id = 1234567 AND port = 5432;
"""


def _digits(random: Random, count: int) -> str:
    return "".join(random.choice(string.digits) for _ in range(count))


def _hex(random: Random, count: int) -> str:
    return "".join(random.choice(_HEX) for _ in range(count))


def _not_luhn(random: Random) -> str:
    number = with_luhn("4" + _digits(random, 14))
    return number[:-1] + str((int(number[-1]) + random.randint(1, 9)) % 10)


def _time(random: Random) -> str:
    return (
        f"{random.randint(1990, 2030)}-{random.randint(1, 12):02}-{random.randint(1, 28):02}"
        f"T{random.randint(0, 23):02}:{random.randint(0, 59):02}:{random.randint(0, 59):02}Z"
    )


def _version(random: Random) -> str:
    return ".".join(str(random.randint(0, 40)) for _ in range(random.choice([3, 4, 4])))


def _isbn(random: Random) -> str:
    return (
        f"978-{random.randint(0, 9)}-{_digits(random, 2)}-{_digits(random, 6)}-{_digits(random, 1)}"
    )


def _call_on(random: Random) -> str:
    day, month, year = random.randint(1, 28), random.randint(1, 12), random.randint(1990, 2030)
    return f"Due {day:02}.{month:02}.{year}, call me on {_time(random)[:10]}."


def _price(random: Random) -> str:
    thousands = ",".join([str(random.randint(1, 9)), _digits(random, 3), _digits(random, 3)])
    return f"It costs ${thousands}.{_digits(random, 2)}, in euros {random.randint(10**6, 10**8)}."


def _nobody(random: Random) -> str:
    area = random.choice(["000", "666", "9" + _digits(random, 2)])
    return f"Code {area}-{_digits(random, 2)}-{_digits(random, 4)}"


def _link(random: Random) -> str:
    page = f"/v1/items/{_digits(random, 8)}?page={_digits(random, 2)}"
    return f"https://api.example.com:8443{page}"


def _array(random: Random) -> str:
    return f"[{', '.join(_digits(random, random.randint(1, 5)) for _ in range(8))}]"


#: By name, a sentence with something that is no secret.
_MAKERS: Final[Mapping[str, Callable[[Random], str]]] = MappingProxyType(
    {
        "version": lambda some: f"Upgraded to version {_version(some)} without trouble.",
        "pinned": lambda some: f"v{_version(some)} fixes it; pip install x=={_version(some)}",
        "browser": lambda some: (
            f"Chrome/{_digits(some, 3)}.0.{_digits(some, 4)}.{_digits(some, 2)}"
        ),
        "date": _call_on,
        "time": lambda some: f"Logged at {_time(some)} and {some.randint(10**9, 2 * 10**9)}.",
        "milliseconds": lambda some: f"ts={some.randint(16 * 10**11, 19 * 10**11)}",
        "nanoseconds": lambda some: f"took {some.randint(10**18, 19 * 10**17)} ns",
        "order": lambda some: f"Order {_digits(some, some.choice([7, 9, 10, 12]))} has shipped.",
        "invoice": lambda some: f"Invoice 2026-{_digits(some, 6)} over {_digits(some, 4)}.50 EUR",
        "no card": lambda some: f"Reference {_not_luhn(some)} was closed.",
        "no IBAN": lambda some: f"Part DE{_digits(some, 2)}X{_digits(some, 17)} is in stock.",
        "tracking": lambda some: f"Tracking 1Z{_hex(some, 6).upper()}{_digits(some, 10)}",
        "uuid": lambda some: f"Request {UUID(int=some.getrandbits(128))} failed.",
        "sha": lambda some: f"commit {_hex(some, 40)} and image sha256:{_hex(some, 64)}",
        "short sha": lambda some: f"Reverted {_hex(some, 7)} and {_hex(some, 12)}.",
        "mac": lambda some: f"MAC {':'.join(_hex(some, 2) for _ in range(6))}",
        "price": _price,
        "count": lambda some: f"The population is {some.randint(10**6, 10**9)}.",
        "isbn": lambda some: f"ISBN {_isbn(some)}, page {_digits(some, 3)}",
        "place": lambda some: f"{some.uniform(-90, 90):.6f}, {some.uniform(-180, 180):.6f}",
        "zip": lambda some: f"Springfield, IL {_digits(some, 5)}-{_digits(some, 4)}",
        "sum": lambda some: f"x + {_digits(some, 5)} - {_digits(some, 6)} = {_digits(some, 7)}",
        "no SSN": _nobody,
        "link": _link,
        "flight": lambda some: f"Flight LH{_digits(some, 4)}, booking {_hex(some, 6).upper()}",
        "array": _array,
        "sentence": lambda some: some.choice(_PLAIN.strip().splitlines()),
    }
)


def lookalike(random: Random) -> tuple[str, str]:
    """Its name, and a text without anything to find."""
    name = random.choice([*_MAKERS, *["sentence"] * 9])
    return name, _MAKERS[name](random)
