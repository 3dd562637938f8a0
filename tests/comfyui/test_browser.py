"""The pack in ComfyUI's real front end, in Chromium."""

import copy
import json
from collections.abc import Iterator

import pytest
from comfy_server import REPOSITORY
from comfy_workflow import to_prompt
from PIL import Image
from playwright.sync_api import Page

SECONDS = 1000  # playwright counts milliseconds
EXAMPLE = REPOSITORY / "pictures" / "example.png"
RESTORE = REPOSITORY / "workflows" / "adaqual_restore_photo.json"
MISSING = "() => app.graph.nodes.map(n => n.type).filter(t => !(t in LiteGraph.registered_node_types))"
LOADERS = ("CheckpointLoaderSimple", "ControlNetLoader", "UpscaleModelLoader")
# Dialogs and toasts; "Job queued" and the like are no complaint.
COMPLAINTS = """() => ['dialog', 'alertdialog', 'alert', 'status']
    .flatMap(role => [...document.querySelectorAll(`[role=${role}]`)])
    .map(e => e.innerText.trim()).filter(text => text && !text.startsWith('Job '))"""

# The width of the restored picture once it is shown, in the two ways that the front end draws nodes.
SHOWN_ON_CANVAS = """() => app.graph.nodes.filter(n => n.type === 'SaveImage')
    .find(n => n.widgets[0].value === 'adaqual_restored').imgs?.[0]?.naturalWidth"""
SHOWN_AS_HTML = "() => document.querySelector('img[src*=\"filename=adaqual_restored\"]')?.naturalWidth"


@pytest.fixture
def page(browser, server) -> Iterator[Page]:
    """A fresh page with the front end ready."""
    page = browser.new_page(viewport={"width": 1600, "height": 1000})
    page.goto(server.address)
    page.wait_for_function("window.app?.vueAppReady && window.app.graph", timeout=120 * SECONDS)
    yield page
    page.close()


def open_workflow(page: Page, workflow: dict) -> None:
    """Open a workflow as a user's file would be, and give the front end time to complain."""
    page.evaluate("workflow => app.loadGraphData(workflow)", workflow)
    page.wait_for_function("count => app.graph.nodes.length === count", arg=len(workflow["nodes"]))
    page.wait_for_timeout(1 * SECONDS)


def test_workflow_opens_without_complaint(page, object_info, workflow):
    open_workflow(page, workflow)
    assert page.evaluate(MISSING) == []
    downloads = [node["widgets_values"][0] for node in workflow["nodes"] if node["type"] in LOADERS]
    # the front end may miss the files that the workflow's note names, and nothing else
    several = [f"{len(downloads)} {word} found" for word in ("issues", "errors")]
    expected = [f"{name} is missing" for name in downloads] + several * (len(downloads) > 1)
    assert [text for text in page.evaluate(COMPLAINTS) if not any(said in text for said in expected)] == []
    theirs = page.evaluate("async () => (await app.graphToPrompt()).output")
    for one in theirs.values():
        one["inputs"].pop("video-preview", None)  # Load Video's player, which is no input
    assert {node: (one["class_type"], one["inputs"]) for node, one in theirs.items()} == {
        node: (one["class_type"], one["inputs"]) for node, one in to_prompt(workflow, object_info).items()
    }


def test_a_missing_node_would_be_noticed(page):
    workflow = json.loads(RESTORE.read_text(encoding="utf-8"))
    broken = copy.deepcopy(workflow)
    broken["nodes"][1]["type"] = "AdaQualNoSuchNode"
    open_workflow(page, broken)
    assert page.evaluate(MISSING) == ["AdaQualNoSuchNode"]
    assert any("AdaQualNoSuchNode" in text for text in page.evaluate(COMPLAINTS))


@pytest.mark.parametrize("html_nodes", [False, True], ids=["canvas", "nodes 2.0"])
def test_run_shows_the_restored_picture(page, html_nodes):
    version = tuple(map(int, page.evaluate("window.__COMFYUI_FRONTEND_VERSION__").split(".")[:2]))
    if html_nodes and version < (1, 32):
        pytest.skip(f"an experiment in this front end, {version}: it leaves the nodes of the graph before on the screen")
    page.evaluate("on => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', on)", html_nodes)
    open_workflow(page, json.loads(RESTORE.read_text(encoding="utf-8")))
    page.get_by_role("button", name="Run", exact=True).first.click()
    shown = SHOWN_AS_HTML if html_nodes else SHOWN_ON_CANVAS
    page.wait_for_function(f"() => ({shown})() || ({COMPLAINTS})().length", timeout=120 * SECONDS)
    assert page.evaluate(COMPLAINTS) == []
    assert page.evaluate(shown) == Image.open(EXAMPLE).width
    if html_nodes:
        assert page.locator("img[src*='filename=adaqual_restored']").first.is_visible()
