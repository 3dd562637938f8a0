"""What a real ComfyUI with the pack refuses before anything runs: files that are not there or no models, and unknown choices."""

import pytest
from comfy_server import ServerError, get_json, run
from prompts import SHIPPED, chain, node, picture


def test_a_missing_model_is_refused_with_folder_and_remedy(server):
    prompt = chain(picture(server, "any.png", (64, 64)))
    prompt["model"]["inputs"]["model_name"] = "gone.safetensors"
    with pytest.raises(ServerError, match=r"gone\.safetensors is not in .*adaqual; put the file there"):
        run(server.address, prompt)


def test_a_model_folder_is_searched_and_a_wrong_file_explained(server):
    folder = server.base / "models" / "adaqual"
    folder.mkdir(exist_ok=True)
    (folder / "broken.safetensors").write_bytes(b"not a model")
    (folder / "notes.txt").write_text("not offered")
    offered = get_json(server.address, "/object_info/AdaQualLoadModel")["AdaQualLoadModel"]
    offered = offered["input"]["required"]["model_name"][1]["options"]
    assert offered[0] == SHIPPED and {"broken.safetensors", "adaqual.ckpt", "WeatherDiff64.pth.tar"} < set(offered)
    assert "notes.txt" not in offered
    prompt = chain(picture(server, "any.png", (64, 64)))
    prompt["model"]["inputs"]["model_name"] = "broken.safetensors"
    with pytest.raises(ServerError, match=r"broken\.safetensors: not a readable safetensors file"):
        run(server.address, prompt)


@pytest.mark.parametrize(
    ("name", "choice"),
    [
        ("model", "mode"),
        ("sample", "schedule"),
        ("degrade", "kind"),
        ("degrade", "second_kind"),
        ("sort", "order"),
        ("assessor", "weights"),
    ],
)
def test_an_unknown_choice_is_refused_before_anything_runs(server, name, choice):
    restoring = chain(picture(server, "any.png", (64, 64)))
    sorting = {
        "load": restoring["load"],
        "degrade": node("AdaQualDegrade", image=["load", 0], kind="haze", second_kind="none", severity=0.5, seed=0),
        "assessor": node("AdaQualLoadAssessor", assessor_name="embedded (shipped)"),
        "sort": node("AdaQualScoreAndSort", image=["degrade", 0], threshold=3.0, order="as given", assessor=["assessor", 0]),
    }
    prompt = restoring if name in restoring else sorting
    prompt[name]["inputs"][choice] = "no such thing"
    with pytest.raises(ServerError, match=rf"refused the prompt(.|\n)*{choice}: 'no such thing' is not offered; choose one of"):
        run(server.address, prompt)
