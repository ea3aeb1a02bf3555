"use strict";
// Figures that fit themselves to the page in the middle of a layout make browsers report an error;
// in the next frame they do not.
window.ResizeObserver = class extends window.ResizeObserver {
  constructor(callback) {
    super((entries, observer) => requestAnimationFrame(() => callback(entries, observer)));
  }
};

// Shows in every figure only the runs that are ticked. Rows of a figure's data carry the number of
// their run, or -(g + 1) for the mean of the group with label g.
(function () {
  const boxes = () => [...document.querySelectorAll("#runs input[data-run]")];
  const groups = () => [...document.querySelectorAll("#runs input[data-group]")];
  const membersOf = (group) => boxes().filter((b) => b.dataset.of === group.dataset.group);

  function shown() {
    const on = new Set();
    for (const box of boxes()) {
      if (!box.checked) continue;
      on.add(Number(box.dataset.run));
      on.add(-(Number(box.dataset.of) + 1));
    }
    return on;
  }

  function renderers() {
    const found = [];
    for (const drawn of Bokeh.documents) {
      for (const root of drawn.roots()) {
        for (const model of root.references()) {
          if (model.type === "GlyphRenderer" && model.view.filter.type === "BooleanFilter") found.push(model);
        }
      }
    }
    return found;
  }

  function apply() {
    const on = shown();
    for (const renderer of renderers()) {
      const rows = Array.from(renderer.data_source.data.run);
      renderer.view.filter.booleans = rows.map((run) => on.has(run));
    }
    for (const row of document.querySelectorAll("tr[data-group]")) {
      row.hidden = !on.has(-(Number(row.dataset.group) + 1));
    }
    for (const group of groups()) {
      const ticked = membersOf(group).filter((b) => b.checked).length;
      group.checked = ticked > 0;
      group.indeterminate = ticked > 0 && ticked < membersOf(group).length;
    }
  }

  function tick(chosen) {
    for (const box of boxes()) box.checked = chosen(box);
    apply();
  }

  document.addEventListener("change", (event) => {
    const box = event.target;
    if (box.dataset.group !== undefined) for (const member of membersOf(box)) member.checked = box.checked;
    if (box.closest("#runs")) apply();
  });
  document.addEventListener("dblclick", (event) => {
    const group = event.target.closest("#runs .group");
    if (group) tick((box) => box.dataset.of === group.dataset.of);
  });
  document.addEventListener("click", (event) => {
    if (event.target.dataset.tick) tick(() => event.target.dataset.tick === "all");
  });
})();
