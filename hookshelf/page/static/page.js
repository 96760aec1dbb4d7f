// The pages work without this. It adds keys, copying, rows that load as one scrolls, and live rows.
// Whatever comes from the archive is put in as text, or parsed from pages that escaped it.
"use strict";
(() => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const said = $("#said");
  const say = (text) => { if (said) said.textContent = text; };

  // --- copying

  const copy = async (text, button) => {
    try { await navigator.clipboard.writeText(text); say("Copied"); if (button) button.textContent = "Copied"; }
    catch { say("The browser did not allow copying"); }
  };
  for (const button of $$("button.copy")) {
    button.hidden = false;
    button.addEventListener("click", () => copy($("code", button.parentElement).textContent, button));
  }
  // What is relative to now becomes fixed, so that the link shows the same tomorrow.
  const units = { s: 1, m: 60, h: 3600, d: 86400, w: 604800 };
  const fixed = () => {
    const url = new URL(location.href);
    for (const name of ["since", "until"]) {
      const ago = /^(\d{1,6})([smhdw])$/.exec(url.searchParams.get(name) || "");
      if (ago) url.searchParams.set(name, new Date(Date.now() - ago[1] * units[ago[2]] * 1000).toISOString().replace(/\.\d+/, ""));
    }
    return url.href;
  };
  const shown = (id, click) => {
    const button = $(id);
    if (button) { button.hidden = false; button.addEventListener("click", click); }
  };
  shown("#copy-link", (event) => copy(fixed(), event.target));

  // --- light or dark

  shown("#theme", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    document.cookie = `theme=${root.dataset.theme}; path=/; SameSite=Strict; max-age=31536000`;
  });

  // --- keys

  const help = $("#help");
  shown("#keys", () => help.showModal());
  shown("#close", () => help.close());
  const rows = () => $$("a.row");
  const move = (by) => {
    const all = rows();
    const at = all.indexOf(document.activeElement);
    const next = all[at < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(Math.max(at + by, 0), all.length - 1)];
    if (next) { next.focus(); next.scrollIntoView({ block: "nearest" }); }
  };
  const keys = {
    "/": () => { const box = $("#q"); box.focus(); box.select(); },
    j: () => move(1), k: () => move(-1), y: () => copy(fixed()), "?": () => help.showModal(),
    Escape: () => { if (history.length > 1) history.back(); },
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const target = event.target;
    if (target.closest("input, textarea, select, [contenteditable]")) {
      if (event.key === "Escape") { target.blur(); event.preventDefault(); }
      return;
    }
    if (help?.open) return;
    const arrow = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (arrow && target.matches("a.row")) { move(arrow); event.preventDefault(); return; }
    const act = Object.hasOwn(keys, event.key) && keys[event.key];
    if (act) { event.preventDefault(); act(); }
  });

  // --- on a phone a row is a block, which to some screen readers is no row unless it says so

  const roles = { table: "table", thead: "rowgroup", tbody: "rowgroup", tr: "row", td: "cell", "th[scope=col]": "columnheader", "th[scope=row]": "rowheader" };
  const withRoles = (root) => {
    for (const [selector, role] of Object.entries(roles)) for (const part of [root, ...$$(selector, root)]) if (part.matches(selector)) part.setAttribute("role", role);
    return root;
  };
  $$("table.rows, table.headers").forEach(withRoles);

  // --- more rows while one scrolls, and the place one came back to

  const key = `at ${location.pathname}${location.search}`;
  const remembered = () => { try { return JSON.parse(sessionStorage.getItem(key)) || {}; } catch { return {}; } };
  const back = performance.getEntriesByType("navigation")[0]?.type === "back_forward" ? remembered() : {};
  let pages = 1;
  let loading = false;
  const more = async () => {
    const link = $("a.more");
    if (!link || loading) return false;
    loading = true;
    try {
      const response = await fetch(link.href, { headers: { Accept: "text/html" } });
      if (!response.ok) return false;
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      // As a table of its own: to lay out one that grows takes longer each time.
      $$(".chunk").at(-1).after(...$$(".chunk", page).map((chunk) => withRoles(document.importNode(chunk, true))));
      const next = $("a.more", page);
      if (next) link.href = next.getAttribute("href"); else link.closest("p").remove();
      pages += 1;
      return true;
    } catch { return false; } finally { loading = false; }
  };
  const watched = $("a.more");
  if (watched && "IntersectionObserver" in window) {
    const observer = new IntersectionObserver(async (entries) => {
      if (entries.some((entry) => entry.isIntersecting) && await more() && $("a.more")) { observer.unobserve(watched); observer.observe(watched); }
    }, { rootMargin: "800px" });
    observer.observe(watched);
  }
  (async () => {
    while (back.pages > pages && await more());
    if (back.row !== undefined) rows()[back.row]?.focus({ preventScroll: true });
    const anchor = rows()[back.anchor];
    if (!anchor && back.y !== undefined) scrollTo({ top: back.y, behavior: "instant" });
    // Twice: what is laid out only then is as high as it is.
    for (let times = anchor ? 2 : 0; times > 0; times -= 1) {
      anchor.scrollIntoView({ block: "start", behavior: "instant" });
      scrollBy({ top: anchor.getBoundingClientRect().top - back.at, behavior: "instant" });
      await new Promise(requestAnimationFrame);
    }
  })();
  addEventListener("pagehide", () => {
    const all = rows();
    const row = all.indexOf(document.activeElement);
    const middle = $("a.row", document.elementFromPoint(innerWidth / 2, innerHeight / 2)?.closest("tr") ?? document.createElement("p"));
    const place = middle ? { anchor: all.indexOf(middle), at: middle.getBoundingClientRect().top } : {};
    try { sessionStorage.setItem(key, JSON.stringify({ pages, y: scrollY, ...place, ...(row < 0 ? {} : { row }) })); } catch { /* full, or not allowed */ }
  });

  // --- figures that were still being counted

  const again = async (wait) => {
    const counts = $("#counts[data-again]");
    if (!counts) return;
    await new Promise((resolve) => setTimeout(resolve, wait));
    try {
      const page = new DOMParser().parseFromString(await (await fetch(location.href)).text(), "text/html");
      const next = $("#counts", page);
      if (next && (!next.dataset.again || $("figure", next))) counts.replaceWith(document.importNode(next, true));
    } catch { /* the server has gone */ return; }
    again(Math.min(wait * 1.5, 10000));
  };
  again(200);

  // --- live

  const table = $("#live");
  if (!table || !("EventSource" in window)) return;
  const body = $("tbody", table);
  const [pause, fresh, filter, state] = ["#pause", "#new", "#filter", "#state"].map((id) => $(id));
  const known = new Set($$("tr", body).map((row) => row.dataset.key));
  const waiting = [];
  let paused = false;
  const most = 2000; // rows that are kept
  const cell = (row, name, ...children) => {
    const td = document.createElement("td");
    td.className = name;
    td.append(...children);
    row.append(td);
  };
  const element = (name, text, className = "") => {
    const made = document.createElement(name);
    made.textContent = text;
    made.className = className;
    return made;
  };
  const matches = (row) => row.textContent.toLowerCase().includes(filter.value.trim().toLowerCase());
  const rowOf = (data) => {
    const row = document.createElement("tr");
    row.dataset.key = data.key;
    const time = element("time", data.clock);
    time.dateTime = time.title = data.utc;
    const link = document.createElement("a");
    link.className = "row";
    link.href = data.url;
    link.append(element("code", data.hash));
    cell(row, "when", time);
    cell(row, "app", data.app);
    cell(row, "what", ...data.words.map((line) => element("div", line)), ...(data.more ? [element("div", data.more, "quiet")] : []));
    cell(row, "n", data.size);
    row.lastElementChild.dataset.label = "Size";
    cell(row, "from", link, " ", element("span", data.verdict || "no verdict", `verdict ${data.verdict}`));
    row.hidden = !matches(row);
    return withRoles(row);
  };
  const flush = () => {
    const height = document.documentElement.scrollHeight;
    for (const data of waiting.splice(0)) body.prepend(rowOf(data));
    while (body.children.length > most) body.lastElementChild.remove();
    if (scrollY > 0 && !CSS.supports("overflow-anchor", "auto")) scrollBy(0, document.documentElement.scrollHeight - height);
    fresh.hidden = true;
  };
  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", paused);
    pause.textContent = paused ? "Go on" : "Pause";
    if (!paused) flush();
  });
  fresh.addEventListener("click", () => { flush(); scrollTo({ top: 0 }); });
  filter.addEventListener("input", () => { for (const row of body.children) row.hidden = !matches(row); });
  const source = new EventSource(table.dataset.events);
  source.onopen = () => { state.textContent = "Following"; };
  source.onerror = () => { state.textContent = "Not connected; trying again"; };
  source.onmessage = (event) => {
    const data = JSON.parse(event.data);
    if (known.has(data.key)) return;
    known.add(data.key);
    waiting.push(data);
    if (paused || scrollY > 200) { fresh.textContent = `${waiting.length} new`; fresh.hidden = false; } else flush();
  };
  addEventListener("pagehide", () => source.close());
})();
