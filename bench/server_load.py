#!/usr/bin/env python3
"""Load on a server that runs: concurrent prompts, with and without a shared beginning.

Asks /v1/completions of `sparse-accelerate serve`, or of llama.cpp's server, from this process over
HTTP, streamed, and writes medians and 99th percentiles of the time to first text and between two pieces of it, and throughput. Every
prompt is new: nothing is cached but the shared beginning, which one request reads before the clock starts.

`--beside TOKENS` asks what a prompt of so many tokens does to others while it is read: the time between pieces of an answer, beside
the same alone, and the time to the first token of requests of 64 tokens, which come one after the other.

    sparse-accelerate serve --model model.gguf &
    bench/server_load.py --url http://127.0.0.1:8080 --concurrency 1,8 --json server.json
"""

import argparse
import http.client
import json
import os
import random
import statistics
import threading
import time
import urllib.parse

WORDS = "the panda sleeps in a tree while rain falls on bamboo and rivers carry leaves to the sea at night".split()


class Server:
    def __init__(self, url, attention=None):
        self.attention = attention
        parts = urllib.parse.urlsplit(url)
        self.host, self.port = parts.hostname, parts.port or 80

    def ask(self, method, path, body=None):
        connection = http.client.HTTPConnection(self.host, self.port, timeout=900)
        headers = {"content-type": "application/json"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        if response.status != 200:
            raise SystemExit(f"{path} answers {response.status}: {response.read().decode()}")
        return response

    def json(self, method, path, body=None):
        return json.load(self.ask(method, path, body))

    def text_of(self, tokens, seed):
        """A text of about so many tokens, another for every seed."""
        words = random.Random(seed)
        text = " ".join(words.choice(WORDS) for _ in range(2 * tokens))
        # As llama.cpp's server wants it, and ours takes it.
        ids = self.json("POST", "/tokenize", {"content": text})["tokens"]
        answer = self.json("POST", "/detokenize", {"tokens": ids[:tokens]})
        return answer.get("prompt") or answer["content"]

    def complete(self, prompt, max_tokens, is_enough=lambda: False):
        """When pieces of text came, the first element being when they were asked for, and what the server says it took.

        Goes away where a piece `is_enough`.
        """
        body = {"prompt": prompt, "max_tokens": max_tokens, "temperature": 0, "ignore_eos": True, "stream": True}
        body["stream_options"] = {"include_usage": True}
        if self.attention:
            body["attention"] = self.attention
        times, usage = [time.monotonic()], None
        for line in self.ask("POST", "/v1/completions", body):
            if not line.startswith(b"data: {"):
                continue
            part = json.loads(line[6:])
            if "error" in part:
                raise SystemExit(f"a stream ended with {part['error']}")
            usage = part.get("usage") or usage
            if any(choice["text"] for choice in part["choices"]):
                times.append(time.monotonic())
                if is_enough():
                    break
        return times, usage


def cpu_model():
    with open("/proc/cpuinfo") as file:
        names = (line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
        return next(names, "unknown")


def percentile(values, share):
    """The value that this share of all is not above."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def spread_ms(seconds):
    return {
        "p50_ms": round(1e3 * statistics.median(seconds), 1),
        "p99_ms": round(1e3 * percentile(seconds, 0.99), 1),
        "count": len(seconds),
    }


def load(server, prompts, concurrency, max_tokens):
    """Answers to all prompts, so many at a time."""
    left, answers, lock = list(prompts), [], threading.Lock()

    def client():
        while True:
            with lock:
                if not left:
                    return
                prompt = left.pop()
            answer = server.complete(prompt, max_tokens)
            with lock:
                answers.append(answer)

    threads = [threading.Thread(target=client) for _ in range(concurrency)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall = time.monotonic() - began
    if len(answers) != len(prompts):
        raise SystemExit(f"{len(prompts) - len(answers)} of {len(prompts)} prompts got no answer")
    usages = [usage for _, usage in answers]
    tokens = sum(usage["completion_tokens"] for usage in usages)
    prompt_tokens = sum(usage["prompt_tokens"] for usage in usages)
    return {
        "concurrency": concurrency,
        "requests": len(answers),
        "wall_s": round(wall, 2),
        "prompt_tokens": prompt_tokens,
        "cached_tokens": sum((usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0) for usage in usages),
        "prompt_tokens_per_s": round(prompt_tokens / wall, 1),
        "new_tokens_per_s": round(tokens / wall, 1),
        "first_token": spread_ms([times[1] - times[0] for times, _ in answers if len(times) > 1]),
        "between_tokens": spread_ms([gap for times, _ in answers for gap in gaps(times[1:])]),
    }


def gaps(times):
    return [after - before for before, after in zip(times, times[1:])]


def beside(server, tokens, max_tokens, rounds):
    """What reading one long prompt does to an answer under way and to short requests."""
    alone, written, short, long = [], [], [], []
    for n in range(rounds):
        prompts = {name: server.text_of(count, f"beside {name} {n}") for name, count in (("a", 64), ("b", 64), ("long", tokens))}
        alone += gaps(server.complete(prompts["a"], max_tokens)[0][1:])
        answers = {}

        def ask(name, most):
            is_enough = (lambda: "long" in answers) if name == "b" else (lambda: False)
            answers[name] = server.complete(prompts[name], most, is_enough)[0]

        writer = threading.Thread(target=ask, args=("b", 1 << 12))
        writer.start()
        time.sleep(0.2)
        reader = threading.Thread(target=ask, args=("long", 1))
        reader.start()
        while reader.is_alive():
            asked = server.text_of(64, f"beside short {n} {len(short)}")
            times, _ = server.complete(asked, 1)
            short.append(times[-1] - times[0])
        writer.join()
        began, read = answers["long"][0], answers["long"][-1]
        if answers["b"][-1] < read:
            raise SystemExit("the answer ended before the long prompt was read: a longer one is needed")
        long.append(read - began)
        # The gap that the end of reading falls into is the last.
        during = [(before, after) for before, after in zip(answers["b"][1:], answers["b"][2:]) if after > began and before < read]
        written += [after - before for before, after in during]
    return {
        "beside_tokens": tokens,
        "rounds": rounds,
        "long_first_token": spread_ms(long),
        "between_tokens_alone": spread_ms(alone),
        "between_tokens_beside": spread_ms(written),
        "short_first_token": spread_ms(short),
    }


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--url", default="http://127.0.0.1:8080")
    arguments.add_argument("--concurrency", default="1,8", help="prompts at a time, one run each")
    arguments.add_argument("--requests", type=int, default=16, help="prompts of a run")
    arguments.add_argument("--prompt-tokens", type=int, default=512)
    arguments.add_argument("--shared-tokens", type=int, default=384, help="of these, the beginning that prompts share")
    arguments.add_argument("--attention", help="auto, dense or sparse, as sparse-accelerate's server takes it")
    arguments.add_argument("--max-tokens", type=int, default=32)
    arguments.add_argument("--beside", type=int, help="tokens of a long prompt beside which others are timed, in place of a load")
    arguments.add_argument("--rounds", type=int, default=3, help="long prompts of --beside, one after the other")
    arguments.add_argument("--commit", default="", help="of the server")
    arguments.add_argument("--note", default="", help="what else the machine did")
    arguments.add_argument("--json", required=True, help="file for the results")
    given = arguments.parse_args()

    server = Server(given.url, given.attention)
    model = server.json("GET", "/v1/models")["data"][0]["id"]
    began, load_average = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), os.getloadavg()[0]
    runs, seed = [], 0
    if given.beside:
        runs.append(beside(server, given.beside, given.max_tokens, given.rounds))
        print(json.dumps(runs[-1]))
    shares = () if given.beside else (False, True) if given.shared_tokens else (False,)
    for shared in shares:
        for concurrency in map(int, given.concurrency.split(",")):
            seed += 1
            beginning = server.text_of(given.shared_tokens, f"shared {seed}") if shared else ""
            own = given.prompt_tokens - (given.shared_tokens if shared else 0)
            prompts = [beginning + " " + server.text_of(own, f"{seed} {n}") for n in range(given.requests)]
            # The first of a run reads what is shared, or wakes up what sleeps.
            server.complete(beginning + " " + server.text_of(own, f"{seed} first"), 1)
            run = {"shared_prefix": shared} | load(server, prompts, concurrency, given.max_tokens)
            print(json.dumps(run))
            runs.append(run)
    meta = {
        "date": began,
        "model": model,
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "load_average_before": round(load_average, 2),
        "commit": given.commit,
        "note": given.note,
        "attention": given.attention,
        "prompt_tokens": given.prompt_tokens,
        "shared_tokens": given.shared_tokens,
        "max_tokens": given.max_tokens,
    }
    result = {"meta": meta, "rows": runs}
    with open(given.json, "w") as file:
        json.dump(result, file, indent=2)
        file.write("\n")


if __name__ == "__main__":
    main()
