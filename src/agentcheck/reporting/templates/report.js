"use strict";
(function () {
  const PAGE = 100;
  const data = JSON.parse(document.getElementById("data").textContent);
  const list = document.getElementById("list");
  const rest = document.getElementById("rest");
  const more = document.getElementById("more");
  const find = document.getElementById("find");
  const suite = document.getElementById("suite");
  const count = document.getElementById("count");
  const nothing = document.getElementById("nothing");
  const verdicts = Array.from(document.querySelectorAll(".verdicts button"));
  const drawn = Array.from(list.querySelectorAll("details.case"));
  const [SUITE, ID, STATUS, TOOK, REASON, ANCHOR, SOURCE, TAGS, TRIALS, ACTIONS, HELD, DENIED, SCORES, SHOW] =
    Array.from({ length: 14 }, (_, place) => place);
  const bodies = new Map();
  document.querySelectorAll("template[data-of]").forEach((one) => bodies.set(one.dataset.of, one));
  const texts = new Map();
  let matching = [];
  let shown = 0;

  // Text from outside only ever becomes the text of a node.
  function make(tag, name, text) {
    const node = document.createElement(tag);
    if (name) node.className = name;
    if (text !== undefined) node.textContent = text;
    return node;
  }

  function chip(status) {
    const [sign, word] = data.marks[status];
    const node = make("span", "chip m-" + status);
    const mark = make("span", "", sign);
    mark.setAttribute("aria-hidden", "true");
    node.append(mark, " " + word);
    return node;
  }

  function row(one) {
    const node = make("details", "case s-" + one[STATUS]);
    node.id = one[ANCHOR];
    const summary = make("summary");
    const name = make("span", "name");
    const of = make("span", "of", data.suites[one[SUITE]][0]);
    of.append(" / ");
    name.append(of, make("b", "", one[ID]));
    if (one[REASON]) name.append(make("span", "reason", one[REASON]));
    summary.append(chip(one[STATUS]), name, make("span", "took", one[TOOK]));
    node.append(summary);
    node.addEventListener("toggle", () => fill(node, one), { once: true });
    return node;
  }

  function fill(node, one) {
    const template = bodies.get(one[ANCHOR]);
    node.append(template ? template.content.cloneNode(true) : brief(one));
  }

  function brief(one) {
    const body = make("div", "body");
    if (one[REASON]) body.append(make("p", "", one[REASON]));
    const facts = make("dl", "facts");
    const fact = (name, text, kind) => facts.append(make("dt", "", name), make("dd", kind, text));
    for (const [metric, value, threshold] of one[SCORES]) {
      fact(data.metrics[metric], threshold === null ? value : value + " (threshold " + threshold + ")");
    }
    if (one[TRIALS]) {
      fact("actions", one[ACTIONS] + " asked, " + one[HELD] + " held, " + one[DENIED] + " denied");
      if (one[TRIALS] > 1) fact("trials", String(one[TRIALS]));
    }
    if (one[SOURCE]) fact("row", one[SOURCE], "mono");
    if (one[TAGS]) fact("tags", one[TAGS]);
    if (one[TRIALS]) fact("show", one[SHOW], "mono");
    body.append(facts);
    return body;
  }

  function pressed(button) {
    return button.getAttribute("aria-pressed") === "true";
  }

  function wanted() {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    const statuses = new Set(verdicts.filter(pressed).map((one) => one.dataset.status));
    const chosen = suite ? suite.value : "";
    return (text, status, of) =>
      (!statuses.size || statuses.has(status)) && (!chosen || of === chosen) && words.every((word) => text().includes(word));
  }

  function textOf(node) {
    if (!texts.has(node)) texts.set(node, node.textContent.toLowerCase());
    return texts.get(node);
  }

  function filter() {
    const fits = wanted();
    let visible = 0;
    for (const node of drawn) {
      node.hidden = !fits(() => textOf(node), node.dataset.status, node.dataset.suite);
      visible += !node.hidden;
    }
    matching = data.rows.filter((one) => {
      const of = data.suites[one[SUITE]][0];
      return fits(() => [of, one[ID], one[REASON], one[TAGS], one[SOURCE]].join(" ").toLowerCase(), one[STATUS], of);
    });
    rest.replaceChildren();
    shown = 0;
    page();
    const total = drawn.length + data.rows.length + data.rowless;
    count.textContent = (visible + matching.length).toLocaleString("en") + " of " + total.toLocaleString("en") + " cases" +
      (data.rowless ? " (" + data.rowless.toLocaleString("en") + " were never begun and have no row)" : "");
    if (nothing) nothing.hidden = find.value !== "" || verdicts.some(pressed);
  }

  function page() {
    const next = matching.slice(shown, shown + PAGE);
    rest.append(...next.map(row));
    shown += next.length;
    more.hidden = shown >= matching.length;
    more.textContent = "Show " + Math.min(PAGE, matching.length - shown) + " more of " + (matching.length - shown).toLocaleString("en");
  }

  function summaries() {
    return Array.from(document.querySelectorAll("details.case:not([hidden]) > summary"));
  }

  function step(by) {
    const all = summaries();
    const here = document.activeElement && document.activeElement.closest("details.case");
    const at = here ? all.indexOf(here.querySelector("summary")) : -1;
    if (at + by >= all.length && !more.hidden) {
      page();
      return step(by);
    }
    const next = all[Math.max(0, Math.min(all.length - 1, at + by))];
    if (next) {
      next.focus({ preventScroll: true });
      next.scrollIntoView({ block: "nearest", behavior: "instant" });
    }
  }

  function key(event) {
    const field = event.target.closest && event.target.closest("input, select, textarea, dialog");
    if (event.key === "Escape" && event.target === find) {
      find.value = "";
      filter();
      find.blur();
      return;
    }
    if (field || event.ctrlKey || event.metaKey || event.altKey) return;
    const onCase = event.target.matches && event.target.matches("details.case > summary");
    const by = { j: 1, k: -1, ArrowDown: onCase ? 1 : 0, ArrowUp: onCase ? -1 : 0 }[event.key];
    if (by) step(by);
    else if (event.key === "/") find.focus();
    else if (event.key === "?") document.getElementById("keys").showModal();
    else return;
    event.preventDefault();
  }

  // A link to a case that is not drawn yet draws it.
  function follow() {
    const target = decodeURIComponent(location.hash.slice(1)).replace(/-t\d+-e\d+$/, "");
    if (!target.startsWith("c-")) return;
    const place = matching.findIndex((one) => one[ANCHOR] === target);
    while (place >= shown) page();
    const node = document.getElementById(target);
    if (node) {
      node.open = true;
      requestAnimationFrame(() => (document.getElementById(location.hash.slice(1)) || node).scrollIntoView());
    }
  }

  function theme() {
    const button = document.getElementById("theme");
    const root = document.documentElement;
    const order = ["system", "light", "dark"];
    const set = (name) => {
      if (name === "system") root.removeAttribute("data-theme");
      else root.dataset.theme = name;
      button.textContent = "Theme: " + name;
      try {
        localStorage.setItem("agentcheck-theme", name);
      } catch (_) {
        // A page opened from a file may have no storage; the choice then holds until it is closed.
      }
    };
    let kept = "system";
    try {
      kept = localStorage.getItem("agentcheck-theme") || kept;
    } catch (_) {
      kept = "system";
    }
    let now = Math.max(0, order.indexOf(kept));
    set(order[now]);
    button.hidden = false;
    button.addEventListener("click", () => set(order[(now = (now + 1) % order.length)]));
  }

  for (const button of verdicts) {
    button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", String(!pressed(button)));
      filter();
    });
  }
  find.addEventListener("input", filter);
  if (suite) suite.addEventListener("change", filter);
  more.addEventListener("click", () => {
    const before = rest.childElementCount;
    page();
    const first = rest.children[before];
    if (first) first.querySelector("summary").focus();
  });
  document.addEventListener("keydown", key);
  window.addEventListener("hashchange", follow);
  window.addEventListener("beforeprint", () => drawn.forEach((node) => (node.open = true)));
  const help = document.getElementById("help");
  help.hidden = false;
  help.addEventListener("click", () => document.getElementById("keys").showModal());
  document.getElementById("filter").hidden = false;
  theme();
  filter();
  follow();
})();
