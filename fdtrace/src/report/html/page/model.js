"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const all = data.transfers;
  // Where the fields of a transfer are; report/html/rows.rs writes them in this order.
  const [ID, MESSAGE, INDEX, COUNT, FILE, KIND, NAME, INODE, FROM, FROM_FD, TO, TO_FD, TYPE, PATH, FATE, CAUSE,
    VERDICT, MARKS, QUEUED, TOTAL, HOPS, LIST, SKB, LAST, RELAY, AGAIN, AGAIN_AFTER] = Array(27).keys();
  // A hop is so many numbers in a row.
  const [HOP, AT, CPU, WHO, REFS, EXPECTED, OTHER_FILE, HOP_LENGTH] = Array(8).keys();
  const QUEUE_HOP = 2, DEQUEUE_HOP = 3, INSTALL_HOP = 6, END_HOP = 7;
  const SVG = new Set(["svg", "g", "line", "path", "rect", "text", "tspan", "circle", "title"]);
  const byId = (id) => document.getElementById(id);

  /** Names come from the traced machine: they become text, never markup. */
  function element(name, attributes = {}, ...children) {
    const made = SVG.has(name) ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  const places = (names, wanted) => names.map((name) => wanted.has(name));
  const lost = places(data.fates, new Set(["truncated", "refused", "discarded", "collected", "failed"]));
  const arrived = places(data.fates, new Set(["delivered", "peeked"]));
  const closing = data.causes.indexOf("receiver-closed");
  const isLost = (it) => lost[it[FATE]];
  const came = (it) => arrived[it[FATE]];
  const process = (index) => index < 0 ? null : data.processes[index];
  const named = (index) => { const it = process(index); return it ? `${it[1]}[${it[0]}]` : null; };
  const number = (fd) => fd === null ? "?" : String(fd);
  const toNumber = (it) => isLost(it) ? "✗" : number(it[TO_FD]);
  const hopsOf = (it) => {
    const hops = [];
    for (let at = 0; at < it[HOPS].length; at += HOP_LENGTH) hops.push(it[HOPS].slice(at, at + HOP_LENGTH));
    return hops;
  };
  const atHop = (it, hop) => hopsOf(it).find((seen) => seen[HOP] === hop) ?? null;
  /** Who received it or, where its socket was closed unread, who closed that. */
  function receiver(it) {
    if (it[TO] >= 0 || closing < 0 || it[CAUSE] !== closing) return it[TO];
    const closed = atHop(it, END_HOP);
    return closed && !process(closed[WHO])[1].startsWith("kworker/") ? closed[WHO] : -1;
  }
  const begin = (it) => it[HOPS].length ? it[HOPS][AT] : it[LAST];
  function span(ns) {
    if (ns === null) return "";
    for (const [unit, name] of [[1e9, "s"], [1e6, "ms"], [1e3, "µs"]]) {
      if (ns >= unit) return `${(ns / unit).toFixed(ns >= 100 * unit ? 0 : 1)} ${name}`;
    }
    return `${ns} ns`;
  }
  /** The time of day where it was traced, as the other formats show it. */
  function clock(ns) {
    const us = Math.floor(data.local_us + ns / 1000), s = Math.floor(us / 1e6) % 86400;
    const two = (value) => String(value).padStart(2, "0");
    return `${two(Math.floor(s / 3600))}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}.${String(us % 1e6).padStart(6, "0")}`;
  }
  const from = (it) => it[FROM] < 0 ? "not seen" : `${named(it[FROM])} ${number(it[FROM_FD])}`;
  const to = (it) => it[TO] < 0 ? "nobody" : `${named(it[TO])} ${toNumber(it)}`;
  const cause = (it) => it[CAUSE] < 0 ? "" : data.causes[it[CAUSE]];
  const fate = (it) => data.fates[it[FATE]] + (it[CAUSE] < 0 ? "" : `: ${cause(it)}`);
  const verdict = (it) => it[VERDICT] < 0 ? "" : data.verdicts[it[VERDICT]];
  const marks = (it) => data.marks.filter((_, place) => it[MARKS] & (1 << place));
  const fileName = (it) => data.names[it[NAME]];
  const short = (text, most) => {
    const all = [...text];
    if (all.length <= most) return text;
    const head = Math.ceil((most - 1) / 3);
    return `${all.slice(0, head).join("")}…${all.slice(all.length - (most - 1 - head)).join("")}`;
  };

  // What is wanted: words, each of which must be found somewhere, chips, and a kind.
  let shown = all.map((_, index) => index);
  const form = byId("filters");
  const chosen = { fate: new Set(), verdict: new Set(), mark: new Set() };
  const searched = {};
  for (const [table, texts] of Object.entries({
    processes: data.processes.map(([pid, comm]) => `${comm} ${pid}`), names: data.names, paths: data.paths,
    fates: data.fates, causes: data.causes, kinds: data.kinds, marks: data.marks,
  })) searched[table] = texts.map((text) => text.toLowerCase());
  const kinds = data.kinds.map(() => 0);
  for (const it of all) kinds[it[KIND]] += 1;
  data.kinds.forEach((name, index) => {
    form.elements.kind.append(element("option", { value: index }, `${name} (${kinds[index]})`));
  });

  /** Which rows of each table have this word. */
  function hitsOf(word) {
    const hits = {};
    for (const [table, texts] of Object.entries(searched)) hits[table] = texts.map((text) => text.includes(word));
    return hits;
  }
  function hasWord(it, hits) {
    return hits.names[it[NAME]] || hits.processes[it[FROM]] || hits.processes[it[TO]] || hits.paths[it[PATH]]
      || hits.fates[it[FATE]] || hits.causes[it[CAUSE]] || hits.kinds[it[KIND]]
      || (it[MARKS] !== 0 && hits.marks.some((hit, place) => hit && it[MARKS] & (1 << place)));
  }
  function filter() {
    const words = form.elements.search.value.trim().toLowerCase().split(/\s+/).filter((word) => word).map(hitsOf);
    const kind = form.elements.kind.value;
    const fates = chosen.fate.size ? places(data.fates, chosen.fate) : null;
    const verdicts = chosen.verdict.size ? places(data.verdicts, chosen.verdict) : null;
    const bits = data.marks.reduce((bits, mark, place) => chosen.mark.has(mark) ? bits | 1 << place : bits, 0);
    shown = [];
    for (let index = 0; index < all.length; index += 1) {
      const it = all[index];
      if (fates && !fates[it[FATE]]) continue;
      if (verdicts && !verdicts[it[VERDICT]]) continue;
      if (bits && !(it[MARKS] & bits)) continue;
      if (kind !== "" && it[KIND] !== Number(kind)) continue;
      if (words.every((hits) => hasWord(it, hits))) shown.push(index);
    }
    byId("shown").textContent = `${shown.length} of ${all.length} transfers`;
    restart();
  }
  let waiting = 0;
  form.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(filter, 60);
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => {
    for (const chip of document.querySelectorAll(".chip[aria-pressed=true]")) press(chip, false);
    setTimeout(filter);
  });
  function press(chip, pressed) {
    chip.setAttribute("aria-pressed", String(pressed));
    chosen[chip.dataset.of][pressed ? "add" : "delete"](chip.dataset.value);
  }
  for (const chip of document.querySelectorAll("button.chip")) {
    chip.addEventListener("click", () => {
      press(chip, chip.getAttribute("aria-pressed") !== "true");
      filter();
    });
  }
  addEventListener("keydown", (event) => {
    const typing = ["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName);
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
      form.elements.search.focus();
      event.preventDefault();
    } else if (event.key === "Escape" && event.target === form.elements.search) {
      form.elements.search.value = "";
      filter();
    }
  });
