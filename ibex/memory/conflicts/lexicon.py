"""What words mean to the rules that judge two statements.

English first, and the commonest words of a few other languages. What is missing here makes a
judgement undecided, never wrong: a word that nobody listed is one of its own.
"""

from types import MappingProxyType
from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _groups(text: str) -> MappingProxyType[str, str]:
    """Each word of a line means the line's first one."""
    lines = (line.split() for line in text.strip().splitlines())
    return MappingProxyType({word: line[0] for line in lines for word in line})


#: Say nothing by themselves: articles, pronouns, auxiliary and light verbs, weak prepositions.
EMPTY: Final = _words(
    """
    a an the this that these those its his her their he she it they them him my our me i we you
    your who which whose where there here is are was were be been being am do does did has have
    having had will would shall should can could may might must to of in on at by for with as
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
WAS: Final = _words("was were had war hatte était tenía")
OWNED_BY: Final = _words("of von de du del di")

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
    stopped stop stops quit cancelled canceled finished gave given abandoned dropped ceased off
    """
)
#: Time words that say only that it is so now.
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
    left sold renamed promoted transferred upgraded instead now
    jetzt nun inzwischen umgezogen gewechselt maintenant désormais ahora agora adesso теперь 现在
    """
)
#: What a verb of change says without saying it: who has moved lives elsewhere. Keys.
IMPLIED: Final = _words("live work run")
PAST: Final = _words(
    """
    formerly previously former previous ex früher ehemals ancien ancienne anterior
    """
)

#: Mean the same in what people say of themselves, their work and their systems. Keys are stems.
SYNONYMS: Final = _groups(
    """
    live resid residence home dwell base locat wohnt lebt wohnort habite vit
    work employ employer job company arbeitet
    manager boss supervisor
    occup profess career
    answer repli reply respond respons
    prefer favor favour favourit favorit
    like love enjoy fond adore
    hate loath detest
    child kid children offspr
    mother mom mum mama
    father dad papa
    wife spouse husband
    partner boyfriend girlfriend
    doctor physician
    film movi
    phone telephon mobil cellphon
    car auto automobil
    flat apart
    begin start commenc
    end expir finish termin
    buy purchas bought
    big larg huge
    short brief concis
    long detail lengthi
    formal offici
    casual inform
    email e-mail mail
    licenc licens
    timezon tz
    timeout time-out
    ttl lifetim
    listen run serv
    host server-nam
    repositori repo
    programm code-languag
    continu-integr ci
    kept retain keep
    sent send go-to
    store save
    vegetarian veggi
    cilantro coriand
    train practis practic
    hike trek
    tv televis
    colour color
    holiday vacat
    autumn fall
    daily day
    week weekly
    month monthli
    year yearli annual annum
    pay paid
    half-marathon halfmarathon
    sister schwester
    depart leav
    schedul plan
    price cost
    studi student major
    weigh weight
    smoke smoker
    """
)

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

#: What one may have or do many of, so that a second one takes no other's place. Keys are stems.
MANY: Final = _words(
    """
    like hate speak know visit own allerg interest hobbi skill friend pet dog cat brother
    sister son daughter cousin colleagu trip meet met buy read learn play cook collect want wish
    need ask been medic eat drink attend watch see saw flew wrote write call recommend mention
    contact share stock plant book bug task ticket exam request swim
    mag isst trinkt spricht aime parle boit habla come bebe gusta fala ama gosta 飼 喜 養
    """
)

#: What somebody or something has one of at a time. Keys are stems.
ONE: Final = _words(
    """
    live work manager occup employ prefer port host address citi residenc age weight height size
    budget deadlin date time day price rent salari rate version limit timeout status state plan
    owner lead region locat destin channel bank doctor dentist gym airlin seat hotel school major
    supervisor diet editor framework cache auth name titl number amount goal dose retent quantiti
    best averag threshold gate platform team provid network heat form tone unit indent style
    workflow length timezon countri capit usernam password key url branch
    base drive weigh earn listen cost expir end depart leav heat paint written built name
    wohnt lebt arbeitet läuft beträgt habite vit travaille écoute vive trabaja mora abita 住 端口
    живёт يعيش
    """
)

#: What never changes: another value is a mistake in one of the two, and nothing tells in which.
FIXED: Final = _words("born birth birthday birthplac nativ")

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
