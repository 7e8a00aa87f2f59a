"""A benchmark made by code, from the words of Shakespeare's plays: the likelier text is right.

The texts of a pair differ in one thing, such as "thou art" and "thou are"; a model that gives the
right one the higher probability has learned that thing. Classes go from easy to hard; whoever
guesses has half of them right.

Most pairs come in squares: two contexts and two endings, each of them right after one context. A
model that likes one ending better whatever stands before it is right once and wrong once. Pairs
that share words are no independent observations: each names its cluster, for the standard error.

Knows nothing about where a model came from. The method is that of BLiMP (Warstadt et al. 2020,
arXiv 1912.00582) and of the Winograd schemas; all sentences are our own. More than 250 lines, since
the words stand beside the code that joins them.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from gpt2lite.completions import Item, log_probabilities
from gpt2lite.evaluation import Accuracy, accuracy
from gpt2lite.tokenizer import get_tokenizer


@dataclass(frozen=True)
class Pair:
    """Two texts, of which `good` should be the likelier one; pairs of one cluster share words."""

    kind: str  # its class, a key of KINDS
    cluster: str
    good: str
    bad: str


Group = tuple[str, list[tuple[str, str]]]  # a cluster, and its right and wrong texts


def _speech(words: str, speaker: str = "KING") -> str:
    return f"\n\n{speaker}:\n{words}"


def _square(cluster: str, context: str, ending: str, context_2: str, ending_2: str) -> Group:
    """Return two pairs: the endings at home, and exchanged for the wrong texts."""
    return cluster, [
        (context + ending, context + ending_2),
        (context_2 + ending_2, context_2 + ending),
    ]


def _rows(table: str) -> list[list[str]]:
    """Return the fields of a table: rows end in ";", fields in "/"."""
    return [row.strip().split("/") for row in table.replace("\n", " ").split(";")]


def _by_two(table: str) -> list[list[str]]:
    """Return two rows of a table at a time, as one: no row is in two of them."""
    rows = _rows(table)
    return [a + b for a, b in zip(rows[::2], rows[1::2], strict=True)]


# Agreement, near and over a distance ------------------------------------------------------------

VERBS = "art/are hast/have dost/do wilt/will shalt/shall canst/can didst/did wouldst/would"
NOUNS = """king/is/are; lord/hath/have; friend/was/were; son/doth/do; soldier/comes/come;
captain/goes/go; brother/loves/love; daughter/speaks/speak; servant/knows/know;
traitor/lives/live; villain/makes/make; sister/gives/give"""


def _verbs() -> list[list[str]]:
    return [both.split("/") for both in VERBS.split()]


def _person() -> Iterator[Group]:
    for (thou, you), rest in product(_verbs(), (" not", " never", " thus", " now", " but")):
        yield _square(thou, _speech("Thou"), f" {thou}{rest}", _speech("You"), f" {you}{rest}")


def _person_far() -> Iterator[Group]:
    for (thou, you), between in product(
        _verbs(),
        (
            ", my good friend,",
            ", of all my friends,",
            ", in the name of heaven,",
            ", noble soldier,",
            " of all men living",
        ),
    ):
        contexts = _speech(f"Thou{between}"), _speech(f"You{between}")
        yield _square(thou, contexts[0], f" {thou} not", contexts[1], f" {you} not")


def _number() -> Iterator[Group]:
    for (noun, one, many), start in product(_rows(NOUNS), ("The", "My noble", "And now your")):
        context = _speech(f"{start} {noun}")
        yield _square(noun, context, f" {one}", f"{context}s", f" {many}")


def _number_far() -> Iterator[Group]:
    betweens = (" of the queen", " that I love", ", as we hear,")
    for (noun, one, many), between in product(_rows(NOUNS), betweens):
        contexts = _speech(f"The {noun}{between}"), _speech(f"The {noun}s{between}")
        yield _square(noun, contexts[0], f" {one}", contexts[1], f" {many}")


ADDRESSES = """Give me {y} hand, and tell me what; I know {y} face, and well remember how;
Put up {y} sword, and let me hear what; I have {y} letter, and I know that;
I love {o}, sir, and I believe that; I saw {o} there last night, and heard what;
Go to {y} father, and ask him if; Keep in {y} heart the secret that;
By {y} own tongue I have been told that; This is {y} house, for I have heard that"""


def _address() -> Iterator[Group]:
    starts = ADDRESSES.replace("\n", " ").split("; ")
    for start, more in product(starts, ("", ", as I think,", ", and this I say again,")):
        thou, you = start.format(y="thy", o="thee"), start.format(y="your", o="you")
        yield _square(start, _speech(thou + more), " thou", _speech(you + more), " you")


# Order and meaning ------------------------------------------------------------------------------

SENTENCES = """of the/He was the father {} king/Speak to me {} war/I am the lord {} house
/This is the end {} day/Give me some {} wine;
to me/Give that letter {} now/Come not near {} again/It was told {} today/Speak {} of love
/What is he {} but a friend;
will not/I {} speak with him/The king {} hear you/They {} come tonight/My heart {} break
/She {} be my wife;
is the/Where {} queen/What {} matter/This {} man that I love/Here {} letter/Who {} lord here;
my lord/Good morrow, {}, and welcome/Where is {} tonight/O, {}, I am undone
/I thank you, {}, for this/Tell {} the news;
I am/Now {} content/You know {} your friend/If {} deceived, farewell/Sir, {} a soldier
/Alas, {} sick;
have been/They {} my friends/I {} too bold/You {} merry tonight/We {} at sea
/These words {} spoken;
for my/I weep {} brother/This is {} father/Let me die {} country/He hath it {} sake
/I have no fear {} life;
with him/I will go {} to Rome/Let us speak {} again/She is {} tonight/What shall I do {} now
/Deal {} like a man;
no man/There is {} here/Let {} speak/I fear {} living/Let {} say so/I see {} that loves me;
so much/I love her {} that I weep/He hath {} gold/You are {} changed/Do not speak {} of it
/I have lost {} blood;
from the/He comes {} king/I have news {} field/Keep him {} door/She is gone {} court
/Come down {} wall"""


def _order() -> Iterator[Group]:
    for row in SENTENCES.replace("\n", "").split(";"):
        words, *sentences = row.split("/")
        swapped = " ".join(reversed(words.split()))
        for sentence in sentences:
            texts = (_speech(sentence.format(w) + ".") for w in (words, swapped))
            yield words, [tuple(texts)]


def _question() -> Iterator[Group]:
    for opening, rest in product(
        "Wilt thou/Art thou/Hast thou/Will you/Have you/Do you/Are you/Shall I".split("/"),
        (
            "no more",
            "still here",
            "ever thus",
            "with him tonight",
            "for my sake",
        ),
    ):
        verb, who = opening.split()
        asked, told = _speech(f"{opening} {rest}"), _speech(f"{who.title()} {verb.lower()} {rest}")
        yield _square(opening, asked, "?\n", told, ".\n")


DEEDS = """drink/wine; read/letter; draw/sword; wear/crown; open/door; sound/trumpet; ride/horse;
weep/tears; ring/bell; burn/fire; dig/grave; sing/song; pay/money; eat/meat; fight/battle;
say/prayers; kiss/lips; hold/tongue; break/heart; shut/gate; lead/army; kill/traitor; bury/body;
cross/river"""


def _meaning() -> Iterator[Group]:
    frames = "They did {} the", "I will {} my", "Let him {} his"
    for (verb, thing, verb_2, thing_2), frame in product(_by_two(DEEDS), frames):
        contexts = _speech(frame.format(verb)), _speech(frame.format(verb_2))
        yield _square(thing, contexts[0], f" {thing}", contexts[1], f" {thing_2}")


# People of a play -------------------------------------------------------------------------------

# A speaker, who answers, and whom the speaker speaks of.
CASTS = """ROMEO/JULIET/Juliet; HAMLET/OPHELIA/Ophelia; OTHELLO/DESDEMONA/Desdemona;
BRUTUS/CASSIUS/Cassius; KING LEAR/CORDELIA/Regan; PETRUCHIO/KATHARINA/Kate;
ORLANDO/ROSALIND/Rosalind; BENEDICK/BEATRICE/Beatrice; TROILUS/CRESSIDA/Cressid;
PROSPERO/ARIEL/Ariel; CORIOLANUS/MENENIUS/Aufidius; LEONTES/PAULINA/Hermione;
TIMON/APEMANTUS/Apemantus; MARK ANTONY/CLEOPATRA/Caesar; FALSTAFF/PRINCE HENRY/Hal;
PERICLES/MARINA/Marina; PROTEUS/JULIA/Silvia; CYMBELINE/IMOGEN/Imogen; BASSANIO/PORTIA/Portia;
BERTRAM/HELENA/Diana; DUKE VINCENTIO/ISABELLA/Angelo; MACBETH/LADY MACBETH/Banquo;
VIOLA/OLIVIA/Olivia; TITUS ANDRONICUS/LAVINIA/Lavinia"""


def _reply() -> Iterator[Group]:
    message = "\n\nMessenger:\nMy lord, the horses are at the gate."
    for (who, answers, _, who_2, answers_2, _), (words, between) in product(
        _by_two(CASTS),
        (
            ("Speak, what is the matter?", ""),
            ("I am not well.", ""),
            ("What is the news?", message),
        ),
    ):
        contexts = (_speech(words, name) + between + "\n\n" for name in (who, who_2))
        yield _square(who, next(contexts), f"{answers}:\n", next(contexts), f"{answers_2}:\n")


def _names() -> Iterator[Group]:
    words = "Come hither,", "I prithee, speak to me,", "Where is", "This is the hand of"
    for (who, _, name, who_2, _, name_2), start in product(_by_two(CASTS), words):
        yield _square(who, _speech(start, who), f" {name}", _speech(start, who_2), f" {name_2}")


HEARD = """Romeo; Hamlet; Antony; Brutus; Cassio; Mercutio; Horatio; Claudio; Orlando; Lysander;
Antonio; Bassanio; Lorenzo; Edmund; Gloucester; Warwick; Buckingham; Hastings; Percy; Hotspur;
Troilus; Hector; Cassius; Caesar"""


def _recall() -> Iterator[Group]:
    for (name, name_2), words in product(
        _by_two(HEARD),
        (
            "Welcome, good {}. The night is cold, and we have much to say. Sit here by me, good",
            "I sent for {} to the court today, and all the lords are angry. Where is",
            "Is {} dead? O, then the world is nothing. I loved him as my son. Alas, poor",
        ),
    ):
        contexts = _speech(words.format(name)), _speech(words.format(name_2))
        yield _square(name, contexts[0], f" {name}", contexts[1], f" {name_2}")


# Verse and prose --------------------------------------------------------------------------------

LINES = """The night is dark/ and all the stars are gone;
I would not have you/ think the king is dead; Our enemies are come/ upon the hill;
She gave me all/ the gold that she could find; The morning breaks/ upon the silent town;
My noble lord hath sent/ me to your grace;
The trumpets sound/ and call us to the field; He was the best/ of all my father's friends;
We heard the sea/ that beats upon the rocks; This ring was once/ upon my mother's hand;
Thy sword is red/ with blood of better men; The crown is heavy/ on a guilty head"""


def _metre() -> Iterator[Group]:
    verse = (
        "The sun is up, and we must leave this place,\nFor there is danger in the open street.\n"
    )
    for line, word in product(LINES.replace("\n", " ").split("; "), ("and", "but", "for")):
        whole, half = verse + line.replace("/", ""), verse + line.split("/")[0]
        yield _square(
            line, _speech(whole + ","), f"\n{word.title()}", _speech(half + ","), f" {word}"
        )


VERSE_AND_PROSE = (
    (
        "O gentle night, that hidest all our faults,\nAnd send the weary soldier to his bed,",
        "Why, sir, a man may drink his wine and pay for it, and\nyet be none the merrier for it,",
    ),
    (
        "My lord, the enemy is at the gate,\nAnd all the city trembles at the sound,",
        "I tell you, master, the knave came to my door with\nhis hat in his hand,",
    ),
    (
        "What should I do, that have no friend but thee,\nNo house, no land, no king,",
        "Nay, if you talk of honest men, I have seen but two of\nthem in all my days,",
    ),
    (
        "Now comes the winter with his icy hand,\nAnd all the flowers of the field are dead,",
        "The fellow is a very ass, and I will tell him so to\nhis beard, if he have one,",
    ),
    (
        "I am too old to wear a crown of gold,\nToo weak to hold the sceptre in my hand,",
        "I had rather be a dog in a kitchen than a servant in\nthis house,",
    ),
    (
        "Let him be brought before us to the court,\nAnd speak the truth, upon his life and soul,",
        "Come, come, you are a merry rogue, and I love you for\nit with all my heart,",
    ),
)


def _verse() -> Iterator[Group]:
    for (verse, prose), word in product(VERSE_AND_PROSE, "and that for with but as".split()):
        yield _square(verse, _speech(verse), f"\n{word.title()}", _speech(prose), f"\n{word}")


# The benchmark ----------------------------------------------------------------------------------

KINDS = {
    "person": (_person, "thou art, you are"),
    "number": (_number, "the king is, the kings are"),
    "order": (_order, "two words exchanged: the king of the, the king the of"),
    "verse": (_verse, "in verse a line begins with a capital, in prose it does not"),
    "metre": (_metre, "a verse line ends after ten syllables, not after five"),
    "reply": (_reply, "who answers: somebody of the same play"),
    "address": (_address, "who says thy says thou, who says your says you"),
    "person far": (_person_far, "thou, words in between, art"),
    "question": (_question, "wilt thou ends in a question mark, thou wilt in a full stop"),
    "number far": (_number_far, "the king, words in between, is"),
    "names": (_names, "whom a speaker speaks of: somebody of the same play"),
    "recall": (_recall, "a name comes again, not another one"),
    "meaning": (_meaning, "one drinks wine and reads a letter"),
}


def make_pairs(per_kind: int = 60, seed: int = 1337) -> list[Pair]:
    """Return the benchmark: of each class `per_kind` pairs, in squares where it has squares.

    The same seed draws the same pairs, everywhere. Raises ValueError for an odd number, or more
    than a class can make.
    """
    pairs = []
    for kind, (make, _) in KINDS.items():
        groups = list(make())
        size = len(groups[0][1])
        most = size * len(groups)
        if per_kind % 2 or not 2 <= per_kind <= most:
            raise ValueError(f"per_kind must be even, 2 to {most} for {kind!r}, not {per_kind}")
        drawn = random.Random(f"{kind} {seed}").sample(groups, per_kind // size)
        pairs += [Pair(kind, cluster, *texts) for cluster, both in drawn for texts in both]
    return pairs


def encode(pair: Pair) -> Item:
    """Return the token ids that both texts begin with, and how each of them goes on."""
    good, bad = map(get_tokenizer().encode_ordinary, (pair.good, pair.bad))
    same = next(i for i, (a, b) in enumerate(zip(good, bad, strict=False)) if a != b)
    return good[:same], [good[same:], bad[same:]]


def margins(model, pairs: Sequence[Pair], **options) -> np.ndarray:
    """Return by how many nats each right text is likelier than its wrong one, (n,).

    Their mean tells models apart that have learned too little for the accuracy to move: over a
    square, a liking for one of the endings cancels out.

    The options are those of gpt2lite.completions.log_probabilities.
    """
    scores = log_probabilities(model, [encode(pair) for pair in pairs], **options)
    return np.array([good - bad for good, bad in scores])


def accuracies(pairs: Sequence[Pair], margins: np.ndarray) -> dict[str, Accuracy]:
    """Return the accuracy, with its clustered error, of each class and, last, of "all".

    A margin of 0 counts half.
    """
    right = np.heaviside(margins, 0.5)
    found = {}
    for kind in [*dict.fromkeys(pair.kind for pair in pairs), "all"]:
        here = [i for i, pair in enumerate(pairs) if kind in (pair.kind, "all")]
        found[kind] = accuracy(right[here], [pairs[i].cluster for i in here])
    return found
