"""A sentence of one's own, and what any head of a trained GPT reads in it."""

import ipywidgets as widgets

from gpt2lite.course.attention import attention_weights
from gpt2lite.course.figures import attention_maps
from gpt2lite.course.html import paper
from gpt2lite.course.names import token_names
from gpt2lite.plotting import to_html
from gpt2lite.tokenizer import get_tokenizer

MOST = 32  # tokens that a map can name


def attention_explorer(model, text: str, layer: int = 2, head: int = 1) -> widgets.Widget:
    """Return sliders for layer and head and a sentence above the attention weights, live.

    The model runs when the sentence changes; a slider only shows another head. The first tokens of
    a long sentence are shown.
    """
    wide = {"style": {"description_width": "75px"}, "layout": widgets.Layout(width="335px")}
    c = model.config
    layers = widgets.IntSlider(layer, 0, c.n_layer - 1, description="layer", **wide)
    heads = widgets.IntSlider(head, 0, c.n_head - 1, description="head", **wide)
    sentence = widgets.Textarea(
        text,
        description="sentence",
        continuous_update=False,
        style=wide["style"],
        layout=widgets.Layout(width="675px", height="60px"),
    )
    page = widgets.HTML(layout=widgets.Layout(min_height="460px"))
    names, weights = [], None

    def read(_change=None):
        nonlocal names, weights
        ids = get_tokenizer().encode_ordinary(sentence.value)[: min(MOST, c.block_size)]
        names, weights = token_names(ids), attention_weights(model, ids) if ids else None
        draw()

    def draw(_change=None):
        if weights is None:
            page.value = paper("Type a sentence and leave the field: a map needs a token or more.")
            return
        title = f"layer {layers.value}, head {heads.value}"
        fig = attention_maps({title: weights[layers.value, heads.value]}, names)
        fig.set_size_inches(*2 * [min(1.6 + 0.16 * len(names), 6.8)])  # 0.16 inches a token
        page.value = paper(to_html(fig))

    sentence.observe(read, "value")
    for slider in (layers, heads):
        slider.observe(draw, "value")
    read()
    return widgets.VBox([sentence, widgets.HBox([layers, heads]), page])
