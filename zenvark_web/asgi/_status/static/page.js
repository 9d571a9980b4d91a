// The status page. All text goes through `shown` and `textContent`: nothing becomes markup.

const STATES = { open: ["✕", "open"], half_open: ["◐", "half-open"], closed: ["✓", "closed"] };
const ORDER = { open: 0, half_open: 1, closed: 2 };
const MODES = { force_open: "forced open", force_closed: "forced closed", observe: "only observed" };
const MOST_CARDS = 200, MOST_CHIPS = 400, MOST_INSTANCES = 8, MOST_EVENTS = 60;

const byId = (id) => document.getElementById(id);
const circuits = new Map();
let fleet = null, events = [], greeting = {}, clock = { now: 0, at: 0 };
let filter = "", states = new Set(), every = { chips: false, instances: false };
let dirty = new Set(), frame = 0, selected = null, asked = 0, source = null;

// Text

export function shown(text, most = 300) {
  const cut = text.length > most ? text.slice(0, most) + "…" : text;
  // Control and direction characters are shown as what they are.
  return cut.replace(/[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g,
    (each) => "\\u" + each.charCodeAt(0).toString(16).padStart(4, "0"));
}

function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== false && value != null) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((each) => each != null && each !== ""));
  return made;
}

const named = (text, most) => make("bdi", {}, shown(text, most));
const counted = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
const now = () => clock.now + (performance.now() - clock.at) / 1000;

function duration(seconds) {
  if (seconds < 1) return "under 1 s";
  if (seconds < 100) return `${Math.floor(seconds)} s`;
  if (seconds < 6000) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds / 60) % 60} min`;
  return `${Math.floor(seconds / 86400)} days`;
}

// Ages are shown by this browser's clock, whatever the store's clock says.
function moment(at) {
  const date = new Date(Date.now() - (now() - at) * 1000);
  const today = date.toDateString() === new Date().toDateString();
  return isNaN(date) ? "?" : today ? date.toLocaleTimeString("en-GB") : date.toLocaleString("en-GB");
}

function ago(at, words = (text) => text) {
  const made = make("time");
  made.tick = () => { made.textContent = words(duration(now() - at)); };
  made.tick();
  made.title = moment(at);
  return made;
}

function failures(counts) {
  return Object.entries(counts).map(([what, count]) => `${count} × ${shown(what, 80)}`).join(", ");
}

const seen = (counts) => Object.entries(counts).map(([who, count]) => `${shown(who, 80)} (${count})`).join(", ");

function reason(change) {
  const told = change.detail || change.cause.replaceAll("_", " ");
  const sample = failures(change.failures);
  return sample ? `${told} (${sample})` : told;
}

function sign(state) {
  return make("span", { class: `sign ${state}`, "aria-hidden": "true" }, STATES[state]?.[0] ?? "⚑");
}

function observed(observers) {
  if (!observers?.number) return null;
  return observers.number === observers.of ? MODES.observe
    : `only observed by ${observers.number} of ${counted(observers.of, "instance")}`;
}

function pill(record) {
  const forced = record.override ? MODES[record.override.mode] : observed(record.observers);
  const state = forced ? "override" : record.state;
  return make("span", { class: `pill ${state}` }, sign(state), forced ?? STATES[record.state][1],
    forced ? make("span", { class: "quiet" }, `verdict ${STATES[record.state][1]}`) : null);
}

function next(record) {
  const change = record.transition;
  const made = make("span", { class: "then" });
  made.tick = () => {
    const left = change ? change.at + change.delay - now() : 0;
    if (record.override?.mode === "force_open") made.textContent = "no attempt to recover until the override ends";
    else if (!change || record.state === "closed") made.textContent = "";
    else if (record.state === "open")
      made.textContent = left > 0 ? `next attempt in ${duration(left)} (number ${change.attempt})`
        : `attempt ${change.attempt} is due`;
    else if (change.grant)
      made.textContent = `${counted(change.grant.permits, "trial call")} by ${shown(change.grant.holder, 80)}`;
    else if (change.ramp) made.textContent = ramp(change);
    else made.textContent = "recovery is under way";
  };
  made.tick();
  return made;
}

function ramp(change) {
  const step = Math.max(0, Math.floor((now() - change.at) / change.ramp.step));
  const share = change.ramp.shares[Math.min(step, change.ramp.shares.length - 1)];
  return `ramp: ${Number((share * 100).toPrecision(3))} % of calls, step ${Math.min(step + 1, change.ramp.shares.length)} of ${change.ramp.shares.length}`;
}

// The list of circuits

function wanted(record) {
  if (states.size && !states.has(record.state)) return false;
  if (!filter) return true;
  const text = `${record.name} ${record.transition && record.state !== "closed" ? reason(record.transition) : ""}`;
  return text.toLowerCase().includes(filter);
}

function rank(one, other) {
  return ORDER[one.state] - ORDER[other.state] || (other.since ?? 0) - (one.since ?? 0)
    || (one.name < other.name ? -1 : 1);
}

function card(record) {
  const [, word] = STATES[record.state];
  const since = record.since == null ? null : ago(record.since,
    (text) => `for ${record.since_is_exact ? "" : "over "}${text}`);
  return make("button", { class: `card ${record.state}`, type: "button", "data-name": record.name,
    onclick: () => select(record.name) },
    make("span", { class: "top" }, make("span", { class: "who" }, named(record.name)), pill(record),
      make("span", { class: "when" }, since ?? word)),
    record.transition && record.state !== "closed" && record.transition.cause !== "forced"
      ? make("span", { class: "why" }, shown(reason(record.transition))) : null,
    record.override ? make("span", { class: "why" }, told(record.override)) : null, next(record));
}

function chip(record) {
  return make("li", {}, make("button", { class: "chip", type: "button", "data-name": record.name,
    title: shown(record.name), onclick: () => select(record.name) }, named(record.name)));
}

function replace(list, children) {
  const focused = list.contains(document.activeElement) ? document.activeElement.dataset.name : null;
  list.replaceChildren(...children);
  if (focused != null)
    [...list.querySelectorAll("[data-name]")].find((each) => each.dataset.name === focused)?.focus();
}

function drawCircuits() {
  const found = [...circuits.values()].filter(wanted);
  const apart = found.filter((each) => each.state !== "closed" || each.override).sort(rank);
  const closed = found.filter((each) => each.state === "closed" && !each.override).sort(rank);
  const left = apart.length - MOST_CARDS;
  replace(byId("attention"), [...apart.slice(0, MOST_CARDS).map(card),
    ...(left > 0 ? [make("p", { class: "quiet" }, `and ${counted(left, "circuit")} more: search for a name`)] : [])]);
  const calm = byId("calm");
  calm.hidden = apart.length > 0 || states.size > 0;
  const sentence = !circuits.size ? "No circuit yet. A circuit appears with its first call."
    : filter ? (closed.length ? "All that match are closed." : "No circuit matches.")
      : circuits.size === 1 ? "The circuit is closed." : `All ${circuits.size.toLocaleString("en")} circuits are closed.`;
  calm.replaceChildren(...(circuits.size && (!filter || closed.length) ? [sign("closed")] : []), sentence);
  byId("rest").hidden = !closed.length;
  byId("rest-count").textContent = closed.length.toLocaleString("en");
  const chips = every.chips ? closed : closed.slice(0, MOST_CHIPS);
  replace(byId("rest-list"), chips.map(chip));
  byId("rest-more").hidden = chips.length === closed.length;
  byId("rest-more").textContent = `Show all ${closed.length.toLocaleString("en")}`;
}

// Instances, overrides, events

// Each line of a text is one setting of one policy.
async function drawDrift() {
  const answer = await fetch("api/v1/policies").catch(() => null);
  const texts = answer?.ok ? (await answer.json()).policies : {};
  const alive = fleet.instances.filter((each) => each.alive);
  const first = (alive.find((each) => each.leads.length) ?? alive[0])?.policies;
  const lines = [];
  for (const digest of new Set(alive.map((each) => each.policies))) {
    if (digest === first || texts[digest] == null || texts[first] == null) continue;
    const [mine, theirs] = [texts[first].split("\n"), texts[digest].split("\n")];
    lines.push(`${digest.slice(0, 7)} instead of ${first.slice(0, 7)} (the leader):`,
      ...mine.filter((each) => !theirs.includes(each)).map((each) => `- ${each}`),
      ...theirs.filter((each) => !mine.includes(each)).map((each) => `+ ${each}`));
  }
  byId("drift-lines").hidden = false;
  byId("drift-lines").textContent = lines.length ? lines.slice(0, 100).map((each) => shown(each)).join("\n")
    : "The texts of the policies are not stored yet.";
}

function drawFleet() {
  const { counts, instances, shards } = fleet;
  for (const button of document.querySelectorAll(".filters button"))
    button.querySelector("b").textContent = (counts[button.dataset.state] ?? 0).toLocaleString("en");
  document.title = counts.open ? `${counts.open} open – ${greeting.title}`
    : `${greeting.title ?? "circuits"}: ${counts.half_open ? `${counts.half_open} half-open` : "all closed"}`;
  byId("namespace").replaceChildren("namespace ", named(fleet.namespace));
  byId("about").replaceChildren(named(fleet.server), " · shown by ", named(greeting.instance ?? ""),
    ` · ${counted(shards.length, "shard")}`);
  byId("instance-count").textContent = instances.length.toLocaleString("en");
  const rows = every.instances ? instances : instances.slice(0, MOST_INSTANCES);
  byId("instance-list").replaceChildren(...rows.map(instance));
  byId("instance-more").hidden = rows.length === instances.length;
  byId("instance-more").textContent = `Show all ${instances.length.toLocaleString("en")}`;
  const digests = new Set(instances.filter((each) => each.alive).map((each) => each.policies));
  byId("drift").hidden = digests.size < 2;
  byId("drift-text").textContent = `Instances have ${digests.size} different sets of policies. This is normal during a deployment; the leader's policies decide.`;
  const leaderless = shards.filter((each) => each.leader == null).length;
  const alerts = [];
  if (fleet.away) alerts.push("Redis does not answer this process. Circuits keep their last states; instances and events may be out of date.");
  else if (leaderless) alerts.push(`${shards.length === 1 ? "No instance leads" : `${counted(leaderless, "shard")} without a leader`}: circuits keep their states until one does.`);
  if (fleet.unreadable) alerts.push(`${counted(fleet.unreadable, "malformed field")} skipped: run zenvark-web doctor.`);
  const ignoring = instances.filter((each) => each.alive && each.follows_overrides === false);
  if (ignoring.length && (fleet.overrides?.length || greeting.acts))
    alerts.push(`Overrides are ignored by ${counted(ignoring.length, "instance")} of an older version: ${ignoring.slice(0, 5).map((each) => shown(each.name, 60)).join(", ")}${ignoring.length > 5 ? " and more" : ""}. Until their upgrade, their calls meet the fleet's verdict.`);
  const protections = fleet.protections ?? [];
  for (const each of protections.slice(0, 3))
    alerts.push(`${shown(each.instance, 80)} rejects calls of ${shown(each.circuit, 80)} by its own results: ${shown(each.detail)}`);
  if (protections.length > 3) alerts.push(`And ${counted(protections.length - 3, "own decision")} more: run zenvark-web status.`);
  byId("alerts").replaceChildren(...alerts.map((text) => make("p", { class: "alert" }, text)));
  drawOverrides();
}

function instance(each) {
  const seenAt = now() - each.silence;
  const role = each.leads.length
    ? (fleet.shards.length === 1 ? "leader" : `leads ${each.leads.join(", ")}`) : "follower";
  return make("li", { class: each.alive ? null : "stale" },
    make("div", { class: "row" }, make("b", {}, named(each.name)),
      make("span", { class: each.leads.length ? "lead" : "quiet" }, role)),
    make("div", { class: "small" }, ago(seenAt, (text) => `${each.alive ? "seen" : "silent for"} ${text}${each.alive ? " ago" : ""}`),
      ` · ${shown(each.package, 20)} · policies `, make("code", {}, shown(each.policies.slice(0, 7)))));
}

function told(override) {
  const end = override.until == null ? "without an end" : `until ${moment(override.until)}`;
  return `${MODES[override.mode] ?? shown(override.mode)} ${end} by ${shown(override.actor, 100)}: ${shown(override.reason)}`;
}

function drawOverrides() {
  const overrides = fleet.overrides ?? [];
  byId("overrides").hidden = !overrides.length;
  byId("override-list").replaceChildren(...overrides.slice(0, 100).map((each) =>
    make("li", {}, make("button", { class: "plain name", type: "button", onclick: () => select(each.circuit) }, named(each.circuit)),
      make("div", { class: "small" }, told(each)))));
}

function event(each) {
  const at = Number(each.position.split("-")[0]) / 1000;
  const line = [make("time", {}, moment(at)), " "];
  if (each.event === "transition") {
    const word = each.state === "open" && each.previous !== "closed" ? "stays open" : STATES[each.state]?.[1] ?? each.state;
    line.push(make("b", {}, named(each.circuit, 80)), " ",
      make("span", { class: `pill ${each.state}` }, word), make("div", { class: "small reason" }, shown(reason(each))));
  } else if (each.event === "leader") {
    line.push(each.leader == null ? "the leader has left" : make("b", {}, named(each.leader, 80)),
      each.leader == null ? "" : " leads");
  } else if (each.event === "override" || each.event === "probe") {
    const what = each.event === "probe" ? "attempt asked for" : each.mode ? MODES[each.mode] : each.expired ? "override has ended" : "override lifted";
    line.push(make("b", {}, named(each.circuit, 80)), " ", make("span", { class: "pill override" }, what),
      make("div", { class: "small reason" }, `${shown(each.actor, 100)}: ${shown(each.reason)}`));
  } else if (each.circuit != null) line.push(make("b", {}, named(each.circuit, 80)), ` ${shown(each.event)}`);
  else line.push(shown(each.event), make("div", { class: "small reason" }, shown(each.detail ?? "")));
  return make("li", {}, ...line);
}

function drawEvents() {
  const last = events.slice(-MOST_EVENTS).reverse();
  byId("event-list").replaceChildren(...(last.length ? last.map(event) : [make("li", { class: "quiet" }, "none yet")]));
}

// One circuit

function select(name) {
  history.replaceState(null, "", `#${encodeURIComponent(name)}`);
  show(name);
}

function show(name) {
  selected = name;
  byId("detail-name").replaceChildren(named(name));
  byId("detail-next").textContent = "";
  byId("detail-body").replaceChildren();
  byId("acts").open = false;
  byId("act").reset();
  byId("act-said").textContent = "";
  offerActs(name);
  if (!byId("detail").open) byId("detail").showModal();
  ask();
}

async function ask() {
  const name = selected;
  asked = performance.now();
  const answer = await fetch(`api/v1/circuit?name=${encodeURIComponent(name)}`).catch(() => null);
  const told = await answer?.json().catch(() => null);
  if (selected !== name) return;
  if (answer?.ok) drawDetail(told);
  else byId("detail-next").textContent = told?.detail ?? "This process does not answer.";
}

function facts(pairs) {
  return make("dl", {}, ...pairs.filter(([, value]) => value).flatMap(([what, value]) =>
    [make("dt", {}, what), make("dd", {}, value)]));
}

function drawDetail(view) {
  const record = circuits.get(view.circuit) ?? { state: view.state };
  byId("detail-state").replaceChildren(pill({ ...record, state: view.state }), next(record));
  byId("detail-next").textContent = shown(view.what_next, 1000);
  const { current, opening, recent } = view;
  const body = [];
  if (current) body.push(make("h3", {}, `Why it is ${STATES[view.state][1]}`), facts([
    ["reason", shown(current.detail || current.cause.replaceAll("_", " "), 1000)],
    ["failures", failures(current.failures)], ["seen by", seen(current.instances)],
    ["since", `${moment(current.at)} (${duration(now() - current.at)} ago)`],
    ["decided by", current.leader && `${shown(current.leader)} (epoch ${current.epoch})`],
    ["opened by", opening && opening.generation !== current.generation && shown(reason(opening), 1000)]]));
  const suspects = view.suspects ?? [], protections = view.protections ?? [];
  if (suspects.length || protections.length) body.push(make("h3", {}, "Instances whose own calls fail"), facts([
    ["suspects", suspects.map((each) => `${shown(each.instance, 80)} (${each.failures} of ${each.calls} calls failed)`).join(", ")],
    ["own protection", protections.map((each) => `${shown(each.instance, 80)} since ${moment(each.since)}: ${shown(each.detail)}`).join(", ")]]));
  body.push(make("h3", {}, `Last ${Math.round(recent.seconds)} seconds`), facts([
    ["calls", `${recent.calls.toLocaleString("en")}, ${recent.failed.toLocaleString("en")} failed, ${recent.blocked.toLocaleString("en")} rejected${recent.uncounted ? `, ${recent.uncounted.toLocaleString("en")} would have been rejected` : ""}${recent.slow ? `, ${recent.slow} slow` : ""}`],
    ["failures", failures(recent.failures)], ["reported by", Object.keys(recent.instances).map((each) => shown(each, 80)).join(", ")]]));
  if (view.counting) body.push(make("h3", {}, "Counting"), facts([["strategy", shown(view.counting.strategy, 500)],
    ["failures", view.counting.failures.slice(0, 10).map((each) => `${each.count} × ${shown(each.failure, 80)} on ${shown(each.instance, 80)}`).join(", ")]]));
  if (view.history.length) body.push(make("h3", {}, "Timeline"), tape(view.history),
    make("ol", { class: "past" }, ...view.history.map((each) => make("li", {}, make("time", {}, moment(each.at)),
      make("div", {}, make("span", { class: `pill ${each.state}` }, sign(each.state), STATES[each.state]?.[1] ?? each.state),
        make("div", { class: "small" }, shown(reason(each))))))));
  byId("detail-body").replaceChildren(...body);
}

// How long each state lasted. (A square root, so that a second beside an hour is still seen.)
function tape(history) {
  const parts = history.map((each, index) => {
    const part = make("span", { class: each.state });
    const seconds = Math.max(0.05, (index ? history[index - 1].at : now()) - each.at);
    part.style.flexGrow = String(Math.sqrt(seconds));
    part.title = `${STATES[each.state]?.[1] ?? each.state} for ${duration(seconds)}`;
    return part;
  });
  return make("div", { class: "tape", role: "img", "aria-label": "the states in the order of the list, from right to left" }, ...parts.reverse());
}

// Acts

const ACTS = {
  force_open: ["Force open", "All instances reject all calls, and nothing checks the upstream. When it ends, the circuit first recovers by a health check or trial calls."],
  force_closed: ["Force closed", "All instances permit all calls, whatever the verdict. Alerts of this circuit are silent."],
  observe: ["Observe", "All instances permit all calls. The verdict goes on, and is shown: you see what it would reject."],
  lift: ["Lift", "The override ends for all instances, and the fleet's verdict applies again. After a forced opening, the circuit first recovers."],
  probe: ["Try now", "The next attempt to recover is made at once, instead of after the wait."],
};

const chosen = () => document.querySelector("#act input[type=radio]:checked")?.value;

function offerActs(name) {
  const exact = (fleet?.overrides ?? []).find((each) => each.circuit === name);
  const possible = Object.keys(ACTS).filter((each) => each === "lift" ? exact
    : each === "probe" ? circuits.get(name)?.state === "open" : true);
  const before = chosen();
  byId("acts").hidden = !greeting.acts;
  byId("act-modes").replaceChildren(...possible.map((each) => make("label", {},
    make("input", { type: "radio", name: "act", value: each, required: true, checked: each === before, onchange: drawEffect }),
    ` ${ACTS[each][0]}`)));
  drawEffect();
}

function drawEffect() {
  const act = chosen();
  byId("act-effect").textContent = act ? ACTS[act][1] : "";
  byId("act-end").hidden = act === "lift" || act === "probe";
  byId("act-send").textContent = act ? ACTS[act][0] : "Apply";
}

async function perform(submit) {
  submit.preventDefault();
  const act = chosen(), isMode = act in MODES, seconds = byId("act-seconds").value;
  const body = { circuit: selected, reason: byId("act-reason").value,
    ...(isMode ? { mode: act, expires_in: seconds ? Number(seconds) : null } : {}) };
  byId("act-send").disabled = true;
  const answer = await fetch(`api/v1/${isMode ? "override" : act}`, { method: "POST",
    headers: { "content-type": "application/json", "x-zenvark": "1" }, body: JSON.stringify(body) }).catch(() => null);
  const done = await answer?.json().catch(() => null);
  byId("act-send").disabled = false;
  byId("act-said").className = answer?.ok ? "said done" : "said";
  byId("act-said").textContent = answer?.ok ? `Done, as ${shown(done.actor)}: ${ACTS[act][0].toLowerCase()}.${done.replaced && isMode ? ` In place of: ${told(done.replaced)}.` : ""}`
    : shown(done?.detail ?? "This process does not answer: nothing may have changed.");
  if (answer?.ok) byId("act-reason").value = "";
}

// Updates

function draw(...parts) {
  parts.forEach((each) => dirty.add(each));
  frame ||= requestAnimationFrame(() => {
    frame = 0;
    const drawn = dirty;
    dirty = new Set();
    if (drawn.has("circuits")) drawCircuits();
    if (drawn.has("fleet") && fleet) drawFleet();
    if (drawn.has("events")) drawEvents();
    if (selected != null && (drawn.has("fleet") || drawn.has("circuits"))) offerActs(selected);
  });
}

function apply(change, whole) {
  clock = { now: change.now, at: performance.now() };
  if (whole) { circuits.clear(); events = []; draw("circuits", "events"); }
  for (const name of change.gone ?? []) circuits.delete(name);
  for (const record of change.circuits ?? []) circuits.set(record.name, record);
  if (change.circuits || change.gone) draw("circuits");
  if (change.fleet) { fleet = change.fleet; draw("fleet"); }
  if (change.events) { events = [...events, ...change.events].slice(-MOST_EVENTS); draw("events"); }
  if (selected != null && change.circuits?.some((each) => each.name === selected)) ask();
}

function link(text, live) {
  byId("link").textContent = text;
  byId("link").classList.toggle("live", live);
}

function connect() {
  source = new EventSource("api/v1/stream");
  source.addEventListener("greeting", (message) => {
    greeting = JSON.parse(message.data);
    byId("title").textContent = shown(greeting.title);
    link("live", true);
    draw("fleet");
  });
  source.addEventListener("snapshot", (message) => apply(JSON.parse(message.data), true));
  source.addEventListener("change", (message) => apply(JSON.parse(message.data), false));
  source.addEventListener("error", () => {
    // A stream ends by itself now and then: only what does not come back is worth a word.
    setTimeout(() => { if (source.readyState !== EventSource.OPEN) link("not connected, trying again …", false); }, 3000);
    if (source.readyState !== EventSource.CLOSED) return;
    setTimeout(connect, 5000);
  });
}

byId("search").addEventListener("input", () => { filter = byId("search").value.trim().toLowerCase(); draw("circuits"); });
for (const button of document.querySelectorAll(".filters button"))
  button.addEventListener("click", () => {
    const state = button.dataset.state;
    states.has(state) ? states.delete(state) : states.add(state);
    button.setAttribute("aria-pressed", String(states.has(state)));
    draw("circuits");
  });
byId("rest-more").addEventListener("click", () => { every.chips = true; draw("circuits"); });
byId("instance-more").addEventListener("click", () => { every.instances = true; draw("fleet"); });
byId("drift-more").addEventListener("click", drawDrift);
byId("act").addEventListener("submit", perform);
byId("detail-close").addEventListener("click", () => byId("detail").close());
byId("detail").addEventListener("click", (click) => { if (click.target === byId("detail")) byId("detail").close(); });
byId("detail").addEventListener("close", () => { selected = null; history.replaceState(null, "", location.pathname); });
document.addEventListener("keydown", (press) => {
  if (press.key === "/" && !/^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName)) {
    press.preventDefault();
    byId("search").focus();
  }
});
setInterval(() => {
  for (const each of document.querySelectorAll("time, .then")) each.tick?.();
  if (selected != null && performance.now() - asked > 10000) ask();
}, 1000);
connect();
// A page that is left but kept by the browser must not keep one of its few connections.
addEventListener("pagehide", () => source.close());
addEventListener("pageshow", (event) => { if (event.persisted) connect(); });
if (location.hash.length > 1) {
  try { show(decodeURIComponent(location.hash.slice(1))); } catch { /* not a name */ }
}
