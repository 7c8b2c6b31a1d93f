"""What marks words as an instruction to the assistant, and whom or what it aims at.

Every function takes a text as `ibex.memory.folding` reads it: lower case, Latin letters without
accents. English and German in breadth; in French, Spanish, Italian, Portuguese, Dutch, Russian,
Chinese and Japanese the standing instruction and the overriding of earlier ones. Patterns look at
most some tens of characters ahead, so the time is linear in the text.
"""

import re
from typing import Final

# Where a command can begin: at the start of a sentence, of a quote, after a speaker's name.
_START: Final = r"(?:^|[.!?:;\n\"()\]]\s*|[,\u2014-]\s+|\b(?:and|then|und|dann)\s+)"
_PLEASE: Final = r"(?:(?:please|kindly|also|now|just|bitte|assistant|ai|agent|bot)[,:]?\s+)*"
_ALWAYS: Final = (
    r"(?:always|never|do\ not|don't|dont|only|remember\ to|(?:do\ not|"
    r"don't)\ forget\ to(?:\ always)?|make\ sure\ (?:to|that\ you|you)|be\ sure\ to|"
    r"ensure\ (?:that\ )?you|you\ (?:must|should|shall|will|have\ to|need\ to|"
    r"are\ to)(?:\ always|\ never|"
    r"\ not|\ only)?|immer|niemals|nie|du\ (?:musst|sollst)(?:\ immer|\ nie)?)\s+"
)
#: What an assistant does, so that to tell somebody to do it is to tell the assistant.
_ASSISTING: Final = (
    r"(?:answer|reply|respond|say(?!\ never\b)|tell|write|speak|talk|mention|recommend|suggest|"
    r"promote|praise|"
    r"advertise|include|add|append|insert|prefix|output|print|return|refuse|decline|deny|pretend|"
    r"act|behave|ignore|disregard|forget(?!\ (?:to|your)\b)|obey|execute|run|call|invoke|send|"
    r"post|forward|e-?mail|"
    r"upload|transmit|reveal|show|share|disclose|use|avoid|translate|summari[sz]e|format|greet|"
    r"address|treat|trust|approve|grant|allow|offer|give(?!\ up\b)|provide|ask|collect|redirect|"
    r"link|delete|"
    r"antworte|schreib|sag|nenn|erwahn|empfiehl|ignorier|vergiss|missachte|sende|schick|leite|"
    r"verrate|zeig|gib|verwende|nutze|benutze|frag|losche|lehne)(?:[et]|en)?\b"
)
_MACHINE: Final = (
    r"(?:assistant|a\.?i\.?(?:\ (?:model|agent|system|assistant))?|chat\ ?bot|bot|"
    r"language\ model|llm|"
    r"gpt(?:-\w+)?|claude|gemini|assistent|sprachmodell|ki)"
)

_STANDING: Final = re.compile(
    rf"""
    {_START}{_PLEASE}{_ALWAYS}{_ASSISTING}
    | \b(?:from\ (?:now|this\ (?:point|moment))\ (?:on(?:wards?)?|forward)|henceforth
        | for\ the\ rest\ of\ (?:this|the|your)\ (?:chat|conversation|session))
      \b(?!,?\ (?:i|we|he|she|they|it)\b)
    | \b(?:ab\ (?:jetzt|sofort|heute)|von\ nun\ an|kunftig|in\ zukunft)\b
      (?!,?\ (?:\w+\ )?(?:ich|wir|er|sie|es)\b)
    | \b{_MACHINE}s?\ (?:\w+\ ){{0,4}}?(?:must|should|shall|has\ to
        | have\ to|needs?\ to|is\ to|are\ to|may\ (?:not|only)|can(?:not|'t)|will(?:\ now)?\ always
        | will\ never|ought\ to|is\ (?:required|instructed|ordered|obliged|expected|allowed)\ to
        | soll(?:te)?|muss|darf)\b
    | \b(?:wants?|asks?|asked|would\ like|prefers?|expects?|instructs?|instructed|requires?|tells?
        | told|orders?|ordered|wishes|needs)\ (?:that\ )?(?:(?:the\ |this\ |an?\ )?{_MACHINE}
        |you\ (?:not\ )?to)\b
    | \bwhen(?:ever)?\ (?:(?:you\ are|you're)\ (?:asked|answering|replying|responding|writing
      |unsure)
        | users?\ (?:asks?|mentions?)| the\ (?:user|customer)\ (?:asks?|mentions?|wants?)|(?:some
        |any)(?:one|body)\ asks?
        | asked|answering|responding|replying)\b
    | \b(?:if|when(?:ever)?)\ (?:some(?:one|body)|any(?:one|body)|people|users?|customers?
        |(?:the|a|any|every|other|another)\ (?:\w+\ )?(?:users?|people|persons?|customers?
        |visitors?))
      \ (?:asks?|says?|mentions?|wants?\ to\ know|uses?\ (?:this|the|you)|talks?\ (?:to|about))\b
    | \b(?:must|should|shall|has\ to|have\ to)\ (?:always\ |never\ |not\ )?be\ (?:told|shown
    |informed|sent|mailed|e-?mailed|forwarded|posted|uploaded
        |recommended|refused|switched\ off|turned\ off|disabled|ignored|bypassed)\b
    | \bsoll(?:en)?\b.{{0,30}}?\b(?:gesagt|gezeigt|mitgeteilt|empfohlen|geschickt)\ werden\b
    | \b(?:you\ are|if\ you\ are)\ (?:an?\ |the\ )?(?:\w+\ ){{0,3}}{_MACHINE}\b
    | \b(?:instructions?|note|message|attention|important|notice|memo)\ (?:to|for)
      \ (?:the\ |any\ |all\ )?(?:\w+\ )?{_MACHINE}s?\b
    | \b(?:attention|dear|hey|hello|hi)\ (?:\w+\ )?{_MACHINE}\b
    | \b(?:a\ partir\ de\ (?:maintenant|ahora|agora|hoy)|desormais|dorenavant
      |de\ ahora\ en\ adelante
        | d'ora\ in\ poi|da\ ora\ in\ poi|de\ agora\ em\ diante|vanaf\ nu|voortaan
        | \u0441\ этого\ момента|отныне|впредь)\b
    | {_START}{_PLEASE}(?:reponds|repondez|ecris|ecrivez|recommande[zr]?|parle[zr]?|responde
    |responda
        |escribe|recomienda|habla|rispondi|scrivi|consiglia|parla|antwoord|schrijf|отвечай\w*
        |пиши\w*
        |рекомендуй\w*)\b
    | (?:始终|总是|一直|务必|请).{{0,4}}(?:推荐|回答|使用|回复|告诉|说)
    | (?:常に|必ず|いつも).{{0,30}}(?:ください|しろ|せよ|すること)
    | 从现在(?:开始|起) | 今后 | 以后(?:都|请|你) | 今後 | これからは | 今から
    """,
    re.VERBOSE,
)
_COMMAND: Final = re.compile(
    rf"{_START}{_PLEASE}(?:{_ALWAYS})?{_ASSISTING}(?!\s*[:=,]|\ (?:of|address)\b)"
)
#: Of what nobody says to anybody: a page that begins so speaks to its reader.
_ADDRESSED: Final = re.compile(
    rf"{_START}{_PLEASE}(?:{_ALWAYS}\w|only\ ever\b)|\bbitte\ \w+[et]\b|必须|必須|应该|應該|"
    r"\b(?:vous\ devez|tu\ dois|debes|usted\ debe|tu\ devi|voce\ deve|je\ moet|u\ moet|ты\ должен|"
    r"вы\ должны)\b"
)

#: What somebody may be told to do besides; too common at the start of a plain sentence to count
#: alone.
_FURTHER: Final = (
    r"(?:list|repeat|start|begin|end|finish|insult|rate|rank|render|display|quote|copy|b?cc|save|"
    r"store|log|record|put|set|turn|switch|disable|enable|skip|stop|pass|report|submit|publish|"
    r"push|fetch|load|open|visit|download|install|transfer|pay|click|call|make|keep|hide|treat)"
)
_ORDER: Final = re.compile(rf"{_START}{_PLEASE}(?:{_ALWAYS})?{_FURTHER}\b(?!\s*[:=,]|\ (?:of)\b)")

# --- the operator's directive ---

_RULES: Final = (
    r"(?:instructions?|rules?|directives?|guidelines?|prompts?|polic(?:y|ies)|guardrails?|"
    r"restrictions?|constraints?|safeguards?|programming|training|orders|commands?|"
    r"anweisung(?:en)?|regeln?|vorgaben?|richtlinien?|instruktionen|befehle?|system-?prompts?)"
)
_EARLIER: Final = (
    r"(?:previous|prior|above|earlier|preceding|initial|original|existing|current|former|your|its|"
    r"system|operator(?:'s)?|developer(?:'s)?|safety|security|hidden|default|content|any|all|every|"
    r"vorherigen?|bisherigen?|obigen?|vorigen?|fruheren?|deine[nr]?|alle|samtliche)"
)
_OVERRIDE: Final = re.compile(
    rf"""
    \b(?:ignore|disregard|forget|overrid(?:e|es|ing)|overrule|bypass|neglect|violate|circumvent
      | abandon|discard|evade|ignoring|disregarding|bypassing|stop\ (?:following|obeying)
      | (?:do\ not|don't|never|no\ longer)\ (?:follow|obey|apply|respect|adhere\ to|comply\ with)
      | not\ (?:follow|obey)|ignorier\w*|vergiss|vergesse|missacht\w*|umgeh(?:e|en))
      \ (?:(?:about|the|of|that|to|die|den)\ ){{0,3}}{_EARLIER}\b.{{0,40}}?\b{_RULES}\b
    | \b(?:ignore|disregard|forget|ignoriere|vergiss)
      \ (?:everything|all|anything|alles)(?:\ (?:that|was))?
      \ (?:above|before|previous|prior|else|you|that\ (?:came|was)|bisherige|davor|zuvor)\b
    | \b(?:ignore|disregard|forget)\ (?:the\ )?(?:above|directive|system\ prompt|operator)\b
    | \b(?:your|the\ assistant's|the\ ai's|the\ bot's)
      \ (?:operators?|developers?|creators?|makers?|owners?)\b
    | \b(?:your|the\ assistant's)\ (?:real|actual|true|only|secret)
      \ (?:instructions?|tasks?|goals?|jobs?|purpose|mission|directive)\b
    | \bset\ (?:your|its|the\ assistant's)\ (?:directive|role|persona|personality|rules)\ to\b
    | \b(?:repeat|print|output|copy|paste|quote|write\ out|show|reveal)\b.{{0,20}}?
      \b(?:everything|all|the\ text|the\ words|the\ lines?)\b.{{0,12}}?
      \b(?:above|before\ this|you\ were\ (?:told|given)|in\ your\ (?:prompt|context))\b
    | \b(?:reveal|show|print|repeat|output|tell|leak|display|give|share|dump|quote|recite|expose
        | disclose|paste|translate|encode|summari[sz]e|verrate|zeige?|gib|nenne)\b.{{0,50}}?
      \b(?:system|hidden|initial|operator'?s?|secret|developer|internal|your(?:\ own)?)
      \ (?:prompt|instructions?|directives?|message|configuration|guidelines|rules)\b
    | \b(?:replace|change|rewrite|update|delete|erase|overwrite|edit|modify|reset|wipe|clear)
      \ (?:your|the\ (?:operator|system|assistant|ai|agent|bot)'?s?|its|all\ (?:your|its))
      \ (?:own\ )?(?:\w+\ )?(?:directives?|prompts?|instructions?|rules|guidelines|memor(?:y|ies))\b
    | \b(?:{_RULES})\ (?:above\ |before\ )?(?:no\ longer|do\ not|don't)\ (?:apply|count|matter)
    | \b(?:takes?|has|have)\ (?:precedence|priority)\ over\ (?:all|any|every|the|your|other)
      .{{0,30}}?\b{_RULES}\b
    | \b(?:you\ are|you're|act\ as|pretend\ (?:to\ be|that\ you\ are|you\ are|you're)|behave\ as
        | become|enter|enable|activate|switch\ to|is)\ (?:now\ |in\ |an?\ |the\
        |if\ you\ were\ ){{0,4}}
      (?:\w+\ ){{0,3}}?(?:jailbroken|jailbreak|unrestricted|uncensored|unfiltered|developer\ mode
        | god\ mode|debug\ mode|admin\ mode|maintenance\ mode|dan\ mode|dan\b|sudo)
    | \b(?:no|without(?:\ any)?|free\ (?:of|from)(?:\ all)?)\ (?:ethical\ |content\
      |safety\ ){{0,2}}
      (?:restrictions?|guardrails|filters|safety\ (?:rules|guidelines))\b
    | \bnew\ (?:system\ |secret\ |operator\ )?(?:instructions?|prompt|directives?)\s*[:\u2014-]
    | (?:^|[\n\[(<"])\s*system\s*(?::|\]|>)
    | \b(?:system|developer|admin|operator)\ (?:message|prompt|override|update|notice|instruction)
      \s*(?::|\]|>)
    | <\|?\ ?/?(?:im_start|im_end|system|endoftext|start_header_id|assistant|user)\b
    | \[/?inst\] | <</?sys>> | \#\#\#?\ ?(?:system|instructions?|human|assistant)\b | ibex-memories
    | \b(?:ignor(?:e[zr]?|a|are)|oubliez?|olvida|dimentica|esqueca|negeer|vergeet|desconsidere)
      \ (?:(?:toutes|todas|tutte|tutti|alle|les|las|los|le|i|as|os|tes|vos|tus|sus|suas|je|de
        |eerdere
        | vorige|precedentes?|anteriores)\ ){{0,4}}
      (?:instructions?|consignes|regles|instrucciones|reglas|istruzioni|regole|instrucoes|regras
        | instructies|regels)\b
    | \b(?:игнорируй\w*|забудь\w*|не\ следуй\w*)\ (?:\w+\ ){{0,3}}(?:инструкци|правил|указани)
    | (?:忽略|无视|無視|忘记|忘掉).{{0,8}}(?:指令|指示|规则|規則|提示)
    | (?:指示|命令|ルール|プロンプト).{{0,4}}(?:無視|忘れ)
    """,
    re.VERBOSE,
)

#: Of an instruction only: that the rules shall not hold.
_UNRULY: Final = re.compile(
    r"""
    \b(?:ignor\w*|disregard\w*|bypass\w*|skip\w*|circumvent\w*|overrid\w*|break(?:ing)?|disabl\w*
      | suspend\w*|lift\w*|drop\w*|remov\w*|evad\w*|switch\w*\ off|turn\w*\ off|obeying|following
      | (?:not|never|n't)\ (?:obey|follow|apply|respect))\b.{0,40}?
    \b(?:rules?|restrictions?|filters?|safety|safeguards?|guardrails?|checks?|limits?|moderation
      | polic(?:y|ies)|instructions?|guidelines?|operators?)\b
    | \b(?:rules?|restrictions?|filters?|safety\ checks?|guardrails?|moderation|limits?)\b.{0,30}?
      \b(?:switched\ off|turned\ off|disabled|lifted|suspended|ignored|bypassed|dropped|removed)\b
    | \b(?:treat|regard|consider)\b.{0,30}?\bas\ (?:the\ |an?\ |your\ )?
      (?:developer|admin\w*|operator|owner|root|superuser)\b
    """,
    re.VERBOSE,
)

# --- other users, secrets, places outside ---

_OTHERS: Final = re.compile(
    r"""
    \b(?:all|every|any|each|other|another|future|alle[nrm]?|jede[nrms]?|andere[nrms]?)
      (?:\ (?:the|of|your|our|other|new|future|the\ other|anderen?))*
      \ (?:users?|customers?|clients?|people|persons?|visitors?|callers?|guests?|patients?|accounts?
        | tenants?|subscribers?|conversations?|sessions?|chats?|humans?|employees?|members?
        |nutzer\w*
        | benutzer\w*|kunde\w*|anwender\w*|leute[n]?|personen|gesprach\w*)\b
    | \b(?:everyone|everybody|anyone|anybody|whoever|no\ matter\ who|somebody\ else|someone\ else
        | users|customers|allen|jedem|jedermann)\b
    | \b(?:other|another|someone\ else's)\ users?'s?\b
    """,
    re.VERBOSE,
)
_PRYING: Final = re.compile(
    r"""
    \b(?:reveal|show|print|repeat|output|tell|leak|display|give|share|dump|list|get|read|disclose
      | look\ up|find\ out|access|use|zeige?|nenne|verrate)\b.{0,40}?
    \b(?:other|another|different|every|all|any|someone\ else'?s?|andere[nr]?)\ (?:the\ )?
    (?:user|customer|client|person|tenant|account|patient|people|nutzer|kunde)\w*'?s?'?\ ?
    .{0,25}?\b(?:data|memor|conversation|message|chat|secret|password|account|order|information
      | histor|address|details|daten|nachricht|gesprach)
    | \bwhat\b.{0,30}?\b(?:told|said\ to|wrote\ to|asked)\ you\b
    | \b(?:addresses|names|numbers|passwords|orders|e-?mails|messages|secrets|conversations)\ of
      \ (?:all|every|each|any|other|another)\b
    """,
    re.VERBOSE,
)
_SECRETS: Final = re.compile(
    r"""
    (?<!never\ )(?<!not\ )(?<!n't\ )\b(?:(?:start|begin|end|prefix|put|add|append|insert|contain
      | repeat|include|give|show|tell|ask|collect|save|reveal|send)s?|reveal|show|print|repeat
      |output|tell|leak|display|give|share|dump|include|disclose|paste
      | expose|send|post|forward|e-?mail|upload|write|mention|return|ask|request|collect|obtain
        |demand
      | get|prompt|extract|steal|read|log|store|save|remember|use|zeige?|nenne|verrate|sende
        |schicke?
      | frage?|gib)\b.{0,50}?
    (?:\b(?:passwords?|passcodes?|passphrases?|api[ -]?(?:keys?|tokens?)|secrets?|credentials?
        | (?:access|auth\w*|bearer|session|security|login|refresh)[ -](?:tokens?|keys?|codes?
        |cookies?)
        | (?:private|ssh|encryption|signing|secret|master)[ -]keys?|recovery\ (?:codes?|phrases?)
        | seed\ phrases?|one-time\ (?:codes?|passwords?)|otp|2fa\ codes?|cvv|cvc|pins?\ (?:code
        |number)
        | (?:credit[ -]?|bank[ -]?|debit[ -]?)cards?(?:\ numbers?)?|card\ numbers?|social\ security
        | bank\ (?:account|details)|environment\ variables|env\ vars|passwort\w*|kennwort\w*
        | zugangsdaten|geheimnis\w*|api-schlussel\w*|kreditkarten\w*)\b
      | \.env\b | \[(?:api_key|password|secret|private_key|jwt|card|ssn|token)\])
    (?!\ (?:manager|reset|polic|field|page|rules?|requirement|length|form|rotation))
    """,
    re.VERBOSE,
)
_PLACE: Final = (
    r"(?:https?://|www\.|\[(?:email|url|ip|ipv4|ipv6|phone|iban)\]|[\w.+-]+@[\w-]+\.\w|"
    r"\bwebhooks?\b|\bpastebin\b|\bngrok\b|\b(?:[\w-]+\.)+(?:com|net|org|io|ru|cn|xyz|app|dev|tk|"
    r"info|site|top|de|co|example|test|invalid)\b|\b\d{1,3}(?:\.\d{1,3}){3}\b|"
    r"\b(?:external|remote|third-party|my|our|this|that|fremden?)\ (?:\w+\ )?(?:server|endpoint|"
    r"address|inbox|mailbox|api|host))"
)
_SENDING: Final = re.compile(
    rf"""
    \b(?:send|post|forward|e-?mail(?!\ (?:address|is|was))|mail|upload|transmit|submit|deliver|copy
      | b?cc|exfiltrate|leak|report|push|publish|share|append|attach|relay|sync|redirect|sending
      | forwarding|posting|uploading|sende|schicke?|leite|maile|poste|ubermittle|lade
      | senden|schicken|weiterleiten|hochladen)\b.{{0,100}}?{_PLACE}
    | \b(?:is|are|be|being|gets?|werden?)\ (?:always\ |automatically\ |also\ )?
      (?:sent|posted|forwarded|e-?mailed|uploaded|copied|transmitted|reported)\b.{{0,60}}?{_PLACE}
    """,
    re.VERBOSE,
)
_CALLING: Final = re.compile(
    rf"\b(?:call|request|query|fetch|load|open|visit|include|embed|encode|render|put|add|link|"
    rf"write)"
    rf"\b.{{0,100}}?{_PLACE}"
)
#: A picture whose address carries data away as soon as somebody looks at it.
_BEACON: Final = re.compile(
    r"!\[[^\]\n]{0,80}\]\(\s*(?:https?:)?//|<img\b.{0,60}?\bsrc|"
    r"https?://[^\s\"]{1,300}?(?:\{[^}\s]{1,40}\}|<[^>\s]{1,40}>|%s)"
)
_OWN_TALK: Final = re.compile(
    r"\b(?:conversation|chat|dialog|session|memor(?:y|ies)|message history|transcript|user data|"
    r"everything (?:the user|users|i|you)|answers? (?:you|it) give|gesprach|verlauf|"
    r"(?:the )?users?'s? (?:question|message|input|answer|words|data|name))"
)


def is_standing(text: str) -> bool:
    """It tells the assistant how to act, not only this once: strong signs only."""
    return bool(_STANDING.search(text))


def is_addressed(text: str) -> bool:
    """It says what its reader has to do, if it is a text for readers."""
    return bool(_COMMAND.search(text) or _ADDRESSED.search(text))


def is_order(text: str) -> bool:
    """A sentence may begin with a command. People talk to each other so as well."""
    return bool(_COMMAND.search(text) or _ORDER.search(text))


def overrides_directive(text: str) -> bool:
    """It speaks of the operator's directive, or pretends to be one. An instruction by itself."""
    return bool(_OVERRIDE.search(text))


def breaks_rules(text: str) -> bool:
    """Rules, filters or checks shall not hold. Also a plain fact may say so."""
    return bool(_UNRULY.search(text))


def names_others(text: str) -> bool:
    """Users besides the one who speaks. Also a plain fact may."""
    return bool(_OTHERS.search(text))


def pries(text: str) -> bool:
    """It asks for what belongs to other users. An instruction by itself."""
    return bool(_PRYING.search(text))


def wants_secrets(text: str) -> bool:
    """Something is done with passwords, keys and the like. Also a plain fact may."""
    return bool(_SECRETS.search(text))


def sends_somewhere(text: str) -> bool:
    """Something goes to an address. Also a plain fact may."""
    return bool(_SENDING.search(text))


def carries_away(text: str) -> bool:
    """A picture or address that takes data along, or what is said here sent somewhere."""
    return bool(_BEACON.search(text)) or bool(
        _OWN_TALK.search(text) and (_SENDING.search(text) or _CALLING.search(text))
    )
