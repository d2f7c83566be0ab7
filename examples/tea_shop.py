"""
A shop that tells what is ordered; test_tea_shop.py shows how to test what it tells.

    MIXPANEL_TOKEN=... python tea_shop.py mary oolong 2
    pytest test_tea_shop.py
"""

import logging
import sys

import mixpanel_export

PRICES = {"oolong": 4.5, "sencha": 3.25}

log = logging.getLogger("tea_shop")
log.setLevel(logging.INFO)
log.addHandler(mixpanel_export.MixpanelHandler(super_properties={"service": "tea-shop"}))


class SoldOutError(Exception):
    """There is not enough tea."""


class Shop:
    """
    A shop with its stock.

    Args:
        stock: How many cups of each tea there are.
    """

    def __init__(self, stock: dict[str, int]) -> None:
        self.stock = stock

    def order(self, customer: str, tea: str, cups: int, *, card: str = "") -> float:
        """Sell *cups* of *tea* and return the price; raises SoldOutError if there are too few."""
        with mixpanel_export.bound(distinct_id=customer, tea=tea):
            if cups > self.stock.get(tea, 0):
                log.warning("Sold Out", extra={"missing": cups - self.stock.get(tea, 0)})
                raise SoldOutError(tea)
            self.stock[tea] -= cups
            price = PRICES[tea] * cups
            sold = {"cups": cups, "price": price, "card_number": card, "$add": {"cups": cups}}
            log.info("Tea Ordered", extra=sold)
        return price


def main(customer: str, tea: str, cups: str) -> None:
    """Sell tea to somebody at the command line."""
    print(Shop({"oolong": 3, "sencha": 10}).order(customer, tea, int(cups)))


if __name__ == "__main__":
    main(*sys.argv[1:])
