"""What `tidemill forges scripted` tells whoever starts it."""

from tidemill.cli.forges import how_to_play


def test_the_scripted_forge_says_what_to_store_and_what_to_post_next() -> None:
    text = how_to_play("http://127.0.0.1:1", "a/b", "made-up-token", "made-up-secret", None, ("open",), empty=True)
    for said in ("made-up-token", "made-up-secret", "POST http://127.0.0.1:1/_control/ACTION", "/_control/project"):
        assert said in text
    assert "/_control/project" not in how_to_play("http://a", "a/b", "t", "s", None, ("open",), empty=False)
