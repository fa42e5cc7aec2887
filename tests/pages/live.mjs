// The real server, filled through its API and its forms, looked at with a browser: node live.mjs --binary SYSTOLE --out DIR.
// Every wait is for a state, never for a time.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";

const { values: options } = parseArgs({ options: { binary: { type: "string" }, out: { type: "string", default: "out" } } });
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const EMAIL = "admin@example.org";
const PASSWORD = "correct horse battery";
const PATIENCE = 60_000; // how long a state may take to come about before that is a failure

const until = async (what, look) => {
  const end = Date.now() + PATIENCE;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > end) throw new Error(`waited in vain for ${what}`);
    await new Promise(resolve => setTimeout(resolve, 50)); // between two looks
  }
};

// Where messages go: one receiver that takes them, one that is broken.
const receiver = createServer((request, response) => {
  request.resume().on("end", () => response.writeHead(request.url === "/broken" ? 500 : 204).end());
});
await new Promise(ready => receiver.listen(0, "127.0.0.1", ready));
const hooks = `http://127.0.0.1:${receiver.address().port}`;

const directory = await mkdtemp(join(tmpdir(), "systole-pages-"));
const server = spawn(options.binary, ["serve", "--listen", "127.0.0.1:0", "--data-dir", directory, "--metrics-listen", "off",
  "--outbound-allow", "127.0.0.1/32"], { stdio: ["ignore", "inherit", "pipe"] });
let said = "";
server.stderr.on("data", chunk => { said += chunk; });
const ended = new Promise(resolve => server.on("exit", code => resolve(code)));
const alive = () => { if (server.exitCode !== null) throw new Error(`the server ended:\n${said}`); };
const setup = await until("the server", () => { alive(); return said.match(/http:\/\/\S+\/setup#\S+/)?.[0]; });
const base = new URL(setup).origin;
const token = (await readFile(join(directory, "local-token"), "utf8")).trim();

const api = async (method, path, body) => {
  const reply = await fetch(`${base}/api/v1${path}`, { method, headers: { authorization: `Bearer ${token}`,
    ...(body ? { "content-type": "application/json" } : {}) }, body: body && JSON.stringify(body) });
  const text = await reply.text();
  if (!reply.ok) throw new Error(`${method} ${path}: ${reply.status} ${text}`);
  return text ? JSON.parse(text) : null;
};
const make = (name, every, grace, more = {}) => api("POST", "/monitors", { kind: "heartbeat", name,
  schedule: every.includes(" ") ? { cron: every, timezone: "Europe/Berlin" } : { every }, grace, ...more });
const ping = async (monitor, suffix = "", body, query = "") => {
  const reply = await fetch(`${monitor.ping_url}${suffix}${query}`, { method: body === undefined ? "GET" : "POST", body,
    headers: { "user-agent": "curl/8.14.1" } });
  assert.equal(reply.status, 200, `${suffix} of ${monitor.name}`);
};
const state = (monitor, wanted) => until(`${monitor.name} to be ${wanted}`, async () => {
  const now = await api("GET", `/monitors/${monitor.id}`);
  return now.state === wanted && now;
});
const incidentOf = async monitor => (await state(monitor, "down")).open_incident;

const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--disable-gpu", ...(process.getuid?.() === 0 ? ["--no-sandbox"] : [])] });
const context = await browser.newContext();
const page = await context.newPage();
page.setDefaultTimeout(PATIENCE);
page.on("pageerror", error => { throw error; });

/** Looks at pages in every form; the cookie of whoever is signed in. */
const check = async (name, paths) => {
  const cookie = (await context.cookies()).find(({ name }) => name === "systole_session");
  const run = spawn(process.execPath, ["check.mjs", "--out", join(options.out, name), "--chromium", CHROMIUM,
    ...(cookie ? ["--cookie", `systole_session=${cookie.value}`] : []), ...paths.map(path => base + path)], { stdio: "inherit" });
  const code = await new Promise(resolve => run.on("exit", resolve));
  if (code !== 0) process.exitCode = 1;
};

const fill = async () => {
  const ops = await api("POST", "/channels", { name: "ops-webhook", kind: "webhook", config: { url: `${hooks}/ok` }, system: true });
  const old = await api("POST", "/channels", { name: "pager-old", kind: "webhook", config: { url: `${hooks}/broken` }, default: false });

  const report = await make("report-weekly", "1h", "10m", { labels: { env: "prod-eu", team: "billing" } });
  for (const rid of [1, 2, 3, 4, 5, 6, 7, 8, 9].map(n => `?rid=0198f2c4-7b1e-4c3a-9d2f-00000000000${n}`)) {
    await ping(report, "/start", undefined, rid);
    await ping(report, "/log", "rendering page 3 of 9\n", rid);
    await ping(report, rid.endsWith("4") ? "/1" : "", rid.endsWith("4") ? "template missing\n" : `rendered ${rid.at(-1)}00 pages\n`, rid);
  }
  const backup = await make("db-backup", "0 2 * * *", "30m", { labels: { env: "prod-us" }, owner: "storage",
    description: "The nightly dump of the ledger; without it there is no way back.", max_runtime: "2h" });
  await ping(backup, "", "dumped 41 GB in 12 min\n");

  const late = await make("ledger-export", "1s", "2h", { labels: { env: "prod-eu" } });
  await ping(late);
  const invoice = await make("invoice-generator", "1s", "1s", { labels: { env: "prod-us", team: "billing" },
    runbook_url: "https://runbooks.example.org/invoices" });
  await ping(invoice, "", "wrote 214 invoices\n");
  const queue = await make("queue-drain", "1h", "5m", { labels: { env: "prod-us" }, channels: ["ops-webhook", "pager-old"],
    runbook_url: "https://runbooks.example.org/queues/drain" });
  await ping(queue, "/start");
  await ping(queue, "/3", "connecting to broker-2 …\nbroker-2: connection refused\nTraceback (most recent call last):\n  File \"drain.py\", line 41, in <module>\nOSError: [Errno 111] refused\n");
  const cache = await make("cache-warm", "15m", "5m");
  await ping(cache);
  await ping(cache, "/fail", "origin answered 502");
  await state(cache, "down");
  await ping(cache, "", "warmed 12 000 keys");
  await state(cache, "up");
  const legacy = await make("legacy-sync", "1d", "1h", { labels: { site: "office" } });
  await ping(legacy);
  await api("POST", `/monitors/${legacy.id}/pause`);
  const fresh = await make("new-customer-mail", "*/5 * * * *", "5m", { labels: { env: "staging" }, channels: [] });
  const running = await make("thumbnail-sweep", "6h", "30m", { max_runtime: "3h" });
  await ping(running);
  await ping(running, "/start");
  const hostile = await make("<b>bold</b> & \"quoted\" job with a name that goes on and on, beyond what a list has room for", "1d", "1h");
  await ping(hostile, "/fail", Buffer.from([0x1b, 0x5b, 0x33, 0x31, 0x6d, 0xff, 0xfe, 0x3c, 0x69, 0x3e, 0x0a]));
  for (const name of ["certificate-renewal", "rotate-logs", "search-reindex", "mail-digest"]) await ping(await make(name, "1d", "1h"));

  await api("POST", "/maintenances", { name: "office network", selector: "site=office", when: { duration: "2h" }, description: "The switches are replaced." });
  await api("POST", "/maintenances", { name: "vacuum", selector: "team=billing,env in (prod-eu,prod-us)", monitors: ["db-backup"],
    when: { rrule: "FREQ=WEEKLY;BYDAY=SU", start: "2026-11-29T02:00", duration: "2h", timezone: "Europe/Berlin" } });

  const taken = await incidentOf(invoice);
  await api("POST", `/incidents/${taken}/acknowledge`, { note: "Looking at the printer queue." });
  await api("POST", `/incidents/${taken}/note`, { text: "The queue has been full since the deploy; rolling back." });
  const open = await incidentOf(queue);
  await state(late, "late");
  await until("the alert to arrive, and to fail elsewhere", async () => {
    const { items } = await api("GET", "/deliveries");
    const of = channel => items.find(row => row.incident_id === open && row.channel === channel);
    return of(ops.name)?.state === "delivered" && of("pager-old")?.attempts.length > 0;
  });
  return { old, report, backup, late, invoice, queue, cache, legacy, fresh, running, hostile, taken, open };
};

const number = id => id.replace("inc_", "");

const look = async () => {
  await page.goto(setup);
  await page.fill("#email", EMAIL);
  await page.fill("#password", PASSWORD);
  await check("door", ["/setup", "/sign-in"]);
  await page.click("text=Make the administrator");
  await page.waitForSelector("text=Nothing is watched yet");
  await check("empty", ["/", "/incidents", "/maintenance", "/channels", "/monitors/new"]);

  const made = await fill();
  await page.click("text=Sign out");
  await page.goto(`${base}/monitors/${made.report.id}`);
  await page.fill("#email", EMAIL);
  await page.fill("#password", PASSWORD);
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
  await page.waitForSelector("h1 >> text=report-weekly");

  await check("pages", ["/", "/?state=up", "/?q=nothing-of-this-name", "/incidents", "/incidents?state=resolved", "/maintenance", "/channels", "/nothing/here",
    `/incidents/${number(made.open)}`, `/incidents/${number(made.taken)}`, "/incidents/1",
    ...["report", "backup", "late", "invoice", "queue", "legacy", "fresh", "running", "hostile"].map(name => `/monitors/${made[name].id}`),
    `/monitors/${made.backup.id}/edit`, `/channels/${made.old.id}/edit`]);

  // A page that is open shows what happens, and a button does what it says.
  await page.goto(base);
  await page.evaluate(() => { globalThis.same = true; });
  await ping(made.cache, "/fail", "origin answered 503");
  const wrong = page.locator(".wrong-now li", { hasText: "cache-warm" });
  await wrong.waitFor();
  assert.equal(await page.evaluate(() => globalThis.same), true, "without loading again");
  await wrong.getByRole("button", { name: "Acknowledge" }).click();
  await page.waitForSelector(`text=${EMAIL} acknowledged it`);
  await page.goto(`${base}/channels`);
  await page.locator("li", { hasText: "pager-old" }).getByRole("button", { name: "Send a test" }).click();
  await page.waitForSelector(".notice.warning >> text=did not arrive at pager-old");
  await page.locator("li", { hasText: "pager-old" }).getByRole("link", { name: "Edit" }).click();
  await page.fill("#webhook-remind_every", "often");
  await page.click("text=Save");
  await page.waitForSelector("#webhook-remind_every-error");
  await page.fill("#webhook-remind_every", "30m");
  await page.check("#webhook-system");
  await page.click("text=Save");
  await page.waitForSelector(".notice >> text=pager-old is saved.");
  await page.goto(`${base}/maintenance`);
  await page.fill("#name", "made by hand");
  await page.fill("#selector", "site=office");
  await page.selectOption("#repeats", "rule");
  await page.fill("#rule", "FREQ=HOURLY");
  await page.fill("#start", "2026-11-29T02:00");
  await page.click("text=Plan the maintenance");
  await page.waitForSelector("#rule-error");
  await page.fill("#rule", "FREQ=DAILY;BYHOUR=2,14");
  await page.click("text=Plan the maintenance");
  await page.waitForSelector(".notice >> text=made by hand is planned. It covers 1 monitor.");
  await page.locator("#on li", { hasText: "office network" }).getByRole("button", { name: "End now" }).click();
  await page.waitForSelector(".notice >> text=office network is ended");
  await page.goto(`${base}/monitors/new`);
  await page.fill("#name", "made-by-hand");
  await page.fill("#schedule", "30 25 * * *");
  await page.click("text=Make the heartbeat");
  await page.waitForSelector("#schedule-error");
  await page.fill("#schedule", "30 2 * * *");
  await page.click("text=Make the heartbeat");
  await page.waitForSelector("h1 >> text=made-by-hand");
};

try {
  await look();
} catch (error) {
  await page.screenshot({ path: join(options.out, "failed.png"), fullPage: true }).catch(() => {});
  console.error(error, `\nthe page was ${page.url()}\nthe server said:\n${said.replace(/setup#\S+/g, "setup#…")}`);
  process.exitCode = 1;
} finally {
  await browser.close();
  server.kill("SIGTERM");
  receiver.close();
  receiver.closeAllConnections();
  const code = await ended;
  if (code !== 0) { console.error(`the server ended with ${code}`); process.exitCode = 1; }
  await rm(directory, { recursive: true, force: true });
}
