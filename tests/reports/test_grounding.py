"""The grounding ledger: what counts as a figure, where it comes from, where an invented one was born and how far it goes."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import FrameType, ModuleType

import pytest

from reports.grounding import labels as labels_
from reports.grounding import of_run as grounding_of_run
from reports.grounding.inputs import MOST_NEAR, Inputs
from reports.grounding.language import is_english
from reports.grounding.origins import MOST_CHARS, origins, origins_of_texts, reaching
from reports.grounding.quantities import quantities
from reports.load import load
from reports.page.prose import marked, marks_of
from tests.reports.synthetic import make_run

ROOT = Path(__file__).resolve().parents[2]
MATERIAL = """2025-05-15: open 210.95, high 212.96, low 209.54, close 211.45
rsi: 55.0 (56.1)
close_50_sma: 208.96 (209.10)
operating margin: 31.0 %
revenues: 95.36B | 90.75B
net_income_loss: -1.24B | 2.10B
"""
GIVEN = Inputs.of([MATERIAL])


def labels(text: str) -> list[str]:
    return [one.label for one in origins(text, GIVEN)]


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("AAPL closed at 211.45.", "verbatim"),
        ("AAPL closed at about 211.", "rounded"),
        ("Der Schlusskurs war 211,45.", "verbatim"),
        ("Revenue was 95.360.000.000,00 dollars.", "verbatim"),
        ("Revenue was $95.36 billion.", "verbatim"),
        ("Revenue was 95,360,000,000 dollars.", "verbatim"),
        ("Revenue was 95,360 million dollars.", "verbatim"),
        ("The operating margin is 0.31.", "derivable"),
        ("The operating margin is 31 %.", "verbatim"),
        ("A net loss of ($1.24 billion) was booked.", "verbatim"),
        ("The close is 1.2 % above the 50-day average of 208.96.", "derivable"),
        ("RSI is at 72.4.", "contradicted"),
        ("The stock trades at 377.15.", "unsupported"),
    ],
)
def test_a_figure_is_traced_to_what_was_given(text: str, label: str) -> None:
    assert labels(text)[0] == label


@pytest.mark.parametrize(
    "text",
    [
        "",
        "No figure stands here.",
        "On 2025-05-15, May 15 and 15.05.2025 the 50-day average held.",
        "1. Momentum. 2. Valuation. See 2.5.1 and the 3rd point, within 4 to 8 weeks.",
        "I set a target of 230, a stop at 198 and a size of 5 %.",
        "It has a 90% chance of being true.",
        "Over 20d and 60d, against the 50DMA and the 200-DMA, in 2Q25 and 1H26.",
        "Bull case: $600. Base case: $560. Bear case: $480.",
        "Bull 40% / base 35% / bear 25%; upside to $390, downside to $250.",
        "Risk/reward is 2.5:1; a 60/40 split is fine.",
        "If it closes below $254, I would exit; add 2% at $265, sell above $310.",
        "Targets of $240, $250 and $260 are mine.",
        "I'd be a buyer at $148 and a seller at $166.",
        "RSI is below the oversold line of 30.",
        "A current ratio under 1.0 would be a warning.",
        "llama3.1-8b and the S&P 500 have nothing to do with it.",
    ],
)
def test_what_only_looks_like_a_claim_is_none(text: str) -> None:
    assert labels(text) == []


def test_amounts_in_other_locales_have_their_value() -> None:
    said = "1.234,56 and 1,234.56 and 1.234.567 and 1\u202f234,5 and (1,234)"

    assert [one.value for one in quantities(said)] == [1234.56, 1234.56, 1234567.0, 1234.5, -1234.0]


@pytest.mark.parametrize(
    ("said", "value", "unit"),
    [
        ("1 234,56", 1234.56, ""),
        ("$(1.22)B", -1.22e9, "$"),
        ("(371) million", -371e6, ""),
        ("(5.4)%", -5.4, "%"),
        ("(12 %)", 12.0, "%"),
        ("8,40 €", 8.4, "$"),
    ],
)
def test_amounts_as_people_write_them_have_their_value(said: str, value: float, unit: str) -> None:
    (found,) = quantities(f"Es war {said} im Jahr.")

    assert found.value == pytest.approx(value)
    assert found.unit == unit


@pytest.mark.parametrize(
    ("said", "values"),
    [
        ("between 150 and 155 dollars", [150, 155]),
        ("$5-6 billion", [5e9, 6e9]),
        ("a range of 150–155", [150, 155]),
        ("30 to 40%", [30, 40]),
        ("prices of 211 212 and 213 in a row", [211, 212, 213]),
        ("up, i.e. 5.1 % more; cf. approx. 7.25 before", [5.1, 7.25]),
        ("- 20.5 is the first item\n- 30.5 the second", [20.5, 30.5]),
    ],
)
def test_ranges_rows_and_lists_are_read_figure_by_figure(said: str, values: list[float]) -> None:
    assert [one.value for one in quantities(said)] == values


def test_a_model_that_copies_its_prompt_invents_nothing() -> None:
    assert set(labels(MATERIAL)) == {"verbatim"}


def test_an_invented_figure_is_followed_from_its_birth_to_the_decision() -> None:
    texts = {
        "market_analyst": "The close of 211.45 is far above 150.33.",
        "news_analyst": "Sales of 777.77 are expected.",
        "bull/1": "As the report says, 150.33 was the low.",
        "portfolio_manager": "Buy: 150.33 held.",
    }

    found = origins_of_texts(texts, GIVEN)

    assert [one.label for one in found["market_analyst"]] == ["verbatim", "unsupported"]
    assert [(one.label, one.born) for one in found["bull/1"]] == [("inherited", "market_analyst")]
    assert [(one.label, one.born) for one in found["portfolio_manager"]] == [("inherited", "market_analyst")]
    assert {place for place, _ in reaching(found, "portfolio_manager")} == {"market_analyst", "bull/1", "portfolio_manager"}


def test_nothing_is_inherited_from_a_text_that_was_not_shown() -> None:
    texts = {"market_analyst": "It stood at 150.33.", "news_analyst": "It stood at 150.33."}

    found = origins_of_texts(texts, GIVEN, shown={})

    assert [one.label for one in found["news_analyst"]] == ["unsupported"]


def test_marked_figures_are_escaped_with_their_source() -> None:
    text = 'A <script>alert(1)</script> close of 211.45 & "9,999.99".'
    given = Inputs.of(['close 211.45 <b title="x">'])

    html = str(marked(text, marks_of(origins(text, given))))

    assert "<script" not in html
    assert 'title="verbatim: close 211.45 &lt;b title=&#34;x&#34;&gt;"' in html
    assert 'class="fig bad-fig" title="unsupported"' in html


def test_a_run_is_traced_once_and_kept(tmp_path: Path) -> None:
    run = load(make_run(tmp_path / "r", tickers=("AAPL",), text="The close of 118.38 fell by 31.77 dollars."))

    first = grounding_of_run.by_cell(run)

    assert (tmp_path / "r" / grounding_of_run.FILE).exists()
    assert grounding_of_run.by_cell(load(tmp_path / "r")).equals(first)
    assert (first["figures"] == 24).all()


def test_several_processes_trace_a_large_run_as_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "The close of 118.38 fell by 31.77 dollars."
    alone, shared = (load(make_run(tmp_path / name, tickers=("AAPL",), text=text)) for name in ("alone", "shared"))
    expected = grounding_of_run.figures(alone)

    monkeypatch.setattr(grounding_of_run, "_MANY_CELLS", 2)

    assert grounding_of_run.figures(shared).equals(expected)


def test_a_run_without_texts_has_no_grounding(tmp_path: Path) -> None:
    run = load(make_run(tmp_path / "r", tickers=("AAPL",), texts=False))

    assert grounding_of_run.by_cell(run).empty


def test_tracing_is_linear_in_the_length_of_texts_and_of_what_was_given() -> None:
    def work(times: int) -> int:
        """Function calls that it takes to trace one cell; how many there are, no clock says."""
        line = "The close of 211.45 fell by 31.77 to 180, a gain of 3.1 % on 99.5 and "
        texts = dict.fromkeys(("market_analyst", "bull/1", "bear/1", "portfolio_manager"), line * times)
        made = 0

        def count(frame: FrameType, event: str, argument: object) -> None:
            nonlocal made
            made += 1

        sys.setprofile(count)
        try:
            found = origins_of_texts(texts, Inputs.of([MATERIAL + line.replace("180", "181") * times]))
            reaching(found, "portfolio_manager")
        finally:
            sys.setprofile(None)
        return made

    work(5)
    assert work(200) < 5 * work(50)


def test_no_figure_is_held_against_more_than_a_stated_many() -> None:
    crowd = Inputs.of(["close: " + " ".join(f"211.{place:04}" for place in range(3000))])

    near = crowd.near(211.15, 1.0)

    assert len(near) == MOST_NEAR
    assert min(fact.value for fact in near) <= 211.15 <= max(fact.value for fact in near)


def test_of_an_endless_text_the_beginning_is_traced() -> None:
    found = origins("It stood at 377.15. " * 5000, GIVEN)

    assert 0 < found[-1].quantity.end <= MOST_CHARS


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("grounding_benchmark", ROOT / "benchmarks" / "grounding.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_labelled_corpus_is_read_with_the_promised_precision_and_recall(benchmark: ModuleType) -> None:
    archive = benchmark.archive_folder()
    if not archive.exists():
        pytest.skip("the djia-2025 archive is not here; set DJIA_2025")
    sentences = benchmark.corpus()

    scores = benchmark.scores(list(benchmark.judge(sentences, archive)))

    assert len(sentences) >= 200
    assert scores["precision"] >= 0.95
    assert scores["recall"] >= 0.90


def test_texts_in_other_languages_are_recognised(benchmark: ModuleType) -> None:
    sentences = [each.text for path in (benchmark.CORPUS, benchmark.HELD_OUT) for each in benchmark.every_sentence(path)]

    foreign = [text for text in sentences if not is_english(text)]

    assert len(foreign) >= 25
    assert not [text for text in foreign if re.search(r"\b(?:the|of|and|with)\b", text)]
    assert not [text for text in sentences if is_english(text) and re.search(r"\b(?:der|die|das|les|il|una)\b", text)]
    assert not is_english("苹果公司的收盘价为211.45美元,高于50日均线。")
    assert is_english("| RSI | 55.0 | 50.1 |")


def test_figures_of_a_text_in_another_language_are_not_measured(tmp_path: Path) -> None:
    german = "Der Kurs fiel um 12,5 % auf 300,38 Dollar, und das ist nicht wenig."
    run = load(make_run(tmp_path / "r", tickers=("AAPL",), text=german))

    assert grounding_of_run.by_cell(run).empty


@pytest.mark.parametrize(
    ("given", "said", "label"),
    [
        ("The shares fell 3.1 % after the report.", "The shares fell 3.1 %.", "verbatim"),
        ("The shares fell 3.1 % after the report.", "The shares rose 3.1 %.", "contradicted"),
        ("macdh: 4.04", "The MACD histogram of -4.04 confirms selling.", "contradicted"),
        ("macd: -5.76", "The MACD turned up to 5.76.", "contradicted"),
        ("macd: -5.76", "The MACD is negative at 5.76.", "verbatim"),
        ("revenues: 16.11B\nresearch_and_development: 533.00M", "R&D of $533 million is 3.3 % of revenue.", "derivable"),
        ("current_assets: 44.95B\ncurrent_liabilities: 32.22B", "Working capital is $12.73 billion.", "derivable"),
        (
            "operating margin: 19.5 %\nrevenues: 16.11B\noperating_income: 3.45B",
            "The operating margin was 21.4 %.",
            "contradicted",
        ),
        ("volume 2.96M, 0.78 x the mean", "Volume was 22 % below its mean.", "derivable"),
        ("volume 2.96M, 0.78 x the mean", "Organic sales grew 22 %.", "unsupported"),
        ("net_income_loss: -330.00M | 1.83B", "A net profit of $330.00 million was made.", "contradicted"),
        ("net_income_loss: -330.00M | 1.83B", "A net loss of $330.00 million was made.", "verbatim"),
        ("net_cash_flow_from_operating_activities: 17.02B", "Cash from operations was an outflow of $17.02bn.", "contradicted"),
        ("net_income_loss: 3.79B | 4.66B\nrevenues: 19.78B | 21.88B", "The net margin was 21.3% before.", "derivable"),
        ("net_income_loss: 3.79B | 4.66B\nrevenues: 19.78B | 21.88B", "The net margin was 24.3% before.", "unsupported"),
        ("provision: 397.00M | 282.00M | 318.00M", "Provisions of $397M are up 41%.", "derivable"),
        ("operating margin: 8.3 %", "The operating margin is 830 basis points.", "derivable"),
        ("2.10 per share, ex 2025-03-10\ndividend: 2.10", "The dividend is $8.40 a year.", "derivable"),
        ("boll_ub: 228.82\nboll_lb: 206.90\nboll: 217.86\nclose: 226.46", "The bands are 10.1% wide, %B is 0.89.", "derivable"),
        ("close: 274.10", "BofA cut its price target to $274.", "unsupported"),
        ("The price target is still set at USD 275.", "BofA keeps its price target of $275.", "verbatim"),
        ("income_loss_after_tax: 11.00B", "Litigation reserves total $11bn after the reversal.", "unsupported"),
        ("revenues: 98.76B | 95.10B", "A revenue of $99.99B is reason to exit; stop at 198.", "contradicted"),
        ("eps: 1.59\neps: 0.98", "EPS of $1.59 beat $0.98 by 61 cents.", "derivable"),
    ],
)
def test_what_the_held_out_sentences_taught(given: str, said: str, label: str) -> None:
    assert origins(said, Inputs.of([given]))[-1].label == label


def test_quantities_are_found_as_if_every_pattern_were_tried_at_every_word() -> None:
    tried = re.compile("(?<![A-Za-z0-9])(?:" + "|".join(f"(?P<{name}>{one})" for name, one in labels_._PATTERNS) + ")", re.I)
    texts = [MATERIAL, *(str(one) for one in labels_._PATTERNS), "Cash-flow; 50-DAY SMA, P/E 12x (EBITDA), macd_signal\nBands"]
    for text in texts:
        assert list(labels_.named_in(text)) == [(m.lastgroup, m.start(), m.end()) for m in tried.finditer(text)]
