"""What the way through Dynamo's front end takes: first tokens by it, and by `sparse-accelerate serve`, in turns.

    PYTHON fleet/tests/first_token.py [--json FILE]

Beside what the client waits it prints what the engine says that its first token took; the difference is HTTP, tokenizer, routing and
hops. One request at a time; each prompt is new, and both servers get the same. Medians.
"""
import argparse
import http.client
import json
import random
import statistics
import tempfile
import time
import urllib.parse

from fleet import MODEL, NAME, PROGRAM, Fleet, free_port, get, instances, wait_for

WORDS = "the panda sleeps in a tree while rain falls on bamboo and rivers carry leaves to the sea at night".split()
ROUNDS = 15
COLUMNS = ["first_token_ms", "engine_ms", "rest_ms", "between_tokens_ms"]


def first_token(url, prompt, **extra):
    """Milliseconds that the client waits for text, between two pieces of it, and for the engine alone."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=120)
    body = {"model": NAME, "prompt": prompt, "max_tokens": 16, "temperature": 0, "ignore_eos": True, "stream": True}
    body |= {"stream_options": {"include_usage": True}}
    began = time.monotonic()
    headers = {"content-type": "application/json"}
    connection.request("POST", "/v1/completions", json.dumps(body | extra), headers)
    times, attention = [], None
    for line in connection.getresponse():
        if not line.startswith(b"data: {"):
            continue
        piece = json.loads(line[6:])
        if any(choice.get("text") for choice in piece.get("choices", [])):
            times.append(time.monotonic())
        said = (piece.get("nvext") or {}).get("engine_data") or piece.get("usage") or {}
        attention = said.get("sparse_attention") or attention
    gaps = [after - before for before, after in zip(times, times[1:])]
    return 1e3 * (times[0] - began), 1e3 * statistics.median(gaps), attention and attention["ttft_ms"]


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--json", help="file for the results")
    given = arguments.parse_args()
    date = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    result = {"date": date, "model": MODEL.stem, "rounds": ROUNDS, "rows": [], "resident_mib": {}}
    with tempfile.TemporaryDirectory() as folder, Fleet(folder) as fleet:
        own = f"http://127.0.0.1:{free_port()}"
        link = fleet.folder / f"{NAME}.gguf"
        link.symlink_to(MODEL.resolve())
        fleet.start("serve", [PROGRAM, "serve", "--model", link, "--device", "cpu", "--products", "int16",
                              "--listen", own.removeprefix("http://")])
        through = fleet.front_end("front-end")
        by_pages = fleet.front_end("front-end-kv", "--router-mode", "kv")
        fleet.worker("worker", "--threads", 0)
        wait_for("a worker", lambda: instances(through) == 1 and instances(by_pages) == 1)
        wait_for("the server", lambda: get(f"{own}/health/ready") is not None)
        with_engine = {"nvext": {"extra_fields": ["engine_data"]}}
        servers = {"serve": own, "Dynamo, round-robin": through, "Dynamo, by pages": by_pages}
        print("prompt | server | first token | of it the engine | the rest | between two")
        for words in [8, 256, 1024]:
            found = {name: [] for name in servers}
            for n in range(ROUNDS + 1):
                for name, url in servers.items():
                    # Another for each server: a worker keeps what it read.
                    drawn = random.Random(f"{words} {n} {name}")
                    prompt = " ".join(drawn.choice(WORDS) for _ in range(words))
                    extra = {} if url == own else with_engine
                    found[name].append(first_token(url, prompt, **extra))
            for name, measured in found.items():
                waits, gaps, engine = [list(column) for column in zip(*measured[1:])]
                rest = [wait - own for wait, own in zip(waits, engine)]
                row = [round(statistics.median(column), 1) for column in [waits, engine, rest, gaps]]
                result["rows"].append({"words": words, "server": name} | dict(zip(COLUMNS, row)))
                print(f"{words} words | {name} |", " | ".join(f"{ms:.1f} ms" for ms in row), flush=True)
        for name, process in fleet.processes:
            status = (open(f"/proc/{process.pid}/status").read()).split("VmRSS:")[1].split()[0]
            result["resident_mib"][name] = round(int(status) / 1024)
            print(f"{name}: {result['resident_mib'][name]} MiB resident")
    if given.json:
        with open(given.json, "w") as file:
            json.dump(result, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    main()
