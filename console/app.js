// The console's page: asks for the overview each second and shows it. Changes nothing on the server;
// what can be changed is shown as the command that does it.

const POLL_MS = 1000;
const HISTORY = 60;

const by = (id) => document.getElementById(id);
const seen = { overview: null, selected: null, view: null, offset: 0 };
// Frames per second of each camera over the last minute, by instance and node.
const history = new Map();

/** An element with attributes and children; text is always text. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "on") for (const [event, call] of Object.entries(value)) made.addEventListener(event, call);
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Sets text only where it differs, so that a selection survives. */
function text(node, value) {
  if (node.textContent !== value) node.textContent = value;
}

/** Replaces the children of `parent` only where what they show has changed, by key. */
function keyed(parent, items, key, make) {
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const wanted = items.map((item) => {
    const name = key(item);
    const print = JSON.stringify(item);
    const known = old.get(name);
    if (known && known.dataset.print === print) return known;
    const fresh = make(item);
    fresh.dataset.key = name;
    fresh.dataset.print = print;
    if (known && known.contains(document.activeElement)) {
      requestAnimationFrame(() => fresh.querySelector("button")?.focus());
    }
    return fresh;
  });
  const same = wanted.length === parent.children.length && wanted.every((child, i) => child === parent.children[i]);
  if (!same) parent.replaceChildren(...wanted);
}

const dot = (tone) => element("span", { class: `dot ${tone}`, "aria-hidden": "true" });

const TONES = {
  RUNNING: "good", PAUSED: "idle", NOT_AVAILABLE: "idle", ERROR: "bad",
  INSTALL_IN_PROGRESS: "warn", STARTING: "warn", REMOVAL_IN_PROGRESS: "warn",
  INSTALL_ERROR: "bad", LAUNCH_ERROR: "bad",
};
const tone = (state) => TONES[state] ?? "idle";
const words = (state) => (state ?? "WAITING").toLowerCase().replaceAll("_", " ");

/** The worst of an instance and its nodes. */
function health(instance, device) {
  if (!device.online) return "idle";
  if (tone(instance.state) === "bad" || instance.nodes.some((node) => node.status === "ERROR")) return "bad";
  return tone(instance.state);
}

function ago(seconds) {
  if (seconds === null || seconds === undefined) return "never";
  const passed = Math.max(0, seen.overview.now - seconds);
  if (passed < 90) return `${Math.round(passed)} s ago`;
  if (passed < 5400) return `${Math.round(passed / 60)} min ago`;
  if (passed < 129600) return `${Math.round(passed / 3600)} h ago`;
  return `${Math.round(passed / 86400)} days ago`;
}

function show(overview) {
  seen.overview = overview;
  text(by("account"), overview.account);
  text(by("region"), overview.region);
  text(by("user"), overview.user.split(":").pop());
  by("facts").hidden = false;
  by("signin").hidden = true;
  by("empty").hidden = overview.devices.length > 0;
  by("deck").hidden = overview.devices.length === 0;
  remember(overview);
  showFleet(overview);
  const all = overview.devices.flatMap((device) => device.instances.map((instance) => ({ device, instance })));
  const chosen = all.find(({ instance }) => instance.id === seen.selected) ?? all[0];
  if (chosen) showInstance(chosen.device, chosen.instance);
  else showNothing(overview.devices[0]);
}

function remember(overview) {
  const alive = new Set();
  for (const device of overview.devices) {
    for (const instance of device.instances) {
      for (const node of instance.nodes.filter((node) => node.metrics)) {
        const key = `${instance.id}/${node.node}`;
        alive.add(key);
        const values = history.get(key) ?? [];
        values.push(device.online ? node.metrics.fps : 0);
        history.set(key, values.slice(-HISTORY));
      }
    }
  }
  for (const key of history.keys()) if (!alive.has(key)) history.delete(key);
}

function showFleet(overview) {
  const items = overview.devices.map((device) => ({
    id: device.id,
    name: device.name,
    online: device.online,
    about: device.online
      ? `online, software ${device.software}`
      : device.provisioning === "AWAITING_PROVISIONING"
        ? "waiting for its appliance"
        : `offline, last seen ${ago(device.last_contact)}`,
    apps: device.instances.map((instance) => ({
      id: instance.id,
      name: instance.name,
      tone: health(instance, device),
      current: instance.id === seen.selected,
      state: words(instance.state),
    })),
  }));
  keyed(by("devices"), items, (item) => item.id, (item) =>
    element("li", { class: "device" },
      element("h3", {}, dot(item.online ? "good" : "idle"), item.name),
      element("p", { class: "quiet" }, item.about),
      element("ul", { class: "apps" }, ...item.apps.map((app) =>
        element("li", {}, element("button", {
          type: "button",
          "aria-current": app.current ? "true" : null,
          "aria-label": `${app.name}, ${app.state}`,
          on: { click: () => select(app.id) },
        }, dot(app.tone), app.name))))));
}

function select(id) {
  seen.selected = id;
  seen.view = null;
  show(seen.overview);
}

function showNothing(device) {
  seen.selected = null;
  text(by("stage-title"), device.name);
  text(by("stage-id"), device.id);
  by("badges").replaceChildren();
  by("tiles").replaceChildren();
  by("views").replaceChildren();
  by("nodes").replaceChildren();
  by("instance-reason").hidden = true;
  showZones(device);
  watch(null, "No application runs here yet.");
  showCommands([
    ["Deploy an application", `aws panorama create-application-instance --default-runtime-context-device ${device.id} --manifest-payload file://graph.json`],
    ["See the device", `aws panorama describe-device --device-id ${device.id}`],
  ]);
}

function showInstance(device, instance) {
  if (seen.selected !== instance.id) {
    seen.selected = instance.id;
    seen.view = null;
    showFleet(seen.overview);
  }
  text(by("stage-title"), instance.name);
  text(by("stage-id"), `${instance.id} on ${device.name}`);
  const applied = device.applied_generation ?? 0;
  const badges = [
    { tone: device.online ? "good" : "idle", text: device.online ? "device online" : "device offline" },
    { tone: tone(instance.state), text: words(instance.state) },
    { tone: applied >= device.desired_generation ? "good" : "warn", text: `document ${applied} of ${device.desired_generation}` },
  ];
  keyed(by("badges"), badges, (badge) => badge.text, (badge) =>
    element("span", { class: "badge" }, dot(badge.tone), badge.text));
  by("instance-reason").hidden = !instance.reason;
  if (instance.reason) text(by("instance-reason"), `${instance.reason.code}: ${instance.reason.message}`);
  showTiles(instance);
  showNodes(instance);
  showViews(device, instance);
  showZones(device);
  showCommands([
    ["This deployment", `aws panorama describe-application-instance --application-instance-id ${instance.id}`],
    ["Its nodes, with reasons", `aws panorama list-application-instance-node-instances --application-instance-id ${instance.id}`],
    ["Pause a camera", pauseCommand(instance)],
    ["What it may use and reach", `parapet app confinement ${instance.id}`],
    ["Let it call a host", `parapet app egress allow ${instance.id} ${refused(instance) ?? "HOST:PORT"}`],
    ["A camera's new password", `parapet camera set ${firstCamera(instance)?.stream ?? "NAME"} --password-file FILE`],
    ["Remove it", `aws panorama remove-application-instance --application-instance-id ${instance.id}`],
  ]);
}

const inVain = (application) => application.asked.filter((asked) => !asked.allowed);
const place = (asked) => {
  const host = asked.host.includes(":") ? `[${asked.host}]` : asked.host;
  return asked.port ? `${host}:${asked.port}` : asked.host;
};

/** A host that an application asked for in vain, if it is plain enough for a command line. */
function refused(instance) {
  const asked = instance.applications.flatMap(inVain).find((asked) => asked.port && /^[a-z0-9._-]+$/.test(asked.host));
  return asked ? place(asked) : null;
}

const firstCamera = (instance) => instance.nodes.find((node) => node.kind === "camera");

function pauseCommand(instance) {
  const node = firstCamera(instance)?.node ?? "NODE";
  return `aws panorama signal-application-instance-node-instances --application-instance-id ${instance.id} --node-signals NodeInstanceId=${node},Signal=PAUSE`;
}

function showTiles(instance) {
  const cameras = instance.nodes.filter((node) => node.kind === "camera");
  const metrics = cameras.map((node) => node.metrics).filter(Boolean);
  const sum = (pick) => metrics.reduce((total, value) => total + pick(value), 0);
  const worst = (pick) => metrics.reduce((most, value) => Math.max(most, pick(value)), 0);
  const running = cameras.filter((node) => node.status === "RUNNING").length;
  const tiles = [
    { label: "cameras running", value: `${running}`, unit: `of ${cameras.length}` },
    { label: "frames per second", value: metrics.length ? sum((m) => m.fps).toFixed(1) : "–", unit: "" },
    { label: "latency, median", value: metrics.length ? worst((m) => m.latency_p50_ms).toFixed(0) : "–", unit: "ms" },
    { label: "latency, 99 of 100", value: metrics.length ? worst((m) => m.latency_p99_ms).toFixed(0) : "–", unit: "ms" },
    { label: "frames in all", value: metrics.length ? sum((m) => m.frames).toLocaleString("en") : "–", unit: "" },
  ];
  keyed(by("tiles"), tiles, (tile) => tile.label, (tile) =>
    element("div", { class: "tile" },
      element("b", {}, tile.value, " ", element("small", {}, tile.unit)),
      element("span", {}, tile.label)));
}

function showNodes(instance) {
  const items = instance.nodes.map((node) => ({ ...node, spark: history.get(`${instance.id}/${node.node}`) ?? null }));
  keyed(by("nodes"), items, (node) => node.node, (node) => {
    const about = [node.kind, node.stream && node.stream !== node.node ? node.stream : null, node.url].filter(Boolean).join(" · ");
    const status = node.status ?? (node.kind === "display" ? null : "NOT_AVAILABLE");
    return element("li", { class: "node" },
      element("div", { class: "line" },
        dot(node.kind === "display" && !node.status ? "idle" : tone(status)),
        element("span", { class: "name", title: node.node }, node.node),
        element("span", { class: "state" }, status ? words(status) : "shown here")),
      element("p", { class: "about" }, about),
      node.reason ? element("p", { class: "why" }, element("b", {}, node.reason.code), ` ${node.reason.message}`) : null,
      node.metrics ? numbers(node) : null);
  });
}

function numbers(node) {
  const m = node.metrics;
  return element("div", { class: "numbers" },
    element("span", {}, element("b", {}, m.fps.toFixed(1)), " fps"),
    element("span", {}, element("b", {}, m.latency_p50_ms.toFixed(0)), ` / ${m.latency_p99_ms.toFixed(0)} ms`),
    element("span", { class: "quiet" }, `${m.width}×${m.height}`),
    spark(node.spark));
}

/** The last minute of frames per second, drawn from zero. */
function spark(values) {
  if (!values || values.length < 2) return null;
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("class", "spark");
  svg.setAttribute("viewBox", `0 0 ${HISTORY - 1} 10`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", "frames per second over the last minute");
  const most = Math.max(...values, 1) * 1.15;
  const start = HISTORY - values.length;
  const line = document.createElementNS(space, "polyline");
  line.setAttribute("points", values.map((value, i) => `${start + i},${(10 - (value / most) * 10).toFixed(2)}`).join(" "));
  svg.append(line);
  return svg;
}

function showViews(device, instance) {
  const views = [
    ...instance.displays.map((node) => ({ key: `live/${instance.id}/${node}`, label: instance.displays.length > 1 ? `Display ${node}` : "Application's display" })),
    ...instance.nodes.filter((node) => node.kind === "camera").map((node) => ({ key: `camera/${instance.id}/${node.node}`, label: node.stream ?? node.node })),
  ];
  if (!views.some((view) => view.key === seen.view)) seen.view = views[0]?.key ?? null;
  const items = views.map((view) => ({ ...view, selected: view.key === seen.view }));
  keyed(by("views"), items, (view) => view.key, (view) =>
    element("button", {
      type: "button",
      role: "tab",
      "aria-selected": view.selected ? "true" : "false",
      "aria-controls": "screen",
      tabindex: view.selected ? "0" : "-1",
      on: { click: () => { seen.view = view.key; showViews(device, instance); }, keydown: moveTab },
    }, view.label));
  const label = items.find((view) => view.selected)?.label;
  if (!device.online) watch(null, `The device is offline; it was last seen ${ago(device.last_contact)}.`);
  else if (!device.live) watch(null, "Waiting for the device's live channel.");
  else if (document.hidden) watch(null, "");
  else watch(seen.view, label ?? "", label);
}

function moveTab(event) {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  const tabs = [...by("views").children];
  const next = tabs[(tabs.indexOf(event.currentTarget) + step + tabs.length) % tabs.length];
  next.focus();
  next.click();
}

// The live picture: one request that never ends. It is dropped with the view, so that the device
// draws only what somebody looks at.
let retry = 0;
function watch(view, caption, label = "") {
  const picture = by("picture");
  if (view === null) {
    picture.hidden = true;
    picture.removeAttribute("src");
    delete picture.dataset.view;
    captionText(caption, false);
    return;
  }
  if (picture.dataset.view === view) return;
  picture.dataset.view = view;
  picture.alt = `Live picture: ${label}`;
  picture.hidden = true;
  captionText("Waiting for the first picture.", false);
  picture.src = `/console/${view}?${Date.now()}`;
}

function captionText(value, over) {
  const caption = by("caption");
  caption.classList.toggle("over", over);
  text(caption, value);
}

by("picture").addEventListener("load", () => {
  by("picture").hidden = false;
  captionText("live", true);
});
by("picture").addEventListener("error", () => {
  const picture = by("picture");
  if (!picture.dataset.view) return;
  picture.hidden = true;
  captionText("The picture was interrupted; trying again.", false);
  clearTimeout(retry);
  retry = setTimeout(() => { delete picture.dataset.view; }, 2000);
});
document.addEventListener("visibilitychange", () => { if (seen.overview) show(seen.overview); });

const LEVELS = {
  separated: { tone: "good", words: "The cameras have ports and a namespace of their own: no packet passes the appliance." },
  filtered: { tone: "warn", words: "Cameras and uplink share a network. The kernel's rules hold each process to its own addresses, but whoever is on that network reaches the cameras without the appliance." },
  flat: { tone: "bad", words: "The host allows no rules: nothing but each process's own restraint keeps the networks apart." },
};

/** Who can reach whom on a device, and through what. */
function showZones(device) {
  const network = device.network;
  const level = LEVELS[network?.separation] ?? { tone: "idle", words: "The device has not said yet how it keeps its networks apart." };
  const head = [{ key: "level", name: network?.separation ?? "unknown", ...level }];
  keyed(by("level"), head, (item) => item.key, (item) =>
    element("span", {}, element("span", { class: "badge" }, dot(item.tone), item.name), ` ${item.words}`));
  const nodes = device.instances.flatMap((instance) => instance.nodes);
  const cameras = [...new Map(nodes.filter((node) => node.kind === "camera" && node.url).map((node) => [node.url, node])).values()];
  const applications = device.instances.flatMap((instance) => instance.applications.map((application) => ({
    name: instance.name, several: instance.applications.length > 1, ...application,
  })));
  const shared = network?.separation !== "separated";
  const zones = [
    { key: "uplink", title: "Uplink", ports: network?.uplink ?? [], lines: ["control plane, time, names"], note: "opened by the agent alone" },
    { key: "wire-up", wire: "dials out", tone: "good" },
    { key: "appliance", title: "Appliance", ports: [], lines: [device.name, "passes checked bytes on, never a packet"], note: "forwards nothing" },
    { key: "wire-cameras", wire: "RTSP", tone: level.tone },
    {
      key: "cameras", title: "Cameras", shared, ports: network?.cameras ?? [],
      lines: cameras.map((camera) => `${camera.stream ?? camera.node}  ${host(camera.url)}`),
      note: !network ? "" : shared ? "on the uplink's network" : "nothing comes in from here",
    },
    { key: "applications", applications },
  ];
  keyed(by("map"), zones, (zone) => zone.key, (zone) =>
    zone.wire ? element("p", { class: `wire ${zone.tone}` }, element("span", {}, zone.wire))
      : zone.applications ? applicationZones(zone.applications)
        : element("div", { class: `zone ${zone.key}${zone.shared ? " shared" : ""}` },
          element("h3", {}, zone.title, ...zone.ports.map((port) => element("span", { class: "chip" }, port))),
          ...(zone.lines.length ? zone.lines : ["none yet"]).map((line) => element("p", {}, line)),
          zone.note ? element("p", { class: "quiet" }, zone.note) : null));
  const missing = network?.missing ?? [];
  by("missing").hidden = missing.length === 0;
  keyed(by("missing"), missing, (line) => line, (line) => element("li", {}, line));
}

function applicationZones(applications) {
  return element("div", { class: "applications" },
    element("h3", {}, "Applications", element("span", { class: "quiet" }, "each in a namespace with nothing but itself")),
    applications.length ? null : element("p", { class: "quiet" }, "none that you may look into"),
    ...applications.map((application) => {
      const vain = inVain(application);
      return element("div", { class: "zone application" },
        element("h3", {}, application.several ? `${application.name} ${application.node}` : application.name,
          application.gpu ? element("span", { class: "chip" }, "accelerator") : null,
          application.learn ? element("span", { class: "chip warn" }, "learning") : null),
        fact("May use", limits(application.limits)),
        fact("May call", [
          ...application.hosts,
          ...(application.role ? ["the device's own hosts, for its role"] : []),
        ].join(", ") || "nobody"),
        vain.length ? fact("Asked in vain", vain.map(place).join(", "), "bad") : null,
        ...application.ports.map((port) => fact(`Port ${port.host}`,
          `to its ${port.container}, for ${port.sources.join(", ") || "everybody on the uplink"}, ${port.clients ? "through TLS with a client's certificate" : port.tls ? "through TLS" : "without TLS"}`,
          port.sources.length || port.clients ? "" : "warn")));
    }));
}

const fact = (label, value, kind = "") =>
  element("p", { class: `fact ${kind}` }, element("b", {}, label), element("span", {}, value));

function limits(own) {
  const parts = [
    own.memory_bytes ? `${bytes(own.memory_bytes)} memory` : null,
    own.cpu_millis ? `${own.cpu_millis / 1000} processors` : null,
    own.processes ? `${own.processes} processes` : null,
    own.io_bytes_per_second ? `${bytes(own.io_bytes_per_second)} a second of disk` : null,
    own.storage_bytes ? `${bytes(own.storage_bytes)} storage` : null,
  ].filter(Boolean);
  if (!parts.length) return "what the device gives every application";
  return parts.length === 5 ? parts.join(", ") : `${parts.join(", ")}; else what the device gives`;
}

function bytes(count) {
  for (const [unit, size] of [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10]]) {
    if (count >= size) return `${Math.floor(count * 10 / size) / 10} ${unit}`;
  }
  return `${count} bytes`;
}

function host(url) {
  // `rtsp` is no special scheme, so the host is what stands there.
  try { return new URL(url).host || url; } catch { return url; }
}

function showCommands(commands) {
  const items = commands.map(([what, command]) => ({ what, command }));
  keyed(by("commands"), items, (item) => item.what, (item) =>
    element("li", {},
      element("p", {}, item.what),
      element("div", { class: "command" },
        element("code", {}, item.command),
        element("button", { type: "button", "aria-label": `Copy: ${item.what}`, on: { click: (event) => copy(event.currentTarget, item.command) } }, "copy"))));
}

async function copy(button, command) {
  try {
    await navigator.clipboard.writeText(command);
    text(button, "copied");
  } catch {
    text(button, "not allowed");
  }
  setTimeout(() => text(button, "copy"), 1500);
}

function linkState(state, words) {
  const link = by("link");
  const print = `${state} ${words}`;
  if (link.dataset.print === print) return;
  link.dataset.print = print;
  link.replaceChildren(dot(state), words);
}

async function poll() {
  try {
    const answer = await fetch("/console/api/overview", { signal: AbortSignal.timeout(5000) });
    if (answer.status === 401) {
      linkState("idle", "not signed in");
      by("signin").hidden = false;
      by("deck").hidden = by("empty").hidden = true;
      watch(null, "");
    } else if (answer.ok) {
      linkState("good", "live");
      show(await answer.json());
    } else {
      linkState("bad", await answer.text());
    }
  } catch {
    linkState("warn", "the control plane does not answer");
  }
  setTimeout(poll, POLL_MS);
}

poll();
