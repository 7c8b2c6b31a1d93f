"""Credentials that are known by their own form: private keys, signed tokens, keys of vendors.

Sources: PEM, RFC 7468; OpenPGP armour, RFC 9580; JWT, RFC 7519; JWE, RFC 7516; the vendors' own
descriptions of their keys, most of which give them a prefix so that they can be found.
"""

import re
from collections.abc import Iterator
from typing import Final

from ibex.memory.redaction.spans import Span, matching

# Before a key stands no letter, or the end of an escape: "\nghp_…" in JSON, "%3Dghp_…" in a URL.
_BEGIN: Final = r"(?:(?<![\w-])|(?<=\\[nrt])|(?<=%[0-9A-F]{2}))"
_END: Final = r"(?![\w-])"

_GAP: Final = r"(?:\s|\\[nrt])"
_GAPS: Final = rf"(?>{_GAP}+)"
_PRIVATE_KEY: Final = re.compile(
    r"-----BEGIN (?P<label>(?:[A-Z0-9]{1,20} ){0,4}PRIVATE KEY(?: BLOCK)?)-----"
    # To its end; where that was cut off, as far as the rows of letters go.
    rf"(?:(?>(?:[^-]|-(?!----))*)-----END (?P=label)-----"
    rf"|(?>{_GAP}*)[A-Za-z0-9+/=]*+(?>(?:{_GAPS}[A-Za-z0-9+/=]{{16,}}+)*)"
    rf"(?:{_GAPS}[A-Za-z0-9+/]+={{1,2}}+)?)"
)
_PUTTY_KEY: Final = re.compile(
    rf"Private-Lines: ?\d{{1,4}}{_GAPS}(?>(?:[A-Za-z0-9+/=]{{4,}}+(?>{_GAP}*))+)", re.ASCII
)
_WEB_TOKEN: Final = re.compile(
    rf"{_BEGIN}eyJ[\w-]{{8,}}+\.(?:eyJ[\w-]{{8,}}+\.[\w-]{{8,}}+|[\w-]*+(?:\.[\w-]++){{3}}){_END}",
    re.ASCII,
)

#: By vendor. A form without a prefix of its own is not here: `labels` finds it by its name.
VENDORS: Final[tuple[tuple[str, str], ...]] = (
    ("OpenAI, Anthropic, DeepSeek, OpenRouter", r"sk-[\w-]{20,}"),
    ("IBEX", r"ibex_pat_[0-9A-Za-z]{20,}"),
    ("Stripe, Clerk", r"[srp]k_(?:live|test)_[0-9A-Za-z]{16,}|whsec_[0-9A-Za-z+/=]{24,}"),
    ("GitHub", r"gh[pousr]_[0-9A-Za-z]{36,}|github_pat_\w{22,}"),
    ("GitLab", r"gl(?:pat|dt|rt|ptt|agent|cbt|oas|ft|imt|soat)-[\w-]{20,}"),
    ("AWS", r"(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}"),
    ("Google", r"AIza[\w-]{35}|GOCSPX-[\w-]{28}|ya29\.[\w-]{20,}|1//0[\w-]{40,}"),
    ("Slack", r"xox[abeoprs]-[\w-]{10,}|xapp-\d-[\w-]{20,}"),
    ("Hugging Face", r"(?:hf|api_org)_[0-9A-Za-z]{30,}"),
    ("Azure", r"[\w.~]{3}\dQ~[\w.~-]{31,34}"),
    ("Twilio", r"SK[0-9a-f]{32}"),
    ("SendGrid", r"SG\.[\w-]{20,24}\.[\w-]{39,50}"),
    ("Mailgun", r"key-[0-9a-f]{32}"),
    ("Mailchimp", r"[0-9a-f]{32}-us\d{1,2}"),
    ("Brevo", r"xkeysib-[0-9a-f]{64}-\w{16}"),
    ("npm", r"npm_[0-9A-Za-z]{36}"),
    ("PyPI", r"pypi-AgE[\w-]{50,}"),
    ("RubyGems", r"rubygems_[0-9a-f]{48}"),
    ("Docker", r"dckr_(?:pat|oat)_[\w-]{27,}"),
    ("Databricks", r"dapi[0-9a-f]{32}(?:-\d)?"),
    ("DigitalOcean", r"do[opr]_v1_[0-9a-f]{64}"),
    ("Shopify", r"shp(?:at|ca|pa|ss)_[0-9A-Fa-f]{32}"),
    ("Square", r"sq0[a-z]{3}-[\w-]{22,43}|EAAA[\w-]{60}"),
    ("Discord", r"[MNO][\w-]{23,25}\.[\w-]{6}\.[\w-]{27,38}"),
    ("Telegram", r"\d{8,10}:AA[\w-]{33}"),
    ("Notion", r"ntn_\w{40,}|secret_[0-9A-Za-z]{43}"),
    ("Linear", r"lin_(?:api|oauth)_\w{32,}"),
    ("Airtable", r"pat[0-9A-Za-z]{14}\.[0-9a-f]{64}"),
    ("Atlassian", r"AT(?:ATT3|BB|CTT3)[\w=-]{20,}"),
    ("Figma", r"figd_[\w-]{38,}"),
    ("Postman", r"PMAK-[0-9a-f]{24}-[0-9a-f]{34}"),
    ("New Relic", r"NR(?:AK|JS|II|BR|RA)-[\w-]{19,}"),
    ("Sentry", r"sntry[su]_[\w=+/]{32,}"),
    ("Grafana", r"gl(?:sa|c)_[\w=+/]{32,}"),
    ("Datadog", r"dd[pa]_[0-9A-Za-z]{32,}"),
    ("Dynatrace", r"dt0[a-z]\d\d\.[0-9A-Z]{24}\.[0-9A-Z]{64}"),
    ("HashiCorp", r"hv[sbr]\.[\w-]{20,}|[0-9A-Za-z]{14}\.atlasv1\.[\w-]{60,}"),
    ("Doppler", r"dp\.(?:pt|st|ct|sa|scim|audit)\.[\w.-]{40,}"),
    ("Pulumi", r"pul-[0-9a-f]{40}"),
    ("Heroku", r"HRKU-[\w-]{36,}"),
    ("Fly.io", r"fm[12][ar]?_[0-9A-Za-z+/=]{40,}|fo1_[\w-]{43}"),
    ("Supabase", r"sbp_[0-9a-f]{40}|sb_(?:secret|publishable)_[\w-]{20,}"),
    ("PlanetScale", r"pscale_(?:tkn|pw|oauth)_[\w.-]{32,}"),
    ("Netlify", r"nfp_[0-9A-Za-z]{36,}"),
    ("Cloudflare", r"v1\.0-[0-9a-f]{24}-[0-9a-f]{146}"),
    ("Replicate", r"r8_[0-9A-Za-z]{37}"),
    ("Groq", r"gsk_[0-9A-Za-z]{32,}"),
    ("xAI", r"xai-[0-9A-Za-z]{40,}"),
    ("Perplexity", r"pplx-[0-9A-Za-z]{32,}"),
    ("NVIDIA", r"nvapi-[\w-]{40,}"),
    ("Pinecone", r"pcsk_\w{40,}"),
    ("LangSmith", r"lsv2_(?:pt|sk)_[0-9a-f]{32}_[0-9a-f]{10}"),
    ("Langfuse", r"[sp]k-lf-[0-9a-f-]{36}"),
    ("Tavily", r"tvly-[\w-]{20,}"),
    ("Dropbox", r"sl\.(?:u\.)?[\w-]{60,}"),
    ("Facebook", r"EAA[0-9A-Za-z]{80,}"),
    ("Alibaba", r"LTAI[0-9A-Za-z]{16,24}"),
    ("Tencent", r"AKID[0-9A-Za-z]{32}"),
    ("Contentful", r"CFPAT-[\w-]{43}"),
    ("Tailscale", r"tskey-[a-z]+-[0-9A-Za-z]{8,}(?:-[0-9A-Za-z]+)?"),
    ("1Password", r"ops_eyJ[\w-]{100,}|A3-[0-9A-Z]{6}-[0-9A-Z]{6,11}(?:-[0-9A-Z]{5}){3,4}"),
    ("age", r"AGE-SECRET-KEY-1[0-9A-Z]{58}"),
    ("JFrog", r"AKCp\w{60,}|cmVmdGtu[0-9A-Za-z]{56}"),
    ("Sourcegraph", r"sgp_\w{40,}"),
    ("Plaid", r"access-(?:sandbox|development|production)-[0-9a-f-]{36}"),
    ("Razorpay", r"rzp_(?:live|test)_[0-9A-Za-z]{14}"),
    ("Lob, Shippo", r"(?:live|test)_[0-9a-f]{35}|shippo_(?:live|test)_[0-9a-f]{40}"),
)
_LONG: Final = re.compile(r"[\w.~-](?<![\w.~-]{2})[\w.~-]{15}", re.ASCII)  # no key is shorter
_VENDOR_KEY: Final = re.compile(
    rf"{_BEGIN}(?:{'|'.join(form for _, form in VENDORS)}){_END}", re.ASCII
)
_SLACK_HOOK: Final = re.compile(
    r"(?<=hooks\.slack\.com/services/)T\w{8,12}/B\w{8,12}/\w{16,32}", re.ASCII
)
_DISCORD_HOOK: Final = re.compile(r"(?<=/api/webhooks/)\d{17,20}/[\w-]{60,72}", re.ASCII)


def _is_random(text: str) -> bool:
    """Random text has digits or both cases in it; `sk-learn-contrib-project` has not."""
    return any(letter.isdigit() for letter in text) or not (text.islower() or text.isupper())


def web_tokens(text: str) -> Iterator[Span]:
    if "eyJ" in text:
        yield from matching(_WEB_TOKEN)(text)


def vendor_keys(text: str) -> Iterator[Span]:
    if _LONG.search(text):
        yield from matching(_VENDOR_KEY, _is_random)(text)


def private_keys(text: str) -> Iterator[Span]:
    if "-----BEGIN " in text:
        yield from matching(_PRIVATE_KEY)(text)


def putty_keys(text: str) -> Iterator[Span]:
    if "Private-Lines" in text:
        yield from matching(_PUTTY_KEY)(text)


def webhooks(text: str) -> Iterator[Span]:
    if "/services/" in text:
        yield from matching(_SLACK_HOOK)(text)
    elif "/webhooks/" in text:
        yield from matching(_DISCORD_HOOK)(text)
