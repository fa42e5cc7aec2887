// Every page works without this file. With it times stay current, states are looked at again, and keys work.
"use strict";
(() => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

  // Times: the words are those of web/text.rs. The browser's clock may be wrong, so the server's is used.
  let ahead = 0;
  const setClock = page => {
    const now = Date.parse(page.body.dataset.now);
    if (now) ahead = now - Date.now();
  };
  const two = (big, bigUnit, small, smallUnit) => small ? `${big} ${bigUnit} ${small} ${smallUnit}` : `${big} ${bigUnit}`;
  const words = s => {
    if (s < 60) return `${s} s`;
    if (s < 3600) return `${Math.floor(s / 60)} min`;
    if (s < 86400) return two(Math.floor(s / 3600), "h", Math.floor(s / 60) % 60, "min");
    if (s < 864000) return two(Math.floor(s / 86400), "d", Math.floor(s / 3600) % 24, "h");
    return `${Math.floor(s / 86400)} d`;
  };
  const countdown = s => s >= 60 && s < 3600
    ? `${Math.floor(s / 60)} min ${String(s % 60).padStart(2, "0")} s` : words(s);
  const relations = {
    ago: (past) => `${words(past)} ago`,
    age: (past) => words(past),
    due: (past, left) => left > 0 ? `in ${countdown(left)}` : `${words(past)} overdue`,
    left: (past, left) => left > 0 ? `${countdown(left)} left` : "none left",
  };
  const byReader = { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", timeZoneName: "short" };
  const tick = () => {
    const now = Date.now() + ahead;
    for (const time of $$("time[data-reader]:not([data-said])")) {
      time.dataset.said = "1";
      time.textContent = new Date(time.dateTime).toLocaleString([], byReader);
    }
    for (const time of $$("time[data-rel]")) {
      const apart = Math.round((now - Date.parse(time.dateTime)) / 1000);
      const text = relations[time.dataset.rel]?.(Math.max(0, apart), Math.max(0, -apart));
      if (text && time.textContent !== text) time.textContent = text;
    }
  };
  addEventListener("mouseover", ({ target }) => {
    const time = target.closest?.("time[title]");
    if (!time || time.dataset.local) return;
    time.dataset.local = "1";
    time.title += ` (${new Date(time.dateTime).toLocaleString([], { timeZoneName: "short" })})`;
  });

  // Looking again: the same page is fetched, and the marked parts that differ are replaced. What a moving pointer or the keys
  // are at, what is typed into and what is selected waits; what was unfolded or has the focus stays so.
  const shown = new Map($$("[data-refresh]").map(part => [part.id, part.outerHTML]));
  let lastMove = 0;
  for (const kind of ["pointermove", "pointerdown", "keydown", "wheel", "touchmove"]) {
    addEventListener(kind, () => { lastMove = Date.now(); }, { passive: true });
  }
  const busy = part => Date.now() - lastMove < 3000 && part.matches(":hover, :focus-within")
    || $("input:focus, textarea:focus", part)
    || !getSelection().isCollapsed && getSelection().containsNode(part, true);
  const place = element => element.closest("[id]:not([data-refresh])")?.matches("details") ? `#${element.closest("details").id} summary`
    : element.matches("a[href]") ? `a[href="${CSS.escape(element.getAttribute("href"))}"]`
    : element.form ? `form[action="${CSS.escape(element.form.getAttribute("action"))}"] button` : null;
  const replace = (part, fresh) => {
    for (const details of $$("details[id]", part)) {
      const other = fresh.querySelector(`#${CSS.escape(details.id)}`);
      if (other) other.open = details.open;
    }
    const focus = part.contains(document.activeElement) ? place(document.activeElement) : null;
    part.replaceWith(fresh);
    if (focus) $(focus, fresh)?.focus({ preventScroll: true });
  };
  const live = text => { if ($("#live").textContent !== text) $("#live").textContent = text; };
  let lastLook = Date.now();
  const look = async () => {
    if (document.hidden) return;
    try {
      const reply = await fetch(location.href, { headers: { "x-refresh": "1" }, signal: AbortSignal.timeout(10000) });
      if (reply.redirected || reply.status === 401) return location.reload();
      if (!reply.ok) throw new Error(String(reply.status));
      const page = new DOMParser().parseFromString(await reply.text(), "text/html");
      setClock(page);
      if (document.title !== page.title) document.title = page.title;
      for (const part of $$("[data-refresh]")) {
        const fresh = page.getElementById(part.id);
        if (!fresh || fresh.outerHTML === shown.get(part.id)) continue;
        if (busy(part)) continue;
        shown.set(part.id, fresh.outerHTML);
        replace(part, fresh);
      }
      lastLook = Date.now();
      live("");
    } catch {
      live(`Not updated for ${words(Math.round((Date.now() - lastLook) / 1000))}: the server does not answer.`);
    }
    tick();
  };

  // Copying.
  addEventListener("click", async ({ target }) => {
    const button = target.closest?.("[data-copy]");
    if (target.closest?.("[data-keys]")) $("#keys").showModal();
    if (!button) return;
    const text = $(`#${button.dataset.copy}`);
    try {
      await navigator.clipboard.writeText(text.textContent);
      const before = button.innerHTML;
      button.textContent = "Copied";
      setTimeout(() => { button.innerHTML = before; }, 1500);
    } catch {
      getSelection().selectAllChildren(text); // Without https there is no clipboard: at least select it.
    }
  });

  // Keys.
  const step = by => {
    const items = $$("[data-item] .go");
    const at = items.indexOf(document.activeElement?.closest("[data-item]")?.querySelector(".go"));
    items[at < 0 ? 0 : Math.min(items.length - 1, Math.max(0, at + by))]?.focus();
  };
  const acknowledge = () => {
    const forms = $$("[data-acknowledge]", document.activeElement?.closest("[data-item]") ?? document);
    if (forms.length === 1) forms[0].requestSubmit();
  };
  const keys = { "/": () => $("[data-find]")?.select(), "?": () => $("#keys").showModal(), j: () => step(1), k: () => step(-1), a: acknowledge };
  addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat && event.key === "a") return;
    // A dialog just closed keeps the focus until the next frame: only an open one takes the keys.
    if (event.target.closest("input, textarea, select, dialog[open]") || !Object.hasOwn(keys, event.key)) return;
    event.preventDefault();
    keys[event.key]();
  });

  // Set-up: the code comes in the fragment, which is not sent; it moves into the form, and out of the address.
  const code = $("[data-setup] #code");
  if (code && location.hash.length > 1) {
    code.value = decodeURIComponent(location.hash.slice(1));
    $("[data-setup-code]").hidden = true;
    history.replaceState(null, "", location.pathname);
  }

  setClock(document);
  for (const part of $$("[data-copy], .with-script")) part.hidden = false;
  tick();
  setInterval(tick, 1000);
  const every = Number(document.body.dataset.every);
  if (every) {
    setInterval(look, every * 1000);
    addEventListener("visibilitychange", look);
  }
})();
