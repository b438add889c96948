// The page of a server: asks its own /v1/chat/completions, and shows what the prompt took. No framework, nothing from elsewhere.

const byId = (id) => document.getElementById(id);
const form = byId("ask");
const [turns, question, send, stop, chosen] = ["turns", "question", "send", "stop", "chosen"].map(byId);

const hint = byId("hint").textContent;

/** Turns that were answered, as the API has them. */
let messages = [];
/** Texts that go before the next question: { name, text }. */
let documents = [];
/** Of the answers under way. */
let abort = null;

const seconds = (ms) => (ms < 1000 ? `${ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(2)} s`);

const headers = () => {
  const key = byId("key").value;
  return { "content-type": "application/json", ...(key && { authorization: `Bearer ${key}` }) };
};

/** An error of the server, or what went wrong before it could say one. */
async function refusal(response) {
  if (response.status === 401) byId("key-field").hidden = false;
  const body = await response.json().catch(() => null);
  return new Error(body?.error?.message ?? `the server answered ${response.status}`);
}

async function showModel() {
  try {
    const response = await fetch("v1/models", { headers: headers() });
    if (!response.ok) throw await refusal(response);
    const [model] = (await response.json()).data;
    byId("model").textContent = model.id;
  } catch (error) {
    byId("model").textContent = error.message;
  }
}

/** The events of a stream, as they come. */
async function* events(response) {
  const lines = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ; ) {
    const { value, done } = await lines.read();
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const line of parts) {
      const data = line.startsWith("data:") ? line.slice(5).trim() : "";
      if (data && data !== "[DONE]") yield JSON.parse(data);
    }
  }
}

function show(template, parent) {
  const shown = byId(template).content.firstElementChild.cloneNode(true);
  parent.append(shown);
  return shown;
}

/** Draws which share of the pairs was computed, and where the time to the first token went. */
function draw(figure, usage) {
  const { density, recall, search_ms, prefill_ms } = usage.sparse_attention;
  const cached = usage.prompt_tokens_details.cached_tokens;
  // A triangle of the same shape has the square of its side for an area.
  const side = 104 * Math.sqrt(density);
  figure.querySelector(".computed").setAttribute("d", `M4 ${108 - side}V108H${4 + side}Z`);
  const share = (100 * density).toFixed(density < 0.1 ? 1 : 0);
  const parts = [["search", search_ms], ["rest", Math.max(0, prefill_ms - search_ms)]];
  const name = (tag, attributes, text = "") => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    Object.entries(attributes).forEach(([key, value]) => element.setAttribute(key, value));
    element.textContent = text;
    return element;
  };
  let at = 120;
  for (const [index, [part, ms]] of parts.entries()) {
    const width = (96 * ms) / Math.max(prefill_ms, 1e-9);
    const bar = name("rect", { class: `of-${part}`, x: at, y: 40, width, height: 16 });
    const label = name("text", { x: 120, y: 74 + 14 * index }, `${part}: ${seconds(ms)}`);
    figure.querySelector(".time").append(bar, label);
    at += width;
  }
  const kept = recall === null ? "" : `, which keep ${(100 * recall).toFixed(1)}% of the attention (estimated)`;
  const said = `${usage.prompt_tokens} tokens, ${cached} of them known before; ${share}% of the pairs computed${kept}.`;
  figure.querySelector("title").textContent = said;
  figure.querySelector("figcaption").textContent = said;
  figure.hidden = false;
}

/** Asks once, and shows the answer as it comes. What was said; nothing where it failed. */
async function answer(asked, attention, parent, signal) {
  const article = show("answer", parent);
  const [clock, text] = [article.querySelector("output"), article.querySelector(".text")];
  article.querySelector("h2").textContent = attention;
  const began = performance.now();
  const tick = setInterval(() => { clock.textContent = `first token: ${seconds(performance.now() - began)} so far`; }, 100);
  let first = null;
  try {
    const data = new FormData(form);
    const body = {
      messages: asked, attention, max_tokens: Number(data.get("tokens")), stream: true, stream_options: { include_usage: true },
      ...(attention !== "dense" && { recall: Number(data.get("recall")) }),
    };
    const response = await fetch("v1/chat/completions", { method: "POST", headers: headers(), body: JSON.stringify(body), signal });
    if (!response.ok) throw await refusal(response);
    for await (const event of events(response)) {
      if (event.error) throw new Error(event.error.message);
      const piece = event.choices?.[0]?.delta?.content;
      if (piece) {
        if (first === null) {
          first = performance.now() - began;
          clearInterval(tick);
          clock.textContent = `first token: ${seconds(first)}`;
        }
        text.textContent += piece;
      }
      if (event.usage) {
        draw(article.querySelector("figure"), event.usage);
        const [more, took] = [event.usage.completion_tokens - 1, performance.now() - began - first];
        if (first !== null && took > 100) clock.textContent += `, then ${((1000 * more) / took).toFixed(1)} tokens/s`;
      }
    }
    return text.textContent;
  } catch (error) {
    const shown = article.querySelector(".error");
    shown.textContent = error.name === "AbortError" ? "stopped" : error.message;
    shown.hidden = false;
    return text.textContent || null;
  } finally {
    clearInterval(tick);
    if (first === null) clock.textContent = "";
  }
}

async function ask() {
  const text = question.value.trim();
  if (!text || abort) return;
  const before = documents.map(({ name, text }) => `${name}:\n\n${text}\n\n`).join("");
  const turn = show("turn", turns);
  turn.querySelector(".asked").textContent = documents.map(({ name }) => `[${name}] `).join("") + text;
  const asked = [...messages, { role: "user", content: before + text }];
  const chosenAttention = new FormData(form).get("attention");
  abort = new AbortController();
  [send.disabled, stop.disabled] = [true, false];
  const parent = turn.querySelector(".answers");
  let said = null;
  // One after the other: beside each other, neither time would be its own. Dense last: what was read sparsely does not serve it, but
  // what was read densely would serve both.
  for (const attention of chosenAttention === "both" ? ["sparse", "dense"] : [chosenAttention]) {
    if (!abort.signal.aborted) said = await answer(asked, attention, parent, abort.signal);
  }
  abort = null;
  [send.disabled, stop.disabled] = [false, true];
  if (said !== null) {
    messages = [...asked, { role: "assistant", content: said }];
    [question.value, documents] = ["", []];
    showDocuments();
  }
  question.focus();
}

function showDocuments() {
  chosen.replaceChildren(...documents.map((one) => {
    const [item, remove] = [document.createElement("li"), document.createElement("button")];
    remove.type = "button";
    remove.textContent = `${one.name}, ${one.text.length.toLocaleString("en")} characters: remove`;
    remove.onclick = () => { documents = documents.filter((other) => other !== one); showDocuments(); question.focus(); };
    item.append(remove);
    return item;
  }));
}

async function add(files) {
  const wrong = [];
  for (const file of files) {
    try {
      documents.push({ name: file.name, text: new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer()) });
    } catch {
      wrong.push(file.name);
    }
  }
  byId("hint").textContent = wrong.length ? `no UTF-8 text: ${wrong.join(", ")}` : hint;
  showDocuments();
}

form.addEventListener("submit", (event) => { event.preventDefault(); ask(); });
question.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); form.requestSubmit(); }
});
document.addEventListener("keydown", (event) => { if (event.key === "Escape") abort?.abort(); });
stop.addEventListener("click", () => abort?.abort());
byId("reset").addEventListener("click", () => {
  abort?.abort();
  [messages, documents] = [[], []];
  turns.replaceChildren();
  showDocuments();
  question.focus();
});
byId("key").addEventListener("change", showModel);
byId("files").addEventListener("change", (event) => { add(event.target.files); event.target.value = ""; });
document.addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("dropping"); });
document.addEventListener("dragleave", () => document.body.classList.remove("dropping"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  add(event.dataTransfer.files);
});
showModel();
