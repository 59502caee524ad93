// SPDX-License-Identifier: GPL-2.0-only
// A browser with one page, and what that page fetches and complains of.
import { chromium } from "playwright-core";

export async function begun(executablePath) {
  // As root there is no sandbox, and nothing comes from outside here.
  const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
  const page = await (await browser.newContext()).newPage();
  const fetched = [];
  const errors = [];
  page.on("request", (request) => fetched.push(request.url()));
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  page.on("dialog", (dialog) => {
    errors.push(`a dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  return { browser, page, fetched, errors };
}
