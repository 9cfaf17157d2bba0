// SPDX-License-Identifier: AGPL-3.0-or-later
// Lets ages and deadlines run on between two answers of the server, and says when those answers stop coming.
"use strict";
(() => {
  const STALE_MS = 12000;
  const UNITS = [[86400, "days"], [3600, "hours"], [60, "minutes"], [1, "seconds"]];
  const root = () => document.querySelector(".gw");
  const texts = () => JSON.parse(root()?.dataset.times || "null");
  let serverAhead = 0;
  let heardAt = Date.now();
  let heard = "";

  function listen() {
    const sight = document.querySelector(".gw-head [data-now]");
    if (sight === null || sight.dataset.now === heard) return;
    heard = sight.dataset.now;
    heardAt = Date.now();
    serverAhead = Date.parse(heard) - heardAt;
    const pending = Number(sight.dataset.pending);
    document.title = (pending > 0 ? `(${pending}) ` : "") + "gridwatch";
  }

  function age(seconds, words) {
    const whole = Math.max(0, Math.floor(seconds));
    const [size, unit] = UNITS.find(([least]) => whole >= least) || UNITS[UNITS.length - 1];
    return words[unit].replace("{n}", Math.floor(whole / size));
  }

  function tick() {
    listen();
    root()?.classList.toggle("gw-is-stale", Date.now() - heardAt > STALE_MS);
    const words = texts();
    if (words === null) return;
    const now = Date.now() + serverAhead;
    for (const element of document.querySelectorAll("[data-since]")) {
      const text = age((now - Date.parse(element.dataset.since)) / 1000, words);
      element.textContent = words.ago.replace("{age}", text);
    }
    for (const element of document.querySelectorAll("[data-due]")) {
      const left = (Date.parse(element.dataset.due) - now) / 1000;
      element.textContent = (left >= 0 ? words.left : words.over).replace("{age}", age(Math.abs(left), words));
      element.classList.toggle("gw-late", left < 0);
    }
  }

  function rememberLanguage() {
    const language = root()?.dataset.language;
    if (language === undefined) return;
    document.documentElement.lang = language;
    document.cookie = `gridwatch_language=${language}; path=/; max-age=31536000; samesite=strict`;
  }

  // The list is written anew at every change: in a list that was scrolled, the chosen row stays where it is on the screen.
  function holdChosen() {
    const list = document.querySelector(".gw-list");
    if (list === null) return;
    const place = () => {
      const chosen = list.querySelector(".gw-chosen");
      if (chosen === null) return null;
      const key = `${chosen.dataset.arg} ${chosen.classList.contains("gw-pending")}`;
      return { key, top: chosen.offsetTop - list.scrollTop };
    };
    let held = place();
    list.addEventListener("scroll", () => { held = place(); }, { passive: true });
    new MutationObserver(() => {
      const now = place();
      if (list.scrollTop > 0 && held !== null && now?.key === held.key) list.scrollTop += now.top - held.top;
      held = place();
    }).observe(list, { childList: true });
  }

  document.addEventListener("keydown", (event) => {
    if (event.target.classList?.contains("gw-note") && ["Enter", "Escape"].includes(event.key)) event.target.blur();
  });
  globalThis.gridwatchScroll = () => requestAnimationFrame(() => {
    document.querySelector(".gw-chosen")?.scrollIntoView({ block: "nearest" });
  });
  const started = setInterval(() => {
    if (root() === null) return;
    clearInterval(started);
    rememberLanguage();
    holdChosen();
    setInterval(tick, 1000);
    tick();
  }, 50);
})();
