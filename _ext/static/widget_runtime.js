/*
 * Runs the book's explorers on a static page: no kernel, no server, nothing from a third party.
 *
 * A built page holds two kinds of scripts: one with the state of every widget (widget-state+json), and one at
 * each place where a widget was shown (widget-view+json). For every view this file builds an AnyWidget model
 * (get, set, on, off, save_changes) over the state, imports the widget's own module `_esm` from memory, and
 * calls its `render`. One that cannot run is replaced by a sentence that says why; the others still work.
 *
 * It is a classic script, not a module, so that a page opened from disk (file://) may load it.
 */
(() => {
  "use strict";
  globalThis.attnStaticPage = true;
  const VIEW = 'script[type="application/vnd.jupyter.widget-view+json"]';
  const STATE = 'script[type="application/vnd.jupyter.widget-state+json"]';

  /** The model that a widget's `render` sees: traits, and listeners for "change" and "change:name". */
  function createModel(state) {
    const listeners = new Map();
    const tell = (event, ...details) => [...(listeners.get(event) ?? [])].forEach((listener) => listener(...details));
    const model = {
      get: (name) => state[name],
      set(name, value) {
        if (state[name] === value) return;
        state[name] = value;
        tell(`change:${name}`, model, value);
        tell("change", model);
      },
      save_changes() {},
      on(event, listener) {
        if (!listeners.has(event)) listeners.set(event, new Set());
        listeners.get(event).add(listener);
      },
      off(event, listener) {
        if (event === undefined) listeners.clear();
        else if (listener === undefined) listeners.delete(event);
        else listeners.get(event)?.delete(listener);
      },
      send() {
        throw new Error("this page has no kernel to send a message to");
      },
    };
    return model;
  }

  const modules = new Map();
  /** Import a module from its source text; the same text is imported once. */
  function importSource(source) {
    if (!modules.has(source)) {
      const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
      modules.set(source, import(url).finally(() => URL.revokeObjectURL(url)));
    }
    return modules.get(source);
  }

  function addStyle(css) {
    if (!css || [...document.querySelectorAll("style")].some((style) => style.textContent === css)) return;
    document.head.append(Object.assign(document.createElement("style"), { textContent: css }));
  }

  /** Say in the page, in the widget's place, why it cannot run. */
  function explain(place, reason) {
    const note = document.createElement("p");
    note.className = "explorer-note";
    note.setAttribute("role", "note");
    note.textContent = reason;
    place.replaceChildren(note);
  }

  async function show(script, states, models) {
    const place = document.createElement("div");
    script.after(place);
    let id;
    try {
      id = JSON.parse(script.textContent).model_id;
    } catch {
      return explain(place, "This figure cannot be shown: its description in the page is damaged.");
    }
    const state = states[id]?.state;
    if (!state) return explain(place, "This figure cannot be shown: its state is missing from the page.");
    if (states[id].model_module !== "anywidget") {
      return explain(place, "This widget answers only where Python runs: open the notebook in Colab or Jupyter to use it.");
    }
    try {
      addStyle(state._css);
      const { default: widget } = await importSource(state._esm);
      const definition = typeof widget === "function" ? await widget() : widget;
      if (!models.has(id)) {
        models.set(id, createModel(state));
        await definition.initialize?.({ model: models.get(id) });
      }
      // The still goes first: an explorer that a link leads to scrolls to where it will really stand.
      script.closest(".explorer")?.classList.add("explorer-ready");
      await definition.render({ model: models.get(id), el: place });
    } catch (error) {
      script.closest(".explorer")?.classList.remove("explorer-ready");
      console.warn("An explorer could not start:", error);
      explain(place, `This figure could not start (${error?.message ?? error}).`);
    }
  }

  function start() {
    const models = new Map();
    let states = {};
    try {
      states = JSON.parse(document.querySelector(STATE)?.textContent ?? "{}").state ?? {};
    } catch {
      // Each view then says that its state is missing.
    }
    return Promise.all([...document.querySelectorAll(VIEW)].map((script) => show(script, states, models)));
  }

  const ready = () => start().then(() => document.documentElement.setAttribute("data-explorers", "ready"));
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", ready);
  else ready();
})();
