"""Chats on the page of a server as a person would, in headless Chromium.

    python chat.py URL KEY CHROMIUM [FOLDER FOR SCREENSHOTS]
"""

import json
import re
import sys

from playwright.sync_api import expect, sync_playwright

url, key, chromium, *screenshots = sys.argv[1:]


def shot(page, name):
    if screenshots:
        page.screenshot(path=f"{screenshots[0]}/{name}.png", full_page=True)


with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
    context = browser.new_context(viewport={"width": 1100, "height": 800}, color_scheme="light")
    page = context.new_page()
    elsewhere, wrong = [], []
    page.on("request", lambda request: None if request.url.startswith((url, "data:")) else elsewhere.append(request.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda line: wrong.append(line.text) if line.type == "error" else None)
    page.goto(url)

    # Without the key nothing but the page is given away, and it asks for one.
    field = page.get_by_label("This server wants a key")
    expect(field).to_be_visible()
    assert all("401" in line for line in wrong), wrong
    wrong.clear()
    field.fill(key)
    field.blur()
    expect(page.locator("#model")).not_to_have_text(re.compile("asking|key"))

    # By keyboard alone: a question with a document, a short answer.
    page.locator("#files").set_input_files({"name": "notes.txt", "mimeType": "text/plain", "buffer": b"The sky is blue. " * 60})
    expect(page.get_by_role("button", name=re.compile("notes.txt, 1,020 characters"))).to_be_visible()
    page.get_by_label("new tokens, at most").fill("6")
    question = page.get_by_label("Question")
    question.fill("What is <b>blue</b>?")
    question.press("Enter")
    answers = page.locator("article")
    caption = answers.nth(0).locator("figcaption")
    expect(caption).to_have_text(re.compile(r"^\d+ tokens, 0 of them known before; 100% of the pairs computed"), timeout=60_000)
    expect(page.locator(".asked")).to_have_text("[notes.txt] What is <b>blue</b>?")
    expect(answers.nth(0).locator(".error")).to_be_hidden()
    expect(question).to_have_value("")
    expect(page.locator("#chosen li")).to_have_count(0)

    # The turn before is known; sparse and dense stand beside each other.
    page.get_by_label("sparse beside dense").check()
    question.fill("And green?")
    question.press("Enter")
    expect(answers).to_have_count(3, timeout=60_000)
    expect(answers.nth(2).locator("figcaption")).to_be_visible(timeout=60_000)
    assert [answers.nth(at).locator("h2").inner_text() for at in (1, 2)] == ["sparse", "dense"]
    shot(page, "light")

    # Escape stops, in the middle of an answer: one whose model does not end it before.
    def without_end(route):
        route.continue_(post_data=json.dumps(json.loads(route.request.post_data) | {"ignore_eos": True}))

    page.route(f"{url}/v1/chat/completions", without_end)
    page.get_by_label("auto").check()
    page.get_by_label("new tokens, at most").fill("4000")
    question.fill("Go on.")
    question.press("Enter")
    expect(page.get_by_role("button", name="Stop")).to_be_enabled()
    page.keyboard.press("Escape")
    expect(answers.nth(3).locator(".error")).to_have_text("stopped", timeout=20_000)
    page.unroute(f"{url}/v1/chat/completions")
    expect(page.get_by_role("button", name="Send")).to_be_enabled()

    # What is no text, and what the server refuses, is said.
    page.locator("#files").set_input_files({"name": "picture.png", "mimeType": "image/png", "buffer": bytes([0x89, 0x50, 0xFF])})
    expect(page.locator("#hint")).to_have_text("no UTF-8 text: picture.png")
    page.get_by_label("new tokens, at most").fill("1000000")
    question.fill("Too much?")
    question.press("Enter")
    expect(answers.nth(4).locator(".error")).to_have_text(re.compile("1000000|context"), timeout=20_000)
    expect(question).to_have_value("Too much?")

    # A telephone, in the dark.
    page.set_viewport_size({"width": 400, "height": 800})
    page.emulate_media(color_scheme="dark")
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 0, f"{overflow} pixels are cut"
    shot(page, "dark-narrow")
    page.get_by_role("button", name="New chat").click()
    expect(answers).to_have_count(0)

    assert not elsewhere, elsewhere
    assert all("400" in line for line in wrong), wrong
    browser.close()
