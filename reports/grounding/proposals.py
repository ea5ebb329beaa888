"""Figures that are proposals (targets, stops, sizes, odds, scenarios, levels), not claims about the world."""

from __future__ import annotations

import re

from reports.grounding.labels import tied_label

_IN_CLAUSE = re.compile(
    r"\b(?:stop[- ]?loss|stop|entry|entries|enter(?:s|ed|ing)?|exit\w*|take[- ]profit|(?<!cash )position(?:s| siz\w+)?"
    r"|size|sizing"
    r"|allocat\w+|portfolio|confidence|conviction|probabilit\w+|likelihood|odds|horizon|score|trim\w*|scale in"
    r"|weight(?:ing)? of|optimal weight|risk budget"
    r"|(?:cut|reduc|rais|increas|lower|limit|cap)\w* (?:\w+ )?exposure|hedge|tolerance|max(?:imum)? (?:risk|loss)"
    r"|expected value|invalidat\w+|risk[/-]reward|reward[/-]risk)\b",
    re.I,
)
_TARGET = re.compile(r"\btargets?\b|\b(?:TP|SL|PT|T)[1-3]?[\s:=($]*$", re.I)
_OF_OTHERS = re.compile(
    r"\b(?:rais\w+|lift\w*|hik\w+|cut\w*|lower\w*|keep\w*|kept|maintain\w*|reiterat\w+|reaffirm\w*|analysts?|brokers?"
    r"|consensus|street"
    r"|mean|median|average|its|their|his|her)\b[^.;]{0,40}\btargets?\b",
    re.I,
)
"""Targets of others are claims about the world."""
_SCENARIO = re.compile(
    r"\b(?:bull|bear|base|best|worst|upside|downside)(?:ish)?(?:[\s-](?:case|scenario|target|risk|potential|outcome))?"
    r"(?:[\s:=(]*[$€£]?[\d.,]*\d\s*(?:at|@|with|\())?"
    r"[\s*_:=(~≈–-]*(?:(?:of|to|at|towards?|is|about|around)\b)?[\s*_$€£~≈(]*$",
    re.I,
)
"""Bull case: $600; downside to $480; base $285 at 50 %."""
_FIRST_PERSON = re.compile(
    r"\b(?:I|we)(?:['’](?:d|ll)| would| will)\s+(?!(?:also )?(?:note|argue|say|point|emphas|stress|highlight|expect"
    r"|think|remind|caution|call|describe))",
    re.I,
)
_PLAN = re.compile(
    r"^[\s*_#>|.\d)-]*(?:(?:my|our|the|final|trade|trading|suggested|recommended) )*(?:call|recommendation|action|plan"
    r"|strategy|decision|rating|proposal)"
    r"\b[\s*_]*[:–—-]",
    re.I,
)
_TOWARDS = r"(?:at|above|below|under|over|near|around|to|by|towards?|until|between|through|past)"
_ACTION = re.compile(
    r"(?:^|[:;—–*/(-]|\b(?:I|we|a|would|should|to|then|or|and|now|only|could|will|['’]d)\b)\W*"
    r"(?:add(?:-on)?|buy(?:er)?|sell(?:er)?|accumulate|re-?enter|reduce|lighten|cut|cap|wait|watch|reassess|revisit|review)\b"
    r"(?:\s+(?:only|more|again|back|half|now|some|on|a|any|dips?|break|breakout|weakness|strength|shares|the|risk|for"
    r"|if|it|price|closes?"
    r"|trades?|falls?|rises?|pullbacks?|into))*"
    rf"(?:\s+[\d.]+\s?%)?\s+{_TOWARDS}\s*[~≈$€£]*$",
    re.I,
)
"""Add only above $560; sell 25 % at 600."""
_CONDITION = re.compile(
    r"\b(?:if|unless|once|should)\s+(?:the\s|its?\s|price\s|stock\s|shares\s)*[~≈$€£]*$"
    r"|\bexpect\w*\s(?:an?\s)?(?:\w+\s)?(?:slide|drop|move|rally|retest|decline|run|rise|fall|pullback|bounce"
    r"|test)\s(?:to|towards?|of)\s*[~≈$€£]*$"
    r"|\b(?:I|we) (?:see|expect|project|forecast|estimate)\b[^.;]{0,20}$"
    r"|\b(?:if|unless|once|until|should)\b[^.;]*\b(?:clos|break|trad|fall|drop|ris|rall|reclaim|hold|clear|los|retrac"
    r"|mov|slip|dip|recover|stay)\w*"
    rf"(?:\s+(?:back|decisively|firmly|again|clearly|the|daily))*(?:\s+{_TOWARDS})?\s*[~≈$€£]*$",
    re.I,
)
"""If it closes below $254."""
_AFTER = re.compile(
    r"\s*(?:chance|probability|likelihood|odds|confidence|confident|conviction|certain|sure|position|stake|allocation|weight"
    r"|(?:upside|downside)\b(?! risk)|of (?:(?:the|our|my|your) )?(?:nav|aum|portfolio|position|target weight))\b",
    re.I,
)


_AT_LEVEL = re.compile(rf"\b{_TOWARDS}\s*[~≈$€£]*$", re.I)


_PLANNING = re.compile(
    r"^\W*(?:if|should|unless)\b|\b(?:could|might|would|(?-i:may))\b|\bstop(?:[- ]?loss)?\b|\btake[- ]profit"
    r"|\b(?:re-?)?entry\b|\btrade plan\b|\bverdict\b|\bconviction\b|\bprobabilit\w+|\bodds\b|\bscenarios?\b"
    r"|\bsizing\b|\bposition size|\bunderweight\b|\boverweight\b|\brisk[/-]reward|\bR[:/]R\b|\binvalidat\w+|\bthesis\b"
    r"|\btolerance\b"
    r"|\b(?:I|we)(?:['’]d| would| assign| suggest| recommend| propose| see| allocate| give)\b",
    re.I,
)


def is_planning(sentence: str) -> bool:
    """Whether a sentence is about a plan or a scenario; a figure in it without a quantity is a proposal."""
    return _PLANNING.search(sentence) is not None


def is_proposal(before: str, after: str, sentence: str) -> bool:
    """Whether the words around a figure, in its clause and earlier in its sentence, make it a proposal."""
    if _AT_LEVEL.search(before) and (_FIRST_PERSON.search(sentence) or _PLAN.match(sentence)):
        return tied_label(sentence, len(sentence.rstrip("~≈$€£"))) is None
    if any(pattern.search(before) for pattern in (_IN_CLAUSE, _SCENARIO, _ACTION, _CONDITION)) or _AFTER.match(after):
        return True
    return _TARGET.search(before) is not None and _OF_OTHERS.search(before) is None
