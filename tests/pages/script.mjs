// What systole.js does, driven in a browser: node script.mjs DIRECTORY (as for check.mjs). Waits on states, never for a time.
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const directory = process.argv[2];
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const lines = (await readFile(join(directory, "headers.txt"), "utf8")).trim().split("\n");
const headers = Object.fromEntries(lines.map(line => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]));

// Pages by path; a test may change what the next request gets. Posts are noted.
const overrides = new Map();
const posts = [];
let answers = true;
const server = createServer(async (request, response) => {
  const { pathname } = new URL(request.url, "http://localhost");
  if (request.method === "POST") {
    let body = "";
    for await (const chunk of request) body += chunk;
    posts.push({ pathname, body, origin: request.headers.origin });
    return response.writeHead(303, { location: "/overview-well.html" }).end();
  }
  if (!answers && pathname.endsWith(".html")) return response.writeHead(503, headers).end("no");
  try {
    let body = await readFile(join(directory, pathname));
    const type = { css: "text/css", js: "text/javascript", svg: "image/svg+xml" }[pathname.split(".").pop()] ?? "text/html; charset=utf-8";
    if (overrides.has(pathname)) body = overrides.get(pathname)(body.toString());
    response.writeHead(200, { ...headers, "content-type": type }).end(body);
  } catch {
    response.writeHead(404).end();
  }
});
await new Promise(ready => server.listen(0, "127.0.0.1", ready));
const base = `http://127.0.0.1:${server.address().port}`;
const quick = html => html.replace(/data-every="\d+"/, 'data-every="0.1"');

const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--disable-gpu", ...(process.getuid?.() === 0 ? ["--no-sandbox"] : [])] });
const tests = {
  async "the set-up code moves from the address into the form, and is sent"(page) {
    await page.goto(`${base}/setup.html#c0de-of_256.bits`);
    assert.equal(await page.locator("#code").inputValue(), "c0de-of_256.bits");
    assert.equal(await page.locator("#code").isVisible(), false);
    assert.equal(new URL(page.url()).hash, "");
    await page.fill("#password", "twelve or more");
    await page.click("text=Make the administrator");
    const { pathname, body, origin } = posts.at(-1);
    assert.equal(pathname, "/setup");
    assert.equal(new URLSearchParams(body).get("code"), "c0de-of_256.bits");
    assert.equal(origin, base, "browsers name the origin, which the server checks");
  },
  async "without a code in the address its field is shown"(page) {
    await page.goto(`${base}/setup.html`);
    assert.equal(await page.locator("#code").isVisible(), true);
  },
  async "a state that changed shows without loading again, and focus and folds stay"(page) {
    overrides.set("/incident.html", quick);
    await page.goto(`${base}/incident.html`);
    await page.evaluate(() => { globalThis.same = true; });
    await page.locator("#deliveries summary").first().click();
    await page.locator("#timeline").scrollIntoViewIfNeeded();
    await page.evaluate(() => document.querySelector("#head a[href='/incidents']").focus());
    overrides.set("/incident.html", html => quick(html).replace("Nobody has acknowledged it.", "Somebody has it.").replaceAll("Pending", "Delivered"));
    await page.waitForSelector("#head >> text=Somebody has it.");
    await page.waitForFunction(() => !document.querySelector("#deliveries").textContent.includes("Pending"));
    assert.equal(await page.evaluate(() => globalThis.same), true);
    assert.equal(await page.evaluate(() => document.activeElement.getAttribute("href")), "/incidents");
    assert.equal(await page.locator("#deliveries details").first().evaluate(details => details.open), true);
  },
  async "a server that does not answer is said, and forgotten when it does"(page) {
    overrides.set("/overview.html", quick);
    await page.goto(`${base}/overview.html`);
    answers = false;
    page.expectErrors = true;
    await page.waitForSelector("text=the server does not answer");
    answers = true;
    await page.waitForFunction(() => document.querySelector("#live").textContent === "");
  },
  async "keys move, find, acknowledge and explain"(page) {
    overrides.delete("/overview.html");
    await page.goto(`${base}/overview.html`);
    await page.keyboard.press("?");
    assert.equal(await page.locator("#keys").isVisible(), true);
    await page.keyboard.press("Escape");
    await page.keyboard.press("j");
    await page.keyboard.press("j");
    await page.keyboard.press("k");
    assert.equal(await page.evaluate(() => document.activeElement.textContent), "invoice-generator");
    await page.keyboard.press("/");
    await page.keyboard.type("jka?");
    assert.equal(await page.locator("[data-find]").inputValue(), "jka?");
    await page.locator("h1").click();
    await page.evaluate(() => document.activeElement.blur());
    await page.keyboard.press("j");
    await page.keyboard.press("a");
    await page.waitForURL("**/overview-well.html");
    assert.deepEqual([posts.at(-1).pathname, posts.at(-1).body], ["/incidents/412/acknowledge", "back=%2F"]);
  },
  async "lines are copied as they stand"(page, context) {
    await context.grantPermissions(["clipboard-read", "clipboard-write"]);
    await page.goto(`${base}/monitor.html`);
    await page.click("text=systemd");
    await page.locator("[data-copy=systemd]").click();
    await page.waitForSelector("text=Copied");
    const copied = await page.evaluate(() => navigator.clipboard.readText());
    assert.match(copied, /^# \/etc\/systemd[\s\S]*\/ping\/5f0c2d4e/);
    assert.equal(copied, await page.locator("#systemd").textContent());
  },
  async "without the script every page still shows, and folds open"(page, context, noScript) {
    await noScript.goto(`${base}/monitor.html`);
    assert.equal(await noScript.locator("[data-copy]").first().isVisible(), false);
    await noScript.click("text=Delete");
    assert.equal(await noScript.locator("text=Delete for good").isVisible(), true);
    await noScript.goto(`${base}/setup.html#code`);
    assert.equal(await noScript.locator("#code").isVisible(), true);
  },
};

let failed = 0;
for (const [name, test] of Object.entries(tests)) {
  const context = await browser.newContext();
  const still = await browser.newContext({ javaScriptEnabled: false });
  const page = await context.newPage();
  page.setDefaultTimeout(15000);
  const errors = [];
  page.on("pageerror", error => errors.push(error.message));
  page.on("console", message => { if (message.type() === "error" && !page.expectErrors) errors.push(message.text()); });
  try {
    await test(page, context, await still.newPage());
    assert.deepEqual(errors, []);
    console.log(`ok: ${name}`);
  } catch (error) {
    failed += 1;
    console.error(`FAILED: ${name}\n${error.stack}`);
  }
  await context.close();
  await still.close();
}
await browser.close();
server.close();
process.exit(failed === 0 ? 0 : 1);
