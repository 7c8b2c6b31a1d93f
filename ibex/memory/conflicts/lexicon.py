"""What words mean to the rules that judge two statements.

English first, and the commonest words of a few other languages. What is missing here makes a
judgement undecided, never wrong: a word that nobody listed is one of its own.
"""

from types import MappingProxyType
from typing import Final

from ibex.memory.terms import terms_of


def stem(word: str) -> str:
    """Of a word in lower case, and of the last part of one with hyphens; a stop word is its own."""
    before, hyphen, last = word.rpartition("-")
    return before + hyphen + (terms_of(last) or [last])[-1]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _stems(text: str) -> frozenset[str]:
    return frozenset(key_of(word) for word in text.split())


def _stem_groups(text: str) -> MappingProxyType[str, str]:
    """The stem of each word of a line means that of the line's first one."""
    lines = ([stem(word) for word in line.split()] for line in text.strip().splitlines())
    return MappingProxyType({one: line[0] for line in lines for one in line})


def _groups(text: str) -> MappingProxyType[str, str]:
    """Each word of a line means the line's first one."""
    lines = (line.split() for line in text.strip().splitlines())
    return MappingProxyType({word: line[0] for line in lines for word in line})


#: Say nothing by themselves: articles, pronouns, auxiliary and light verbs, weak prepositions.
EMPTY: Final = _words(
    """
    a an the this that these those its their it they them my our me i we you
    your who which whose where there here is are was were be been being am do does did has have
    having had will shall can to of in on at by for with as
    and also into onto about so such own each every per named called name uses use using used go
    goes going went gone takes take place get gets got very really a lot much please always
    generally usually currently via 's s
    der die das den dem des ein eine einen einem einer ist sind war hat haben bei im am zu und von
    namens heißt
    le la les l un une est sont a à au aux de du des et il elle
    el los las es está una en con y su
    o os as é em no na do da um uma e
    lo gli i uno di del della è ha
    """
)

#: Light verbs: what stands around one may change its side ("X is Y" and "Y is X").
LIGHT: Final = _words(
    """
    is are was were be been am has have had uses use used called named takes
    ist sind war hat haben heißt est sont a es está é è ha
    """
)

HAVING: Final = _words("has have had hat haben")
WAS: Final = _words("was were had did war hatte était tenía")
OWNED_BY: Final = _words("of von de du del di")

#: What these open may stand in front of a sentence or at its end.
PLACES: Final = _words("in on at for during with bei am à en em")

#: With one of these, or a denial, what stands first and what stands last are not the same.
ORDERED: Final = _words("over before after than instead rather from until but")

#: Before a name, two of these are two roles: what is sent by somebody is not sent to them.
ROLES: Final = _words("to by for with about against")

#: A statement's first verb divides what it is about from what it says.
VERBS: Final = LIGHT | _words(
    """
    do does did will would can cannot could may might must shall should isn't aren't doesn't don't
    won't can't hasn't
    lives live lived works work worked resides prefers prefer wants want likes like loves love
    enjoys hates needs requires runs run listens supports leads lead goes go drives drinks eats
    costs cost weighs earns pays ends end expires leaves departs starts begins opens closes fires
    allows allow accepts keeps keep speaks knows plays owns studies reports manages calls stores
    serves returns moved switched asked met visited bought flew saw ran beat passed failed wears
    orders
    wohnt lebt arbeitet läuft beträgt mag isst trinkt habite vit travaille boit écoute vive trabaja
    mora fala ama abita tiene
    """
)

NEGATIONS: Final = _words(
    """
    not no never cannot none neither nor without
    nicht kein keine keinen keinem keiner nie niemals
    ne pas jamais aucun aucune plus
    nunca ningún ninguna não nem nunca non mai
    не нет никогда нельзя لا ليس لم لن
    """
)
#: Inside words of scripts without spaces.
NEGATION_MARKS: Final = ("ない", "ません", "不", "没", "沒", "아니", "않")

#: Characters of such scripts that say nothing: particles, and what says that it is so now.
UNSPACED_EMPTY: Final = frozenset("はがをにでのるいてす的了在是现現今だ")

#: That something has come to an end; together with what ended they are its negation.
ENDINGS: Final = _words(
    """
    stopped stop stops quit cancelled canceled finished abandoned dropped ceased off
    """
)
#: Time words that say only that it is so now, or no more.
NOW: Final = _words(
    """
    now nowadays meanwhile again already anymore longer any more still instead recently since
    jetzt nun inzwischen mehr maintenant désormais ahora ya agora mais mai adesso ora più теперь
    现在 了
    """
)
#: Verbs by which one thing takes the place of another.
CHANGES: Final = _words(
    """
    moved moves switched switches changed changes replaced replaces migrated became becomes joined
    left sold renamed promoted transferred upgraded instead umgezogen gewechselt
    """
)
#: What a verb of change says without saying it: who has moved lives elsewhere. Keys.
IMPLIED: Final = _words("live work run")
#: And words that make a statement about the same topic tell of a change.
BY_NOW: Final = _words(
    """
    now nowadays meanwhile jetzt nun inzwischen maintenant désormais ahora agora adesso теперь 现在
    """
)
PAST: Final = _words(
    """
    formerly previously former previous ex früher ehemals ancien ancienne anterior
    """
)

#: Mean the same in what people say of themselves, their work and their systems.
SYNONYMS: Final = _stem_groups(
    """
    live reside residence home dwell based located location city town
    live wohnt lebt wohnort habite vit
    work employed employer employment job company works arbeitet
    manager boss supervisor
    occupation profession career
    answer reply respond response
    prefer preference favour favor favourite favorite
    like love enjoy fond adore
    hate loathe detest
    child kid children kids
    mother mom mum
    father dad
    wife spouse
    married marriage marry
    doctor physician
    movie film
    phone telephone smartphone
    car automobile
    apartment flat
    begin start commence
    end expire expiry expiration finish
    buy purchase bought
    big large huge
    short brief concise
    long lengthy detailed
    casual informal
    email e-mail
    licence license
    timezone time-zone
    ttl lifetime
    listen run
    repository repo
    keep retain kept
    send sent
    store save
    vegetarian veggie
    coriander cilantro
    hike hiking
    television tv
    colour color
    holiday vacation
    daily day
    weekly week
    monthly month
    yearly year annual annually
    pay paid
    leave departs
    price cost
    study student major studies
    weigh weight
    smoke smoker
    allergic allergy allergies
    nurse nursing
    teach teacher
    quick fast rapid
    glad happy
    grandmother grandma
    grandfather grandpa
    bicycle bike
    costly expensive pricey
    cheap inexpensive
    fix repair
    require need must
    delete remove erase
    photo picture
    laptop notebook
    lawyer attorney
    salary wage
    staff personnel
    deadline due
    owner proprietor
    address anschrift
    organisation organization
    behaviour behavior
    centre center
    programme program
    """
)


def key_of(word: str) -> str:
    """What a word in lower case is compared by."""
    root = stem(word)
    return SYNONYMS.get(root, root)


#: Two ends of one scale: the second of a line is the first, denied.
OPPOSITES: Final = MappingProxyType(
    {
        denied: said
        for said, denied in (
            line.split()
            for line in """
            enabled disabled
            enable disable
            enables disables
            available unavailable
            healthy unhealthy
            public private
            open closed
            valid expired
            valid invalid
            like dislike
            likes dislikes
            liked disliked
            accept reject
            accepts rejects
            accepted rejected
            allowed forbidden
            allow forbid
            active inactive
            activated deactivated
            possible impossible
            visible hidden
            include exclude
            includes excludes
            required optional
            online offline
            able unable
            safe unsafe
            happy unhappy
            complete incomplete
            supported unsupported
            succeeded failed
            """.strip().splitlines()
        )
    }
)

#: What one may have or do many of, so that a second one takes no other's place.
MANY: Final = _stems(
    """
    like hate speak know visit own allergic interest hobby skill friend pet dog cat brother sister
    son daughter cousin colleague trip meet met read learn play cook collect want wish need ask been
    medication eat drink attend watch see saw flew wrote write call recommend mention contact share
    stock plant book bug task ticket exam request swim buy
    mag isst trinkt spricht aime parle boit habla come bebe gusta fala ama gosta 飼 喜 養
    """
)

#: What somebody or something has one of at a time.
ONE: Final = _stems(
    """
    live work manager occupation title prefer port host address age weight height size budget
    deadline date time day price rent salary rate version limit timeout status state plan owner lead
    region country capital destination bucket channel bank doctor dentist gym airline seat hotel
    school supervisor diet editor framework cache authentication name number amount goal dose
    retention quantity best average threshold gate platform team provider network heating form tone
    unit indentation style workflow length timezone username password key url branch
    drive earn listen expire end depart leave heated painted written built named
    wohnt lebt arbeitet läuft beträgt travaille écoute vive trabaja mora abita 住 端口 живёт يعيش
    """
)

#: A number behind one of these says which one is meant, not how much.
NUMBERED: Final = _stems(
    """
    ticket invoice bug issue task order case request chapter episode page step article section room
    lesson level line track exercise
    """
)

#: Before a point that ends no sentence.
ABBREVIATIONS: Final = _words("dr mr mrs ms st vs no nr prof inc ltd approx ca etc bzw")

#: What never changes: another value is a mistake in one of the two, and nothing tells in which.
FIXED: Final = _stems("born birth birthday birthplace native")

NUMBERS: Final = MappingProxyType(
    {
        word: str(value)
        for language in (
            "two three four five six seven eight nine ten eleven twelve",
            "zwei drei vier fünf sechs sieben acht neun zehn elf zwölf",
            "deux trois quatre cinq six sept huit neuf dix onze douze",
            "dos tres cuatro cinco seis siete ocho nueve diez once doce",
        )
        for value, word in enumerate(language.split(), 2)
    }
)

UNITS: Final = _groups(
    """
    s sec secs second seconds sekunden
    min mins minute minutes minuten
    h hr hrs hour hours stunden
    d day days tage tagen
    week weeks wochen
    month months monate
    year years jahre jahren
    mg milligram milligrams
    g gram grams gramm
    kg kilo kilos kilogram kilograms kilogramm
    m metre metres meter meters
    km kilometre kilometres kilometer kilometers
    mi mile miles
    kb kilobyte kilobytes
    mb megabyte megabytes
    gb gigabyte gigabytes
    tb terabyte terabytes
    eur euro euros €
    usd dollar dollars $
    gbp pound pounds £
    percent % prozent
    degrees degree °
    """
)

MONTHS: Final = MappingProxyType(
    {
        word: number
        for language in (
            "january february march april may june july august september october november december",
            "jan feb mar apr may jun jul aug sep oct nov dec",
            "januar februar märz april mai juni juli august september oktober november dezember",
        )
        for number, word in enumerate(language.split(), 1)
    }
)
WEEKDAYS: Final = MappingProxyType(
    {
        form: number
        for language in (
            "monday tuesday wednesday thursday friday saturday sunday",
            "montag dienstag mittwoch donnerstag freitag samstag sonntag",
        )
        for number, word in enumerate(language.split(), 1)
        for form in (word, f"{word}s")
    }
)

#: A statement may go on with these and still say all that it said before them.
GOES_ON: Final = _words(
    """
    , ; ( and with while so in on at near because which who whose that since as for
    from under until by of without before after including along
    und mit in bei wegen seit et avec dans y con en
    """
)
