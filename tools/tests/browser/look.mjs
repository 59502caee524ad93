// SPDX-License-Identifier: GPL-2.0-only
// Opens a page in Chromium as a reader would, and prints what was seen as JSON.
//
//     node look.mjs CHROMIUM ADDRESS FOLDER WIDTH...
//
// At each width, light and dark: a picture in FOLDER, what is wider than the window, what axe complains of. Then as a PDF
// in FOLDER, and how long it took until the page was there. What the page fetches or complains of is listed, too.
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import path from "node:path";
import { begun } from "./browser.mjs";

const SCHEMES = ["light", "dark"];
const AXE = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

async function look(page, folder, width, scheme) {
  await page.setViewportSize({ width, height: 900 });
  await page.emulateMedia({ colorScheme: scheme });
  await page.screenshot({ path: path.join(folder, `${width}-${scheme}.png`) });
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  const complaints = await page.evaluate(async () => {
    const { violations } = await globalThis.axe.run({ resultTypes: ["violations"] });
    return violations.map(({ id, nodes }) => `${id}: ${nodes[0].html.slice(0, 300)}`);
  });
  return { width, scheme, overflow, complaints };
}

const [chromium, address, folder, ...widths] = process.argv.slice(2);
const { browser, page, fetched, errors } = await begun(chromium);
await page.goto(address);
const times = await page.evaluate(() => performance.getEntriesByType("navigation")[0].toJSON());
await page.evaluate(AXE);
const views = [];
for (const width of widths) {
  for (const scheme of SCHEMES) views.push(await look(page, folder, Number(width), scheme));
}
await page.pdf({ path: path.join(folder, "page.pdf"), preferCSSPageSize: true });
await browser.close();
console.log(JSON.stringify({ views, fetched, errors, milliseconds: times.loadEventEnd }));
