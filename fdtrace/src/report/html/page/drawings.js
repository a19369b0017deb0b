
  // The sequence diagram: time goes down; senders left, the queues in the middle, receivers right.
  const PAGE = 25, LANES = 8, LANE = 150, LEFT = 118, RIGHT = 250;
  let page = 0, pages = [0], linear = false;
  /** Where the page after this one begins: a page has so many messages or lanes at most. */
  function pageEnd(first) {
    const lanes = new Set();
    let messages = 0, last = null, place = first;
    for (; place < shown.length; place += 1) {
      const it = all[shown[place]];
      if (it[MESSAGE] !== last) messages += 1;
      last = it[MESSAGE];
      for (const lane of [`s${it[FROM]}`, `r${it[TO]}`]) lanes.add(lane);
      if (place > first && (messages > PAGE || lanes.size > LANES)) break;
    }
    return place;
  }
  /** Transfers of one message, told of at once, in the order of its list. */
  function messagesOf(transfers) {
    const messages = [];
    for (const it of transfers) {
      const last = messages[messages.length - 1];
      const alike = last && last[0][MESSAGE] === it[MESSAGE] && last[0][TO] === it[TO] && last[0][FROM] === it[FROM]
        && (data.fates[last[0][FATE]] === "peeked") === (data.fates[it[FATE]] === "peeked");
      if (alike) last.push(it); else messages.push([it]);
    }
    return messages;
  }
  const some = (texts) => texts.length > 6 ? `${texts.slice(0, 5).join(",")}… (${texts.length})` : texts.join(",");
  function endings(message) {
    const counts = new Map();
    for (const it of message) if (!came(it) || data.fates[it[FATE]] === "peeked") counts.set(fate(it), (counts.get(fate(it)) ?? 0) + 1);
    return [...counts].map(([text, count]) => count === message.length || counts.size === 1 ? text : `${count} ${text}`).join(", ");
  }
  /** When, and before whom, a message went in and came out. */
  function ends(message) {
    const first = message[0], hops = message.flatMap(hopsOf);
    const of = (...wanted) => hops.filter((seen) => wanted.includes(seen[HOP])).map((seen) => seen[AT]);
    const sent = of(0, 1, QUEUE_HOP), got = of(DEQUEUE_HOP, 4, 5, INSTALL_HOP, END_HOP);
    // What failed never was in a queue, and what is queued still is.
    const isOver = !["queued", "failed"].includes(data.fates[first[FATE]]);
    return {
      sent: sent.length ? Math.min(...sent) : begin(first),
      got: isOver ? (got.length ? Math.max(...got) : sent.length ? Math.max(...sent) : begin(first)) : null,
      to: receiver(first),
    };
  }
  function diagram(transfers, toScale) {
    const messages = messagesOf(transfers).map((its) => ({ its, ...ends(its) }));
    if (!messages.length) return element("p", { class: "dim" }, "Nothing to draw.");
    const senders = [...new Set(messages.map(({ its }) => its[0][FROM]))];
    const receivers = [...new Set(messages.map(({ to }) => to))].filter((to) => to >= 0);
    const x = (side, who) => LEFT + LANE / 2 + LANE * (side === "queue" ? senders.length
      : side === "from" ? senders.indexOf(who) : senders.length + 1 + receivers.indexOf(who));
    const events = messages.flatMap((message) => [
      { message, at: message.sent, goes: "in" },
      ...(message.got === null ? [] : [{ message, at: message.got, goes: "out" }]),
    ]).sort((a, b) => a.at - b.at);
    const zero = events[0].at, all_ns = Math.max(1, events[events.length - 1].at - zero);
    const room = Math.max(160, Math.min(1600, events.length * 26));
    // Below each other in any case, so that no label is over another.
    let y = 30;
    for (const event of events) {
      y = Math.max(y + 26, toScale ? 56 + (event.at - zero) / all_ns * room : 0);
      event.y = y;
    }
    const bottom = y + 26, width = LEFT + LANE * (senders.length + 1 + receivers.length) + RIGHT;
    const drawing = element("svg", { width, height: bottom, viewBox: `0 0 ${width} ${bottom}`, role: "img" },
      element("title", {}, `${messages.length} messages, from sender to queue to receiver, time going down`));
    const lane = (at, text, name) => drawing.append(
      element("line", { class: name, x1: at, x2: at, y1: 30, y2: bottom }),
      element("text", { class: "title", x: at, y: 20, "text-anchor": "middle" }, short(text, 22)));
    for (const who of senders) lane(x("from", who), named(who) ?? "not seen", "lane");
    lane(x("queue"), "receive queues", "queue-lane");
    for (const who of receivers) lane(x("to", who), named(who), "lane");
    const queue = x("queue");
    for (const { message: { its, to }, at, goes, y } of events) {
      const lost = its.some(isLost), received = its.filter(came), first = its[0];
      const mark = element("g", {}, element("title", {}, `${its.map(fileName).join(", ")}: ${its.map(fate).join(", ")}`));
      mark.append(element("text", { class: "dim", x: LEFT - 8, y: y + 4, "text-anchor": "end" }, clock(at).slice(0, 12)));
      if (goes === "in") {
        const failed = data.fates[first[FATE]] === "failed";
        arrow(mark, x("from", first[FROM]), failed ? queue - 40 : queue, y, failed ? "arrow bad" : "arrow", failed);
        if (failed) {
          mark.append(element("path", { class: "lost-mark", d: `M${queue - 45} ${y - 5}l10 10m0-10l-10 10` }));
          label(mark, queue + 10, y + 4, endings(its), "bad");
        }
        label(mark, x("from", first[FROM]) + 6, y - 4, some(its.map((it) => number(it[FROM_FD]))));
        drawing.append(mark);
        continue;
      }
      const right = to >= 0 ? x("to", to) : queue;
      if (to >= 0) arrow(mark, queue, right, y, lost ? "arrow bad" : "arrow", lost && !received.length);
      if (first[TO] >= 0) label(mark, queue + 8, y - 4, some(its.map(toNumber)));
      const after = right + (received.length ? 10 : 0);
      if (lost) mark.append(element("path", { class: "lost-mark", d: `M${after - 5} ${y - 5}l10 10m0-10l-10 10` }));
      if (received.length) mark.append(element("circle", { class: lost ? "dot bad" : "dot", cx: right, cy: y, r: 4 }));
      const said = endings(its);
      const files = short(its.map(fileName).filter((name, place, names) => names.indexOf(name) === place).join(", "), 34);
      label(mark, after + 10, y + 4, said || files, lost ? "bad" : "dim");
      drawing.append(mark);
    }
    return drawing;
  }
  function label(mark, x, y, text, name = "") {
    mark.append(element("text", { x, y, class: name }, text));
  }
  function arrow(mark, x1, x2, at, name, headless = false) {
    const back = x2 > x1 ? -6 : 6;
    mark.append(element("path", { class: name, d: headless ? `M${x1} ${at}H${x2}` : `M${x1} ${at}H${x2}m${back} -4l${-back} 4l${back} 4` }));
  }
  function sequence() {
    const first = pages[page], last = pageEnd(first);
    pages[page + 1] = last;
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

  // Who hands what to whom. What is lost goes to whoever lost it.
  function graph() {
    const pairs = new Map();
    let last = null;
    for (const index of shown) {
      const it = all[index], end = receiver(it), key = it[FROM] * 1e6 + end;
      let pair = last?.from === it[FROM] && last.to === end ? last : pairs.get(key);
      if (!pair) pairs.set(key, pair = { from: it[FROM], to: end, count: 0, lost: 0, kinds: data.kinds.map(() => 0), causes: new Map() });
      last = pair;
      pair.count += 1;
      pair.kinds[it[KIND]] += 1;
      if (isLost(it)) {
        pair.lost += 1;
        const why = it[FATE] * 1000 + it[CAUSE];
        pair.causes.set(why, { text: fate(it), count: (pair.causes.get(why)?.count ?? 0) + 1 });
      }
    }
    const sorted = [...pairs.values()].sort((a, b) => b.lost - a.lost || b.count - a.count);
    const drawn = sorted.slice(0, 24);
    const target = (end) => end < 0 ? "nobody" : named(end);
    const source = (end) => end < 0 ? "not seen" : named(end);
    const kinds = (pair) => data.kinds.map((kind, place) => `${pair.kinds[place]} ${kind}`).filter((_, place) => pair.kinds[place]).join(", ");
    const causes = (pair) => [...pair.causes.values()].map(({ text, count }) => `${count} ${text}`).join(", ");
    const lefts = [...new Set(drawn.map((pair) => pair.from))], rights = [...new Set(drawn.map((pair) => pair.to))];
    const step = 40, bottom = 30 + step * Math.max(lefts.length, rights.length, 1);
    const y = (ends, end) => 26 + step * ends.indexOf(end);
    const drawing = element("svg", { width: 700, height: bottom, viewBox: `0 0 700 ${bottom}`, role: "img" },
      element("title", {}, "who hands what to whom; the table beneath says the same"));
    for (const pair of drawn) {
      const y1 = y(lefts, pair.from), y2 = y(rights, pair.to), arrived = pair.count - pair.lost;
      const curve = (by) => `M215 ${y1 + by}C350 ${y1 + by} 350 ${y2 + by} 485 ${y2 + by}`;
      const edge = (count, name, by) => drawing.append(element("path", { class: name, d: curve(by), "stroke-width": 1.5 + Math.log10(count) * 2 }));
      const group = [arrived, pair.lost].filter((count) => count).length;
      if (arrived) edge(arrived, "edge", group > 1 ? -3 : 0);
      if (pair.lost) {
        edge(pair.lost, "edge bad", group > 1 ? 3 : 0);
        const at = y2 + (group > 1 ? 3 : 0);
        drawing.append(element("path", { class: "lost-mark", d: `M480 ${at - 5}l10 10m0-10l-10 10` }));
      }
    }
    for (const end of lefts) drawing.append(element("text", { x: 208, y: y(lefts, end) + 4, "text-anchor": "end" }, short(source(end), 28)));
    for (const end of rights) drawing.append(element("text", { x: 496, y: y(rights, end) + 4 }, short(target(end), 28)));
    const lines = sorted.slice(0, 200).map((pair) =>
      [source(pair.from), target(pair.to), String(pair.count), String(pair.lost || ""), causes(pair), kinds(pair)]);
    const rest = sorted.length - lines.length;
    byId("graph").replaceChildren(sorted.length ? drawing : "", sorted.length ? table(["from", "to", "transfers", "lost", "why", "kinds"], lines) : "",
      rest > 0 ? `and ${rest} other pairs` : "");
  }

  let adding = 0;
  /** Begins anew with what is shown. */
  function restart() {
    open = -1;
    active = 0;
    page = 0;
    pages = [0];
    list.scrollTop = 0;
    draw();
    sequence();
    // The list answers at once; the sum of it comes as soon as there is time.
    clearTimeout(adding);
    adding = setTimeout(graph);
  }

  // On paper all rows stand one below the other, as far as that makes sense.
  addEventListener("beforeprint", () => {
    const most = Math.min(shown.length, 500);
    rows.replaceChildren(...Array.from({ length: most }, (_, place) => row(place)));
    if (shown.length > most) rows.append(element("p", {}, `and ${shown.length - most} more`));
  });
  addEventListener("afterprint", draw);

  filter();
  follow();
})();
