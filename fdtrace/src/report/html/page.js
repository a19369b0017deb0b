"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const all = data.transfers;
  // Where the fields of a transfer are; report/html/mod.rs writes them in this order.
  const [ID, MESSAGE, INDEX, COUNT, FILE, KIND, INO, DEV, FROM, FROM_FD, TO, TO_FD, TYPE, PATH, FATE, CAUSE,
    VERDICT, QUEUED, TOTAL, HOPS, LIST, SKB, ELSEWHERE] = Array(23).keys();
  const [HOP, AT, CPU, WHO, REFS, EXPECTED, OTHER_FILE] = Array(7).keys();
  const QUEUE_HOP = 2, DEQUEUE_HOP = 3, INSTALL_HOP = 6, END_HOP = 7;
  const byId = (id) => document.getElementById(id);

  /** Names come from the traced machine: they become text, never markup. */
  function element(name, attributes = {}, ...children) {
    const svg = ["svg", "g", "line", "path", "text", "circle", "title"].includes(name);
    const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  const process = (index) => index < 0 ? null : data.processes[index];
  const named = (index) => { const it = process(index); return it ? `${it[1]} ${it[0]}` : null; };
  const number = (fd) => fd === null ? "?" : String(fd);
  const came = (it) => data.fates[it[FATE]] === "delivered" || data.fates[it[FATE]] === "peeked";
  const begin = (it) => it[HOPS].length ? it[HOPS][0][AT] : it[ELSEWHERE];
  function span(ns) {
    if (ns === null) return "";
    for (const [unit, name] of [[1e9, "s"], [1e6, "ms"], [1e3, "µs"]]) {
      if (ns >= unit) return `${(ns / unit).toFixed(ns >= 100 * unit ? 0 : 1)} ${name}`;
    }
    return `${ns} ns`;
  }
  const from = (it) => it[FROM] < 0 ? "not seen" : `${named(it[FROM])}: ${number(it[FROM_FD])}`;
  const to = (it) => it[TO] < 0 ? "nobody" : came(it) ? `${named(it[TO])}: ${number(it[TO_FD])}` : `${named(it[TO])}: none`;
  const fate = (it) => data.fates[it[FATE]] + (it[CAUSE] < 0 ? "" : ` (${data.causes[it[CAUSE]]})`);
  const verdict = (it) => it[VERDICT] < 0 ? "" : data.verdicts[it[VERDICT]];

  // Filters.
  let shown = all.map((_, index) => index);
  const form = byId("filters");
  function options(select, names, counts) {
    names.forEach((name, index) => select.append(element("option", { value: index }, `${name} (${counts[index]})`)));
  }
  function counted(field, names) {
    const counts = names.map(() => 0);
    for (const it of all) counts[it[field]] += 1;
    return counts;
  }
  options(form.elements.fate, data.fates, counted(FATE, data.fates));
  options(form.elements.kind, data.kinds, counted(KIND, data.kinds));
  function filter() {
    const wanted = form.elements.process.value.trim().toLowerCase();
    const hits = data.processes.map(([pid, comm]) => String(pid) === wanted || comm.toLowerCase().includes(wanted));
    const fates = form.elements.fate.value, kinds = form.elements.kind.value;
    shown = [];
    all.forEach((it, index) => {
      if (wanted && !hits[it[FROM]] && !hits[it[TO]]) return;
      if (fates !== "" && it[FATE] !== Number(fates)) return;
      if (kinds !== "" && it[KIND] !== Number(kinds)) return;
      shown.push(index);
    });
    byId("shown").textContent = `${shown.length} of ${all.length} transfers`;
    open = -1;
    active = 0;
    page = 0;
    paginate();
    byId("list").scrollTop = 0;
    draw();
    sequence();
    graph();
  }
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(filter));

  // The list: only the rows in sight exist.
  const list = byId("list"), rows = byId("rows"), narrow = matchMedia("(max-width: 640px)");
  let open = -1, active = 0, extra = 0, detail = null;
  const height = () => narrow.matches ? 66 : 34;
  const top = (place) => place * height() + (open >= 0 && place > open ? extra : 0);
  function row(place) {
    const it = all[shown[place]];
    const made = element("div", {
      class: place === active ? "row active" : "row", role: "option", id: `row-${place}`,
      "aria-selected": String(place === active), "aria-expanded": String(place === open),
      "aria-posinset": place + 1, "aria-setsize": shown.length,
      style: `top:${top(place)}px;height:${height()}px`,
    },
      element("span", { class: "time" }, `+${(begin(it) / 1e9).toFixed(6)}`),
      element("span", { title: from(it) }, from(it)),
      element("span", { title: to(it) }, `→ ${to(it)}`),
      element("span", { class: "kind" }, `${data.kinds[it[KIND]]} ${it[INO]}`),
      element("span", { class: data.fates[it[FATE]] }, fate(it)),
      element("span", { class: verdict(it) }, verdict(it)));
    made.addEventListener("click", () => { active = place; toggle(place); });
    return made;
  }
  function draw() {
    const size = height();
    const hidden = Math.max(0, Math.floor((list.scrollTop - extra) / size) - 5);
    const last = Math.min(shown.length, Math.ceil((list.scrollTop + list.clientHeight) / size) + 5);
    rows.replaceChildren();
    rows.style.height = `${shown.length * size + (open >= 0 ? extra : 0)}px`;
    for (let place = hidden; place < last; place += 1) rows.append(row(place));
    if (open >= 0) {
      detail.style.top = `${(open + 1) * size}px`;
      rows.append(detail);
    }
    if (shown.length) list.setAttribute("aria-activedescendant", `row-${active}`);
  }
  function toggle(place) {
    open = open === place ? -1 : place;
    extra = 0;
    if (open >= 0) {
      detail = details(all[shown[open]]);
      draw();
      extra = detail.offsetHeight;
    }
    draw();
  }
  function move(place) {
    active = Math.max(0, Math.min(shown.length - 1, place));
    const at = top(active);
    if (at < list.scrollTop) list.scrollTop = at;
    if (at + height() > list.scrollTop + list.clientHeight) list.scrollTop = at + height() - list.clientHeight;
    draw();
  }
  list.addEventListener("scroll", () => requestAnimationFrame(draw));
  narrow.addEventListener("change", draw);
  addEventListener("resize", draw);
  list.addEventListener("keydown", (event) => {
    const screen = Math.max(1, Math.floor(list.clientHeight / height()) - 1);
    const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: screen, PageUp: -screen, Home: -Infinity, End: Infinity };
    if (event.key in moves) move(active + moves[event.key]);
    else if ((event.key === "Enter" || event.key === " ") && shown.length) toggle(active);
    else if (event.key === "Escape" && open >= 0) toggle(open);
    else return;
    event.preventDefault();
  });

  function table(heads, lines) {
    return element("table", {},
      element("thead", {}, element("tr", {}, ...heads.map((head) => element("th", { scope: "col" }, head)))),
      element("tbody", {}, ...lines.map((line) => element("tr", {}, ...line.map((cell) => element("td", {}, cell))))));
  }
  /** The ledger of one transfer: what was seen at each hop, and what moved the count. */
  function details(it) {
    const first = begin(it);
    const lines = it[HOPS].map((seen) => [
      data.hops[seen[HOP]], `+${span(seen[AT] - first)}`, `cpu ${seen[CPU]}`, named(seen[WHO]) ?? "",
      seen[OTHER_FILE] ?? it[FILE], seen[REFS] === null ? "?" : String(seen[REFS]),
      seen[EXPECTED] === null || seen[EXPECTED] === seen[REFS] ? "" : `${seen[EXPECTED]} by this path alone`,
    ]);
    const facts = [
      `message ${it[MESSAGE]}, file ${it[INDEX] + 1} of ${it[COUNT]}`,
      `${data.kinds[it[KIND]]}, inode ${it[INO]} on ${it[DEV]}`,
      `${it[TYPE] ?? "socket of a type that was not seen"}${it[PATH] < 0 ? "" : ` ${data.paths[it[PATH]]}`}`,
      it[QUEUED] === null ? null : `${span(it[QUEUED])} in the queue`,
      it[TOTAL] === null ? null : `${span(it[TOTAL])} from copy to install`,
      `list ${it[LIST]}`, it[SKB] === null ? null : `skb ${it[SKB]}`,
    ].filter((fact) => fact !== null);
    return element("div", { class: "detail", role: "region", "aria-label": `transfer ${it[ID]}` },
      element("p", {}, `transfer ${it[ID]}: `, element("span", { class: data.fates[it[FATE]] }, fate(it)), ` ${verdict(it)}`),
      element("p", { class: "dim" }, facts.join(" · ")),
      table(["hop", "time", "cpu", "task", "file", "references", ""], lines),
      diagram([it], false));
  }

  // The sequence diagram: time goes down, a lane for each process and one for the queues.
  const PAGE = 25, LANES = 6, LANE = 150, LEFT = 92;
  let page = 0, pages = [0], linear = false;
  /** Where each page begins in what is shown: it has so many transfers or lanes at most. */
  function paginate() {
    pages = [0];
    let lanes = new Set();
    shown.forEach((index, place) => {
      const it = all[index], more = new Set([...lanes, it[FROM], ...it[HOPS].map((seen) => seen[WHO])]);
      if (place - pages[pages.length - 1] >= PAGE || (more.size > LANES && place > pages[pages.length - 1])) {
        pages.push(place);
        lanes = new Set([it[FROM], ...it[HOPS].map((seen) => seen[WHO])]);
      } else lanes = more;
    });
  }
  function diagram(transfers, toScale) {
    const senders = [], receivers = [];
    for (const it of transfers) if (it[FROM] >= 0 && !senders.includes(it[FROM])) senders.push(it[FROM]);
    for (const it of transfers) {
      for (const seen of it[HOPS]) {
        if (!senders.includes(seen[WHO]) && !receivers.includes(seen[WHO])) receivers.push(seen[WHO]);
      }
    }
    const lanes = [...senders, "queue", ...receivers];
    const x = (lane) => LEFT + LANE * lanes.indexOf(lane) + LANE / 2;
    const events = transfers.flatMap((it) => it[HOPS].map((seen) => ({ it, seen }))).sort((a, b) => a.seen[AT] - b.seen[AT]);
    if (!events.length) return element("p", { class: "dim" }, "nothing to draw");
    const zero = events[0].seen[AT], end = events[events.length - 1].seen[AT];
    const room = Math.max(120, Math.min(1400, events.length * 22));
    const y = (at, order) => 48 + (toScale ? (end > zero ? (at - zero) / (end - zero) : 0) * room : order * 24);
    const bottom = y(end, events.length - 1) + 24, width = LEFT + LANE * lanes.length;
    const drawing = element("svg", { width, height: bottom, viewBox: `0 0 ${width} ${bottom}`, role: "img" },
      element("title", {}, `${transfers.length} transfers, from sender to queue to receiver, time going down`));
    for (const lane of lanes) {
      drawing.append(
        element("line", { class: lane === "queue" ? "queue-lane" : "lane", x1: x(lane), x2: x(lane), y1: 30, y2: bottom }),
        element("text", { x: x(lane), y: 20, "text-anchor": "middle" }, lane === "queue" ? "receive queues" : short(named(lane), 22)));
    }
    let labelled = -Infinity;
    events.forEach(({ it, seen }, order) => {
      const at = y(seen[AT], order), lane = x(seen[WHO]), middle = x("queue"), hop = seen[HOP];
      const mark = element("g", {}, element("title", {},
        `${data.hops[hop]} of transfer ${it[ID]} in ${named(seen[WHO])}, +${span(seen[AT] - zero)}`));
      if (at - labelled >= 14) {
        mark.append(element("text", { class: "dim", x: LEFT - 10, y: at + 4, "text-anchor": "end" }, `+${span(seen[AT] - zero)}`));
        labelled = at;
      }
      let label = data.hops[hop];
      if (hop === QUEUE_HOP) {
        arrow(mark, lane, middle, at);
        label = `${data.kinds[it[KIND]]} ${number(it[FROM_FD])}`;
      } else if (hop === DEQUEUE_HOP) {
        arrow(mark, middle, lane, at);
      } else if (hop === END_HOP && !came(it)) {
        mark.append(element("path", { class: "lost-mark", d: `M${lane - 5} ${at - 5}l10 10m0-10l-10 10` }));
        label = fate(it);
      } else {
        mark.append(element("circle", { class: "dot", cx: lane, cy: at, r: hop === INSTALL_HOP ? 5 : 3 }));
        if (hop === INSTALL_HOP) label = `now ${number(it[TO_FD])}`;
      }
      mark.append(element("text", { x: lane + 10, y: at + (hop === QUEUE_HOP || hop === DEQUEUE_HOP ? -4 : 4) }, label));
      drawing.append(mark);
    });
    return drawing;
  }
  function arrow(mark, x1, x2, at) {
    const back = x2 > x1 ? -6 : 6;
    mark.append(element("path", { class: "arrow", d: `M${x1} ${at}H${x2}m${back} -4l${-back} 4l${back} 4` }));
  }
  const short = (text, most) => [...text].length > most ? `${[...text].slice(0, most - 1).join("")}…` : text;
  function sequence() {
    const first = pages[page], last = pages[page + 1] ?? shown.length;
    byId("sequence").replaceChildren(diagram(shown.slice(first, last).map((index) => all[index]), linear));
    byId("page").textContent = shown.length ? `transfers ${first + 1} to ${last} of ${shown.length}` : "no transfers";
    byId("earlier").disabled = page === 0;
    byId("later").disabled = last >= shown.length;
  }
  byId("earlier").addEventListener("click", () => { page -= 1; sequence(); });
  byId("later").addEventListener("click", () => { page += 1; sequence(); });
  byId("scale").addEventListener("click", (event) => {
    linear = !linear;
    event.currentTarget.setAttribute("aria-pressed", String(linear));
    sequence();
  });

  // Who hands what to whom.
  function graph() {
    const pairs = new Map();
    for (const index of shown) {
      const it = all[index];
      const end = came(it) ? it[TO] : -2 - it[FATE];
      const key = `${it[FROM]} ${end}`;
      if (!pairs.has(key)) pairs.set(key, { from: it[FROM], to: end, count: 0, kinds: new Map() });
      const pair = pairs.get(key);
      pair.count += 1;
      pair.kinds.set(it[KIND], (pair.kinds.get(it[KIND]) ?? 0) + 1);
    }
    const sorted = [...pairs.values()].sort((a, b) => b.count - a.count);
    const most = 24, drawn = sorted.slice(0, most);
    const target = (end) => end <= -2 ? data.fates[-2 - end] : end < 0 ? "not seen" : named(end);
    const source = (end) => end < 0 ? "not seen" : named(end);
    const kinds = (pair) => [...pair.kinds].map(([kind, count]) => `${count} ${data.kinds[kind]}`).join(", ");
    const lefts = [...new Set(drawn.map((pair) => pair.from))], rights = [...new Set(drawn.map((pair) => pair.to))];
    const step = 34, bottom = 30 + step * Math.max(lefts.length, rights.length, 1);
    const y = (ends, end) => 26 + step * ends.indexOf(end);
    const drawing = element("svg", { width: 700, height: bottom, viewBox: `0 0 700 ${bottom}`, role: "img" },
      element("title", {}, "who hands what to whom; the table beneath says the same"));
    for (const pair of drawn) {
      const y1 = y(lefts, pair.from), y2 = y(rights, pair.to);
      drawing.append(element("g", {},
        element("title", {}, `${source(pair.from)} → ${target(pair.to)}: ${kinds(pair)}`),
        element("path", { class: pair.to <= -2 ? "edge bad" : "edge", d: `M215 ${y1}C350 ${y1} 350 ${y2} 485 ${y2}`,
          "stroke-width": 1 + Math.log10(pair.count) * 2 })));
    }
    for (const end of lefts) drawing.append(element("text", { x: 208, y: y(lefts, end) + 4, "text-anchor": "end" }, short(source(end), 28)));
    for (const end of rights) drawing.append(element("text", { x: 492, y: y(rights, end) + 4 }, short(target(end), 28)));
    const lines = sorted.slice(0, 200).map((pair) => [source(pair.from), target(pair.to), String(pair.count), kinds(pair)]);
    const rest = sorted.length - lines.length;
    byId("graph").replaceChildren(sorted.length ? drawing : "", table(["from", "to", "transfers", "kinds"], lines),
      rest > 0 ? `and ${rest} other pairs` : "");
  }

  // On paper all rows stand one below the other, as far as that makes sense.
  addEventListener("beforeprint", () => {
    const most = Math.min(shown.length, 500);
    rows.replaceChildren(...Array.from({ length: most }, (_, place) => row(place)));
    if (shown.length > most) rows.append(element("p", {}, `and ${shown.length - most} more`));
  });
  addEventListener("afterprint", draw);

  filter();
})();
