"""widget_runtime.js on its own, in pages made by hand and opened from disk."""

from __future__ import annotations

import json
import shutil

import pytest

from .harness import READY, ROOT, serve

RUNTIME = ROOT / "_ext" / "static" / "widget_runtime.js"
COULD_NOT_START = "An explorer could not start"

# A counter: a button that raises `count`, and the number.
COUNTER = """
export default { render({ model, el }) {
  const button = document.createElement("button");
  const show = () => { button.textContent = `count ${model.get("count")}`; };
  button.onclick = () => { model.set("count", model.get("count") + 1); model.save_changes(); };
  model.on("change:count", show);
  el.append(button);
  show();
} };
"""


def widget(esm=COUNTER, module="anywidget", **state):
    """The state of one widget as it stands in a page."""
    return {"model_module": module, "model_name": "AnyModel", "state": {"_esm": esm, **state}}


def page_source(states, views, *, state_text=None):
    """A page with these states and, for each name, a view; what follows a "!" is put in as it is."""
    state_text = json.dumps({"state": states}) if state_text is None else state_text
    state_text = state_text.replace("</", "<\\/")
    scripts = "\n".join(
        f'<div class="explorer" id="place-{n}"><script type="application/vnd.jupyter.widget-view+json">'
        f"{view[1:] if view.startswith('!') else json.dumps({'model_id': view})}</script></div>"
        for n, view in enumerate(views)
    )
    kind = "application/vnd.jupyter.widget-state+json"
    state = f'<script type="{kind}">{state_text}</script>' if state_text else ""
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>A page</title>"
        "<link rel='icon' href='data:,'><script src='widget_runtime.js'></script></head>"
        f"<body>{scripts}{state}</body></html>"
    )


@pytest.fixture
def show(tmp_path, watched):
    """Write a page made by hand and open it from disk."""

    def open_page(states, views, *, allow=(), **options):
        shutil.copy(RUNTIME, tmp_path)
        (tmp_path / "index.html").write_text(
            page_source(states, views, **options), encoding="utf-8"
        )
        return watched((tmp_path / "index.html").as_uri(), allow=allow)

    return open_page


def place(page, number):
    return page.locator(f"#place-{number}")


def works(page, number):
    """The counter in a place counts, and the place is marked as live."""
    button = place(page, number).locator("button")
    before = int(button.inner_text().split()[1])
    button.click()
    assert button.inner_text() == f"count {before + 1}"
    assert "explorer-ready" in place(page, number).get_attribute("class")


def explains(page, number, words):
    """A place holds a readable message instead of a widget, and is not marked as live."""
    note = place(page, number).locator("[role=note]")
    assert words in note.inner_text()
    assert note.is_visible()
    assert "explorer-ready" not in place(page, number).get_attribute("class")


# ---- What works ---------------------------------------------------------------------------------


def test_shows_a_widget_from_disk(show):
    page = show({"a": widget(count=3)}, ["a"])
    assert page.url.startswith("file://")
    assert place(page, 0).locator("button").inner_text() == "count 3"
    works(page, 0)


def test_shows_a_widget_from_a_server(tmp_path, watched):
    shutil.copy(RUNTIME, tmp_path)
    text = page_source({"a": widget(count=3)}, ["a"])
    (tmp_path / "index.html").write_text(text, encoding="utf-8")
    with serve(tmp_path) as address:
        works(watched(f"{address}/index.html"), 0)


def test_a_page_without_widgets_is_ready_too(show):
    assert show({}, [], state_text="").locator("[role=note]").count() == 0


def test_two_views_of_one_model_share_its_state(show):
    page = show({"a": widget(count=0), "b": widget(count=10)}, ["a", "b", "a"])
    works(page, 0)
    texts = [place(page, n).locator("button").inner_text() for n in range(3)]
    assert texts == ["count 1", "count 10", "count 1"]
    works(page, 2)
    assert place(page, 0).locator("button").inner_text() == "count 2"


def test_a_change_is_told_once_and_only_where_there_is_one(show):
    esm = """export default { render({ model }) {
      globalThis.model = model;
      globalThis.heard = [];
      globalThis.named = (source, value) => heard.push(["change:x", value, source === model]);
      globalThis.any = () => heard.push(["change", model.get("x")]);
      model.on("change:x", named); model.on("change:x", named); model.on("change", any);
    } }"""
    page = show({"a": widget(esm, x=1)}, ["a"])
    page.evaluate("() => { model.set('x', 2); model.set('x', 2); model.set('y', 5); }")
    assert page.evaluate("heard") == [["change:x", 2, True], ["change", 2], ["change", 2]]
    assert page.evaluate("[model.get('x'), model.get('y'), model.get('z') ?? null]") == [2, 5, None]


def test_off_takes_listeners_away(show):
    esm = (
        "export default { render({ model }) { globalThis.model = model; globalThis.heard = []; } }"
    )
    page = show({"a": widget(esm, x=1)}, ["a"])
    page.evaluate("""() => {
      const [one, two] = [() => heard.push("one"), () => heard.push("two")];
      model.on("change:x", one); model.on("change:x", two);
      model.off("change:x", one); model.set("x", 2);    // two
      model.off("change:x"); model.set("x", 3);         // nobody
      model.on("change:x", one); model.on("change", two);
      model.off("change:y", one); model.set("x", 4);    // one, two
      model.off(); model.set("x", 5);                   // nobody
    }""")
    assert page.evaluate("heard") == ["two", "one", "two"]


def test_a_message_to_the_kernel_is_refused(show):
    esm = "export default { render({ model }) { globalThis.model = model; } }"
    page = show({"a": widget(esm)}, ["a"])
    words = page.evaluate(
        "() => { try { model.send({}); } catch (error) { return error.message; } }"
    )
    assert "no kernel" in words


def test_initialize_comes_once_for_all_views_and_before_render(show):
    esm = """export default {
      initialize({ model }) { model.set("count", model.get("count") + 100); },
      render({ model, el }) { el.textContent = `count ${model.get("count")}`; },
    }"""
    page = show({"a": widget(esm, count=1)}, ["a", "a"])
    assert [place(page, n).inner_text() for n in (0, 1)] == ["count 101", "count 101"]


def test_a_definition_may_be_a_function_and_take_its_time(show):
    esm = """export default async () => {
      await new Promise((done) => setTimeout(done));
      return { async render({ el }) { await new Promise((done) => setTimeout(done)); el.append("late"); } };
    }"""
    page = show({"a": widget(esm), "b": widget(count=1)}, ["a", "b"])
    assert place(page, 0).inner_text() == "late"
    works(page, 1)


def test_a_style_is_added_once(show):
    css = ".counted { color: rgb(1, 2, 3); }"
    states = {"a": widget(_css=css, count=0), "b": widget(_css=css, count=0), "c": widget(count=0)}
    page = show(states, ["a", "a", "b", "c"])
    count = "[...document.querySelectorAll('style')].filter((s) => s.textContent.includes('.counted')).length"
    assert page.evaluate(count) == 1


def test_a_module_is_imported_once(show):
    esm = "globalThis.imports = (globalThis.imports ?? 0) + 1;\n" + COUNTER
    page = show({"a": widget(esm, count=0), "b": widget(esm, count=5)}, ["a", "b", "a"])
    assert page.evaluate("imports") == 1
    works(page, 1)


# ---- What cannot work says so, and leaves the others alone --------------------------------------


def test_a_plain_ipywidget_points_to_colab(show):
    slider = widget(module="@jupyter-widgets/controls", value=3)
    page = show({"a": slider, "b": widget(count=0)}, ["a", "b"])
    explains(page, 0, "open the notebook in Colab or Jupyter")
    works(page, 1)


def test_a_missing_state(show):
    page = show({"b": widget(count=0)}, ["lost", "b"])
    explains(page, 0, "its state is missing from the page")
    works(page, 1)


@pytest.mark.parametrize("text", ["", "{", '{"state": ', "null", "[]"], ids=repr)
def test_a_page_whose_states_are_missing_or_damaged(show, text):
    page = show({}, ["a", "b"], state_text=text)
    for number in (0, 1):
        explains(page, number, "its state is missing from the page")


@pytest.mark.parametrize("view", ["!", "!{not json", "!null"])
def test_a_damaged_view(show, tmp_path, view):
    page = show({"b": widget(count=0)}, [view, "b"])
    explains(page, 0, "its description in the page is damaged")
    works(page, 1)


BROKEN = {
    "render throws": 'export default { render() { throw new Error("too <b>hot</b>"); } }',
    "render rejects": 'export default { async render() { throw new Error("too <b>hot</b>"); } }',
    "render drew half": """export default { render({ el }) {
        el.append("half a figure"); throw new Error("too <b>hot</b>"); } }""",
    "initialize throws": """export default {
        initialize() { throw new Error("too <b>hot</b>"); }, render({ el }) { el.append("never"); } }""",
    "module throws": 'throw new Error("too <b>hot</b>"); export default {};',
    "factory throws": 'export default () => { throw new Error("too <b>hot</b>"); }',
    "throws a string": 'export default { render() { throw "too <b>hot</b>"; } }',
    "throws null": "export default { render() { throw null; } }",
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_widget_that_throws(show, case):
    states = {"a": widget(BROKEN[case]), "b": widget(count=0)}
    page = show(states, ["a", "b"], allow=[COULD_NOT_START])
    explains(
        page, 0, "could not start (null)" if "null" in case else "could not start (too <b>hot</b>)"
    )
    assert "half" not in place(page, 0).inner_text()
    works(page, 1)


@pytest.mark.parametrize(
    ("esm", "words"),
    [
        ("export default { render( }", "Unexpected token"),
        ("import nothing from 'nowhere'; export default {};", "nowhere"),
        ("export const render = () => {};", "could not start"),
        ("export default { paint() {} };", "render"),
        (None, "could not start"),
    ],
    ids=["syntax error", "import of a package", "no default", "no render", "no module"],
)
def test_a_module_that_is_none(show, esm, words):
    state = widget(esm)
    if esm is None:
        del state["state"]["_esm"]
    page = show({"a": state, "b": widget(count=0)}, ["a", "b"], allow=[COULD_NOT_START])
    explains(page, 0, words)
    works(page, 1)


def test_ready_is_said_although_one_failed(show):
    page = show({"a": widget("nonsense(")}, ["a"], allow=[COULD_NOT_START])
    assert page.locator(READY).count() == 1
