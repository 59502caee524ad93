// SPDX-License-Identifier: GPL-2.0-only
// The filters of the table of rules. The fragment of the address has them, as in #verdict=fail&words=reset, or it has the
// name of a rule, so that both can be sent as links.
"use strict";

(() => {
  const filter = document.getElementById("filter");
  const print = document.getElementById("print");
  print.hidden = false;
  print.addEventListener("click", () => window.print());
  if (!filter) return;

  const rows = [...document.querySelectorAll("main tr[id]")];
  const bodies = new Set(rows.map((row) => row.parentElement));
  const words = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
  const NAMES = ["area", "level", "verdict"].filter((name) => filter.elements[name]);
  const FIELDS = [...NAMES, "words"];

  const takes = (wanted, value) => !wanted || (wanted.startsWith("!") ? wanted.slice(1) !== value : wanted === value);

  function show() {
    const wanted = filter.elements.words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let number = 0;
    for (const row of rows) {
      row.hidden = !(
        NAMES.every((name) => takes(filter.elements[name].value, row.dataset[name])) &&
        wanted.every((word) => words.get(row).includes(word))
      );
      number += row.hidden ? 0 : 1;
    }
    for (const body of bodies) {
      body.hidden = !body.querySelector("tr[id]:not([hidden])");
    }
    filter.querySelector("output").textContent = `${number} of ${rows.length} rules`;
  }

  function clear() {
    for (const name of FIELDS) filter.elements[name].value = "";
  }

  function keep() {
    const set = FIELDS.map((name) => [name, filter.elements[name].value]).filter(([, value]) => value);
    history.replaceState(null, "", set.length ? `#${new URLSearchParams(set)}` : "#rules");
    show();
  }

  function follow() {
    const fragment = location.hash.slice(1);
    if (fragment.includes("=")) {
      const wanted = new URLSearchParams(fragment);
      for (const name of FIELDS) {
        const field = filter.elements[name];
        field.value = wanted.get(name) ?? "";
        if (field.selectedIndex < 0) field.value = "";
      }
      document.getElementById("rules").scrollIntoView();
    } else {
      const row = document.getElementById(fragment);
      if (row?.hidden) {
        clear();
        show();
        row.scrollIntoView();
      }
    }
    show();
  }

  filter.hidden = false;
  filter.addEventListener("input", keep);
  filter.querySelector("button").addEventListener("click", () => {
    clear();
    keep();
  });
  window.addEventListener("hashchange", follow);
  follow();
})();
