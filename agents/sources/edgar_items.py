"""The XBRL tags under which companies file the items of our statements."""

from __future__ import annotations

from typing import NamedTuple


class Item(NamedTuple):
    name: str
    statement: str
    unit: str
    tags: tuple[str, ...]
    """The preferred one first."""


_INCOME, _BALANCE, _CASH = "income_statement", "balance_sheet", "cash_flow_statement"

ITEMS: tuple[Item, ...] = (
    Item(
        "revenues",
        _INCOME,
        "USD",
        (
            "RevenueFromContractWithCustomerExcludingAssessedTax",
            "Revenues",
            "RevenueFromContractWithCustomerIncludingAssessedTax",
            "SalesRevenueNet",
            "RevenuesNetOfInterestExpense",
        ),
    ),
    Item("cost_of_revenue", _INCOME, "USD", ("CostOfGoodsAndServicesSold", "CostOfRevenue", "CostOfGoodsSold")),
    Item("gross_profit", _INCOME, "USD", ("GrossProfit",)),
    Item("operating_expenses", _INCOME, "USD", ("OperatingExpenses", "CostsAndExpenses")),
    Item("research_and_development", _INCOME, "USD", ("ResearchAndDevelopmentExpense",)),
    Item("operating_income_loss", _INCOME, "USD", ("OperatingIncomeLoss",)),
    Item("income_tax_expense_benefit", _INCOME, "USD", ("IncomeTaxExpenseBenefit",)),
    Item("net_income_loss", _INCOME, "USD", ("NetIncomeLoss", "ProfitLoss")),
    Item("diluted_earnings_per_share", _INCOME, "USD/shares", ("EarningsPerShareDiluted", "EarningsPerShareBasicAndDiluted")),
    Item("basic_average_shares", _INCOME, "shares", ("WeightedAverageNumberOfSharesOutstandingBasic",)),
    Item("assets", _BALANCE, "USD", ("Assets",)),
    Item("current_assets", _BALANCE, "USD", ("AssetsCurrent",)),
    Item(
        "cash",
        _BALANCE,
        "USD",
        ("CashAndCashEquivalentsAtCarryingValue", "CashCashEquivalentsRestrictedCashAndRestrictedCashEquivalents"),
    ),
    Item("inventory", _BALANCE, "USD", ("InventoryNet",)),
    Item("liabilities", _BALANCE, "USD", ("Liabilities",)),
    Item("current_liabilities", _BALANCE, "USD", ("LiabilitiesCurrent",)),
    Item("long_term_debt", _BALANCE, "USD", ("LongTermDebtNoncurrent", "LongTermDebt")),
    Item(
        "equity",
        _BALANCE,
        "USD",
        ("StockholdersEquity", "StockholdersEquityIncludingPortionAttributableToNoncontrollingInterest"),
    ),
    Item("shares_outstanding", _BALANCE, "shares", ("EntityCommonStockSharesOutstanding", "CommonStockSharesOutstanding")),
    Item("net_cash_flow_from_operating_activities", _CASH, "USD", ("NetCashProvidedByUsedInOperatingActivities",)),
    Item("net_cash_flow_from_investing_activities", _CASH, "USD", ("NetCashProvidedByUsedInInvestingActivities",)),
    Item("net_cash_flow_from_financing_activities", _CASH, "USD", ("NetCashProvidedByUsedInFinancingActivities",)),
    Item("capital_expenditure", _CASH, "USD", ("PaymentsToAcquirePropertyPlantAndEquipment",)),
    Item("dividends_paid", _CASH, "USD", ("PaymentsOfDividends", "PaymentsOfDividendsCommonStock")),
)
