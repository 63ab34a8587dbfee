// What the case viewer shows at once: one budget and one run, of those that exist.

function fillSelect(select, options, wanted) {
  select.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
  select.value = wanted;
}

// Lets the reader choose. Calls changed() after each choice. Returns a function that tells the view.
function startViews(part, data, changed) {
  let view = data.views[data.first] ?? { trials: [], labels: [], keys: [] };

  function show(next) {
    const [a, b] = ["a", "b"].map((name) => next.keys.indexOf(view.keys[Number(part(name).value)]));
    view = next;
    const runs = data.views.map((of, n) => [n, of.run]).filter(([n]) => data.views[n].budget === view.budget);
    const methods = view.labels.map((label, n) => [n, label]);
    fillSelect(part("run"), runs, data.views.indexOf(view));
    fillSelect(part("a"), methods, Math.max(a, 0));
    fillSelect(part("b"), [[-1, "none"], ...methods], b);
    changed();
  }

  part("budget").addEventListener("change", () => {
    const views = data.views.filter((of) => of.budget === part("budget").value);
    show(views.find((of) => of.run === view.run) ?? views[0]);
  });
  part("run").addEventListener("change", () => show(data.views[part("run").value]));
  return () => view;
}
