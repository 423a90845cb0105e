"""The page in a real browser, with the network off."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from axe_playwright_python.async_playwright import Axe
from doubles.playground_process import serving
from playwright.async_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(600)]

QUESTION = ".composer textarea"
expect.set_options(timeout=20_000)  # a ceiling for busy machines; nothing waits for it when all is well


async def ask(page, text: str) -> None:
    await page.fill(QUESTION, text)
    await page.keyboard.press("Enter")


def last_turn(page):
    return page.locator(".turns > article").last


async def test_an_answer_from_memory_says_so_with_what_was_read_and_one_click_to_it(server, window):
    browser = await window(server.url)
    page = browser.page
    await expect(page.locator(".bar")).to_contain_text("of 6 fresh")
    await ask(page, "How does SIM001-USD look?")
    turn = last_turn(page)
    await expect(turn).to_have_attribute("data-state", "done")
    await expect(turn.locator(".answer strong").first).to_have_text("looks calm")
    after = turn.locator(".after")
    await expect(after.locator(".badge.good")).to_have_text("from memory")
    await expect(after).to_contain_text("15 tokens")  # one turn of the manager, no member
    await expect(after).to_contain_text("scripted-manager")

    steps = turn.locator(".steps")
    assert await steps.first.get_attribute("open") is None, "steps are folded away once the answer is there"
    await steps.locator("> summary").click()
    await expect(steps.locator("pre").first).to_contain_text("- SIM001-USD is")  # the only step is open

    source = turn.locator(".sources li").first
    await expect(source).to_contain_text("fresh")
    await expect(source).to_contain_text("bar closed 2026-03-02 00:00 UTC")
    await source.locator("a").click()
    await expect(page.locator(".token-head h1")).to_have_text("SIM001-USD")
    browser.assert_clean()


async def test_what_memory_does_not_cover_is_delegated_and_says_that_it_was_worked_out(server, window):
    browser = await window(server.url)
    page = browser.page
    await ask(page, "Tell me a story about something else")
    turn = last_turn(page)
    await expect(turn).to_have_attribute("data-state", "done")
    await expect(turn.locator(".steps > summary")).to_contain_text("Read the team's memory; Delegated")
    await expect(turn.locator(".after .badge.good")).to_have_count(0)
    browser.assert_clean()


async def test_an_invented_number_is_marked_and_other_questions_are_offered(server, window):
    browser = await window(server.url)
    page = browser.page
    await ask(page, "Please invent something about SIM001-USD")
    turn = last_turn(page)
    await expect(turn.locator(".answer")).to_contain_text("987.6 [not in memory]")
    await expect(turn.locator(".after .badge.warn")).to_have_text("1 number not in memory")
    await turn.locator(".instead button").first.click()
    await expect(page.locator(".turns > article")).to_have_count(2)
    await expect(last_turn(page).locator(".after .badge.good")).to_have_text("from memory")
    browser.assert_clean()


async def test_conversations_are_kept_and_can_be_switched(server, window):
    browser = await window(server.url)
    page = browser.page
    await ask(page, "First of two talks?")
    await expect(last_turn(page)).to_have_attribute("data-state", "done")
    first = page.url
    await page.click("[data-new-chat]")
    await expect(page.locator(".welcome h1")).to_be_visible()
    await ask(page, "Second of two talks?")
    await expect(last_turn(page)).to_have_attribute("data-state", "done")
    assert page.url != first

    await page.locator(".sessions a", has_text="First of two talks?").first.click()
    await expect(page.locator(".ask").first).to_contain_text("First of two talks?")
    await page.goto(first)
    await expect(last_turn(page)).to_contain_text("looks calm")
    assert await page.locator(".turns > article").count() == 1
    browser.assert_clean()


async def test_two_browsers_see_the_same_conversation_grow(server, window):
    one = await window(server.url)
    await ask(one.page, "What do we both see?")
    await expect(last_turn(one.page)).to_have_attribute("data-state", "done")
    two = await window(one.page.url)
    await expect(last_turn(two.page)).to_contain_text("looks calm")
    await ask(two.page, "And now, slowly?")
    await expect(last_turn(one.page)).to_contain_text("The beginning of")
    # One answer at a time: the first browser can stop it too.
    await one.page.locator("[data-stop]").click()
    for browser in (one, two):
        await expect(last_turn(browser.page)).to_have_attribute("data-state", "stopped")
        browser.assert_clean()


async def test_an_answer_can_be_stopped_and_asked_for_again(server, window):
    browser = await window(server.url)
    page = browser.page
    await ask(page, "Answer slowly, please")
    await expect(last_turn(page)).to_contain_text("The beginning of")
    await page.keyboard.press("Escape")
    turn = last_turn(page)
    await expect(turn).to_have_attribute("data-state", "stopped")
    await expect(turn).to_contain_text("You stopped this answer.")
    await expect(turn).to_contain_text("The beginning of")
    await turn.get_by_role("button", name="Ask again").click()
    await expect(page.locator(".turns > article")).to_have_count(2)
    await page.locator("[data-stop]").click()
    await expect(last_turn(page)).to_have_attribute("data-state", "stopped")
    browser.assert_clean()


async def test_a_killed_model_provider_is_a_sentence_and_the_page_goes_on(server, window):
    browser = await window(server.url)
    page = browser.page
    await ask(page, "What if the provider is killed?")
    turn = last_turn(page)
    await expect(turn).to_have_attribute("data-state", "failed")
    await expect(turn.locator(".trouble")).to_contain_text(
        "The model did not answer: Connection refused by the provider."
    )
    await expect(turn.locator(".trouble")).not_to_contain_text("Traceback")
    await ask(page, "Is SIM001-USD killed too?")
    await expect(last_turn(page)).to_have_attribute("data-state", "done")
    await expect(last_turn(page).locator(".answer")).to_contain_text("this is what memory holds")
    await expect(last_turn(page).locator(".after")).to_contain_text("computed")
    await page.reload()
    await expect(page.locator(".turns > article")).to_have_count(2)
    await expect(page.locator(".turns > article").first.locator(".trouble")).to_contain_text("The model did not answer")
    browser.assert_clean()


async def test_markup_in_questions_answers_and_names_is_shown_as_text(server, window):
    browser = await window(server.url)
    page = browser.page
    attack = '<img src=x onerror="window.hacked=3"> markup'
    await ask(page, attack)
    turn = last_turn(page)
    await expect(turn).to_have_attribute("data-state", "done")
    await expect(turn.locator(".ask")).to_contain_text(attack)
    answer = turn.locator(".answer")
    await expect(answer.locator("strong")).to_have_text("bold")
    await expect(answer).to_contain_text("<script>window.hacked=2</script>")
    assert await answer.locator("script, img").count() == 0
    links = [await link.get_attribute("href") for link in await answer.locator("a").all()]
    assert links == ["http://tracker.example/p.png", "https://example.com/"], "links to press, nothing to load"

    for path in ("/known", "/token/SIM002-USD"):
        await page.goto(server.url + path)
        await expect(page.locator("#view")).to_contain_text("<img src=x onerror=")
        assert await page.locator("#view img").count() == 0
    assert await page.evaluate("window.hacked") is None
    browser.assert_clean()


async def test_the_table_changes_when_a_cycle_publishes(server, window):
    browser = await window(server.url + "/known")
    page = browser.page
    row = page.locator("tr[data-symbol='SIM001-USD']")
    await expect(row.locator(".fresh")).to_have_text("fresh")
    before = await row.locator(".asof").inner_text()
    server.advance(86_400)
    await expect(row.locator(".fresh")).to_have_text("stale")
    server.run_cycle()
    await expect(row.locator(".fresh")).to_have_text("fresh")
    await expect(row.locator(".asof")).not_to_have_text(before)
    browser.assert_clean()


async def test_the_table_is_sorted_and_filtered_by_keyboard(server, window):
    browser = await window(server.url + "/known")
    page = browser.page
    await expect(page.locator("table.memory tbody tr")).to_have_count(6)
    header = page.get_by_role("columnheader", name="RSI(14)")
    await header.get_by_role("button").focus()
    await page.keyboard.press("Enter")
    await expect(header).to_have_attribute("aria-sort", "ascending")
    shown = [float(text) for text in await page.locator("td.rsi").all_inner_texts()]
    assert shown == sorted(shown)
    await page.keyboard.press("/")
    await page.keyboard.type("sim003")
    await expect(page.locator("table.memory tbody tr")).to_have_count(1)
    await page.keyboard.press("Enter")
    await expect(page.locator("h1")).to_have_text("SIM003-USD")
    await page.keyboard.press("g")
    await page.keyboard.press("s")
    await expect(page.locator("h1")).to_have_text("Sleep")
    browser.assert_clean()


async def test_a_tokens_page_shows_what_matters_first_and_finds_it_by_its_ticker(server, window):
    browser = await window(server.url + "/token/sim001")
    page = browser.page
    await expect(page.locator("h1")).to_have_text("SIM001-USD")
    await expect(page.get_by_role("region", name="Similar situations", exact=True)).to_contain_text("nearest before")
    titles = await page.locator(".panel h2").all_inner_texts()
    assert titles[:4] == ["In short", "Chart", "What would change this view", "Security"]
    short = page.get_by_role("region", name="In short", exact=True)
    await expect(short.locator("li").first).to_contain_text("SIM001-USD")
    await expect(page.locator(".chart canvas").first).to_be_visible()
    security = page.get_by_role("region", name="Security", exact=True)
    await expect(security.locator(".check-list").first.locator(".badge").first).not_to_have_text("pass")
    await expect(security.get_by_text("checks passed")).to_be_visible()
    await page.get_by_role("button", name="1 M").click()
    await expect(page.get_by_role("button", name="1 M")).to_have_attribute("aria-pressed", "true")
    record = page.get_by_role("region", name="Track record", exact=True)
    await expect(record).to_contain_text("trend following")
    await page.get_by_text("Values and definitions").click()
    await expect(page.get_by_role("region", name="Figures of this analysis")).to_contain_text("Wilder's RSI")
    await page.get_by_role("link", name="Hourly").click()
    await expect(page.get_by_role("region", name="Chart", exact=True)).to_contain_text("1h bars to")
    await page.goto(server.url + "/token/NOPE-USD")
    await expect(page.locator("#view")).to_contain_text("Memory knows no token called 'NOPE-USD'.")
    browser.assert_clean()


async def test_sleep_is_paused_and_resumed_from_the_page(server, window):
    one, two = await window(server.url + "/sleep"), await window(server.url + "/sleep")
    state = one.page.locator(".now .state")
    await expect(state).to_contain_text("Waiting for the next cycle")
    await one.page.get_by_role("button", name="Pause").click()
    await expect(state).to_contain_text("Paused")
    await expect(two.page.locator(".now .state")).to_contain_text("Paused")
    await expect(two.page.get_by_role("button", name="Run now")).to_be_disabled()
    await two.page.get_by_role("button", name="Resume").click()
    await expect(state).not_to_contain_text("Paused")
    for title in ("Last cycle", "Next cycle", "Budgets", "Foreseen questions", "Ledger", "Recent cycles"):
        await expect(one.page.get_by_role("region", name=title, exact=True).first).to_be_visible()
    for browser in (one, two):
        browser.assert_clean()


async def test_a_server_that_is_killed_in_mid_answer_says_so_when_it_is_back(tmp_path, window):
    with serving(tmp_path / "data") as first:
        browser = await window(first.url)
        page = browser.page
        await ask(page, "Tell me slowly")
        await expect(last_turn(page)).to_contain_text("The beginning of")
        await page.fill(QUESTION, "a half-written thought")
        first.kill()
        await expect(page.locator("#popup")).to_contain_text("Connection lost")
        with serving(tmp_path / "data", port=first.port):
            turn = last_turn(page)
            await expect(turn).to_have_attribute("data-state", "interrupted")
            await expect(turn).to_contain_text("The server stopped while this was being answered.")
            await expect(turn.locator(".answer")).to_contain_text("The beginning of")
            await expect(page.locator(QUESTION)).to_have_value("a half-written thought")
            await page.fill(QUESTION, "")
            await ask(page, "How does SIM001-USD look?")
            await expect(last_turn(page)).to_have_attribute("data-state", "done")
    assert browser.foreign == []


async def test_each_user_has_conversations_of_their_own_until_signing_out(tmp_path, window):
    users = ("--user", "anna", "the-token-of-anna", "--user", "ben", "the-token-of-ben")
    with serving(tmp_path / "data", "--no-model", *users) as server:
        ben = (await window(f"{server.url}/?token=the-token-of-ben")).page
        anna = (await window(server.url)).page
        await anna.get_by_label("Token").fill("the-token-of-anna")
        await anna.keyboard.press("Enter")
        await ask(anna, "annas question")
        await expect(last_turn(anna)).to_contain_text("annas question")
        await expect(anna.locator(".sessions")).to_contain_text("annas question")
        await ben.goto(anna.url)
        await expect(ben.locator("#view")).to_contain_text("This conversation is not on record here.")
        await expect(ben.locator(".sessions")).to_contain_text("Conversations are kept here.")
        await anna.get_by_role("button", name="Sign out").click()
        await expect(anna.locator("body")).to_contain_text("You are signed out.")
        await anna.goto(server.url)
        await expect(anna.get_by_label("Token")).to_be_visible()
        await ben.reload()
        await expect(ben.get_by_role("button", name="Sign out")).to_be_visible()


async def test_without_a_model_memory_answers_and_says_what_it_is(tmp_path, window):
    with serving(tmp_path / "data", "--no-model") as server:
        browser = await window(server.url)
        page = browser.page
        await expect(page.locator(".talk-head")).to_contain_text("memory only")
        await expect(page.locator(".bar")).to_contain_text("of 6 fresh")
        await ask(page, "How does SIM001-USD look?")
        turn = last_turn(page)
        await expect(turn).to_have_attribute("data-state", "done")
        await expect(turn.locator(".answer")).to_contain_text("RSI")
        await expect(turn.locator(".after .badge")).to_have_text(["from memory", "computed"])
        await expect(turn.locator(".sources li").first).to_contain_text("SIM001-USD")
        browser.assert_clean()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_colours_follow_the_system_and_the_toggle(server, window, scheme):
    browser = await window(server.url, color_scheme=scheme)
    root = browser.page.locator("html")
    await expect(root).to_have_attribute("data-theme", scheme)
    await browser.page.locator("#theme-toggle").click()
    await browser.page.locator("#theme-toggle").click()
    await expect(root).to_have_attribute("data-theme", "dark")
    await browser.page.reload()
    await expect(root).to_have_attribute("data-theme", "dark")
    browser.assert_clean()


async def test_a_phone_scrolls_in_one_direction_only(server, window):
    for path in ("/", "/known", "/portfolio", "/sleep", "/token/SIM001-USD"):
        browser = await window(server.url + path, viewport={"width": 380, "height": 780}, has_touch=True)
        await expect(browser.page.locator(".nav a").first).to_be_visible()
        await expect(browser.page.locator("#view")).not_to_be_empty()
        wide = await browser.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, f"{path} is {wide} pixels wider than the screen"
        browser.assert_clean()


async def test_filters_order_and_columns_stand_in_the_address_and_are_there_on_back(server, window):
    browser = await window(server.url + "/known?sort=-change")
    page = browser.page
    await expect(page.get_by_role("columnheader", name="Change")).to_have_attribute("aria-sort", "descending")
    await page.locator("select[aria-label=Security]").select_option("safe")
    safe = await page.locator("table.memory tbody tr").count()
    await page.locator(".columns summary").click()
    await page.get_by_label("30 bars").check()
    await page.get_by_label("Market cap").check()
    await page.get_by_label("Evidence").check()
    await expect(page).to_have_url(re.compile(r"sort=-change&columns=change\+return_30\+market_cap\+evidence"))
    await expect(page.locator("td[data-label='Market cap']").first).to_contain_text("illion")
    await page.locator("table.memory tbody a").first.click()
    await expect(page.locator(".token-head h1")).to_be_visible()
    await page.go_back()
    await expect(page.get_by_role("columnheader", name="30 bars")).to_be_visible()
    await expect(page.locator("table.memory tbody tr")).to_have_count(safe)
    await page.get_by_role("link", name="Hourly").click()
    await expect(page).to_have_url(re.compile(r"interval=1h&security=safe"))
    browser.assert_clean()


async def test_times_are_in_utc_or_in_the_readers_own_zone(server, window):
    browser = await window(server.url + "/token/SIM001-USD", timezone_id="Asia/Tokyo")
    page = browser.page
    short = page.get_by_role("region", name="In short")
    await expect(short).to_contain_text("00:00 UTC")
    await page.locator("#zone-toggle").click()
    await expect(short).to_contain_text("09:00 GMT+9")
    await expect(short).not_to_contain_text("UTC")
    await page.goto(server.url + "/known")
    await expect(page.locator("td.asof").first).to_contain_text("09:00 GMT+9")
    await page.locator("#zone-toggle").click()
    await expect(page.locator("td.asof").first).to_contain_text("00:00 UTC")
    browser.assert_clean()


async def test_a_star_puts_a_token_on_the_watch_list_of_memory(server, window):
    browser = await window(server.url + "/known")
    page = browser.page
    await page.get_by_role("button", name="Watch SIM004-USD").click()
    await expect(page.get_by_role("button", name="Watch SIM004-USD")).to_have_attribute("aria-pressed", "true")
    await page.get_by_label("Which tokens").select_option("watched")
    await expect(page.locator("table.memory tbody tr")).to_have_count(1)
    await page.goto(server.url + "/token/SIM006-USD")
    await page.get_by_role("button", name="Watch SIM006-USD").click()
    await page.goto(server.url + "/portfolio")
    await page.get_by_role("button", name="Put SIM006-USD first").click()
    await expect(page.get_by_role("region", name="Watch list").locator("tbody tr").first).to_contain_text("SIM006")
    await page.goto(server.url + "/known?only=watched")
    await expect(page.locator("table.memory tbody tr").first).to_contain_text("SIM006")
    await page.get_by_role("button", name="Watch SIM006-USD").click()
    await page.goto(server.url + "/token/SIM004-USD")
    star = page.get_by_role("button", name="Watch SIM004-USD")
    await expect(star).to_have_attribute("aria-pressed", "true")
    await star.click()
    await expect(star).to_have_attribute("aria-pressed", "false")
    await page.goto(server.url + "/portfolio")
    await expect(page.get_by_role("region", name="Watch list")).to_contain_text("Nothing is watched.")
    browser.assert_clean()


async def test_holdings_are_taken_in_shown_and_taken_away(server, window):
    browser = await window(server.url + "/portfolio")
    page = browser.page
    form = page.locator("form.inline").first
    for name, typed in {"token": "sim005", "quantity": "-2", "price": "0.5", "stop": "1000000"}.items():
        await form.locator(f"[name={name}]").fill(typed)
    await form.get_by_role("button", name="Add").click()
    await expect(page.locator(".q-notification")).to_contain_text("quantity: Input should be greater than 0.")
    await form.locator("[name=quantity]").fill("2")
    await form.get_by_role("button", name="Add").click()
    held = page.get_by_role("region", name="What is held")
    await expect(held.locator("tbody tr")).to_have_count(1)
    await expect(held.locator("tbody tr")).to_contain_text("SIM005-USD")
    await expect(held.locator(".bad-text")).to_have_text("1,000,000.00")
    server.run_cycle()
    alert = page.get_by_role("region", name="Alerts").locator("li", has_text="reached its stop")
    await expect(alert).to_contain_text("Nothing was sold.")
    await page.get_by_role("button", name="Remove SIM005-USD").click()
    await expect(page.get_by_role("region", name="Holdings")).to_contain_text("Nothing is held.")
    await expect(page.get_by_role("region", name="Track record")).to_be_visible()
    browser.assert_clean()


async def test_a_conversation_is_renamed_exported_and_deleted(server, window):
    browser = await window(server.url)
    page = browser.page
    page.on("dialog", lambda d: asyncio.ensure_future(d.accept("A better name") if d.type == "prompt" else d.accept()))
    await ask(page, "How does SIM003-USD look?")
    await expect(last_turn(page)).to_have_attribute("data-state", "done")
    await page.get_by_role("button", name="Rename").click()
    await expect(page.locator(".sessions a[aria-current]")).to_contain_text("A better name")
    async with page.expect_download() as waiting:
        await page.get_by_role("button", name="Export").click()
    saved = Path(await (await waiting.value).path())
    text = await asyncio.to_thread(saved.read_text, encoding="utf-8")
    assert "## How does SIM003-USD look?" in text
    assert "It **looks calm**." in text
    assert "- SIM003-USD (fresh) daily bar closed" in text
    address = page.url
    await page.get_by_role("button", name="Delete").click()
    await expect(page.locator(".welcome h1")).to_be_visible()
    await expect(page.locator(".sessions")).not_to_contain_text("A better name")
    await page.goto(address)
    await expect(page.locator(".welcome")).to_contain_text("not on record")
    browser.assert_clean()


async def accessible(page) -> None:
    """No rule of axe is broken."""
    found = await Axe().run(page)
    assert not found.violations_count, f"{page.url}: {found.generate_report()}"


@pytest.mark.parametrize(("width", "scheme"), [(380, "dark"), (1_280, "light")])
async def test_every_view_says_that_prices_are_made_up_and_is_accessible(server, window, width, scheme):
    browser = await window(server.url, viewport={"width": width, "height": 780}, color_scheme=scheme)
    page = browser.page
    for path in ("/", "/known", "/known?q=zzz", "/portfolio", "/sleep", "/token/SIM001-USD", "/token/NOPE"):
        await page.goto(server.url + path)
        await expect(page.locator(".simulated-note")).to_contain_text("SIMULATED Made up, as of 2026-03-")
        await expect(page.locator("main h1").first).to_be_visible()
        await accessible(page)
    await page.goto(server.url)
    await ask(page, "How does SIM001-USD look?")
    await expect(last_turn(page)).to_have_attribute("data-state", "done")
    await accessible(page)
    browser.assert_clean()


async def test_a_slow_network_shows_that_the_page_is_loading(server, window):
    browser = await window(server.url)
    page = browser.page
    devtools = await page.context.new_cdp_session(page)
    await devtools.send("Network.setCacheDisabled", {"cacheDisabled": True})
    slow = {"offline": False, "latency": 100, "downloadThroughput": 50_000, "uploadThroughput": 50_000}
    await devtools.send("Network.emulateNetworkConditions", slow)
    painted = asyncio.Event()

    async def held(route) -> None:
        await painted.wait()
        await route.continue_()

    await page.route("**/_nicegui/**", held)
    await page.goto(server.url + "/known", wait_until="commit")
    # Painted, in its colours and readable, while nothing but the page itself has come.
    await page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length")
    await expect(page.locator("#loading")).to_be_visible()
    await expect(page.locator("#loading")).to_have_css("position", "fixed")
    await expect(page.locator("#esm-fallback")).not_to_be_visible()
    painted.set()
    await expect(page.locator("table.memory tbody tr").first).to_be_visible()
    await expect(page.locator("#loading")).not_to_be_visible()
    assert await page.evaluate("document.querySelector('style[onload]').media") == "all"
