"""Who approves a purchase order. The amounts are those of QT-MH-03, in Vietnamese đồng, without VAT."""

from dataclasses import dataclass

PETTY_CASH = 2_000_000
EMERGENCY_LIMIT = 80_000_000
DEPOSIT_SHARE = 0.30


@dataclass(frozen=True)
class Limit:
    """An approver, and the amount below which they may approve."""

    approver: str
    below: int | None


LIMITS = (
    Limit("head of department", 20_000_000),
    Limit("division director", 100_000_000),
    Limit("chief executive", 500_000_000),
    Limit("board", None),
)


class PurchaseOrder:
    """An order that waits for approval."""

    def __init__(self, amount: int, *, emergency: bool = False) -> None:
        if amount <= 0:
            raise ValueError("an order needs a positive amount")
        self.amount = amount
        self.emergency = emergency

    def needs_request(self) -> bool:
        """Small amounts are paid from petty cash without a request form."""
        return self.amount >= PETTY_CASH

    def approver(self) -> str:
        """Who must approve it. An emergency order up to the limit is the division director's."""
        if self.emergency and self.amount <= EMERGENCY_LIMIT:
            return "division director"
        for limit in LIMITS:
            if limit.below is None or self.amount < limit.below:
                return limit.approver
        raise AssertionError("the last limit has no bound")

    def largest_deposit(self) -> int:
        """The most that may be paid in advance."""
        return int(self.amount * DEPOSIT_SHARE)


def quotes_needed(amount: int) -> int:
    """How many quotes the purchasing team collects."""
    return 1 if amount < 20_000_000 else 3
