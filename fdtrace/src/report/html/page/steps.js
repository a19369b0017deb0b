
  // One transfer, step by step: two tables, the open file between them with its count, and the queue.
  const SEEN_AS = {
    copy: "the kernel looks the number up and takes a reference for the message's list",
    attach: "the list hangs on the message's first buffer",
    queue: "the message lies in the receiver's queue: whatever becomes of the sender, the file lives on",
    dequeue: "the receiver takes the message out of the queue",
    detach: "the list is taken off the message",
    receive: "the receiver's kernel takes a reference for the new descriptor",
    install: "the receiver's table has a number for the same open file",
    end: "the message gives its references back",
  };
  function stepped(it) {
    const seen = hopsOf(it), figure = element("figure", { class: "steps" });
    let step = isLost(it) ? seen.length : Math.max(0, seen.length - 1);
    const steps = seen.map((hop) => ({ hop, name: data.hops[hop[HOP]] }));
    // How it ended is a step of its own where no hop shows it.
    if (isLost(it)) steps.push({ hop: null, name: "lost" });
    if (!steps.length) steps.push({ hop: null, name: data.fates[it[FATE]] });
    step = Math.min(step, steps.length - 1);
    function show() {
      const { hop, name } = steps[step];
      const text = hop ? SEEN_AS[name] : isLost(it) ? `${fate(it)}: nobody has a new number for it` : fate(it);
      const when = hop ? ` +${span(hop[AT] - seen[0][AT])} in ${named(hop[WHO])}` : "";
      figure.replaceChildren(
        picture(it, steps, step),
        element("figcaption", {},
          button("back", "‹ Back", step === 0, () => { step -= 1; show(); }),
          button("next", "Next ›", step === steps.length - 1, () => { step += 1; show(); }),
          element("span", { "aria-live": "polite" }, `${step + 1} of ${steps.length}. `, element("b", {}, name), `${when}: ${text}.`)));
    }
    show();
    return figure;
  }
  function button(name, text, disabled, action) {
    const made = element("button", { type: "button", class: name }, text);
    made.disabled = disabled;
    made.addEventListener("click", (event) => { event.stopPropagation(); action(); });
    return made;
  }
  function picture(it, steps, step) {
    const order = (name) => data.hops.indexOf(name);
    const now = steps[step].hop ? steps[step].hop[HOP] : order("end") + 1;
    const lost = isLost(it) && !steps[step].hop;
    // A hop that this kernel does not show lies between those that it does.
    const queued = now >= order("queue") && now < order("dequeue");
    const carried = now >= order("copy") && now <= order("receive");
    const installed = came(it) && now >= order("install");
    const refs = steps.slice(0, step + 1).map(({ hop }) => hop?.[REFS] ?? null).filter((count) => count !== null).pop();
    const made = element("svg", { viewBox: "0 0 640 214", role: "img", class: "picture" }, element("title", {}, `step ${step + 1}`));
    const box = (x, y, w, h, name) => made.append(element("rect", { class: name, x, y, width: w, height: h, rx: 6 }));
    const say = (x, y, text, name = "", anchor = "middle") =>
      made.append(element("text", { x, y, class: name, "text-anchor": anchor }, text));
    const line = (d, name) => made.append(element("path", { d, class: name }));
    const side = (x, who, fd, present, missing) => {
      box(x, 8, 170, 92, "table");
      say(x + 85, 26, short(who ?? "not seen", 24), "title");
      line(`M${x} 36h170`, "rule");
      if (present || missing) {
        box(x + 12, 50, 146, 28, missing ? "slot bad" : "slot on");
        say(x + 85, 69, missing ? "✗ no number" : `fd ${number(fd)}`);
      } else say(x + 85, 69, "–", "dim");
    };
    // The sender's number is there all along, as far as anybody has looked.
    side(8, named(it[FROM]), it[FROM_FD], it[FROM] >= 0, false);
    side(462, named(receiver(it)), it[TO_FD], installed, lost && data.fates[it[FATE]] !== "failed");
    box(222, 8, 196, 92, lost ? "object bad" : "object");
    say(320, 28, "struct file", "title");
    say(320, 50, short(fileName(it), 30));
    say(320, 68, data.files[it[FILE]], "dim");
    say(320, 88, refs === undefined ? "references not read" : `references ${refs}`, "count");
    if (it[FROM] >= 0) line("M166 64H214m-6 -4l6 4l-6 4", "hold");
    if (installed) line("M474 64H426m6 -4l-6 4l6 4", "hold new");
    // The queue is a pipe from left to right.
    line("M120 100V172H196m-6 -4l6 4l-6 4", carried || installed || lost ? "way" : "way dim");
    box(202, 150, 236, 44, "pipe");
    say(320, 208, it[PATH] < 0 ? "receive queue" : short(data.paths[it[PATH]], 36), "dim");
    line("M444 172H520V106m-4 6l4 -6l4 6", installed ? "way" : lost ? "way bad" : "way dim");
    if (carried && !lost) {
      const x = queued ? 252 : now < order("queue") ? 208 : 300;
      box(x, 157, 130, 30, "message");
      say(x + 65, 176, `message ${it[MESSAGE]}: ${it[COUNT]} ${it[COUNT] === 1 ? "file" : "files"}`);
      line(`M${x + 65} 157V106m-4 6l4 -6l4 6`, "hold");
    }
    if (lost) {
      // A send that failed put nothing into the queue.
      const failed = data.fates[it[FATE]] === "failed";
      line(failed ? "M112 122l16 16m0 -16l-16 16" : "M512 122l16 16m0 -16l-16 16", "lost-mark");
      say(failed ? 136 : 500, 136, fate(it), "bad", failed ? "start" : "end");
    }
    return made;
  }
