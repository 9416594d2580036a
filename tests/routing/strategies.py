"""What the routing tests draw topics and filters from: few level names, so that matches are common."""

from hypothesis import strategies as st

NAMES = st.sampled_from(["", "a", "b", "$a"])
"""Level names; empty levels and a name with a leading `$` among them."""

topic_names = st.lists(NAMES, min_size=1, max_size=5).map("/".join).filter(bool)


@st.composite
def topic_filters(draw: st.DrawFn) -> str:
    """Draw a valid filter of one to five levels."""
    levels = draw(st.lists(NAMES | st.just("+"), max_size=4))
    levels.append(draw(NAMES | st.sampled_from(["+", "#"])))
    topic_filter = "/".join(levels)
    return topic_filter or "+"
