"""Seeded makers of texts of the kinds that users bring: names, molecules, log lines, tweets, addresses, news.

Of molecules and log lines there is also what tells a well-formed one.
"""

import random
import re


def make(kind: str, n: int, seed: int) -> list[str]:
    """Return n texts of a kind of `MAKERS`, by a seed."""
    rng = random.Random(f"{kind}-{seed}")
    return [MAKERS[kind](rng) for _ in range(n)]


def _pick(rng: random.Random, words: str) -> str:
    """Return one of the words of a string, the first ones more often (Zipf)."""
    listed = words.split()
    weights = [1 / (i + 2) for i in range(len(listed))]
    return rng.choices(listed, weights)[0]


# Names: syllables, and the endings of three families of names.

_ONSETS = "m l k r s j t d n b a c h g br e al v f ch st th sh w cl p fr gr tr kr ph z y"
_VOWELS = "a e i o a e ia y u ee ai au ie ey oa"
_CODAS = "n r l s nn m ll t d x tt rd nd ck st"
_ENDINGS = "a e ie en y on ia er in ine ah elle o ette us lyn ard wyn ana ella ton as o"


def _name(rng: random.Random) -> str:
    syllables = rng.choices((0, 1, 2), (3, 5, 1))[0]
    stem = _pick(rng, _ONSETS) + _pick(rng, _VOWELS)
    for _ in range(syllables):
        stem += (_pick(rng, _CODAS) if rng.random() < 0.4 else "") + _pick(rng, _ONSETS)
        stem += _pick(rng, _VOWELS) if rng.random() < 0.6 else ""
    if rng.random() < 0.35:
        stem += _pick(rng, _CODAS)
    return stem + _pick(rng, _ENDINGS)


# Molecules: SMILES, by chains of groups whose valences are kept.

_ENDS = "C O N F Cl C(=O)O C#N Br C(F)(F)F OC C(N)=O S"
_LINKS = "C CC C(=O)N O N CCC C(=O) NC(=O) C=C S(=O)(=O) CN(C) C(C) S C(=O)O"
_RINGS = "c{}ccc(*)cc{} c{}ccc(*)nc{} C{}CCN(*)CC{} c{}cc(*)ccc{} C{}CCCC(*)C{} c{}cnn(*)c{} c{}cc(*)sc{}"


def _molecule(rng: random.Random) -> str:
    digit = 1
    text = _pick(rng, _ENDS)
    if text[0] in "FBC" and text in ("F", "Cl", "Br"):
        text += "C"
    elif text in ("C#N", "C(N)=O", "C(=O)O", "C(F)(F)F"):
        text = {"C#N": "N#C", "C(N)=O": "NC(=O)", "C(=O)O": "OC(=O)", "C(F)(F)F": "FC(F)(F)"}[text]
    for _ in range(rng.choice((1, 2, 2, 3, 3, 4))):
        if rng.random() < 0.45:
            text += _pick(rng, _LINKS.replace("S(=O)(=O)", "CS(=O)(=O)"))
        ring = _pick(rng, _RINGS).replace("{}", str(digit))
        digit = digit % 8 + 1
        before, after = ring.split("(*)")
        branch = _pick(rng, _LINKS) + _pick(rng, _ENDS) if rng.random() < 0.3 else _pick(rng, _ENDS)
        text += f"{before}({branch}){after}"
        if rng.random() < 0.7:
            text += _pick(rng, _LINKS)
    return text + ("C" if text[-1] in "#=" else "")


_ATOM = re.compile(r"Cl|Br|[BCNOSPFI]|[cnos]|\[nH\]|[=#()]|\d")
_VALENCE = {"C": 4, "N": 3, "O": 2, "S": 6, "P": 5, "B": 3, "F": 1, "Cl": 1, "Br": 1, "I": 1}
_VALENCE |= {"c": 3, "n": 3, "o": 2, "s": 2, "[nH]": 2}


def is_molecule(text: str) -> bool:
    """Whether a text is a SMILES: brackets and rings are closed, and no atom has more bonds than it can.

    Of the grammar (Weininger 1988) it knows the atoms of organic chemistry, without charges and isotopes; an
    aromatic atom counts its bonds in the ring as single ones.
    """
    symbols = _ATOM.findall(text)
    molecule = _Molecule()
    return "".join(symbols) == text and all(map(molecule.add, symbols)) and molecule.is_whole


class _Molecule:
    """A SMILES as far as it has been read."""

    def __init__(self) -> None:
        self.free: list[int] = []  # bonds that each atom may still have
        self.rings: dict[str, tuple[int, int]] = {}  # the atom and the bond that each open ring began with
        self.branches: list[int] = []
        self.last, self.bond = -1, 0  # the atom that the next one binds to; 0 for a bond that is not written

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left open, and no atom has too many bonds."""
        return bool(self.free) and not (self.rings or self.branches or self.bond) and min(self.free) >= 0

    def add(self, symbol: str) -> bool:
        """Read one more symbol; False where it cannot stand there."""
        if symbol in _VALENCE:
            self._add_atom(symbol)
            return True
        if self.last < 0 or (self.bond and not symbol.isdigit()):
            return False
        if symbol == ")" and not self.branches:
            return False
        if symbol in "=#":
            self.bond = " =#".index(symbol) + 1
        elif symbol == "(":
            self.branches.append(self.last)
        elif symbol == ")":
            self.last = self.branches.pop()
        else:
            self._add_ring(symbol)
        return True

    def _add_atom(self, symbol: str) -> None:
        self.free.append(_VALENCE[symbol])
        if self.last >= 0:
            self._bind(self.last, len(self.free) - 1, self.bond)
        self.last, self.bond = len(self.free) - 1, 0

    def _add_ring(self, digit: str) -> None:
        if digit in self.rings:
            partner, bond = self.rings.pop(digit)
            self._bind(partner, self.last, max(bond, self.bond))
        else:
            self.rings[digit] = self.last, self.bond
        self.bond = 0

    def _bind(self, one: int, other: int, bond: int) -> None:
        self.free[one] -= bond or 1
        self.free[other] -= bond or 1


# Log lines: the common log format of web servers.

_PATHS = "/items/{} / /login /static/app.{}.js /users/{} /search?q={} /cart /api/v2/orders/{} /img/{}.png"
_WORDS = "shoes lamp table phone red+chair tea bike book coat camera desk mug tent rope"
_AGENTS = "Mozilla/5.0 curl/8.4.0 Googlebot/2.1 python-requests/2.31 okhttp/4.9"
_MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec"


def _log_line(rng: random.Random) -> str:
    path = _pick(rng, _PATHS)
    filled = _pick(rng, _WORDS) if "?q" in path else f"{rng.randrange(16**6):06x}"
    path = path.replace("{}", filled if "?" in path or ".js" in path else str(rng.randrange(1, 4000)))
    method = "POST" if path in ("/login", "/cart") and rng.random() < 0.7 else "GET"
    status = rng.choices((200, 304, 404, 500, 302), (80, 8, 6, 2, 4))[0]
    size = 0 if status == 304 else rng.randrange(180, 60_000)
    host = f"10.{rng.randrange(4)}.{rng.randrange(256)}.{rng.randrange(1, 255)}"
    clock = f"{rng.randrange(24):02}:{rng.randrange(60):02}:{rng.randrange(60):02}"
    day = f"{rng.randrange(1, 29):02}/{rng.choice(_MONTHS.split())}/2026"
    request = f"{method} {path} HTTP/1.1"
    return f'{host} - - [{day}:{clock} +0000] "{request}" {status} {size} "{_pick(rng, _AGENTS)}"'


_LOG_LINE = re.compile(
    r"10\.[0-3]\.(\d|[1-9]\d|1\d\d|2[0-4]\d|25[0-5])\.([1-9]|[1-9]\d|1\d\d|2[0-4]\d|25[0-4]) - - "
    rf"\[(0[1-9]|1\d|2[0-8])/({_MONTHS.replace(' ', '|')})/2026:([01]\d|2[0-3]):[0-5]\d:[0-5]\d \+0000\] "
    r'"(GET|POST) /\S* HTTP/1\.1" (200|302|304|404|500) (0|[1-9]\d{2,4}) '
    rf'"({"|".join(re.escape(each) for each in _AGENTS.split())})"'
)


def is_log_line(text: str) -> bool:
    """Whether a text is a line of the log that `make` makes, every field of it."""
    return _LOG_LINE.fullmatch(text) is not None


# Tweets: short talk with hashtags, names, addresses and numbers.

_OPENERS = "so just finally honestly lol omg ok today tonight wow ugh RT yes breaking"
_TALK = (
    "the a this my is to and in i it so of you for that we at all with can't really love just see "
    "new day game time good best team night today people great watching coffee music never thanks happy "
    "going need work back show home live tomorrow morning know want next week still season amazing tickets "
    "friends weekend please vote news big won goal rain train late match song album winter summer city"
)
_TAGS = (
    "MondayMotivation nowplaying NBA tbt photography love AI coffee WorldCup news travel Eurovision python"
)
_MARKS = "! . !! ... ? :) 😂 ❤️ 🔥 :("
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def _tweet(rng: random.Random) -> str:
    words = [_pick(rng, _OPENERS)] if rng.random() < 0.4 else []
    if rng.random() < 0.3:
        words.append(f"@{_name(rng)}{rng.choice(('', '', '_', str(rng.randrange(100))))}")
    words += [_pick(rng, _TALK) for _ in range(rng.randrange(3, 14))]
    if rng.random() < 0.15:
        words.insert(rng.randrange(len(words)), str(rng.randrange(2, 3000)))
    text = " ".join(words) + (_pick(rng, _MARKS) if rng.random() < 0.6 else "")
    for _ in range(rng.choices((0, 1, 2), (5, 4, 1))[0]):
        text += f" #{_pick(rng, _TAGS)}"
    if rng.random() < 0.3:
        text += " https://t.co/" + "".join(rng.choices(_LETTERS, k=10))
    return text


# News: sentences with names, numbers and clauses.

_PEOPLE = "police officials Johnson ministers Merkel doctors Clinton Trump scientists Miller lawyers workers"
_VERBS = "said announced reported denied confirmed warned argued told claimed"
_PLACES = "London Paris Washington Berlin Beijing Aleppo Moscow Sydney Ohio Lagos Rome Tokyo"
_THINGS = (
    "election vote economy attack deal budget trial report strike hospital campaign police bank "
    "school company government parliament crisis market law union storm airport border debate investigation"
)
_ACTS = "rose fell began ended changed failed continued improved collapsed grew"
_QUALITIES = "new national first local public recent major economic political former foreign central"


def _clause(rng: random.Random) -> str:
    quality = f"{_pick(rng, _QUALITIES)} " if rng.random() < 0.5 else ""
    text = f"the {quality}{_pick(rng, _THINGS)} {_pick(rng, _ACTS)}"
    if rng.random() < 0.5:
        text += f" in {_pick(rng, _PLACES)}"
    if rng.random() < 0.4:
        text += f" by {rng.randrange(2, 90)} per cent"
    return text


def _news(rng: random.Random) -> str:
    first = f"{_pick(rng, _PEOPLE)} {_pick(rng, _VERBS)}"
    text = f"{first} on {rng.choice(('Monday', 'Tuesday', 'Friday', 'Sunday'))} that {_clause(rng)}"
    while rng.random() < 0.45:
        text += rng.choice((" , and ", " after ", " while ", " because ")) + _clause(rng)
    return f"{text[0].upper()}{text[1:]} ."


def _url(rng: random.Random) -> str:
    host = f"{_name(rng)}.{_pick(rng, 'com org net io de')}"
    path = "/".join(_pick(rng, _THINGS) for _ in range(rng.randrange(4)))
    query = f"?id={rng.randrange(10**5)}&q={_pick(rng, _WORDS)}" if rng.random() < 0.4 else ""
    return f"https://{_pick(rng, 'www. m. blog.') if rng.random() < 0.6 else ''}{host}/{path}{query}"


def _email(rng: random.Random) -> str:
    sign = rng.choice((".", "_", "+", ""))
    return f"{_name(rng)}{sign}{_name(rng)}{rng.choice(('', str(rng.randrange(100))))}@{_name(rng)}.com"


def _hashtags(rng: random.Random) -> str:
    return " ".join(f"#{_name(rng).title()}{_pick(rng, _TAGS)}" for _ in range(rng.randrange(1, 5)))


MAKERS = {
    "names": _name,
    "molecules": _molecule,
    "logs": _log_line,
    "tweets": _tweet,
    "news": _news,
    "URLs": _url,
    "e-mails": _email,
    "hashtags": _hashtags,
}
"""Every kind of text that is made."""
