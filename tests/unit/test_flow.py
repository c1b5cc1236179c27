"""Data that goes from one Python function to another."""

from tidemill.review.engines import FlowEngine


async def found(files: dict[str, str]) -> list[tuple[str, str, int]]:
    return [(one.rule, one.path, one.line) for one in (await FlowEngine().read(files)).remarks]


async def test_a_function_that_passes_its_arguments_on_to_itself_in_another_order_is_followed() -> None:
    text = """\
from urllib.request import urlopen


def ask(url, referer=None):
    page = urlopen(url)
    if page.status == 302:
        return ask(referer, url)
    return page


def view(request):
    return ask("https://a.example", request.args["u"])
"""
    assert await found({"a.py": text}) == [("python-ssrf", "a.py", 5)]
