"""This module decides how often each photo is drawn, and which sources are held out (our definition)."""

import math
from collections import Counter, defaultdict

HELD_OUT = (
    "MC-DeltaT/photography-portfolio-website",
    "TravisBumgarner/Photography-Portfolio",
    "jwagner/smartcrop.js",
    "hackclub/site",
    "elementary/wallpapers",
    "lomiri-wallpapers-16.04",
)
"""Sources that are never trained on. In this order they show nature and people, cities on journeys, a bit of everything, rooms
and crowds, landscapes, and landscapes."""

INDOORS, OUTDOORS = 0.5, 1.5
"""Factors of a source's share of the draws; 1 for sources that show both."""

EMPHASIS = {
    "MiguelARD/DoorDetect-Dataset": INDOORS,
    "emanhamed/Houses-dataset": INDOORS,
    "getcroissant/coworking-stock-photos": INDOORS,
    "18F/18f.gsa.gov": INDOORS,
    "Vogeltak/maxcrone.org": INDOORS,
    "herschel666/photoblog": OUTDOORS,
    "adobe/aem-guides-wknd": OUTDOORS,
    "gpenn4/gpenn_site": OUTDOORS,
    "Vincentqyw/image-matching-webui": OUTDOORS,
    "bme3412/travel-photos": OUTDOORS,
    "mapwallironies/mapwallironies.github.io": OUTDOORS,
    "linuxdeepin/deepin-wallpapers": OUTDOORS,
    "MatheusTT/wallpapers": OUTDOORS,
    "KDE/plasma-workspace-wallpapers": OUTDOORS,
    "plasma-workspace-wallpapers": OUTDOORS,
    "gnome-backgrounds": OUTDOORS,
    "ukui-wallpapers": OUTDOORS,
    "lomiri-wallpapers-20.04": OUTDOORS,
}
"""Sources that are mostly indoors or mostly outdoors. Weather happens outdoors, and a third of all photos
shows doors and rooms."""


def split_of(source: str) -> str:
    """Return 'held' for the sources of HELD_OUT, otherwise 'train'."""
    return "held" if source in HELD_OUT else "train"


def weights(pictures: list[tuple[str, str]]) -> list[float]:
    """Return how often each picture is drawn, for the (source, photo id) of every picture.

    A source's share of the draws is its emphasis times the square root of its number of photos. Within a source the photos share
    equally, and the crops of one photo share that photo's part. The numbers are relative and rounded to six digits.
    """
    photos: dict[str, set[str]] = defaultdict(set)
    for source, photo in pictures:
        photos[source].add(photo)
    pieces = Counter(pictures)
    return [
        round(EMPHASIS.get(source, 1.0) / math.sqrt(len(photos[source])) / pieces[source, photo], 6) for source, photo in pictures
    ]
