// Theme, times and keys: what must answer at once, without asking the server.
(() => {
  const root = document.documentElement;
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const stored = () => {
    try { return localStorage.getItem("deeptrader-theme"); } catch { return null; }
  };
  const apply = () => {
    const choice = stored();
    root.dataset.theme = choice === "dark" || choice === "light" ? choice : system.matches ? "dark" : "light";
    root.dataset.themeChoice = choice || "system";
    const button = document.getElementById("theme-toggle");
    if (button) {
      const label = `Colours: ${root.dataset.themeChoice}. Change`;
      button.setAttribute("aria-label", label);
      button.title = label;
    }
  };
  apply();
  system.addEventListener("change", apply);

  const dt = (window.deeptrader = {
    skew: 0, // server's present minus this machine's, in milliseconds
    frozen: null, // a replayed moment does not pass
    present: () => (dt.frozen === null ? Date.now() + dt.skew : dt.frozen),
    setPresent(seconds, frozen) {
      dt.frozen = frozen ? seconds * 1000 : null;
      dt.skew = seconds * 1000 - Date.now();
      dt.tick();
    },
    nextTheme() {
      const next = { system: "light", light: "dark", dark: "system" }[root.dataset.themeChoice] || "light";
      try { next === "system" ? localStorage.removeItem("deeptrader-theme") : localStorage.setItem("deeptrader-theme", next); } catch { /* private mode: this page only */ }
      apply();
      if (stored() !== next && next !== "system") root.dataset.theme = next;
    },
    age(seconds) {
      const s = Math.max(0, dt.present() / 1000 - seconds);
      if (s < 60) return `${Math.floor(s)} s`;
      if (s < 7200) return `${Math.floor(s / 60)} min`;
      if (s < 172800) return `${Math.floor(s / 3600)} h`;
      return `${Math.floor(s / 86400)} days`;
    },
    // The reader's own time, with its zone: `20:20 CET`, and the day where it is another one.
    local(seconds) {
      const at = new Date(seconds * 1000), day = at.toDateString() === new Date().toDateString() ? {} : { day: "numeric", month: "short" };
      return at.toLocaleString("en-GB", { hour: "2-digit", minute: "2-digit", timeZoneName: "short", ...day });
    },
    stamp(seconds) {
      return new Date(seconds * 1000).toISOString().slice(0, 16).replace("T", " ");
    },
    // The bar under the crosshair: its prices in one line, then the figures that are drawn, by name.
    bar(params) {
      const text = (value) => (typeof value === "number" ? value.toLocaleString("en", { maximumSignificantDigits: 6 }) : "–");
      const [time, ...rest] = [params[0]?.axisValueLabel ?? ""];
      for (const p of params) {
        if (p.seriesType === "candlestick") rest.unshift([["Open", 1], ["High", 4], ["Low", 3], ["Close", 2]].map(([name, at]) => `${name} ${text(p.value[at])}`).join("&ensp;"));
        else rest.push(`${p.marker}${p.seriesName} ${text(p.value)}`);
      }
      return [`<b>${time}</b>`, ...rest].join("<br>");
    },
    tick() {
      for (const node of document.querySelectorAll("[data-since]")) {
        const text = dt.age(+node.dataset.since) + " ago";
        if (node.textContent !== text) node.textContent = text;
      }
      for (const node of document.querySelectorAll("[data-local]")) {
        const text = `${node.dataset.before} ${dt.local(+node.dataset.local)}`;
        if (node.textContent !== text) node.textContent = text;
      }
    },
  });
  setInterval(dt.tick, 1000);

  // Times are written in UTC. Where the reader wants their own, each is written anew as it comes, and put back after.
  const MOMENT = /(\d{4}-\d\d-\d\d )?(\d\d:\d\d) UTC/g;
  const inUtc = new WeakMap();
  const ownTime = (text) => text.replace(MOMENT, (_, day, time) => {
    const at = new Date(`${(day || new Date(dt.present()).toISOString()).slice(0, 10)}T${time}Z`);
    const date = day ? { year: "numeric", month: "2-digit", day: "2-digit" } : {};
    return at.toLocaleString("sv-SE", { ...date, hour: "2-digit", minute: "2-digit", timeZoneName: "short" });
  });
  const texts = function* (node) {
    const walker = document.createTreeWalker(node, NodeFilter.SHOW_TEXT);
    if (node.nodeType === Node.TEXT_NODE) yield node;
    while (walker.nextNode()) if (!/^(SCRIPT|STYLE|TEXTAREA)$/.test(walker.currentNode.parentNode.tagName)) yield walker.currentNode;
  };
  const convert = (node) => {
    for (const text of texts(node)) {
      const own = ownTime(text.data);
      if (own !== text.data) { inUtc.set(text, text.data); text.data = own; }
    }
  };
  const watcher = new MutationObserver((changes) => {
    for (const change of changes) {
      if (change.type === "characterData") convert(change.target);
      else change.addedNodes.forEach(convert);
    }
  });
  const zone = {
    get own() { try { return localStorage.getItem("deeptrader-zone") === "own"; } catch { return false; } },
    show() {
      watcher.disconnect();
      root.dataset.zone = zone.own ? "own" : "utc";
      if (zone.own) {
        convert(document.body);
        watcher.observe(document.body, { childList: true, characterData: true, subtree: true });
        return;
      }
      for (const text of texts(document.body)) {
        const utc = inUtc.get(text);
        if (utc && ownTime(utc) === text.data) text.data = utc;
      }
    },
    change() {
      try { localStorage.setItem("deeptrader-zone", zone.own ? "utc" : "own"); } catch { /* private mode: UTC */ }
      zone.show();
    },
  };

  const go = (path) => document.querySelector(`.nav a[href="${path}"]`)?.click();
  const typing = (node) => node?.closest?.("input, textarea, select, [contenteditable]");
  let chord = 0;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const target = event.target;
    if (event.key === "Escape") {
      if (typing(target) && target.matches(".known-tools input")) return;
      const stop = document.querySelector("[data-stop]");
      if (stop && !document.querySelector("dialog[open]")) { stop.click(); event.preventDefault(); }
      return;
    }
    if (typing(target) || document.querySelector("dialog[open]")) return;
    if (Date.now() - chord < 1200) {
      chord = 0;
      const path = { c: "/", k: "/known", p: "/portfolio", s: "/sleep" }[event.key];
      if (path) { go(path); event.preventDefault(); return; }
    }
    if (event.key === "g") chord = Date.now();
    else if (event.key === "/") {
      const field = document.querySelector("[data-search], .composer textarea");
      if (field) { field.focus(); event.preventDefault(); }
    } else if (event.key === "n" && document.querySelector("[data-new-chat]")) document.querySelector("[data-new-chat]").click();
    else if (event.key === "d") dt.nextTheme();
    else if (event.key === "?") document.getElementById("keys")?.showModal();
  });
  document.addEventListener("click", (event) => {
    const away = event.target.closest(".answer a[href^='http']");
    if (away) { event.preventDefault(); window.open(away.href, "_blank", "noopener,noreferrer"); }
    if (event.target.closest("#theme-toggle")) dt.nextTheme();
    if (event.target.closest("#zone-toggle")) zone.change();
    if (event.target.closest("#keys-toggle")) document.getElementById("keys")?.showModal();
    if (event.target.closest("#keys [data-close]")) document.getElementById("keys").close();
    const drawer = event.target.closest("[data-sessions-toggle]");
    if (drawer) document.querySelector(".chat")?.classList.toggle("show-sessions");
    if (event.target.closest(".sessions a")) document.querySelector(".chat")?.classList.remove("show-sessions");
  });
  document.addEventListener("DOMContentLoaded", () => { apply(); zone.show(); });
})();
