// SPDX-License-Identifier: GPL-2.0-only
// The filters of the table of rules. They stand in the fragment, as #verdict=fail&words=reset, where a rule's own name
// may stand as well, so that either can be sent to somebody.
"use strict";

(() => {
  const form = document.getElementById("filter");
  const print = document.getElementById("print");
  print.hidden = false;
  print.addEventListener("click", () => window.print());
  if (!form) return;

  const rows = [...document.querySelectorAll("main tr[id]")];
  const bodies = new Set(rows.map((row) => row.parentElement));
  const words = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
  const NAMES = ["area", "level", "verdict"].filter((name) => form.elements[name]);

  const takes = (wanted, value) => !wanted || (wanted.startsWith("!") ? wanted.slice(1) !== value : wanted === value);

  function show() {
    const wanted = form.elements.words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let number = 0;
    for (const row of rows) {
      row.hidden = !(
        NAMES.every((name) => takes(form.elements[name].value, row.dataset[name])) &&
        wanted.every((word) => words.get(row).includes(word))
      );
      number += row.hidden ? 0 : 1;
    }
    for (const body of bodies) {
      body.hidden = !body.querySelector("tr[id]:not([hidden])");
    }
    form.querySelector("output").textContent = `${number} of ${rows.length} rules`;
  }

  function keep() {
    const set = [...NAMES, "words"].map((name) => [name, form.elements[name].value]).filter(([, value]) => value);
    history.replaceState(null, "", set.length ? `#${new URLSearchParams(set)}` : "#rules");
    show();
  }

  function follow() {
    const fragment = location.hash.slice(1);
    if (fragment.includes("=")) {
      const wanted = new URLSearchParams(fragment);
      for (const name of [...NAMES, "words"]) {
        const field = form.elements[name];
        field.value = wanted.get(name) ?? "";
        if (field.selectedIndex < 0) field.value = "";
      }
      document.getElementById("rules").scrollIntoView();
    } else {
      const row = document.getElementById(fragment);
      if (row && row.hidden) form.reset();
      if (row && row.hidden) row.hidden = false;
      if (row) row.scrollIntoView();
    }
    show();
  }

  form.hidden = false;
  form.addEventListener("input", keep);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(keep));
  window.addEventListener("hashchange", follow);
  follow();
})();
