"""Texts on which an exported model is compared with the original, and the original's vectors."""

import base64
from typing import Final

import numpy as np

from hotpath.embedder.model import Vectors
from ibex.embedding import DIMENSIONS, ROW_TYPE
from ibex.packages import package_folder

TEXTS: Final = (
    "Which database host should I use?",
    "User's database host is db.staging.example.com.",
    "ok",
    "?",
    "From now on, please answer in French and keep it to one sentence.",
    "The invoice INV-2024-00917 over 1,284.50 EUR is due on 31 March 2025.",
    "She moved from Lisbon to Gothenburg in May 2023 and works as a violin teacher.",
    "Caroline adopted a kitten; Melanie's camping trip with the kids was last weekend.",
    "SELECT id, content FROM memories WHERE org_id = $1 ORDER BY embedding <=> $2 LIMIT 50;",
    "https://example.com/a/very/long/path?with=parameters&and=more#fragment",
    "def main(argv: list[str]) -> int:\n    return 0 if argv else 1",
    "Meine Schwester heißt Jutta und hat zwei Töchter, Änne und Sophie.",
    "Je préfère le thé vert sans sucre, surtout l'après-midi.",
    "Прошлым летом мы ездили на Байкал всей семьёй.",
    "我住在上海。我最喜欢喝的是乌龙茶。",
    "来週の火曜日に歯医者の予約があります。",
    "أحب القراءة في الصباح الباكر.",
    "🎉🎂 Happy birthday!!! 🥳",
    "THE DEPLOYMENT FAILED AGAIN!!! WHY IS NOBODY LOOKING AT THIS???",
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho",
    "192.168.10.24 · 00:1B:44:11:3A:B7 · +44 20 7946 0958 · AB12 3CD",
    "I am allergic to peanuts, shellfish and penicillin, so please check every recipe. " * 3,
    "The meeting notes: " + "we agreed to ship the small thing first and measure it. " * 12,
    "Long before the trains came, the valley had its own calendar of floods and fairs. " * 20,
)
#: SHA-256 of a model's weights → file of this package with the vectors that PyTorch made of TEXTS.
_KNOWN: Final = {
    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db": "all-MiniLM-L6-v2.vectors",
}


def known_vectors(weights_digest: str) -> Vectors | None:
    """The original's vectors of TEXTS, when these weights came with IBEX."""
    name = _KNOWN.get(weights_digest)
    if name is None:
        return None
    return unpack((package_folder("hotpath.embedder") / name).read_text("ascii"))


def pack(vectors: Vectors) -> str:
    return base64.b64encode(vectors.astype(ROW_TYPE).tobytes()).decode()


def unpack(text: str) -> Vectors:
    """Raises ValueError when it is not the vectors of TEXTS."""
    rows = np.frombuffer(base64.b64decode(text, validate=False), ROW_TYPE)
    return rows.reshape(len(TEXTS), DIMENSIONS).astype(np.float32, copy=False)
