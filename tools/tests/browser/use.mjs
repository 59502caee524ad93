// SPDX-License-Identifier: GPL-2.0-only
// Uses a page in Chromium step by step, and prints after each what can be seen, as JSON.
//
//     node use.mjs CHROMIUM STEPS
//
// STEPS is JSON, a list of lists: ["open", ADDRESS], ["choose", FIELD, VALUE], ["type", FIELD, TEXT], ["click", SELECTOR],
// ["press", KEY], ["back"].
import { begun } from "./browser.mjs";

const [chromium, steps] = process.argv.slice(2);
const { browser, page, errors } = await begun(chromium);
await page.setViewportSize({ width: 1400, height: 900 });
await page.addInitScript(() => (globalThis.print = () => (document.body.dataset.printed = "yes")));

const DO = {
  open: (address) => page.goto(address),
  choose: (field, value) => page.selectOption(`[name=${field}]`, value),
  type: (field, text) => page.fill(`[name=${field}]`, text),
  click: (selector) => page.click(selector),
  press: (key) => page.keyboard.press(key),
  back: () => page.goBack(),
};

function seen() {
  const visible = (element) => element.checkVisibility();
  const inView = (element) => element.getBoundingClientRect().top >= 0 && element.getBoundingClientRect().top < innerHeight;
  return {
    address: location.href,
    rows: [...document.querySelectorAll("main tr[id]")].filter(visible).map((row) => row.id),
    count: document.querySelector("output")?.textContent ?? "",
    target: document.querySelector(":target")?.id ?? "",
    targetInView: [...document.querySelectorAll(":target")].some(inView),
    focus: document.activeElement?.textContent.trim().slice(0, 60) ?? "",
    printed: document.body.dataset.printed ?? "",
  };
}

const views = [];
for (const [step, ...words] of JSON.parse(steps)) {
  await DO[step](...words);
  await page.waitForTimeout(50);
  views.push(await page.evaluate(seen));
}
await browser.close();
console.log(JSON.stringify({ views, errors }));
