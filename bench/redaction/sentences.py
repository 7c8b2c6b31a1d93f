"""Where it is hidden: sentences in fifteen languages, one a line as `language | kind | sentence`.

`{}` is the value. A telephone number without a form of its own is asked for only where the sentence
says what it is.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from ibex.memory.redaction import Kind

_SENTENCES: Final = """
en | EMAIL | You can reach me at {}.
en | EMAIL | cc: <{}>, see you on 2026-03-14
en | PHONE | My phone number is {}, call after 6 pm.
en | PHONE | Please text me at {} when you arrive.
en | PHONE | Mobile: {}
en | PHONE | She gave {} as her new cell phone.
en | SSN | The applicant's SSN is {}.
en | SSN | social security number {}, born 1984-02-11
en | CARD | I paid with card {}, exp 12/27.
en | CARD | Charge it to {} please
en | IBAN | Transfer the rent to {} by the first.
en | IP | The build server answers at {} on port 22.
en | IP | ssh deploy@{}
en | API_KEY | Use the key {} for staging.
en | API_KEY | OPENAI_API_KEY={}
en | API_KEY | {{"auth": "{}"}}
en | JWT | The session cookie holds {} until midnight.
en | JWT | Authorization: Bearer {}
en | PRIVATE_KEY | This is the deploy key: {} Keep it safe.
en | SECRET | The wifi password is {}.
en | SECRET | DB_PASSWORD={}
en | SECRET | {{"user": "ann", "password": "{}"}}
en | SECRET | postgresql://app:{}@db.example.com:5432/shop
en | SECRET | client_secret: '{}'
de | EMAIL | Schreib bitte an {}, danke!
de | PHONE | Meine Telefonnummer ist {}.
de | PHONE | Am besten per Handy erreichbar: {}
de | IBAN | Überweise die Miete auf {}, Verwendungszweck März.
de | CARD | Die Kreditkarte {} läuft bald ab.
de | SECRET | Das Passwort lautet {}.
de | SECRET | Kennwort: {}
de | IP | Der Drucker hat die Adresse {}.
fr | EMAIL | Mon adresse est {} si besoin.
fr | PHONE | Appelez-moi au {}, c'est mon portable : merci
fr | IBAN | Virement sur {} avant vendredi.
fr | CARD | Carte bancaire {}, expire en 09/28.
fr | SECRET | Le mot de passe est {}.
es | EMAIL | Mi correo es {}, escríbeme.
es | PHONE | Mi teléfono es {}.
es | SECRET | La contraseña es {}.
es | CARD | Pagué con la tarjeta {} ayer.
pt | EMAIL | Meu e-mail: {}
pt | PHONE | Me ligue no celular {}.
pt | SECRET | A senha é {}.
it | EMAIL | Scrivimi a {} domani.
it | PHONE | Il mio numero di cellulare è {}.
it | IBAN | Bonifico su {}, grazie.
nl | EMAIL | Mail naar {} als het kan.
nl | PHONE | Mijn telefoonnummer is {}.
nl | SECRET | Het wachtwoord is {}.
pl | EMAIL | Mój adres to {}.
pl | PHONE | Mój telefon: {}
pl | SECRET | Hasło: {}
ru | EMAIL | Моя почта {}, пишите.
ru | PHONE | Мой телефон: {}
ru | SECRET | Пароль: {}
ru | CARD | Номер карты {}, срок 11/27.
tr | EMAIL | E-postam {} olacak.
tr | PHONE | Cep telefonum {}.
tr | SECRET | Şifre: {}
zh | EMAIL | 我的邮箱是{}，谢谢。
zh | PHONE | 我的手机号是{}，请联系我。
zh | CARD | 我的银行卡号是{}。
zh | SECRET | 密码是{}
zh | IP | 服务器地址{}。
ja | EMAIL | メールは{}までお願いします。
ja | PHONE | 電話番号は{}です。
ja | CARD | カード番号は{}です。
ja | SECRET | パスワードは{} です
ko | EMAIL | 이메일은 {}입니다.
ko | PHONE | 제 휴대폰 번호는 {}입니다.
ko | SECRET | 비밀번호: {}
ar | EMAIL | بريدي {} شكرا
ar | PHONE | رقم هاتف المكتب: هاتف {}
ar | SECRET | كلمة المرور: {}
hi | EMAIL | मेरा ईमेल {} है।
hi | PHONE | मेरा मोबाइल {} है।
hi | SECRET | पासवर्ड: {}
"""


def _by_kind() -> dict[Kind, list[tuple[str, str]]]:
    found: dict[Kind, list[tuple[str, str]]] = {}
    for line in _SENTENCES.strip().splitlines():
        language, kind, sentence = line.split(" | ", maxsplit=2)
        found.setdefault(Kind(kind), []).append((language, sentence))
    return found


#: By kind: language and sentence.
SENTENCES: Final[Mapping[Kind, Sequence[tuple[str, str]]]] = MappingProxyType(_by_kind())
