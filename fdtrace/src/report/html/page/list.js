
  // The list: only the rows in sight exist.
  const list = byId("list"), rows = byId("rows"), narrow = matchMedia("(max-width: 640px)");
  let open = -1, active = 0, extra = 0, detail = null;
  const height = () => narrow.matches ? 124 : 34;
  const top = (place) => place * height() + (open >= 0 && place > open ? extra : 0);
  function row(place) {
    const it = all[shown[place]];
    const said = [fate(it), ...marks(it)].join(" · ");
    const made = element("div", {
      class: `row${place === active ? " active" : ""}${isLost(it) ? " loss" : ""}`, role: "option", id: `row-${place}`,
      "aria-selected": String(place === active), "aria-expanded": String(place === open),
      "aria-posinset": place + 1, "aria-setsize": shown.length,
      style: `top:${top(place)}px;height:${height()}px`,
    },
      element("span", { class: "time" }, clock(begin(it))),
      element("span", { class: "party", title: from(it) }, from(it)),
      element("span", { class: "party", title: to(it) }, `→ ${to(it)}`),
      element("span", { class: "said", title: said }, element("b", { class: data.fates[it[FATE]] }, fate(it)),
        ...marks(it).map((mark) => element("i", {}, mark))),
      element("span", { class: "file", title: fileName(it) }, short(fileName(it), 46)),
      element("span", { class: `verdict ${verdict(it)}` }, verdict(it)));
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
    list.classList.toggle("empty", shown.length === 0);
  }
  function toggle(place) {
    open = open === place ? -1 : place;
    extra = 0;
    if (open >= 0) {
      const it = all[shown[open]];
      detail = details(it);
      draw();
      extra = detail.offsetHeight;
      history.replaceState(null, "", `#t${it[ID]}`);
      // What was opened is to be seen, from its row on.
      const above = top(open), below = above + height() + extra;
      if (above < list.scrollTop || below > list.scrollTop + list.clientHeight) list.scrollTop = above;
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
  /** Goes to the transfer of which a link (#t17) is. */
  function follow() {
    const id = /^#t(\d+)$/.exec(location.hash);
    if (!id) return;
    const index = all.findIndex((it) => it[ID] === Number(id[1]));
    if (index < 0) return;
    if (!shown.includes(index)) {
      for (const field of ["search", "kind"]) form.elements[field].value = "";
      for (const chip of document.querySelectorAll(".chip[aria-pressed=true]")) press(chip, false);
      filter();
    }
    const place = shown.indexOf(index);
    active = place;
    if (open !== place) toggle(place);
    list.scrollTop = top(place);
    draw();
  }
  addEventListener("hashchange", follow);
  list.addEventListener("scroll", () => requestAnimationFrame(draw));
  narrow.addEventListener("change", draw);
  addEventListener("resize", draw);
  list.addEventListener("keydown", (event) => {
    const screen = Math.max(1, Math.floor(list.clientHeight / height()) - 1);
    const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: screen, PageUp: -screen, Home: -Infinity, End: Infinity };
    if (event.target !== list) return;
    if (event.key in moves) move(active + moves[event.key]);
    else if ((event.key === "Enter" || event.key === " ") && shown.length) toggle(active);
    else if (event.key === "Escape" && open >= 0) toggle(open);
    else if ((event.key === "ArrowRight" || event.key === "ArrowLeft") && open >= 0) {
      detail.querySelector(event.key === "ArrowRight" ? ".next" : ".back").click();
    } else return;
    event.preventDefault();
  });

  function table(heads, lines) {
    return element("table", {},
      element("thead", {}, element("tr", {}, ...heads.map((head) => element("th", { scope: "col" }, head)))),
      element("tbody", {}, ...lines.map((line) => element("tr", {}, ...line.map((cell) => element("td", {}, cell))))));
  }
  const byTransfer = new Map(all.map((it) => [it[ID], it])), handedOn = new Map();
  for (const it of all) if (it[RELAY] !== null) handedOn.set(it[RELAY], [...(handedOn.get(it[RELAY]) ?? []), it]);
  const link = (id) => element("a", { href: `#t${id}` }, `#t${id}`);
  /** The way of one open file from process to process, as far as it is certain: what led here, and where it went. */
  function chain(it) {
    const way = [it];
    while (way[0][RELAY] !== null && byTransfer.has(way[0][RELAY])) way.unshift(byTransfer.get(way[0][RELAY]));
    let more = 0;
    for (let next; (next = handedOn.get(way[way.length - 1][ID])); way.push(next[0])) more += next.length - 1;
    if (way.length < 2 && it[RELAY] === null) return [];
    const parts = [element("b", {}, from(way[0]))];
    for (const step of way) {
      const where = step === it ? element("b", {}, to(step)) : to(step);
      parts.push(" → ", link(step[ID]), " → ", where);
    }
    // A filter may have left out where it began.
    if (way[0][RELAY] !== null) parts.unshift(`… #t${way[0][RELAY]} → `);
    if (more) parts.push(`, and handed on ${more} more ${more === 1 ? "time" : "times"}`);
    return [element("p", { class: "chain", "aria-label": "relays of this open file" }, "One open file: ", ...parts)];
  }
  /** One transfer: how it ended and what helps, the stepped picture, and its ledger. */
  function details(it) {
    const first = begin(it);
    const lines = hopsOf(it).map((seen) => [
      data.hops[seen[HOP]], `+${span(seen[AT] - first)}`, `cpu ${seen[CPU]}`, named(seen[WHO]) ?? "",
      seen[OTHER_FILE] ?? data.files[it[FILE]], seen[REFS] === null ? "?" : String(seen[REFS]),
      seen[EXPECTED] === null || seen[EXPECTED] === seen[REFS] ? "" : `${seen[EXPECTED]} by this path alone`,
    ]);
    const facts = [
      `message ${it[MESSAGE]}, file ${it[INDEX] + 1} of ${it[COUNT]}`,
      `${data.kinds[it[KIND]]}, ${data.inodes[it[INODE]]}`,
      `${it[TYPE] ?? "socket of a type that was not seen"}${it[PATH] < 0 ? "" : ` ${data.paths[it[PATH]]}`}`,
      it[QUEUED] === null ? null : `${span(it[QUEUED])} in the queue`,
      it[TOTAL] === null ? null : `${span(it[TOTAL])} from copy to install`,
      it[LIST] === null ? null : `list ${data.addresses[it[LIST]]}`, it[SKB] === null ? null : `skb ${data.addresses[it[SKB]]}`,
    ].filter((fact) => fact !== null);
    const helps = it[CAUSE] < 0 ? null : data.cures[it[CAUSE]];
    return element("div", { class: "detail", role: "region", "aria-label": `transfer ${it[ID]}` },
      element("p", { class: "headline" }, element("a", { href: `#t${it[ID]}` }, `#t${it[ID]}`), " ",
        element("b", { class: data.fates[it[FATE]] }, fate(it)), ` ${fileName(it)} `, element("span", { class: verdict(it) }, verdict(it))),
      ...(helps ? [element("p", { class: "helps" }, `What helps: ${helps}.`)] : []),
      ...(marks(it).length ? [element("p", {}, marks(it).join(" · "))] : []),
      ...chain(it),
      ...(it[AGAIN] === null ? [] : [element("p", {}, "The receiver had it already, by ", link(it[AGAIN]), `, ${span(it[AGAIN_AFTER])} before.`)]),
      stepped(it),
      element("p", { class: "dim" }, facts.join(" · ")),
      element("div", { class: "scroll" }, table(["hop", "time", "cpu", "task", "file", "references", ""], lines)));
  }
