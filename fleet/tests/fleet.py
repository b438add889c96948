"""Two workers behind Dynamo's own front end, on this machine; discovery is a folder.

What can be told so listens on loopback: Dynamo's sockets for events are bound on all addresses, whatever one says.

    PYTHON fleet/tests/fleet.py

The Python must have `ai-dynamo` and `openai`. Answers are compared with those of `sparse-accelerate generate`, the program that
SPARSE_ACCELERATE names (target/release/sparse-accelerate otherwise). What is missing is said, and the test skipped.
"""
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

FLEET = Path(__file__).resolve().parent.parent
WORKER = FLEET / "target" / "debug" / "sparse-accelerate-worker"
PROGRAM = Path(os.environ.get("SPARSE_ACCELERATE", FLEET.parent / "target" / "release" / "sparse-accelerate"))
MODEL = FLEET.parent / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
NAME = "smollm2"
# SentencePiece's tokens and a BOS token; and a pre-tokenizer of its own.
OTHER_MODELS = {"gemma": "gemma-3-270m-q4_k_m.gguf", "qwen": "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"}
PAGE_TOKENS = 64
PATIENCE_S = 120

try:
    import dynamo.frontend  # noqa: F401
    import openai
except ImportError as missing:
    print(f"SKIPPED: {sys.executable}: {missing}; name a Python that has ai-dynamo and openai with PYTHON")
    sys.exit(0)
for needed in [WORKER, PROGRAM, MODEL]:
    if not needed.exists():
        print(f"SKIPPED: no {needed}")
        sys.exit(0)


def free_port():
    """One that Dynamo can read as DYN_SYSTEM_PORT: that is a number of 16 bits with a sign."""
    for port in random.sample(range(20_000, 32_768), 50):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass
    raise AssertionError("no free port")


class Fleet:
    """Processes of one discovery folder, ended with it."""

    def __init__(self, folder):
        self.folder, self.processes = Path(folder), []
        loopback = dict.fromkeys(
            ["DYN_TCP_RPC_HOST", "DYN_TCP_RESPONSE_STREAM_HOST", "DYN_EVENT_PLANE_HOST", "DYN_SYSTEM_HOST"], "127.0.0.1"
        )
        discovery = {"DYN_DISCOVERY_BACKEND": "file", "DYN_FILE_KV": str(self.folder / "discovery")}
        # What the front end keeps of models lies below HOME.
        self.environment = {**os.environ, **loopback, **discovery, "HOME": str(self.folder), "XDG_CACHE_HOME": "", "HF_HUB_OFFLINE": "1"}
        self.environment |= {"DYN_LOG": "warn", "DYN_SDK_DISABLE_ANSI_LOGGING": "1"}

    def start(self, name, command, **environment):
        environment = {**self.environment, **environment}
        with open(self.folder / f"{name}.log", "w") as log:
            process = subprocess.Popen([str(part) for part in command], env=environment, stdout=log, stderr=log)
        self.processes.append((name, process))
        return process

    def worker(self, name, *options, model=MODEL, served=NAME):
        """Its process, and where it tells how it is."""
        port = free_port()
        command = [WORKER, "--model", model, "--served-model-name", served, "--device", "cpu", "--products", "int16", *options]
        return self.start(name, command, DYN_SYSTEM_PORT=str(port)), f"http://127.0.0.1:{port}"

    def front_end(self, name, *options):
        port = free_port()
        command = [sys.executable, "-m", "dynamo.frontend", "--http-host", "127.0.0.1", "--http-port", port, *options]
        self.start(name, command)
        return f"http://127.0.0.1:{port}"

    def __enter__(self):
        return self

    def __exit__(self, failed, *_):
        if failed:
            self.logs()
        self.end()

    def end(self):
        for _, process in self.processes:
            if process.poll() is None:
                process.terminate()
        for _, process in self.processes:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()

    def runs(self):
        failed = {name: process.returncode for name, process in self.processes if process.poll()}
        assert not failed, f"exit codes: {failed}"
        return True

    def logs(self):
        for name, _ in self.processes:
            print(f"--- {name}", (self.folder / f"{name}.log").read_text()[-6000:], sep="\n", file=sys.stderr)


def wait_for(what, condition):
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        try:
            found = condition()
        except OSError:
            found = None
        if found:
            return found
        time.sleep(0.2)
    raise AssertionError(f"{what}: not within {PATIENCE_S} s")


def get(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


def metric(at, name):
    """The sum of a metric over its labels."""
    lines = re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", get(f"{at}/metrics"), re.MULTILINE)
    return sum(map(float, lines))


def instances(url):
    """How many workers a front end knows."""
    listed = json.loads(get(f"{url}/health")).get("instances", [])
    return len([one for one in listed if one.get("endpoint") == "generate"])


def client(url):
    return openai.OpenAI(base_url=f"{url}/v1", api_key="none", timeout=PATIENCE_S, max_retries=0)


def generated(prompt, *options, model=MODEL):
    """What the program itself answers, as its JSON says it."""
    command = [PROGRAM, "generate", "--model", model, "--device", "cpu", "--products", "int16", "--json"]
    command += ["--prompt", prompt, "--max-tokens", 24, *options]
    ran = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    return json.loads(ran.stdout)


def answers_are_the_programs(url):
    api, prompt, question = client(url), "The capital of France is", "What is a red panda?"
    expected, expected_chat = generated(prompt), generated(question, "--chat")
    assert expected["finish_reason"] == "length" and len(expected["text"]) > 20, expected
    asked = {"model": NAME, "max_tokens": 24, "temperature": 0}
    streamed = {"stream": True, "stream_options": {"include_usage": True}}
    for _ in range(2):  # each worker once
        whole = api.completions.create(prompt=prompt, **asked)
        assert whole.choices[0].text == expected["text"], (whole.choices[0].text, expected["text"])
        assert whole.choices[0].finish_reason == "length"
        usage = (whole.usage.prompt_tokens, whole.usage.completion_tokens)
        assert usage == (expected["prompt_tokens"], expected["generated_tokens"]), usage
        chat = api.chat.completions.create(messages=[{"role": "user", "content": question}], **asked)
        assert chat.choices[0].message.content == expected_chat["text"], (chat, expected_chat)
        assert chat.usage.prompt_tokens == expected_chat["prompt_tokens"], (chat.usage, expected_chat)
    pieces = list(api.completions.create(prompt=prompt, **asked, **streamed))
    texts = [piece.choices[0].text for piece in pieces if piece.choices]
    assert "".join(texts) == expected["text"] and len(texts) > 10, texts
    assert pieces[-1].usage.completion_tokens == 24, pieces[-1]
    pieces = list(api.chat.completions.create(messages=[{"role": "user", "content": question}], **asked, **streamed))
    texts = [piece.choices[0].delta.content or "" for piece in pieces if piece.choices]
    assert "".join(texts) == expected_chat["text"] and len(texts) > 10, texts


def other_tokenizers_are_the_models(url, fleet):
    """Of text with more than letters, by the prompt's length as well as by the answer."""
    prompt = "Été 2024: 12,345 pandas\n\n\t(«rouges», naïve 世界) don't   sleep. The weather today is"
    for name, file in OTHER_MODELS.items():
        model = MODEL.parent / file
        if not model.exists():
            print(f"SKIPPED: no {model}")
            continue
        process, _ = fleet.worker(name, "--component", name, model=model, served=name)
        wait_for(name, lambda: fleet.runs() and name in [one.id for one in client(url).models.list()])
        expected = generated(prompt, model=model)
        said = client(url).completions.create(model=name, prompt=prompt, max_tokens=24, temperature=0)
        assert said.choices[0].text == expected["text"], (name, said, expected)
        assert said.usage.prompt_tokens == expected["prompt_tokens"], (name, said, expected)
        process.terminate()
        assert process.wait(60) == 0, (name, process.returncode)


def options_are_followed(url):
    api, prompt = client(url), "The capital of France is"
    asked = {"model": NAME, "prompt": prompt, "max_tokens": 24, "temperature": 0}
    text = generated(prompt)["text"]
    stop = text[8:12]
    stopped = api.completions.create(stop=[stop], **asked).choices[0]
    assert (stopped.text, stopped.finish_reason) == (text[: text.index(stop)], "stop"), stopped
    drawn = {**asked, "temperature": 1.0, "top_p": 0.9}
    one, same, other = [api.completions.create(seed=seed, **drawn).choices[0].text for seed in [7, 7, 8]]
    assert one == same != other, (one, same, other)
    likely = api.completions.create(logprobs=3, **asked).choices[0]
    assert likely.text == text, likely
    assert len(likely.logprobs.token_logprobs) == 24 and all(p <= 0 for p in likely.logprobs.token_logprobs), likely
    assert all(len(top) >= 3 for top in likely.logprobs.top_logprobs), likely
    choices = ["red", "green (or so)"]
    chosen = api.completions.create(extra_body={"guided_choice": choices}, **asked).choices[0]
    assert chosen.text in choices, chosen
    schema = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 99}}, "required": ["n"],
              "additionalProperties": False}
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    messages = [{"role": "user", "content": "Say a number."}]
    said = api.chat.completions.create(
        model=NAME, messages=messages, max_tokens=48, temperature=0, response_format=form
    ).choices[0].message.content
    assert isinstance(json.loads(said)["n"], int), said


def what_is_not_done_is_refused(url):
    api = client(url)
    for refused, word in [({"extra_body": {"min_tokens": 5}}, "min_tokens"), ({"max_tokens": 10**6}, "")]:
        try:
            answer = api.completions.create(**{"model": NAME, "prompt": "Hello", "max_tokens": 8, **refused})
        except openai.APIStatusError as error:
            assert 400 <= error.status_code < 500 and word in str(error), (refused, error)
        else:
            raise AssertionError(f"{refused}: {answer}")


def who_goes_away_is_not_answered(url, workers):
    """Each worker answers one at a time: while such an answer goes on, nobody else is answered."""
    api = client(url)
    endless = {"model": NAME, "prompt": "Once upon a time", "max_tokens": 8000, "extra_body": {"ignore_eos": True}}
    streams = [api.completions.create(stream=True, temperature=0, **endless) for _ in workers]
    for stream in streams:
        for _ in range(3):
            assert next(stream).choices[0].finish_reason is None
    assert sum(metric(at, "dynamo_component_inflight_requests") for at in workers) == len(workers)
    waits = openai.OpenAI(base_url=f"{url}/v1", api_key="none", timeout=3, max_retries=0)
    try:
        waits.completions.create(model=NAME, prompt="Hello", max_tokens=1)
        raise AssertionError("somebody was answered while both workers were busy")
    except openai.APITimeoutError:
        pass
    for stream in streams:
        stream.close()
    for _ in workers:
        api.completions.create(model=NAME, prompt="Hello", max_tokens=1)
    wait_for("no requests", lambda: sum(metric(at, "dynamo_component_inflight_requests") for at in workers) == 0)


def both_were_asked(workers):
    for at in workers:
        assert metric(at, "dynamo_component_requests_total") > 3, get(f"{at}/metrics")
        assert metric(at, "dynamo_component_total_blocks") > 0, get(f"{at}/metrics")


def prompts_go_where_their_pages_are(url):
    """By the events of pages: asked again in another order than round-robin would need, each finds its pages."""
    api = client(url)
    prompts = [f"Story {n}. " + f"The {n}th animal went on and met another one. " * 30 for n in range(4)]

    def cached(prompt):
        usage = api.completions.create(model=NAME, prompt=prompt, max_tokens=2, temperature=0).usage
        return usage.prompt_tokens_details.cached_tokens, usage.prompt_tokens

    for prompt in prompts:
        hit, tokens = cached(prompt)
        assert hit < PAGE_TOKENS < tokens // 3, (hit, tokens)
    time.sleep(1)  # events are on their way
    for at in [1, 0, 3, 2, 2, 3]:
        hit, tokens = cached(prompts[at])
        assert hit >= tokens - 2 * PAGE_TOKENS, (at, hit, tokens)


def a_worker_that_ends_is_done_without(url, process):
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0, process.returncode
    wait_for("one worker", lambda: instances(url) == 1)
    for _ in range(3):
        assert client(url).completions.create(model=NAME, prompt="Hello", max_tokens=2).choices[0].text is not None


def main():
    with tempfile.TemporaryDirectory() as folder, Fleet(folder) as fleet:
        url, by_pages = fleet.front_end("front-end"), fleet.front_end("front-end-kv", "--router-mode", "kv")
        # One at a time: who comes next is answered only once the one before is done or cancelled.
        alone = ["--threads", 1, "--max-running", 1]
        (first, at_first), (_, at_second) = [fleet.worker(f"worker-{n}", *alone) for n in [1, 2]]
        workers = [at_first, at_second]
        wait_for("two workers", lambda: fleet.runs() and instances(url) == 2 and instances(by_pages) == 2)
        wait_for("the model", lambda: [one.id for one in client(url).models.list()] == [NAME])
        for check, *arguments in [
            (answers_are_the_programs, url),
            (options_are_followed, url),
            (what_is_not_done_is_refused, url),
            (who_goes_away_is_not_answered, url, workers),
            (both_were_asked, workers),
            (prompts_go_where_their_pages_are, by_pages),
            (other_tokenizers_are_the_models, url, fleet),
            (a_worker_that_ends_is_done_without, url, first),
        ]:
            began = time.monotonic()
            check(*arguments)
            print(f"{check.__name__.replace('_', ' ')}: {time.monotonic() - began:.1f} s", flush=True)


if __name__ == "__main__":
    main()
