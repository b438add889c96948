"""The official client against a server whose model has no training: what comes back has the right shape all the same."""

import json
import math
import sys

import openai
from pydantic import BaseModel

client = openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key="none", timeout=60, max_retries=0)
model = client.models.list().data[0].id
messages = [{"role": "user", "content": "How is it in Ulm?"}]
parameters = {
    "type": "object",
    "properties": {"place": {"enum": ["Ulm", "Bonn"]}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
    "required": ["place", "days"],
    "additionalProperties": False,
}
tools = [{"type": "function", "function": {"name": "weather", "parameters": parameters, "strict": True}}]


def chat(**fields):
    return client.chat.completions.create(model=model, messages=messages, **{"max_tokens": 1500, "seed": 1} | fields)


answer = chat(max_tokens=8)
assert answer.choices[0].message.content and answer.usage.completion_tokens <= 8
print("chat: ok")

streamed = list(chat(max_tokens=8, stream=True, stream_options={"include_usage": True}))
said = "".join(chunk.choices[0].delta.content or "" for chunk in streamed if chunk.choices)
assert said == answer.choices[0].message.content and streamed[-1].usage.completion_tokens <= 8
print("streaming: ok")

several = chat(max_tokens=8, n=3, logprobs=True, top_logprobs=20, frequency_penalty=0.5, presence_penalty=-0.5, logit_bias={"65": 5})
assert [choice.index for choice in several.choices] == [0, 1, 2]
for choice in several.choices:
    for place in choice.logprobs.content:
        assert len(place.top_logprobs) == 20 and place.logprob <= 0
        assert sum(math.exp(token.logprob) for token in place.top_logprobs) < 1 + 1e-9
chunks = list(chat(max_tokens=8, n=3, logprobs=True, stream=True))
for index in range(3):
    parts = [chunk.choices[0] for chunk in chunks if chunk.choices[0].index == index]
    alone = chat(max_tokens=8, seed=1 + index, logprobs=True).choices[0]
    assert "".join(part.delta.content or "" for part in parts) == alone.message.content
    said = [place.logprob for part in parts if part.logprobs for place in part.logprobs.content]
    assert said == [place.logprob for place in alone.logprobs.content] and parts[-1].finish_reason
completed = client.completions.create(model=model, prompt="x", max_tokens=6, logprobs=5, n=2, seed=1)
for choice in completed.choices:
    assert len(choice.logprobs.tokens) == len(choice.logprobs.text_offset) == len(choice.logprobs.token_logprobs) <= 6
    assert all(5 <= len(likely) <= 6 for likely in choice.logprobs.top_logprobs)
for wrong in ({"top_logprobs": 21, "logprobs": True}, {"n": 0}, {"frequency_penalty": 3}, {"logit_bias": {"65": 200}}):
    try:
        chat(**wrong)
        raise SystemExit(f"{wrong} was accepted")
    except openai.BadRequestError as error:
        assert error.param in wrong and error.code.endswith("_value"), error
print("logprobs, several answers, penalties: ok")

called = chat(tools=tools, tool_choice="required", parallel_tool_calls=False).choices[0]
[call] = called.message.tool_calls
arguments = json.loads(call.function.arguments)
assert called.finish_reason == "tool_calls" and call.function.name == "weather"
assert arguments["place"] in ("Ulm", "Bonn") and 1 <= arguments["days"] <= 9
print("tools:", call.function.name, arguments)

with client.chat.completions.stream(
    model=model, messages=messages, tools=tools, tool_choice="required", parallel_tool_calls=False, max_tokens=1500, seed=1
) as stream:
    final = stream.get_final_completion().choices[0]
assert json.loads(final.message.tool_calls[0].function.arguments) == arguments
print("streamed tools: ok")

messages += [called.message, {"role": "tool", "tool_call_id": call.id, "content": "Rain."}]
assert chat(tools=tools, max_tokens=4).choices[0].finish_reason in ("length", "stop")
print("results of tools: ok")


class Place(BaseModel):
    name: str
    days: int


bounded = {"type": "json_schema", "json_schema": {"name": "weather", "schema": parameters, "strict": True}}
answered = json.loads(chat(response_format=bounded).choices[0].message.content)
assert answered["place"] in ("Ulm", "Bonn") and 1 <= answered["days"] <= 9
print("schemas:", answered)

ended = 0
for seed in range(8):
    try:
        parsed = client.chat.completions.parse(
            model=model, messages=messages, response_format=Place, max_tokens=1500, seed=seed
        )
        assert isinstance(parsed.choices[0].message.parsed, Place)
        ended += 1
    except openai.LengthFinishReasonError:
        pass
assert ended, "no answer of the class ended"
print(f"classes: {ended} of 8 ended")

try:
    chat(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "objekt"}}})
    raise SystemExit("a schema that is none was accepted")
except openai.BadRequestError as error:
    assert error.param == "response_format", error
print("errors: ok")
