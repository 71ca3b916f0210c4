"""The synchronous grammar against rules of French, English and Korean that are written down once more here."""

import re
from collections import Counter
from itertools import combinations_with_replacement, pairwise, product

import pytest

from attn_utils.data.grammar import (
    LEXICON,
    _words,
    french_text,
    grammar_corpus,
    grammar_splits,
    korean_text,
)

each_language = pytest.mark.parametrize("language", ["fr", "ko"])


def split(text):
    return text.split()


# Nouns by gender, in the singular; adjectives, masculine and feminine, by where they stand.
MASCULINE = split("""garçon homme enfant roi médecin professeur boulanger artiste étudiant chat chien oiseau cheval
lapin renard ours canard éléphant singe œuf gâteau oignon pain fromage lait café thé livre journal poème sac chapeau
parapluie miroir vélo jardin parc village marché musée hôtel""")
FEMININE = split("""fille femme reine infirmière vache souris pomme orange carotte tomate banane soupe eau lettre
histoire clé chaise horloge boîte voiture forêt cuisine maison école gare plage""")
BEFORE = split("""petit/petite grand/grande bon/bonne joli/jolie beau/belle bel/belle nouveau/nouvelle
nouvel/nouvelle""")
AFTER = split("""rouge/rouge bleu/bleue blanc/blanche noir/noire heureux/heureuse triste/triste fatigué/fatiguée
intelligent/intelligente élégant/élégante riche/riche célèbre/célèbre calme/calme étrange/étrange cher/chère
intéressant/intéressante délicieux/délicieuse frais/fraîche chaud/chaude froid/froide""")
DETERMINERS = {  # by gender and number
    "ms": split("le l' un ce cet mon son notre au du"),
    "fs": split("la l' une cette ma mon sa son notre"),
    "mp": split("les ces mes ses nos aux des"),
    "fp": split("les ces mes ses nos aux des"),
}
HUMAN = split("아이 왕 여왕 의사 선생님 제빵사 간호사 예술가 학생 소녀 소년 여자 남자")
ANIMAL = split("고양이 개 새 말 소 토끼 여우 곰 쥐 오리 코끼리 원숭이")
VOWEL = re.compile("[aeiouhâàéèêîôœ]")  # every h of the lexicon is silent
ENGLISH_ADJECTIVES = split("""small big good lovely beautiful new red blue white black happy sad tired intelligent
elegant rich famous quiet strange interesting expensive delicious fresh hot cold""")
SIZE = 4000


def plural(word):
    """The rules of French: -s, but -x after -eau, -aux for -al, nothing after -s and -x."""
    if word.endswith(("s", "x")):
        return word
    return (
        word + "x"
        if word.endswith("eau")
        else re.sub("al$", "au", word) + "sx"[word.endswith("al")]
    )


GENDERS = {}  # noun -> the genders and numbers that it can have
for gender, nouns in (("m", MASCULINE), ("f", FEMININE)):
    for noun in nouns:
        GENDERS.setdefault(noun, set()).add(gender + "s")
        GENDERS.setdefault(plural(noun), set()).add(gender + "p")
FORMS = {"before": {}, "after": {}}  # adjective -> the genders and numbers that it can have
for where, table in (("before", BEFORE), ("after", AFTER)):
    for masculine, feminine in (pair.split("/") for pair in table):
        for form, what in (
            (masculine, "ms"),
            (feminine, "fs"),
            (plural(masculine), "mp"),
            (plural(feminine), "fp"),
        ):
            FORMS[where].setdefault(form, set()).add(what)


@pytest.fixture(scope="module")
def corpora():
    return {language: grammar_corpus(SIZE, language, seed=0) for language in ("fr", "ko")}


@pytest.fixture(scope="module")
def french(corpora):
    return [pair.target for pair in corpora["fr"]]


@pytest.fixture(scope="module")
def korean(corpora):
    return [pair.target for pair in corpora["ko"]]


@pytest.fixture(scope="module")
def splits():
    return {language: grammar_splits(1500, language, n_test=200) for language in ("fr", "ko")}


# ---- The corpus ---------------------------------------------------------------------------------


@each_language
def test_every_length_occurs_about_equally_often(corpora, language):
    lengths = Counter(len(pair.source) for pair in corpora[language])
    assert sorted(lengths) == list(range(3, 31))
    assert min(lengths.values()) > 0.7 * SIZE / 28
    assert max(lengths.values()) < 1.3 * SIZE / 28
    assert {len(p.source) for p in grammar_corpus(200, language, 7, 9)} == {7, 8, 9}


@each_language
def test_the_seed_says_it_all(corpora, language):
    assert grammar_corpus(300, language, seed=0) == corpora[language][:300]
    assert grammar_corpus(300, language, seed=1) != corpora[language][:300]
    # The same sentence on every machine and Python.
    start = "my big happy rabbit that always watches a small sad bird does not chase this beautiful"
    assert " ".join(corpora[language][0].source).startswith(start)


@each_language
def test_nothing_occurs_twice(corpora, language):
    assert len({pair.source for pair in corpora[language]}) == SIZE
    assert len({pair.target for pair in corpora[language]}) == SIZE


@each_language
def test_a_sentence_has_one_translation(language):
    known, met_again = {}, 0
    for seed in range(3):
        for pair in grammar_corpus(1500, language, max_len=4, seed=seed):
            met_again += pair.source in known
            assert known.setdefault(pair.source, pair) == pair
    assert met_again > 500


@each_language
def test_alignments_are_in_order_and_complete(corpora, language):
    lone = set()
    for source, target, links in corpora[language]:
        assert list(links) == sorted(set(links))
        assert all(0 <= i < len(source) and 0 <= j < len(target) for i, j in links)
        assert {j for _, j in links} == set(range(len(target)))
        lone |= {source[i] for i in set(range(len(source))) - {i for i, _ in links}}
    assert lone == ({"the", "a", "an"} if language == "ko" else set())


# Each target token with the places of the source tokens that it is linked to.
BY_HAND = [
    (
        "fr",
        "the students that she does not draw find the bread today",
        "les/0 étudiants/1 qu'/2 elle/3 ne/4,5 dessine/6 pas/4,5 trouvent/7 le/8 pain/9 aujourd'hui/10",
    ),
    (
        "fr",
        "this small woman that her beautiful elegant student does not draw laughs at this school",
        "cette/0 petite/1 femme/2 que/3 son/4 bel/5 étudiant/7 élégant/6 ne/8,9 dessine/10 pas/8,9"
        " rit/11 à/12 cette/13 école/14",
    ),
    (
        "ko",
        "the beautiful happy teacher who does not forget these men dances in the evening",
        "이/8 남자/9 +들/9 +을/9 잊/7 +지/5,6 않/5,6 +는/4 아름다운/1 행복한/2 선생님/3 +은/3"
        " 저녁/11,12,13 +에/11,12,13 춤춘다/10",
    ),
    (
        "ko",
        "she works because a mouse does not hesitate near the school today",
        "쥐/4 +가/4 오늘/11 학교/10 근처/8 +에서/8 망설이/7 +지/5,6 않/5,6 +기/2 때문에/2"
        " 그녀/0 +는/0 일한다/1",
    ),
]


@pytest.mark.parametrize(("language", "source", "target"), BY_HAND)
def test_alignment_by_hand(corpora, language, source, target):
    pair = next(pair for pair in corpora[language] if " ".join(pair.source) == source)
    tokens = [token.split("/") for token in target.split()]
    assert pair.target == tuple(text for text, _ in tokens)
    links = {(int(i), j) for j, (_, places) in enumerate(tokens) for i in places.split(",")}
    assert set(pair.alignment) == links


def test_contractions_are_linked_to_both_words(corpora):
    prepositions, met = {"au": "at", "aux": "at", "du": "near", "des": "near"}, set()
    for source, target, links in corpora["fr"]:
        for j, word in enumerate(target):
            if word in prepositions:
                assert [source[i] for i, k in links if k == j] == [prepositions[word], "the"]
                met.add(word)
    assert met == set(prepositions)


def test_the_lexicon_is_of_the_right_size_and_all_in_use(corpora):
    content = [w for w in LEXICON if w.category not in ("the", "a", "this", "who")]
    for column in range(3):
        assert 80 <= len({w.forms[column][0] for w in content}) <= 150
    for language, column in (("fr", 1), ("ko", 2)):
        used = {word for pair in corpora[language] for word in pair.source + pair.target}
        assert {f for w in LEXICON for f in w.forms[0] + w.forms[column]} <= used


def test_classes_of_words_do_not_overlap():
    """What the splits and the Korean endings take for granted."""
    stems = {w.forms[2][0] for w in LEXICON if w.category == "verb"}
    assert stems.isdisjoint(f for w in LEXICON if w.category != "verb" for f in w.forms[2])
    english = Counter(f for w in LEXICON if w.category != "the" for f in {*w.forms[0]})
    assert {word for word, times in english.items() if times > 1} == set()


def test_there_is_a_verb_for_every_subject_and_object():
    subjects = [*combinations_with_replacement("hpa", 2)]
    things = [*combinations_with_replacement("fdto", 2)]
    for subject, objects in product(subjects, ["", *subjects, *things]):
        assert _words("verb", "".join(subject), "".join(objects))


# ---- English ------------------------------------------------------------------------------------


@each_language
def test_english_agrees(corpora, language):
    singular = {w.forms[0][0] for w in LEXICON if w.category == "verb"}
    base = {w.forms[0][1] for w in LEXICON if w.category == "verb"}
    assert all(verb[-1] == "s" and {verb[:-1], verb[:-2]} & base for verb in singular)
    for source, _, _ in corpora[language]:
        for word, after in pairwise(source):
            assert word != "a" or after[0] not in "aeiou"
            assert word != "an" or after[0] in "aeiou"
            assert word not in ("does", "do") or after == "not"
            assert word != "not" or after in base
            assert word not in ("he", "she") or after not in base | {"do"}
            assert word != "we" or after not in singular | {"does"}


# ---- French -------------------------------------------------------------------------------------


def noun_phrases(tokens):
    """For each noun: the determiner, the adjectives before, the noun, the adjectives after."""
    for i, noun in enumerate(tokens):
        if noun in GENDERS and tokens[i - 1 : i + 1] not in (("le", "matin"), ("le", "soir")):
            first, last = i, i + 1
            while tokens[first - 1] in FORMS["before"]:
                first -= 1
            while last < len(tokens) and tokens[last] in FORMS["after"]:
                last += 1
            yield tokens[first - 1], tokens[first:i], noun, tokens[i + 1 : last]


def possible(determiner, before, noun, after):
    """The genders and numbers that all the words of a noun phrase can have."""
    can = set(GENDERS[noun]) & {what for what, d in DETERMINERS.items() if determiner in d}
    for where, adjectives in (("before", before), ("after", after)):
        for adjective in adjectives:
            can &= FORMS[where].get(adjective, set())
    return can


def test_french_noun_phrases_agree(french):
    met = Counter()
    for tokens in french:
        for phrase in noun_phrases(tokens):
            assert possible(*phrase), phrase
            met[len(phrase[1]), len(phrase[3])] += 1
    assert set(met) == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert not possible("la", (), "chat", ())
    assert not possible("les", (), "chats", ("noir",))
    # No adjective stands anywhere else.
    inside = sum(before + after for (before, after), n in met.items() for _ in range(n))
    assert inside == sum(t in FORMS["before"] or t in FORMS["after"] for s in french for t in s)


def test_french_elision_and_contraction(french):
    full = {"le", "la", "ne", "que", "ce", "ma", "sa", "beau", "nouveau"}
    short = {"l'", "n'", "qu'", "cet", "bel", "nouvel"}
    met = set()
    for tokens in french:
        for word, after in pairwise(tokens):
            met.add(word)
            assert word not in full or not VOWEL.match(after), (word, after)
            assert word not in short or VOWEL.match(after), (word, after)
            assert not (word in ("à", "de") and after in ("le", "les"))
            if word in ("mon", "son") and any(after in feminine for feminine in FEMININE):
                assert VOWEL.match(after)
    assert full | short | {"au", "aux", "du", "des"} <= met


def test_french_negation_stands_around_the_verb(corpora):
    verbs = {form for w in LEXICON if w.category == "verb" for form in w.forms[1]}
    for source, target, _ in corpora["fr"]:
        for i, word in enumerate(target):
            if word in ("ne", "n'"):
                assert target[i + 1] in verbs
                assert target[i + 2] in ("pas", "jamais")
            if word in ("pas", "jamais"):
                assert target[i - 2] in ("ne", "n'")
                assert target[i + 1 : i + 2] not in (("un",), ("une",))  # would be "de"
        assert target.count("pas") == source.count("not")
        assert target.count("jamais") == source.count("never")


def test_french_verbs_agree(corpora):
    """With the first noun or pronoun, up to the first "and"; after "qui", with the noun before it."""
    verbs = {form for w in LEXICON if w.category == "verb" for form in w.forms[1]}
    met = Counter()
    for tokens in (pair.target for pair in corpora["fr"]):
        phrases, subject, number = noun_phrases(tokens), None, None
        for word in tokens:
            if word in ("et", "que", "qu'", "mais") or (word in verbs and not subject):
                break
            if word in ("il", "elle", "nous"):
                number = "we" if word == "nous" else "one"
            if word in GENDERS and word not in ("matin", "soir"):
                number = "many" if "p" in "".join(possible(*next(phrases))) else "one"
            if word == "qui":
                subject = number
            subject = subject or number
            if word in verbs:
                ending = "we" if word.endswith("ons") else "many" if word.endswith("ent") else "one"
                assert ending == subject, (word, tokens)
                met[subject] += 1
                subject = None
    assert met["one"] > 500
    assert met["many"] > 500
    assert met["we"] > 100


# ---- Korean -------------------------------------------------------------------------------------


def final_consonant(token):
    return (ord(token[-1]) - 0xAC00) % 28 != 0


def bare_stems(sentences):
    """Verb stems: whatever stands before +지, +고 or +기."""
    return {a for s in sentences for a, b in pairwise(s) if b in ("+지", "+고", "+기")}


def test_korean_particles_fit_the_final_consonant(korean):
    stems, met = bare_stems(korean), set()
    for tokens in korean:
        for word, particle in pairwise(tokens):
            if particle == "+는" and word in stems:
                continue  # the ending of a relative clause
            if particle in ("+은", "+이", "+을", "+과"):
                assert final_consonant(word), (word, particle)
            if particle in ("+는", "+가", "+를", "+와"):
                assert not final_consonant(word), (word, particle)
            met.add(particle)
    assert set("은는이가을를과와") <= {particle[1:] for particle in met}


def test_korean_verbs_come_last(korean):
    stems = bare_stems(korean)
    present = {tokens[-1] for tokens in korean}
    assert all(verb.endswith("다") for verb in present)
    for tokens in korean:
        assert not present & set(tokens[:-1])
        clauses = re.split(r" \+고 | \+지만 | \+기 때문에 ", " ".join(tokens[:-1]))
        assert all(clause.split()[-1] in stems for clause in clauses[:-1])
        # A stem in the middle of a clause belongs to a relative clause or is negated.
        for clause in (clause.split() for clause in clauses):
            for word, after in pairwise(clause):
                assert word not in stems or after in ("+는", "+지")


def test_korean_plurals_and_subjects(corpora):
    for source, target, links in corpora["ko"]:
        for word, after in pairwise(target):
            assert after != "+들" or word in HUMAN + ANIMAL
        # The subject of a reason is not a topic, nor is "a girl".
        if "+기" in target and source.count("because") == 1:
            reason = target[: target.index("+기")]
            start = max((i + 1 for i, t in enumerate(reason) if t in ("+고", "+지만")), default=0)
            stems = {"않"} | {w.forms[2][0] for w in LEXICON if w.category == "verb"}
            topics = [
                b
                for a, b in pairwise(reason[start:])
                if b == "+은" or (b == "+는" and a not in stems)
            ]
            assert not topics
        if source[0] in ("a", "an"):
            noun = next(i for i, word in enumerate(source) if i and word not in ENGLISH_ADJECTIVES)
            place = [j for i, j in links if i == noun][-1]
            assert target[place] in ("+이", "+가")


def test_korean_has_an_ending_for_every_conjunction(corpora):
    stems = bare_stems(target for _, target, _ in corpora["ko"])
    for source, target, _ in corpora["ko"]:
        endings = Counter(b for a, b in pairwise(target) if a in stems)
        joined = sum(particle in ("+과", "+와") for particle in target)
        assert endings["+는"] == source.count("who") + source.count("that")
        assert endings["+고"] + joined == source.count("and")
        assert endings["+지만"] == source.count("but")
        assert endings["+기"] == source.count("because")
        assert endings["+지"] == source.count("not") + source.count("never")


def test_word_order_is_reversed_in_korean(corpora):
    """The object stands before the verb, the relative clause before its noun."""
    for source, _, links in corpora["ko"]:
        if "who" in source:
            who = source.index("who")
            place = dict(links)  # the last link of each
            assert place[who] < min(j for i, j in links if i == who - 1)


# ---- Spelling -----------------------------------------------------------------------------------


def test_french_text_and_back(french):
    assert french_text(("l'", "oiseau", "n'", "attend", "pas")) == "l'oiseau n'attend pas"
    assert french_text(("aujourd'hui", "elle", "rit")) == "aujourd'hui elle rit"
    for tokens in french:
        again = re.findall(r"aujourd'hui|\w+'|\w+", french_text(tokens))
        assert tuple(again) == tokens


def test_korean_text_and_back(korean):
    assert korean_text(("소녀", "+들", "+은", "먹", "+지", "않는다")) == "소녀들은 먹지 않는다"
    morphemes = {}  # how a word is made up, which its spelling must tell
    for tokens in korean:
        for word in re.findall(r"\S+(?: \+\S+)*", " ".join(tokens)):
            assert morphemes.setdefault(korean_text(word.split()), word) == word
    for tokens in korean:
        text = korean_text(tokens)
        assert "+" not in text
        assert tuple(" ".join(morphemes[word] for word in text.split()).split()) == tokens


# ---- Splits -------------------------------------------------------------------------------------


@each_language
def test_splits_are_apart(splits, language):
    parts = splits[language]
    assert {name: len(part) for name, part in parts.items()} == {
        "train": 1500, "valid": 200, "test": 200, "long": 200, "unseen": 200
    }  # fmt: skip
    everything = [pair for part in parts.values() for pair in part]
    assert len({pair.source for pair in everything}) == len(everything)
    assert len({pair.target for pair in everything}) == len(everything)
    longest = {name: max(len(pair.source) for pair in part) for name, part in parts.items()}
    assert longest["train"] == longest["valid"] == longest["test"] == 15
    assert min(len(pair.source) for pair in parts["long"]) == 16
    assert longest["long"] == 30
    assert longest["unseen"] <= 15
    assert parts == grammar_splits(1500, language, n_test=200)


def pairings(part):
    """Adjectives with the nouns they stand before, the nouns in the singular."""
    singular = {f: w.forms[0][0] for w in LEXICON if w.category == "noun" for f in w.forms[0]}
    for pair in part:
        found, adjectives = set(), []
        for word in pair.source:
            if word in singular:
                found |= {(adjective, singular[word]) for adjective in adjectives}
            adjectives = [*adjectives, word] if word in ENGLISH_ADJECTIVES else []
        yield found


@each_language
def test_unseen_combinations_are_new_but_their_words_are_not(splits, language):
    parts = splits[language]
    seen = {
        c for name in parts if name != "unseen" for found in pairings(parts[name]) for c in found
    }
    apart = {c for found in pairings(parts["unseen"]) for c in found} - seen
    assert len(apart) > 50
    assert all(found & apart for found in pairings(parts["unseen"]))
    words = {word for pair in parts["train"] for word in pair.source + pair.target}
    assert {word for pair in parts["unseen"] for word in pair.source + pair.target} <= words


# ---- Errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": -1}, "n=-1"),
        ({"n": 5, "language": "de"}, "'de'"),
        ({"n": 0, "language": "de"}, "'de'"),
        ({"n": 5, "min_len": 2}, "min_len=2"),
        ({"n": 5, "max_len": 31}, "max_len=31"),
        ({"n": 5, "min_len": 9, "max_len": 8}, "min_len=9, max_len=8"),
        ({"n": 10_000, "max_len": 3}, r"hardly more than 1\d\d\d pairs of 3 to 3"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        grammar_corpus(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 5, "max_len": 30}, "min_len=31"),
        ({"n": 5, "max_len": 2}, "max_len=2"),
        ({"n": -5}, "n=-5"),
        ({"n": 5, "n_test": -3}, "n=-3"),
        ({"n": 5, "language": "de"}, "'de'"),
        ({"n": 1, "n_test": 5}, "n=1 .* 5 new"),
    ],
)
def test_errors_of_splits(arguments, message):
    with pytest.raises(ValueError, match=message):
        grammar_splits(**arguments)


def test_no_pairs():
    assert grammar_corpus(0) == []
