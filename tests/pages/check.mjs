// Looks at pages with a browser: node check.mjs [--out DIR] [--cookie NAME=VALUE] [--chromium PATH] DIRECTORY | URL…
//
// A directory is one written by `cargo run -p systole-server --example pages -- DIR`; it is served here, under the headers of
// the server. Each page is opened light and dark, wide and narrow. Fails on any axe violation (WCAG 2.2 A and AA), console
// error, refused or foreign request, sideways scrolling, and on words for times that the script writes unlike the server.
import { createServer } from "node:http";
import { mkdir, readFile, readdir, stat } from "node:fs/promises";
import { createRequire } from "node:module";
import { join, normalize } from "node:path";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";

const { values: options, positionals: targets } = parseArgs({
  allowPositionals: true,
  options: {
    out: { type: "string", default: "out" },
    cookie: { type: "string" },
    chromium: { type: "string", default: process.env.CHROMIUM ?? "/usr/bin/chromium" },
  },
});
if (targets.length === 0) {
  console.error("usage: node check.mjs [--out DIR] [--cookie NAME=VALUE] [--chromium PATH] DIRECTORY | URL…");
  process.exit(2);
}

const AXE = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
const TYPES = { html: "text/html; charset=utf-8", css: "text/css; charset=utf-8", js: "text/javascript; charset=utf-8", svg: "image/svg+xml" };
const MAX_BYTES = 50_000;

async function serve(directory) {
  const lines = (await readFile(join(directory, "headers.txt"), "utf8")).trim().split("\n");
  const headers = Object.fromEntries(lines.map(line => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]));
  const server = createServer(async (request, response) => {
    const path = normalize(new URL(request.url, "http://localhost").pathname);
    try {
      const body = await readFile(join(directory, path));
      response.writeHead(200, { ...headers, "content-type": TYPES[path.split(".").pop()] ?? "text/plain" }).end(body);
    } catch {
      response.writeHead(404, headers).end("not found");
    }
  });
  await new Promise(ready => server.listen(0, "127.0.0.1", ready));
  return server;
}

const urls = [];
const servers = [];
for (const target of targets) {
  if (/^https?:/.test(target)) {
    urls.push(target);
  } else if ((await stat(target)).isDirectory()) {
    const server = await serve(target);
    servers.push(server);
    for (const name of (await readdir(target)).sort()) {
      if (name.endsWith(".html")) urls.push(`http://127.0.0.1:${server.address().port}/${name}`);
    }
  }
}

await mkdir(options.out, { recursive: true });
const browser = await chromium.launch({
  executablePath: options.chromium,
  args: ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", ...(process.getuid?.() === 0 ? ["--no-sandbox"] : [])],
});
const failures = [];

async function look(url, colorScheme, width) {
  const { pathname, search } = new URL(url);
  const path = pathname.replace(/\.html$/, "").split("/").filter(Boolean).join("-") || "root";
  const name = `${path}${search.replace(/[^a-z0-9]+/gi, "-")}-${colorScheme}-${width}`;
  const fail = what => failures.push(`${name}: ${what}`);
  const context = await browser.newContext({ colorScheme, viewport: { width, height: width < 600 ? 844 : 900 }, bypassCSP: false, reducedMotion: "reduce" });
  if (options.cookie) {
    const [cookie, ...value] = options.cookie.split("=");
    await context.addCookies([{ name: cookie, value: value.join("="), url: new URL(url).origin }]);
  }
  const page = await context.newPage();
  page.on("console", message => {
    // A page may say what went wrong, with the status for it.
    const isOwnStatus = message.text().startsWith("Failed to load resource") && message.location().url === url;
    if (["error", "warning"].includes(message.type()) && !isOwnStatus) fail(`console: ${message.text()}`);
  });
  page.on("pageerror", error => fail(`script: ${error.message}`));
  page.on("request", request => { if (new URL(request.url()).origin !== new URL(url).origin) fail(`foreign request: ${request.url()}`); });
  page.on("response", response => { if (response.status() >= 400 && response.url() !== url) fail(`${response.status()}: ${response.url()}`); });
  // What the server said for times, and what the script makes of it. Between the two a minute may begin, so it must differ
  // twenty times running to differ.
  const form = text => text.replace(/<[^>]*>/g, "").replace(/\d+/g, "0");
  let differing = [];
  for (let tries = 0; tries === 0 || differing.length > 0 && tries < 20; tries += 1) {
    const reply = await page.goto(url, { waitUntil: "load" });
    await page.waitForFunction(() => document.readyState === "complete");
    const before = await reply.text();
    if (before.length > MAX_BYTES) fail(`${before.length} bytes`);
    const server = [...before.matchAll(/<time[^>]*data-rel[^>]*>[^<]*/g)].map(([text]) => form(text));
    const script = await page.$$eval("time[data-rel]", times => times.map(time => time.textContent.replace(/\d+/g, "0")));
    differing = server.flatMap((text, i) => text === script[i] ? [] : [`the server wrote a time as “${text}”, the script as “${script[i]}”`]);
  }
  differing.forEach(fail);

  const sideways = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  if (sideways > 0) fail(`scrolls ${sideways} px sideways`);
  if (width < 600) {
    const small = await page.$$eval("button, .button, summary, input:not([type=hidden]):not([type=checkbox]), .top nav a", elements =>
      elements.filter(e => e.checkVisibility() && !e.closest("dialog") && !e.matches(".copy") && e.getBoundingClientRect().height < 44)
        .map(e => `${e.textContent.trim() || e.id} is ${Math.round(e.getBoundingClientRect().height)} px high`));
    small.forEach(fail);
  }
  await page.screenshot({ path: join(options.out, `${name}.png`), fullPage: true });
  if (width < 600) await page.screenshot({ path: join(options.out, `${name}-first.png`) });

  // axe is evaluated by the debugger, which the page's policy does not bind; folded parts are looked at too.
  await page.$$eval("details", all => all.forEach(details => { details.removeAttribute("name"); details.open = true; }));
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(rules => globalThis.axe.run(document, { runOnly: rules }), RULES);
  for (const { id, help, nodes } of violations) fail(`axe ${id}: ${help}: ${nodes.slice(0, 3).map(n => `${n.html.slice(0, 140)} (${n.failureSummary.split("\n").slice(1, 2)})`).join(" | ")}`);
  const unfolded = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  if (unfolded > 0) fail(`scrolls ${unfolded} px sideways when unfolded`);
  if (width < 600) {
    await page.setViewportSize({ width: 320, height: 640 });
    const reflowed = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    if (reflowed > 0) fail(`scrolls ${reflowed} px sideways at 320 px`);
  }
  await context.close();
}

try {
  for (const url of urls) {
    for (const scheme of ["light", "dark"]) {
      for (const width of [1280, 390]) await look(url, scheme, width);
    }
  }
} finally {
  await browser.close();
  servers.forEach(server => server.close());
}
failures.forEach(failure => console.error(failure));
console.log(`${urls.length} pages, ${urls.length * 4} views, ${failures.length} failures; screenshots in ${options.out}`);
process.exit(failures.length === 0 ? 0 : 1);
