// Keeps a page up to date: what the server sends anew is laid over what is there, node by node, so that focus, scrolling and
// opened details stay where they are. Nothing is fetched but the page's own events.
"use strict";
(() => {
  const events = document.body.dataset.events;
  const gone = document.getElementById("gone");
  if (!events || !gone) return;
  const away = gone.textContent;

  // Longer than the server is ever silent.
  const PATIENCE = 12000;
  const RETRY = 2000;
  // Least time between two things that are read out.
  const QUIET = 20000;
  const LOOK = 250;
  let source = null;
  let heard = 0;
  let retry = 0;

  const sameKind = (a, b) =>
    a.nodeType === b.nodeType && (a.nodeType !== Node.ELEMENT_NODE || (a.tagName === b.tagName && key(a) === key(b)));
  const key = (node) => (node.nodeType === Node.ELEMENT_NODE ? node.getAttribute("data-key") : null);

  function lay(next, old) {
    if (next.nodeType !== Node.ELEMENT_NODE) {
      if (old.nodeValue !== next.nodeValue) old.nodeValue = next.nodeValue;
      return;
    }
    // What somebody has chosen or opened is theirs.
    if (old.tagName === "SELECT" && document.activeElement === old) return;
    for (const { name, value } of [...next.attributes]) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    for (const { name } of [...old.attributes]) {
      if (!next.hasAttribute(name) && !(old.tagName === "DETAILS" && name === "open")) old.removeAttribute(name);
    }
    layChildren(next, old);
  }

  function layChildren(next, old) {
    const keyed = new Map();
    for (const child of old.children) if (key(child) !== null) keyed.set(key(child), child);
    let at = old.firstChild;
    for (const child of [...next.childNodes]) {
      const name = key(child);
      const found = name === null ? (at && key(at) === null && sameKind(child, at) ? at : null) : keyed.get(name) ?? null;
      if (found === null || !sameKind(child, found)) {
        old.insertBefore(document.importNode(child, true), at);
        continue;
      }
      if (found === at) at = at.nextSibling;
      else old.insertBefore(found, at);
      lay(child, found);
    }
    while (at) {
      const after = at.nextSibling;
      at.remove();
      at = after;
    }
  }

  function show(place, html) {
    const next = document.createElement("template");
    next.innerHTML = html;
    layChildren(next.content, place);
  }

  const isDone = () => document.querySelector("#state .done") !== null;
  const isOver = () => isDone() || document.querySelector("#state .bad") !== null;

  // What is held back, by the id of its place.
  const held = new Map();
  let spoke = -Infinity;

  // Whoever is about to press a link that moves on would press another one; whoever has focused it would lose the focus.
  const isUsed = (place) =>
    "holds" in place.dataset &&
    (place.contains(document.activeElement) || (matchMedia("(hover: hover)").matches && place.matches(":hover")));

  // News are read out, and interrupt whoever listens to the page: the first at once, then now and then, and how the run ends.
  const isTooSoon = (place) => place.id === "news" && Date.now() - spoke < QUIET && !isOver();

  function showHeld() {
    for (const [id, html] of [...held]) {
      const place = document.getElementById(id);
      if (isUsed(place) || isTooSoon(place)) continue;
      held.delete(id);
      const before = place.textContent;
      show(place, html);
      // Every connection begins with news that the page has already.
      if (id === "news" && place.textContent !== before) spoke = Date.now();
    }
  }

  function change(event) {
    answered();
    for (const [id, html] of Object.entries(JSON.parse(event.data))) {
      const place = document.getElementById(id);
      if (!place) continue;
      if (id === "news" || "holds" in place.dataset) held.set(id, html);
      else show(place, html);
    }
    showHeld();
  }

  function answered() {
    heard = Date.now();
    if (gone.hidden) return;
    gone.hidden = true;
  }

  function lost() {
    // A run that failed may have gone on since.
    const words = isOver() ? gone.dataset.over : away;
    gone.classList.toggle("done", isDone());
    if (gone.textContent !== words) gone.textContent = words;
    if (gone.hidden) gone.hidden = false;
    document.body.classList.add("stale");
  }

  function close() {
    if (source) source.close();
    source = null;
    clearTimeout(retry);
  }

  function open() {
    close();
    heard = Date.now();
    source = new EventSource(events);
    source.addEventListener("change", change);
    source.addEventListener("beat", answered);
    source.addEventListener("open", () => {
      document.body.classList.remove("stale");
      answered();
    });
    source.addEventListener("error", () => {
      lost();
      // A browser gives up when it is answered something else, such as that the token has changed.
      if (source && source.readyState === EventSource.CLOSED) retry = setTimeout(again, RETRY);
    });
  }

  async function again() {
    try {
      const answer = await fetch(location.href, { method: "HEAD", cache: "no-store" });
      if (answer.status === 401) return location.reload();
    } catch {
      // Nobody is there yet.
    }
    // Nobody may look any more.
    if (!document.hidden) open();
  }

  setInterval(() => {
    if (source && Date.now() - heard > PATIENCE) {
      lost();
      open();
    }
  }, RETRY);

  setInterval(showHeld, LOOK);

  // Escape closes what is open around the focus, which stays at what opens it again.
  document.addEventListener("keydown", (event) => {
    const opened = event.key === "Escape" && document.activeElement?.closest("details[open]");
    if (!opened) return;
    opened.open = false;
    opened.querySelector("summary").focus();
  });

  // A page that nobody sees takes nobody's place.
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  if (!document.hidden) open();
})();
